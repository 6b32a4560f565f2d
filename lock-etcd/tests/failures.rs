//! Servers that fail, networks that fail, and keys that others changed.

mod failures {
    pub(crate) mod answers;
    pub(crate) mod certificates;
    pub(crate) mod outages;
    pub(crate) mod refusals;
    pub(crate) mod sessions;
    #[cfg(feature = "tls")]
    pub(crate) mod tls;
}
mod server;

use std::process::ExitCode;

use crate::failures::{answers, outages, refusals, sessions};

const TESTS: &[(&str, fn())] = &[
    ("refusals::an_address_without_a_server_is_unreachable", refusals::an_address_without_a_server_is_unreachable),
    ("refusals::a_server_that_is_not_etcd_is_unsupported", refusals::a_server_that_is_not_etcd_is_unsupported),
    ("refusals::an_old_server_is_unsupported", refusals::an_old_server_is_unsupported),
    ("refusals::wrong_credentials_are_denied", refusals::wrong_credentials_are_denied),
    ("refusals::an_expired_token_is_requested_again", refusals::an_expired_token_is_requested_again),
    ("refusals::a_server_with_tls_tells_so", refusals::a_server_with_tls_tells_so),
    ("refusals::a_full_database_is_a_limit_and_releases_work", refusals::a_full_database_is_a_limit_and_releases_work),
    ("refusals::a_key_that_is_no_store_is_refused", refusals::a_key_that_is_no_store_is_refused),
    ("answers::a_lost_answer_does_not_acquire_twice", answers::a_lost_answer_does_not_acquire_twice),
    ("answers::a_lost_answer_does_not_lose_a_place", answers::a_lost_answer_does_not_lose_a_place),
    ("answers::a_lost_answer_keeps_the_report_of_a_death", answers::a_lost_answer_keeps_the_report_of_a_death),
    ("answers::a_lost_answer_does_not_fail_a_release", answers::a_lost_answer_does_not_fail_a_release),
    ("answers::a_lost_answer_does_not_allocate_twice", answers::a_lost_answer_does_not_allocate_twice),
    (
        "answers::a_lost_answer_does_not_fail_creating_and_destroying",
        answers::a_lost_answer_does_not_fail_creating_and_destroying,
    ),
    ("outages::a_restart_keeps_owners_and_waiters", outages::a_restart_keeps_owners_and_waiters),
    ("outages::a_cluster_goes_on_without_a_member", outages::a_cluster_goes_on_without_a_member),
    ("outages::an_owner_without_a_server_is_told_in_time", outages::an_owner_without_a_server_is_told_in_time),
    ("outages::a_release_without_a_server_is_repeated", outages::a_release_without_a_server_is_repeated),
    ("outages::an_abandoned_place_is_removed", outages::an_abandoned_place_is_removed),
    ("outages::a_silent_server_ends_a_request_in_time", outages::a_silent_server_ends_a_request_in_time),
    ("outages::a_waiter_survives_cut_connections", outages::a_waiter_survives_cut_connections),
    ("outages::a_compaction_does_not_disturb_a_waiter", outages::a_compaction_does_not_disturb_a_waiter),
    ("sessions::a_revoked_lease_loses_the_lock", sessions::a_revoked_lease_loses_the_lock),
    ("sessions::a_waiter_with_a_revoked_lease_queues_again", sessions::a_waiter_with_a_revoked_lease_queues_again),
    ("sessions::a_late_release_does_not_release_a_newer_owner", sessions::a_late_release_does_not_release_a_newer_owner),
    ("sessions::a_key_without_a_lease_is_named_and_listed", sessions::a_key_without_a_lease_is_named_and_listed),
    ("sessions::waiters_are_served_in_order", sessions::waiters_are_served_in_order),
    ("sessions::a_waiter_that_gives_up_leaves_the_queue", sessions::a_waiter_that_gives_up_leaves_the_queue),
    #[cfg(feature = "tls")]
    ("tls::a_store_is_used_over_tls", failures::tls::a_store_is_used_over_tls),
    #[cfg(feature = "tls")]
    ("tls::a_client_shows_its_certificate", failures::tls::a_client_shows_its_certificate),
    #[cfg(feature = "tls")]
    ("tls::a_certificate_of_another_authority_is_denied", failures::tls::a_certificate_of_another_authority_is_denied),
    #[cfg(feature = "tls")]
    ("tls::a_server_without_tls_is_denied", failures::tls::a_server_without_tls_is_denied),
];

fn main() -> ExitCode {
    server::run(TESTS)
}
