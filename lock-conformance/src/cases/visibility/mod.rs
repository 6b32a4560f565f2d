//! Owners that the waiter's `/proc` does not show, or for which it shows another process.
//!
//! A missing entry does not prove a death.

mod surroundings;

use self::surroundings::{Parties, Surroundings, names_what_is_missing, process_without_proc};
use super::cases;
use super::keeping::{each_keeps_its_lock, is_recovered};
use super::waiters::a_hidden_waiter_is_listed;
use crate::case::Case;
use crate::fixture::Fixture;

cases! { "visibility";
    a_store_opens_without_proc_or_is_refused [STORE PROCESSES PROC_MOUNTS];
}

/// Defines the table of surroundings.
///
/// In each of them, a live owner keeps its lock, the lock of a dead owner is recovered, and waiters are listed while they live.
macro_rules! cases_in {
    ($($name:literal $surroundings:ident [$($need:ident)*];)+) => {
        pub(super) const IN_SURROUNDINGS: &[Case] = &[$(
            Case {
                name: concat!("visibility::", $name, "::a_live_owner_keeps_its_lock"),
                needs: &[crate::need::PROCESSES, crate::need::PROC_MOUNTS, $(crate::need::$need),*],
                unless: &[],
                run: |fixture| a_live_owner_keeps_its_lock(fixture, &Surroundings::$surroundings),
            },
            Case {
                name: concat!("visibility::", $name, "::the_lock_of_a_dead_owner_is_recovered"),
                needs: &[
                    crate::need::PROCESSES, crate::need::RELEASED, crate::need::PROC_MOUNTS,
                    $(crate::need::$need),*
                ],
                unless: &[],
                run: |fixture| the_lock_of_a_dead_owner_is_recovered(fixture, &Surroundings::$surroundings),
            },
            Case {
                name: concat!("visibility::", $name, "::a_waiter_is_listed"),
                needs: &[
                    crate::need::LISTED_WAITERS, crate::need::PROCESSES, crate::need::PROC_MOUNTS,
                    $(crate::need::$need),*
                ],
                unless: &[],
                run: |fixture| a_waiter_is_listed(fixture, &Surroundings::$surroundings),
            },
        )+];
    };
}

cases_in! {
    "other_user" OTHER_USER [USERS];
    "hidepid_1" HIDEPID_1 [USERS];
    "hidepid_2" HIDEPID_2 [USERS];
    "hidepid_4" HIDEPID_4 [USERS];
    "hidepid_1_without_dumps" HIDEPID_1_WITHOUT_DUMPS [];
    "hidepid_2_without_dumps" HIDEPID_2_WITHOUT_DUMPS [];
    "hidepid_4_without_dumps" HIDEPID_4_WITHOUT_DUMPS [];
    "subset_pid" SUBSET_PID [];
    "no_proc" NO_PROC [];
    "other_proc" OTHER_PROC [PID_NAMESPACES];
    "other_proc_with_equal_pid" OTHER_PROC_WITH_EQUAL_PID [CHOSEN_PIDS];
    "user_namespace" USER_NAMESPACE [USER_NAMESPACES];
    "user_namespace_without_dumps" USER_NAMESPACE_WITHOUT_DUMPS [USER_NAMESPACES];
}

fn a_live_owner_keeps_its_lock(fixture: &Fixture, surroundings: &Surroundings) {
    let Parties { owner, waiter, lock } = surroundings.parties(fixture);
    each_keeps_its_lock(fixture, &owner, &waiter, lock);
}

fn the_lock_of_a_dead_owner_is_recovered(fixture: &Fixture, surroundings: &Surroundings) {
    let Parties { owner, waiter, lock } = surroundings.parties(fixture);
    is_recovered(fixture, &owner, &waiter, lock);
}

fn a_waiter_is_listed(fixture: &Fixture, surroundings: &Surroundings) {
    let Parties { owner, waiter, lock } = surroundings.parties(fixture);
    a_hidden_waiter_is_listed(fixture, &owner, &waiter, lock);
}

fn a_store_opens_without_proc_or_is_refused(fixture: &Fixture) {
    let (with, without) = (fixture.peer(), process_without_proc(fixture));
    for (mode, url) in [("open", fixture.url()), ("create", fixture.fresh_url())] {
        if let Err(refusal) = without.ask("open", &[mode, &url]) {
            names_what_is_missing(&refusal);
            continue;
        }
        let lock = fixture.a_lock(&without);
        without.lock(lock);
        without.unlock(lock);
        let other = if mode == "open" { with.clone() } else { fixture.peer_with(&url) };
        other.finds_free(lock, "it was released by a process without /proc");
    }
}
