//! Allocating and freeing an id, in stores of several sizes and fillings.

use std::path::Path;

use lock_any::Store;
use nix::sys::statvfs::statvfs;

use crate::effort::Effort;
use crate::peers::podman::Segment;
use crate::promise;
use crate::rounds::{Subject, compare};
use crate::row::Row;
use crate::scratch::Scratch;
use crate::unit::Unit;

pub(crate) const GROUP: &str = "allocate + free";
/// Bytes per lock in our table, with its record and its part of the bitmaps.
const BYTES_A_LOCK: u64 = 200;

/// The filling of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Filling {
    Empty,
    Half,
    /// The last id is free.
    AllButOne,
}

/// A point of the plot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) locks: u32,
    pub(crate) filling: Filling,
    pub(crate) ours_ns: f64,
    pub(crate) podman_ns: f64,
}

impl Filling {
    pub(crate) const ALL: [Self; 3] = [Self::Empty, Self::Half, Self::AllButOne];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Half => "half full",
            Self::AllButOne => "all but full",
        }
    }

    fn of(self, locks: u32) -> u32 {
        match self {
            Self::Empty => 0,
            Self::Half => locks / 2,
            Self::AllButOne => locks - 1,
        }
    }
}

/// The rows, and the points for the plot.
pub(crate) fn rows(scratch: &Scratch, effort: &Effort) -> (Vec<Row>, Vec<Point>) {
    let least = scratch.create("shm", "allocation-reference", &format!("?capacity={}", effort.sizes[0]));
    let (mut rows, mut points) = (Vec::new(), Vec::new());
    for locks in effort.sizes.iter().copied() {
        let needed = u64::from(locks) * BYTES_A_LOCK + Segment::bytes(locks);
        if let Err(why) = has_room(scratch.path(), needed) {
            rows.push(Row::unmeasured(GROUP, format!("of {locks}"), Unit::Nanoseconds, why));
            continue;
        }
        let store = scratch.create("shm", &format!("allocation-{locks}"), &format!("?capacity={locks}"));
        let segment = Segment::create(&scratch.path().join("allocation-podman"), locks);
        let mut allocated = 0;
        for filling in Filling::ALL {
            while allocated < filling.of(locks) {
                _ = store.allocate("").expect("there is room");
                allocated += 1;
            }
            segment.fill(filling.of(locks));
            let subjects = [
                Subject::new("ours", || pair(&store)),
                Subject::new("podman's scan", || {
                    let id = segment.allocate().expect("one is free");
                    segment.free(id);
                }),
                Subject::new(format!("ours of {}, empty", effort.sizes[0]), || pair(&least)),
            ];
            let [ours, podman, reference] = compare(effort.slow_rounds, subjects);
            let row = ours.beside(&podman, GROUP, format!("of {locks}, {}", filling.name()));
            if let (Some(ours), Some((_, podman))) = (row.ours, &row.peer) {
                points.push(Point { locks, filling, ours_ns: ours.median, podman_ns: podman.median });
            }
            let is_promised = locks == effort.sizes[0] && filling == Filling::Empty;
            rows.push(if is_promised { row.promise(promise::ALLOCATION_TO_PODMAN) } else { row });
            let growth = ours.beside(&reference, GROUP, format!("of {locks}, {}", filling.name()));
            rows.push(growth.promise(promise::ALLOCATION_GROWS));
        }
        segment.destroy();
        store.destroy().expect("it is there");
    }
    (rows, points)
}

fn pair(store: &Store) {
    let lock = store.allocate("").expect("one is free");
    store.free(lock.id()).expect("it is allocated");
}

/// Checks for twice this amount of memory and disk space.
pub(crate) fn has_room(scratch: &Path, bytes: u64) -> Result<(), String> {
    let space = statvfs(scratch).map_or(0, |fs| fs.blocks_available() * fs.fragment_size());
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse().ok());
    let there = space.min(memory.unwrap_or(0) * 1024);
    if there / 2 >= bytes {
        return Ok(());
    }
    Err(format!("it needs {}, and {} are available", Unit::Bytes.show(bytes as f64), Unit::Bytes.show(there as f64)))
}
