//! Runs the conformance suite on both backends and on the anonymous lock.

use lock_conformance::Suite;

lock_conformance::main! {
    Suite::new(lock_sem::SYSV, |scratch| format!("sem:{}", scratch.join("store").display()))
        .files(|scratch, _| vec![scratch.join("store")])
        .fits_in(64 * 1024)
        .shared_between_users("mode=0666&owner=any")
        .shared_in_group(|group| format!("mode=0660&group={group}")),
    Suite::new(lock_sem::POSIX, |scratch| format!("posix-sem:{}", scratch.join("store").display()))
        .files(|scratch, _| vec![scratch.join("store")])
        .fits_in(64 * 1024)
        .shared_between_users("mode=0666&owner=any")
        .shared_in_group(|group| format!("mode=0660&group={group}")),
    Suite::of_lock("anonymous", lock_sem::ANONYMOUS, lock_sem::anonymous),
}
