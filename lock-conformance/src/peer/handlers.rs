//! Fork handlers of a peer. They represent the handlers of a program.

use std::cell::RefCell;
use std::mem;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use lock_core::{Error, Guard, Lock, Result};

use super::worker::{Worker, describe};
use crate::protocol::Fields;
use crate::sys;

/// The actions of the handlers in the next fork of this thread, and their results.
#[derive(Default)]
struct Plan {
    /// A guard of this lock, which the child drops before it tries the lock by the handle.
    inherited: Option<(String, Guard<'static>, &'static Lock)>,
    /// A lock to acquire before the fork and to release after it, in the parent and in the child.
    lock: Option<&'static Lock>,
    guard: Option<Guard<'static>>,
    /// Whether to hold the program's mutex during the fork.
    takes_mutex: bool,
    mutex: Option<MutexGuard<'static, ()>>,
    /// The state of the lock that the child tried.
    found: Option<&'static str>,
    /// The error of a handler's acquisition.
    refused: Option<Error>,
}

thread_local! {
    static PLAN: RefCell<Plan> = RefCell::default();
}

/// A mutex of the program.
pub(super) static PROGRAMS_MUTEX: Mutex<()> = Mutex::new(());

impl Worker {
    pub(super) fn plan_a_fork(&mut self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            ("at_fork", []) => register().map(|()| Fields::new()),
            ("drop_in_child", [lock]) => self.handle(lock).map(|handle| {
                let guard = self.guard(lock);
                PLAN.with_borrow_mut(|plan| plan.inherited = Some(((*lock).to_owned(), guard, handle)));
                Fields::new()
            }),
            ("lock_over_fork", [lock]) => self.handle(lock).map(|handle| {
                PLAN.with_borrow_mut(|plan| plan.lock = Some(handle));
                Fields::new()
            }),
            ("mutex_over_fork", []) => {
                PLAN.with_borrow_mut(|plan| plan.takes_mutex = true);
                Ok(Fields::new())
            }
            ("handlers_found", []) => Ok(PLAN.with_borrow(|plan| {
                let fields = plan.found.map_or_else(Fields::new, |found| Fields::new().with("found", found));
                match &plan.refused {
                    Some(error) => fields.with("refused", describe(error, None)),
                    None => fields,
                }
            })),
            _ => return None,
        })
    }

    /// Returns the guard of the plan to this thread, in the parent.
    pub(super) fn take_back(&mut self) {
        let inherited = PLAN.with_borrow_mut(|plan| plan.inherited.take());
        self.guards.extend(inherited.map(|(lock, guard, _)| (lock, guard)));
    }
}

fn register() -> Result<()> {
    static ONCE: Once = Once::new();
    let mut registered = Ok(());
    ONCE.call_once(|| registered = sys::at_fork(prepare, in_parent, in_child));
    registered.map_err(|error| Error::system("pthread_atfork", error))
}

extern "C" fn prepare() {
    PLAN.with_borrow_mut(|plan| {
        if plan.takes_mutex {
            plan.mutex = Some(PROGRAMS_MUTEX.lock().unwrap_or_else(PoisonError::into_inner));
        }
        match plan.lock.map(Lock::lock) {
            Some(Ok(guard)) => plan.guard = Some(guard),
            Some(Err(error)) => plan.refused = Some(error),
            None => {}
        }
    });
}

extern "C" fn in_parent() {
    PLAN.with_borrow_mut(|plan| {
        drop(plan.guard.take());
        plan.lock = None;
        plan.mutex = None;
    });
}

extern "C" fn in_child() {
    PLAN.with_borrow_mut(|plan| {
        drop(plan.guard.take());
        plan.lock = None;
        plan.mutex = None;
        let Some((_, guard, lock)) = plan.inherited.take() else { return };
        drop(guard);
        match lock.try_lock() {
            Ok(Some(guard)) => {
                mem::forget(guard);
                plan.found = Some("free");
            }
            Ok(None) => plan.found = Some("busy"),
            Err(error) => plan.refused = Some(error),
        }
    });
}
