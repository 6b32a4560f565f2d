//! The conformance suite of all backends.

use lock_conformance::Suite;

lock_conformance::main! {
    Suite::new(lock_shm::BACKEND, |scratch| format!("shm:{}/store", scratch.display()))
        .files(|scratch, _url| vec![scratch.join("store")])
        .fits_in(64 * 1024)
        .shared_between_users("mode=0666&owner=any")
        .shared_in_group(|group| format!("mode=0660&group={group}")),
}
