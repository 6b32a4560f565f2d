//! Runs the conformance suite on both backends of this crate.

use lock_conformance::Suite;

lock_conformance::main! {
    Suite::new(lock_file::BACKEND, |scratch| format!("file:{}", scratch.join("store").display()))
        .files(|scratch, _url| vec![scratch.join("store/table")])
        .fits_in(64 * 1024)
        .shared_between_users("mode=0666&owner=any")
        .shared_in_group(|group| format!("mode=0660&group={group}")),
    // In a separate run directory, so that the test leaves no file in LXC's.
    lock_file::LXC => |scratch| format!("lxc:{0}?name=container&rundir={0}", scratch.display()),
}
