//! What an uncontended lock costs.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use lock_core::{Lock, OpenMode, Result, Store};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::quantile;

const ROUNDS: usize = 200;
const BATCH: u32 = 2_000;
const HELD: u64 = 10_000;

pub(crate) fn print(store: &Store, scratch: &Path) -> Result<()> {
    let lock = store.allocate("measured")?;
    let bare = tempfile::NamedTempFile::new_in(scratch).expect("a file");
    let pair = |kind: libc::c_int| {
        let range = libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 };
        fcntl(bare.as_file().as_fd(), FcntlArg::F_OFD_SETLK(&range)).expect("nobody else has the file");
    };
    let mut bare_pair = || {
        pair(libc::F_WRLCK);
        pair(libc::F_UNLCK);
    };
    let mut kept = || drop(lock.lock().expect("nobody else has it"));
    let container = container(scratch)?;
    let mut lxc = || drop(container.lock().expect("nobody else has it"));

    let [bare, one] = in_turns([&mut bare_pair, &mut kept]);
    println!("lock+unlock, kept handle: {one:?}; two bare fcntl: {bare:?}; ratio {:.2}", ratio(one, bare));
    let [sequence, one] = in_turns([&mut lxc, &mut kept]);
    println!("LXC's open, lock, unlock, close: {sequence:?}; ratio to a kept handle {:.2}", ratio(sequence, one));

    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the soft limit may be raised");
    let count = HELD.min(hard.saturating_sub(100));
    let others: Vec<Lock> = (0..count).map(|_| store.allocate("")).collect::<Result<_>>()?;
    let [alone] = in_turns([&mut kept]);
    let guards: Vec<_> = others.iter().map(Lock::lock).collect::<Result<_>>()?;
    let [among] = in_turns([&mut kept]);
    println!("with {count} others held: {among:?}; with none: {alone:?}; ratio {:.2}", ratio(among, alone));
    drop(guards);
    Ok(())
}

/// LXC's lock, with a run directory that goes with the scratch directory.
fn container(scratch: &Path) -> Result<Lock> {
    let url = format!("lxc:/x?name=x&rundir={}", scratch.display());
    Store::with_backend(&lock_file::LXC, &url.parse()?, OpenMode::OpenOrCreate)?.single()
}

/// The median cost of one call of each, in batches that take turns.
fn in_turns<const N: usize>(mut what: [&mut dyn FnMut(); N]) -> [Duration; N] {
    let mut times = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        for (one, times) in what.iter_mut().zip(&mut times) {
            let start = Instant::now();
            (0..BATCH).for_each(|_| one());
            times.push(start.elapsed() / BATCH);
        }
    }
    times.map(|mut times| quantile(&mut times, 0.5))
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}
