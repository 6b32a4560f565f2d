//! Segments of podman without podman: deadlocks, lost wake-ups, damage, and exhaustion.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, chown};
use std::path::{Path, PathBuf};

use crate::peer::Peer;
use crate::scene::{Lockctl, has_lines, mount_privately, wait_until};

/// The size of a segment with 2,048 locks.
const SIZE: u64 = 82_488;

fn segment() -> (PathBuf, Lockctl) {
    mount_privately(&["/dev/shm"]);
    let lockctl = Lockctl::on("podman:libpod_lock");
    lockctl.ok(&["create"]);
    let path = PathBuf::from("/dev/shm/libpod_lock");
    assert_eq!(fs::metadata(&path).unwrap().len(), SIZE);
    (path, lockctl)
}

pub(crate) fn a_deadlock_is_explained() {
    let (path, lockctl) = segment();
    let (mut first, mut second) = (Peer::start(&path), Peer::start(&path));
    first.lock(1);
    second.lock(2);
    first.begin(2);
    lockctl.wait_for_waiter(first.id());
    let chain = lockctl.ok(&["why", "2"]);
    assert!(!chain.contains("deadlock"), "{chain}");
    has_lines(
        &chain,
        &[&["lock 2 is held by", &format!("pid {} ", second.id())], &[&format!("pid {} ", first.id()), "waits for it"]],
    );
    // The waiter fell asleep when this holder had the lock, so that its sleep bounds the time of the holder.
    wait_until("the time is known", || {
        lockctl.json(&["why", "2", "--json"])["locks"][0]["held_for_at_least"].as_f64() > Some(1.0)
    });
    has_lines(&lockctl.ok(&["why", "2"]), &[&["lock 2 is held by", ", for at least "], &["waits for it, for at least "]]);
    second.begin(1);
    lockctl.wait_for_waiter(second.id());
    let step = |peer: &Peer, holds: u32, waits: u32| {
        (format!("pid {} ", peer.id()), format!("holds lock {holds} and waits for lock {waits}"))
    };
    let steps = [step(&first, 1, 2), step(&second, 2, 1)];
    let lines: &[&[&str]] =
        &[&[&steps[0].0, &steps[0].1], &[&steps[1].0, &steps[1].1], &["this is a deadlock", &format!("kill {}", first.id())]];
    for command in [&["why"][..], &["why", "1"], &["why", "2"]] {
        has_lines(&lockctl.ok(command), lines);
    }
    has_lines(
        &lockctl.ok(&["why", "1"]),
        &[&["lock 1 is held by"], &["the holder waits for lock 2, which is held by", &format!("pid {} ", second.id())]],
    );
    let report = lockctl.json(&["why", "--json"]);
    assert_eq!((report["cycles"].as_array().unwrap().len(), report["cycles"][0].as_array().unwrap().len()), (1, 2), "{report}");
    assert!(!lockctl.ok(&["why", "3"]).contains("deadlock"));
    // The advice ends the deadlock.
    drop(first);
    wait_until("the deadlock has ended", || !lockctl.ok(&["why"]).contains("deadlock"));
}

pub(crate) fn a_lost_waiter_is_explained() {
    let (path, lockctl) = segment();
    let (mut holder, mut waiter) = (Peer::start(&path), Peer::start(&path));
    holder.lock(5);
    waiter.begin(5);
    lockctl.wait_for_waiter(waiter.id());
    // A release whose wake-up is lost.
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 4], 64 + 40 * 5).unwrap();
    let lines: &[&[&str]] =
        &[&["lock 5 is free"], &[&format!("pid {} ", waiter.id()), "its wake-up was lost", "run 5 -- true` wakes it"]];
    has_lines(&lockctl.ok(&["why", "5"]), lines);
    has_lines(&lockctl.ok(&["why"]), lines);
    // The advice helps.
    lockctl.ok(&["run", "5", "--", "true"]);
    let held_by = format!("lock 5 is held by pid {} ", waiter.id());
    wait_until("the waiter has the lock", || lockctl.ok(&["why", "5"]).contains(&held_by));
}

pub(crate) fn an_owner_that_is_not_certain_is_marked() {
    let (path, lockctl) = segment();
    // No thread has such an id: it is above the limit of the kernel.
    let (gone, other) = (1 << 23, std::process::id());
    let file = File::options().write(true).open(&path).unwrap();
    for (id, owner) in [(3, gone), (4, other)] {
        file.write_all_at(&u32::to_ne_bytes(owner), 64 + 40 * id).unwrap();
    }
    let lines: &[&[&str]] = &[
        &["lock 3 is held, and its holder is not known"],
        &["no thread has the id 8388608"],
        &["lock 4 is held, and its holder is not known"],
        &[&format!("thread {other}"), "that process does not use the segment"],
    ];
    has_lines(&lockctl.ok(&["why"]), lines);
    has_lines(&lockctl.ok(&["list"]), &[&["(no thread has the id 8388608)"], &["(the lock names thread"]]);
    let listing = lockctl.json(&["list", "--json"]);
    assert!(listing["locks"].as_array().unwrap().iter().all(|lock| lock["doubt"].is_string()), "{listing}");
}

pub(crate) fn a_held_segment_mutex_is_named_and_stops_no_list() {
    let (path, lockctl) = segment();
    lockctl.ok(&["allocate"]);
    let (mut holder, mut waiter) = (Peer::start(&path), Peer::start(&path));
    holder.lock("segment");
    waiter.begin("segment");
    let named = format!("held by pid {} ", holder.id());
    wait_until("the waiter sleeps", || {
        let text = lockctl.ok(&["why"]);
        has_lines(&text, &[&["segment mutex: ", &named]]);
        assert!(!text.contains("no thread waits\n"), "{text}");
        text.contains(&format!("waiting: pid {}", waiter.id()))
    });
    assert_eq!(lockctl.json(&["list", "--json"])["locks"].as_array().unwrap().len(), 1);
    has_lines(&lockctl.ok(&["info"]), &[&["segment mutex", &named]]);
    has_lines(&lockctl.ok(&["why", "0"]), &[&["lock 0 is free"]]);
}

/// Commands, each with an id where it needs one.
const COMMANDS: &[&[&str]] = &[
    &["list"],
    &["list", "--held"],
    &["info"],
    &["why"],
    &["why", "0"],
    &["run", "0", "--", "true"],
    &["run", "--new", "--", "true"],
    &["allocate"],
    &["free", "0"],
    &["reconcile", "0", "1"],
];

/// Checks that each command fails with one line that has these words.
fn is_refused(lockctl: &Lockctl, words: &[&str]) {
    for command in COMMANDS {
        let ran = lockctl.run(command);
        let fails = ran.code.is_some_and(|code| (64..=78).contains(&code)) && ran.err.lines().count() == 1;
        let says = ran.err.starts_with("lockctl: ") && words.iter().all(|word| ran.err.contains(word));
        assert!(fails && says, "{command:?} without {words:?}: {ran:?}");
    }
}

pub(crate) fn a_damaged_segment_is_an_error_in_each_command() {
    let (path, lockctl) = segment();
    let intact = fs::read(&path).unwrap();
    let write = |bytes: &[u8]| fs::write(&path, bytes).unwrap();
    for length in [50, 100, SIZE as usize - 1, SIZE as usize / 2] {
        write(&intact[..length]);
        is_refused(&lockctl, &["bytes"]);
    }
    write(&vec![0; SIZE as usize]);
    is_refused(&lockctl, &["remove"]);
    write(&[]);
    is_refused(&lockctl, &["remove"]);
    // A podman that was killed before it had initialized the mutexes, which it does last.
    let mut half = vec![0; SIZE as usize];
    half[..56].copy_from_slice(&intact[..56]);
    write(&half);
    is_refused(&lockctl, &["remove"]);
    let mut other = intact.clone();
    other[0] ^= 0xff;
    write(&other);
    is_refused(&lockctl, &[]);
    write(&intact);
    lockctl.ok(&["why", "0"]);
}

pub(crate) fn the_segment_of_another_user_is_refused() {
    let (path, lockctl) = segment();
    chown(&path, Some(59_001), Some(59_001)).unwrap();
    is_refused(&lockctl, &["59001"]);
    chown(&path, Some(0), Some(0)).unwrap();
    let link = Path::new("/dev/shm/link");
    std::os::unix::fs::symlink(&path, link).unwrap();
    is_refused(&Lockctl::on("podman:/dev/shm/link"), &["link"]);
}

pub(crate) fn info_warns_when_nine_tenths_are_allocated() {
    mount_privately(&["/dev/shm"]);
    let lockctl = Lockctl::on("podman:/dev/shm/locks?locks=64");
    lockctl.ok(&["create"]);
    for _ in 0..57 {
        lockctl.ok(&["allocate"]);
    }
    assert_eq!(lockctl.run(&["info"]).err, "");
    lockctl.ok(&["allocate"]);
    let warned = lockctl.run(&["info"]);
    assert_eq!((warned.code, warned.err.lines().count()), (Some(0), 1), "{warned:?}");
    for word in ["58 of 64", "6 are free", "num_locks", "podman system renumber"] {
        assert!(warned.err.contains(word), "{word}: {warned:?}");
    }
}
