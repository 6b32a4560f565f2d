//! The traits that the public types have, which a change may not take from them.

use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::str::FromStr;

use lock_core::*;

fn is_of_any_thread<T: ?Sized + Send + Sync + UnwindSafe + RefUnwindSafe + Debug + 'static>() {}
fn is_handle<T: Clone + Send + Sync + UnwindSafe + RefUnwindSafe + Debug + 'static>() {}
fn is_value<T: Clone + Eq + Hash + Send + Sync + UnwindSafe + RefUnwindSafe + Debug + 'static>() {}
fn is_copied_value<T: Copy + Eq + Hash + Send + Sync + UnwindSafe + RefUnwindSafe + Debug + 'static>() {}
fn is_ordered<T: Ord>() {}
fn has_text_form<T: Display + FromStr>() {}
fn is_displayed<T: Display>() {}

#[test]
fn handles_and_errors_are_shared_and_safe_to_use_after_a_panic() {
    is_handle::<Lock>();
    is_handle::<Store>();
    is_handle::<Registry>();
    is_handle::<Cancellation>();
    is_of_any_thread::<Error>();
    is_of_any_thread::<ErrorDetails>();
    is_of_any_thread::<dyn Manager>();
    is_of_any_thread::<dyn RawLock>();
}

#[test]
fn a_guard_is_shared_and_safe_to_use_after_a_panic() {
    fn is_guard<T: Sync + UnwindSafe + RefUnwindSafe + Debug>() {}
    is_guard::<Guard<'static>>();
    is_guard::<SendGuard<'static>>();
}

#[test]
fn a_guard_of_a_process_may_be_sent() {
    fn may_be_sent_and_shared<T: Send + Sync>() {}
    may_be_sent_and_shared::<SendGuard<'static>>();
}

#[test]
fn values_are_compared_and_hashed() {
    is_value::<Allocation>();
    is_value::<Acquired>();
    is_value::<Death>();
    is_value::<DesiredAllocation>();
    is_value::<HeldBy>();
    is_value::<HeldLock>();
    is_value::<Holder>();
    is_value::<Label>();
    is_value::<Reconciled>();
    is_value::<Recovery>();
    is_value::<StoreUrl>();
    is_value::<Waiter>();
    is_value::<Waiting>();
    is_value::<Waits>();
    is_copied_value::<Backend>();
    is_copied_value::<Capabilities>();
    is_copied_value::<Cause>();
    is_copied_value::<Condition>();
    is_copied_value::<Deadline>();
    is_copied_value::<ErrorKind>();
    is_copied_value::<Generation>();
    is_copied_value::<LockId>();
    is_copied_value::<OpenMode>();
    is_copied_value::<Operation>();
    is_copied_value::<OwnerDeath>();
    is_copied_value::<OwnerKind>();
    is_copied_value::<StoreId>();
    is_copied_value::<Token>();
}

#[test]
fn ids_labels_and_deadlines_are_ordered() {
    is_ordered::<Deadline>();
    is_ordered::<Generation>();
    is_ordered::<Label>();
    is_ordered::<LockId>();
    is_ordered::<StoreId>();
    is_ordered::<Token>();
    assert!(
        Deadline::Now < Deadline::after(std::time::Duration::ZERO)
            && Deadline::after(std::time::Duration::MAX) == Deadline::Never
    );
}

#[test]
fn ids_and_labels_have_a_text_form() {
    has_text_form::<Generation>();
    has_text_form::<Label>();
    has_text_form::<LockId>();
    has_text_form::<StoreId>();
    has_text_form::<StoreUrl>();
    has_text_form::<Token>();
}

#[test]
fn reports_and_claims_are_displayed() {
    is_displayed::<Cause>();
    is_displayed::<Death>();
    is_displayed::<Error>();
    is_displayed::<ErrorDetails>();
    is_displayed::<ErrorKind>();
    is_displayed::<HeldBy>();
    is_displayed::<Holder>();
    is_displayed::<Operation>();
    is_displayed::<OwnerDeath>();
}
