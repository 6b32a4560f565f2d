//! Forks that run no handlers registered by `pthread_atfork`.

use super::children::owns_nothing_and_locks_for_itself;
use crate::cases::cases;
use crate::fixture::Fixture;

cases! { "fork";
    a_child_without_handlers_owns_nothing_and_locks_for_itself [STORE PROCESSES FORK_WITHOUT_HANDLERS];
    a_child_by_system_call_owns_nothing_and_locks_for_itself [STORE PROCESSES FORK_BY_SYSTEM_CALL];
}

fn a_child_without_handlers_owns_nothing_and_locks_for_itself(fixture: &Fixture) {
    owns_nothing_and_locks_for_itself(fixture, "fork_without_handlers");
}

fn a_child_by_system_call_owns_nothing_and_locks_for_itself(fixture: &Fixture) {
    owns_nothing_and_locks_for_itself(fixture, "fork_by_system_call");
}
