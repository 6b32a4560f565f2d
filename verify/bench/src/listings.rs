//! Listings and counts of a large store, and `reconcile`.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use lock_any::LockId;

use crate::allocation::has_room;
use crate::effort::Effort;
use crate::peers::podman::Segment;
use crate::promise;
use crate::rounds::{Sample, Subject, compare};
use crate::row::Row;
use crate::scratch::Scratch;
use crate::sys::Region;
use crate::unit::Unit;

const GROUP: &str = "lists and counts of a large store";
/// Number of held locks, spread over the store.
const HELD: usize = 1_000;

pub(crate) fn rows(scratch: &Scratch, effort: &Effort) -> Vec<Row> {
    let locks = effort.listed;
    let needed = u64::from(locks) * 200 + Segment::bytes(locks);
    if let Err(why) = has_room(scratch.path(), needed) {
        return vec![Row::unmeasured(GROUP, format!("of {locks}"), Unit::Nanoseconds, why)];
    }
    let store = scratch.create("shm", "listed", &format!("?capacity={locks}"));
    let segment = Segment::create(&scratch.path().join("listed-podman"), locks);
    let measure = |state: &str, held: usize| {
        let subjects = [
            Subject::new("held", || assert_eq!(store.held().expect("a list").len(), held)),
            Subject::new("podman's scan by trylock", || assert_eq!(segment.held(), held)),
            Subject::new("available", || assert!(store.available().expect("a count").is_some())),
            Subject::new("podman's count", || assert!(segment.available() <= u64::from(locks))),
        ];
        let [ours, scan, available, count]: [Sample; 4] = compare(effort.slow_rounds, subjects);
        vec![
            ours.beside(&scan, GROUP, format!("held() of {locks}, {state}")).promise(promise::HELD),
            available.beside(&count, GROUP, format!("available() of {locks}, {state}")).promise(promise::AVAILABLE),
        ]
    };

    let mut rows = measure("nothing allocated or held", 0);
    let ids: Vec<u32> = (0..locks).step_by((locks as usize).div_ceil(HELD)).collect();
    let handles: Vec<_> = ids.iter().map(|id| store.retrieve(*id).expect("a lock")).collect();
    let guards: Vec<_> = handles.iter().map(|lock| lock.lock().expect("it is uncontended")).collect();
    ids.iter().for_each(|id| segment.mutex(*id).lock());
    rows.extend(measure(&format!("nothing allocated, {} held", ids.len()), ids.len()));

    store.reconcile((0..locks).map(LockId::new)).expect("all can be allocated");
    segment.fill(locks);
    rows.extend(measure(&format!("all allocated, {} held", ids.len()), ids.len()));
    drop(guards);
    ids.iter().for_each(|id| segment.mutex(*id).unlock());
    rows.extend(measure("all allocated, none held", 0));
    rows.extend(limit(&store, scratch, effort));
    rows.extend(allocations(scratch, effort));
    rows.push(reconcile(&store, &segment, effort));
    segment.destroy();
    store.destroy().expect("it is there");
    rows
}

/// Compares with a bare read of all lock lines, the lower limit of a listing: in one piece, and where a store has them.
fn limit(store: &lock_any::Store, scratch: &Scratch, effort: &Effort) -> [Row; 2] {
    /// In bytes: a line, and the page of lines and two pages of records of a group.
    const LINE: usize = 64;
    const GROUP_OF_LINES: usize = 64;
    const PAGES: usize = 3 * GROUP_OF_LINES * LINE;
    let locks = effort.listed as usize;
    let in_one_piece = |line: usize| line * LINE;
    let in_place = |line: usize| line / GROUP_OF_LINES * PAGES + line % GROUP_OF_LINES * LINE;
    // The same kind of pages as the store.
    let [lines, spread] = [("listed-lines", LINE), ("spread-lines", 3 * LINE)].map(|(name, bytes)| {
        let bytes = locks.next_multiple_of(GROUP_OF_LINES) * bytes;
        Region::create(&scratch.path().join(name), bytes as u64)
    });
    (0..locks).for_each(|line| {
        lines.counter(in_one_piece(line)).store(1, Relaxed);
        spread.counter(in_place(line)).store(1, Relaxed);
    });
    let subjects = [
        Subject::new("held", || assert!(store.held().expect("a list").is_empty())),
        Subject::new("a bare read of as many lines", || {
            assert_eq!((0..locks).filter(|line| lines.counter(in_one_piece(*line)).load(Relaxed) == 0).count(), 0);
        }),
        Subject::new("a bare read of lines at the same places", || {
            assert_eq!((0..locks).filter(|line| spread.counter(in_place(*line)).load(Relaxed) == 0).count(), 0);
        }),
    ];
    let [ours, bare, at_places] = compare(effort.slow_rounds, subjects);
    let title = format!("held() of {locks}, all allocated, none held");
    [
        ours.beside(&bare, GROUP, &title)
            .promise(promise::HELD_TO_READ)
            .note("the limit: each lock has a line of 64 bytes, and a page of lines is followed by their records"),
        ours.beside(&at_places, GROUP, title),
    ]
}

/// Lists allocations with labels, beside a bare read of as many records.
fn allocations(scratch: &Scratch, effort: &Effort) -> [Row; 2] {
    /// In bytes.
    const RECORD: usize = 128;
    let locks = effort.listed;
    let store = scratch.create("shm", "labelled", &format!("?capacity={locks}"));
    let labelled = (0..locks).map(|id| (LockId::new(id), format!("container {id}")));
    store.reconcile(labelled).expect("all can be allocated");
    let records = Region::create(&scratch.path().join("records"), (locks as usize * RECORD) as u64);
    let words = || (0..locks as usize * RECORD).step_by(size_of::<u64>()).map(|at| records.counter(at));
    words().for_each(|word| word.store(1, Relaxed));
    let count = |list: &mut dyn Iterator<Item = lock_any::Result<lock_any::Allocation>>| {
        let labels = list.map(|allocation| allocation.expect("it can be read").label);
        assert_eq!(labels.filter(|label| label.as_str().starts_with("container")).count(), locks as usize);
    };
    let subjects = [
        Subject::new("iter_allocated", || count(&mut store.iter_allocated())),
        Subject::new("allocated", || count(&mut store.allocated().expect("a list").into_iter().map(Ok))),
        Subject::new("a bare read of as many records", || assert!(words().all(|word| word.load(Relaxed) == 1))),
    ];
    let [streamed, whole, bare] = compare(effort.slow_rounds.min(5), subjects);
    store.destroy().expect("it is there");
    [
        streamed
            .beside(&bare, GROUP, format!("iter_allocated() of {locks}, with labels"))
            .promise(promise::ALLOCATED_TO_READ)
            .note("each item has two strings on the heap, its label and the command of its allocator"),
        whole.row(GROUP, format!("allocated() of {locks}, with labels")),
    ]
}

/// Reconciles an empty store with every tenth id. Podman frees all ids and allocates each.
fn reconcile(store: &lock_any::Store, segment: &Segment, effort: &Effort) -> Row {
    let step = effort.listed / effort.reconciled;
    let wanted = || (0..effort.reconciled).map(|number| number * step);
    let subjects = [
        Subject::timed("reconcile", || {
            store.free_all().expect("they can be freed");
            let start = Instant::now();
            let done = store.reconcile(wanted().map(LockId::new)).expect("they can be allocated");
            let taken = start.elapsed();
            assert_eq!(done.allocated.len(), effort.reconciled as usize);
            taken
        }),
        Subject::timed("podman's free all and allocate each", || {
            let start = Instant::now();
            segment.free_all();
            assert!(wanted().all(|id| segment.allocate_given(id)));
            start.elapsed()
        }),
    ];
    let [ours, podman] = compare(effort.slow_rounds.min(11), subjects);
    ours.beside(&podman, GROUP, format!("reconcile() with {} ids", effort.reconciled))
        .promise(promise::RECONCILE)
        .note("ours writes labels and generations, and survives being killed at every instruction")
}
