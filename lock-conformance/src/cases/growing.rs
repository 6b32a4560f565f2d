//! Stores that grow while processes use them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{cases, with_option};
use crate::fixture::{Fixture, scale};
use crate::need;
use crate::process::{LockRef, Thread};

cases! { "growing";
    a_store_is_opened_while_it_grows [CHOSEN NUMBERED PROCESSES];
    a_store_is_checked_while_it_grows [CHOSEN NUMBERED PROCESSES];
    ids_that_two_processes_allocate_while_it_grows_are_all_allocated [CHOSEN NUMBERED PROCESSES];
    a_process_killed_while_the_store_grows_leaves_it_sound [CHOSEN NUMBERED PROCESSES];
    a_lock_stays_held_while_the_store_grows [CHOSEN NUMBERED PROCESSES];
    the_death_of_an_owner_of_a_high_id_is_reported [CHOSEN NUMBERED PROCESSES REPORTED];
    the_last_id_of_a_store_without_bound_costs_little [CHOSEN NUMBERED];
}

/// Number of stores, each of which grows once.
const ROUNDS: u32 = 20;

/// The greatest possible id.
const LAST: u32 = u32::MAX;

/// Ids at which a store that doubles grows: each power of two, and the id before.
fn steps() -> Vec<String> {
    (6..18).flat_map(|power| [(1_u32 << power) - 1, 1 << power]).map(|id| id.to_string()).collect()
}

fn arguments<'a>(first: &'a str, ids: &'a [String]) -> Vec<&'a str> {
    std::iter::once(first).chain(ids.iter().map(String::as_str)).collect()
}

/// Returns the URL of a new store without a capacity.
fn unbounded(fixture: &Fixture) -> String {
    with_option(&fixture.fresh_url(), "capacity=unbounded")
}

/// Removes the store of this process, so that many rounds do not exceed a limit of the system.
fn remove(fixture: &Fixture, peer: &Thread) {
    if need::REMOVAL.is_met(&fixture.suite) {
        peer.must("destroy", &[]);
    }
}

/// Runs an operation in one process while another process makes the store larger, for several stores.
fn beside_growth(fixture: &Fixture, verb: &str, with_url: bool) {
    let (grower, other) = (fixture.blank_peer(), fixture.blank_peer());
    let ids = steps();
    for _ in 0..ROUNDS * scale() {
        let url = unbounded(fixture);
        grower.must("open", &["create", &url]);
        other.must("open", &["open", &url]);
        let (path, arena) = fixture.arena(1);
        let path = path.to_str().expect("the scratch path is text");
        let watching = if with_url { other.start(verb, &[path, &url]) } else { other.start(verb, &[path]) };
        let growing = grower.start("grow", &arguments(path, &ids));
        watching.begun();
        growing.begun();
        arena.go();
        growing.done();
        let times: u64 = watching.done().get("times");
        assert!(times > 0);
        remove(fixture, &grower);
    }
}

fn a_store_is_opened_while_it_grows(fixture: &Fixture) {
    beside_growth(fixture, "open_until_told", true);
}

fn a_store_is_checked_while_it_grows(fixture: &Fixture) {
    beside_growth(fixture, "check_until_told", false);
}

/// Both processes have to enlarge the store for the id.
fn ids_that_two_processes_allocate_while_it_grows_are_all_allocated(fixture: &Fixture) {
    let peers = [fixture.blank_peer(), fixture.blank_peer()];
    for _ in 0..ROUNDS * scale() {
        let url = unbounded(fixture);
        peers.iter().for_each(|peer| drop(peer.must("open", &["open_or_create", &url])));
        let (path, arena) = fixture.arena(1);
        let path = path.to_str().expect("the scratch path is text");
        let ids = |peer: u32| -> Vec<_> { (6..18).map(|power| ((1_u32 << power) + peer).to_string()).collect() };
        let taking: Vec<_> = (0..).zip(&peers).map(|(n, peer)| peer.start("take_each", &arguments(path, &ids(n)))).collect();
        for taking in &taking {
            taking.begun();
        }
        arena.go();
        taking.into_iter().for_each(|taking| drop(taking.done()));
        let all: Vec<u32> = (6..18).flat_map(|power| [1 << power, (1 << power) + 1]).collect();
        for peer in &peers {
            assert_eq!(peer.allocated(), all, "an id is missing that a process allocated while the store grew");
        }
        remove(fixture, &peers[0]);
    }
}

/// Kills the process after increasing delays.
fn a_process_killed_while_the_store_grows_leaves_it_sound(fixture: &Fixture) {
    let ids = steps();
    for round in 0..2 * ROUNDS * scale() {
        let url = unbounded(fixture);
        let grower = fixture.peer_with(&url);
        let (path, arena) = fixture.arena(1);
        let path = path.to_str().expect("the scratch path is text");
        let growing = grower.start("grow", &arguments(path, &ids));
        growing.begun();
        arena.go();
        thread::sleep(Duration::from_micros(u64::from(round % 40) * 50));
        fixture.kill(&grower.process);
        let other = fixture.peer_with(&url);
        other.must("check", &[]);
        let (path, arena) = fixture.arena(1);
        arena.go();
        other.must("take_each", &arguments(path.to_str().expect("the scratch path is text"), &ids));
        assert_eq!(other.allocated().len(), ids.len(), "an id is missing after the process that enlarged the store was killed");
        remove(fixture, &other);
        fixture.kill(&other.process);
    }
}

fn a_lock_stays_held_while_the_store_grows(fixture: &Fixture) {
    let url = unbounded(fixture);
    let (owner, grower, other) = (fixture.peer_with(&url), fixture.peer_with(&url), fixture.peer_with(&url));
    let lock = LockRef::Number(3);
    owner.lock(lock);
    for id in steps() {
        grower.must("lock", &[&id]);
        grower.must("unlock", &[&id]);
        for process in [&grower, &other] {
            process.finds_busy(lock, "its owner acquired it before the store grew");
        }
    }
    owner.unlock(lock);
    other.finds_free(lock, "its owner released it after the store had grown");
}

fn the_death_of_an_owner_of_a_high_id_is_reported(fixture: &Fixture) {
    let url = unbounded(fixture);
    let other = fixture.peer_with(&url);
    for id in [1 << 12, (1 << 16) + 77, 1 << 20] {
        let (owner, lock) = (fixture.peer_with(&url), LockRef::Number(id));
        owner.lock(lock);
        other.finds_busy(lock, "its owner lives");
        fixture.kill(&owner.process);
        let death = other.lock(lock).death;
        assert_eq!(death.map(|death| death.pid), Some(owner.pid()), "the death of the owner of lock {id} was not reported");
    }
}

/// Number of bytes by which the files of a store may grow when the lock with the greatest id is used.
const LITTLE: u64 = 1 << 20;

fn the_last_id_of_a_store_without_bound_costs_little(fixture: &Fixture) {
    let url = unbounded(fixture);
    let peer = fixture.peer_with(&url);
    peer.must("lock", &["0"]);
    peer.must("unlock", &["0"]);
    let before = bytes_in(fixture.dir());
    let last = LAST.to_string();
    peer.must("take", &[&last, ""]);
    peer.must("lock", &[&last]);
    peer.process.thread("t1").finds_busy(LockRef::Number(LAST), "another thread holds it");
    peer.must("unlock", &[&last]);
    assert_eq!(peer.allocated(), [LAST]);
    let more = bytes_in(fixture.dir()).saturating_sub(before);
    assert!(more <= LITTLE, "a lock with the last id takes {more} bytes of the file system");
}

/// Returns the number of bytes that the files in a directory occupy on the file system.
fn bytes_in(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(facts) if facts.is_dir() => bytes_in(&entry.path()),
            Ok(facts) => facts.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
