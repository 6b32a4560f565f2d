//! The waiter table: a record of each thread that waits for a lock.
//!
//! A thread claims a slot before its first sleep and frees it when its wait ends. Only the thread that has claimed a slot writes it. A
//! record counts while its thread is not proven dead, so that a killed waiter needs no cleaning: its slot is claimed by another thread.
//!
//! # Protocol
//! The first word of a slot is the [owner word](Owner) of the thread, or 0. A thread claims the slot by a compare-exchange from 0, or from
//! the word of a dead thread, to its own word with the note [`WRITING`]. It then writes the record and stores its word without the note.
//! A reader ignores records with the note, and reads the owner and the sequence number again after the record. The sequence number
//! distinguishes two waits of the same thread.
//!
//! # Cost
//! A claim normally takes one compare-exchange, because the search starts at a slot that depends on the thread id. It never waits: when
//! all slots are taken or there is no room for their blocks, the wait is not recorded, and the header keeps the time of its start.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU64, fence};

use std::time::Duration;

use nix::time::ClockId;

use crate::blocks;
use crate::layout::{self, PAGE, WAITER_WORDS, WAITERS, WAITERS_PER_PAGE};
use crate::owner::Owner;
use crate::table_file::TableFile;
use lock_core::LockId;

const AT_OWNER: usize = 0;
/// The id of the lock in the lower half. Above it are a sequence number of 16 bits, the time at which the wait was last passed over (12
/// bits), and how often that happened (4 bits).
const AT_LOCK: usize = 1;
const AT_START: usize = 2;
const AT_TOKEN: usize = 3;

/// The note of an owner word while its thread writes the record.
const WRITING: u64 = 1;

const SEQUENCE_SHIFT: u32 = u32::BITS;
const PASSED_SHIFT: u32 = SEQUENCE_SHIFT + u16::BITS;
const PASSED: u64 = (u16::MAX as u64) << PASSED_SHIFT;
const TIMES_SHIFT: u32 = PASSED_SHIFT + 12;
/// The unit of the time at which a wait was passed over, as a power of two nanoseconds: 8.4 ms.
const PASSED_UNIT: u32 = 23;
const PASSED_TIME: u64 = (1 << 12) - 1;
/// A wait that was passed over this often stays passed over for a second. The time doubles up to this number.
const MOST_TIMES: u64 = 7;

/// The number of slots at which searches start. They are in 8 pages, so a store with few waiters has few of these pages.
const FIRST_SLOTS: usize = 1024;
/// Slots between the first slots of two threads with successive ids, so that their records are in different cache lines.
const SPREAD: usize = 37;
/// The number of slots that are searched for a free one before deaths are proven.
const NEAR: usize = 128;
/// The number of slots whose threads are checked for death. A proof takes several system calls.
const CHECKED: usize = 16;
/// The number of attempts to read a record that changes meanwhile.
const READS: usize = 16;

/// The words of the slots, and the bitmap of their pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaiterTable<'a> {
    pub(crate) words: &'a [AtomicU64],
    pub(crate) backed: &'a [AtomicU64],
    pub(crate) file: &'a TableFile,
}

/// The time after which a waiting thread is starved: it is served before threads that come later.
pub(crate) const PATIENCE: Duration = Duration::from_millis(1);

/// A wait of a thread, as the table records it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WaitRecord {
    pub(crate) thread: Owner,
    pub(crate) id: LockId,
    /// In nanoseconds of the monotonic clock, as [`now`] returns them.
    pub(crate) start: u64,
    /// The token of the lock when the wait started.
    pub(crate) token: u64,
}

/// A recorded wait, and the slot that contains it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FoundWait {
    pub(crate) wait: WaitRecord,
    slot: usize,
    lock_word: u64,
}

/// A record has changed while it was read.
struct Changed;

impl WaitRecord {
    /// Returns the length of the wait at this time.
    pub(crate) fn waited(&self, now: u64) -> Duration {
        // A waiter in another time namespace (time_namespaces(7)) may have another clock.
        Duration::from_nanos(now.saturating_sub(self.start))
    }
}

impl FoundWait {
    /// Returns the time until which the wait is passed over, or `None` if it is not.
    pub(crate) fn passed_until(&self, now: u64) -> Option<u64> {
        let (times, passed) = (self.lock_word >> TIMES_SHIFT, self.lock_word >> PASSED_SHIFT);
        let length = 1 << times.min(MOST_TIMES);
        let elapsed = (now >> PASSED_UNIT).wrapping_sub(passed) & PASSED_TIME;
        (times != 0 && elapsed < length).then(|| now + ((length - elapsed) << PASSED_UNIT))
    }

    /// Returns the word of a record whose wait is passed over once more, at this time.
    fn passed_word(&self, now: u64) -> u64 {
        let times = MOST_TIMES.min((self.lock_word >> TIMES_SHIFT) + 1);
        self.lock_word & !PASSED | (now >> PASSED_UNIT & PASSED_TIME) << PASSED_SHIFT | times << TIMES_SHIFT
    }
}

impl WaiterTable<'_> {
    /// Records a wait, and returns the number of its slot. Returns `None` if no slot can be claimed.
    pub(crate) fn record(self, wait: &WaitRecord, is_gone: impl Fn(Owner) -> bool) -> Option<usize> {
        let slot = self.claim(wait.thread, is_gone)?;
        let words = self.slot(slot);
        // The stores below become visible after the claim.
        fence(Release);
        let sequence = ((words[AT_LOCK].load(Relaxed) >> SEQUENCE_SHIFT) as u16).wrapping_add(1);
        words[AT_LOCK].store(u64::from(sequence) << SEQUENCE_SHIFT | u64::from(wait.id.get()), Relaxed);
        words[AT_START].store(wait.start, Relaxed);
        words[AT_TOKEN].store(wait.token, Relaxed);
        words[AT_OWNER].store(wait.thread.word(), Release);
        Some(slot)
    }

    /// Frees the slot that this thread has claimed.
    pub(crate) fn free(self, slot: usize, me: Owner) {
        // A handler of a signal that has also waited may have claimed the slot again and freed it.
        let _ = self.slot(slot)[AT_OWNER].compare_exchange(me.word(), 0, Release, Relaxed);
    }

    /// Records that a wait was passed over at this time, unless its record has changed.
    pub(crate) fn pass_over(self, found: &FoundWait, now: u64) {
        let _ = self.slot(found.slot)[AT_LOCK].compare_exchange(found.lock_word, found.passed_word(now), Relaxed, Relaxed);
    }

    /// Ends the time for which the wait of this slot is passed over. Only the thread that has claimed the slot calls this.
    pub(crate) fn restore(self, slot: usize) {
        let word = &self.slot(slot)[AT_LOCK];
        if word.load(Relaxed) & PASSED != 0 {
            word.fetch_and(!PASSED, Relaxed);
        }
    }

    /// Removes the record of a thread that is dead.
    pub(crate) fn remove(self, found: &FoundWait) {
        self.free(found.slot, found.wait.thread);
    }

    fn claim(self, me: Owner, is_gone: impl Fn(Owner) -> bool) -> Option<usize> {
        let first = (me.tid() as usize).wrapping_mul(SPREAD) % FIRST_SLOTS;
        let slots = || (0..WAITERS).map(|step| (first + step) % WAITERS);
        self.claim_free(slots().take(NEAR), me)
            .or_else(|| slots().take(CHECKED).find(|slot| self.take_over(*slot, me, &is_gone)))
            .or_else(|| self.claim_free(slots().skip(NEAR), me))
    }

    fn claim_free(self, mut slots: impl Iterator<Item = usize>, me: Owner) -> Option<usize> {
        let mut has_room = true;
        slots.find(|slot| {
            if !self.is_backed(*slot) {
                has_room = has_room && self.back(*slot);
                if !has_room {
                    return false;
                }
            }
            let present = self.slot(*slot)[AT_OWNER].load(Relaxed);
            // This thread may have left an earlier wait without its end, for example by `longjmp`.
            (present == 0 || Owner::from_word(present).with_note(0) == me) && self.try_claim(*slot, present, me)
        })
    }

    fn take_over(self, slot: usize, me: Owner, is_gone: impl Fn(Owner) -> bool) -> bool {
        let present = if self.is_backed(slot) { self.slot(slot)[AT_OWNER].load(Relaxed) } else { 0 };
        present != 0 && is_gone(Owner::from_word(present).with_note(0)) && self.try_claim(slot, present, me)
    }

    fn try_claim(self, slot: usize, present: u64, me: Owner) -> bool {
        self.slot(slot)[AT_OWNER].compare_exchange(present, me.with_note(WRITING).word(), SeqCst, Relaxed).is_ok()
    }

    /// Returns the records of all slots in use, whether their threads are alive or dead.
    pub(crate) fn records(self) -> impl Iterator<Item = WaitRecord> {
        self.found().map(|found| found.wait)
    }

    /// Returns the records as [`WaiterTable::records`] does, with their slots.
    pub(crate) fn found(self) -> impl Iterator<Item = FoundWait> {
        let pages = (0..WAITERS / WAITERS_PER_PAGE).filter(move |page| self.is_backed(page * WAITERS_PER_PAGE));
        let slots = pages.flat_map(|page| page * WAITERS_PER_PAGE..(page + 1) * WAITERS_PER_PAGE);
        slots.filter_map(move |slot| (0..READS).find_map(|_| self.read(slot).ok()).flatten())
    }

    /// Reads the record of a slot, or `None` if it has none.
    fn read(self, slot: usize) -> Result<Option<FoundWait>, Changed> {
        let words = self.slot(slot);
        let thread = Owner::from_word(words[AT_OWNER].load(Acquire));
        if thread.is_none() || thread.note() != 0 {
            return Ok(None);
        }
        let lock_word = words[AT_LOCK].load(Relaxed);
        let (start, token) = (words[AT_START].load(Relaxed), words[AT_TOKEN].load(Relaxed));
        fence(Acquire);
        let is_same = words[AT_OWNER].load(Acquire) == thread.word() && words[AT_LOCK].load(Relaxed) == lock_word;
        let wait = WaitRecord { thread, id: LockId::new(lock_word as u32), start, token };
        if is_same { Ok(Some(FoundWait { wait, slot, lock_word })) } else { Err(Changed) }
    }

    /// Reserves blocks for the page of a slot. Returns false if there is no room.
    #[cold]
    fn back(self, slot: usize) -> bool {
        let page = slot / WAITERS_PER_PAGE;
        let backed = self.file.get().and_then(|file| blocks::back(file, layout::waiter_page(page), PAGE)).is_ok();
        if backed {
            self.backed[page / 64].fetch_or(1 << (page % 64), Release);
        }
        backed
    }

    fn is_backed(self, slot: usize) -> bool {
        let page = slot / WAITERS_PER_PAGE;
        self.backed[page / 64].load(Acquire) & (1 << (page % 64)) != 0
    }

    fn slot(&self, slot: usize) -> &[AtomicU64] {
        &self.words[slot * WAITER_WORDS..][..WAITER_WORDS]
    }
}

/// Returns the time of the monotonic clock in nanoseconds, never 0.
pub fn now() -> u64 {
    ClockId::CLOCK_MONOTONIC.now().map_or(1, |now| Duration::from(now).as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;
    use crate::file_id::FileId;
    use crate::layout::BASE_BYTES;

    /// A waiter table in a file without a store.
    struct Fixture {
        file: TableFile,
        words: Vec<AtomicU64>,
        backed: [AtomicU64; WAITERS / WAITERS_PER_PAGE / 64],
        _path: tempfile::TempPath,
    }

    impl Fixture {
        fn new() -> Self {
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(BASE_BYTES).unwrap();
            let (file, path) = file.into_parts();
            let words = std::iter::repeat_with(AtomicU64::default).take(WAITERS * WAITER_WORDS).collect();
            let id = FileId::of(&file).unwrap();
            Self { file: TableFile::new(path.to_path_buf(), file, id).unwrap(), words, backed: Default::default(), _path: path }
        }

        fn table(&self) -> WaiterTable<'_> {
            WaiterTable { words: &self.words, backed: &self.backed, file: &self.file }
        }

        fn record(&self, wait: &WaitRecord) -> Option<usize> {
            self.table().record(wait, |_| false)
        }

        fn pages(&self) -> u32 {
            self.backed.iter().map(|word| word.load(Relaxed).count_ones()).sum()
        }
    }

    fn wait(tid: u32) -> WaitRecord {
        let thread = Owner::from_process(3, 7).with_thread(tid);
        WaitRecord { thread, id: LockId::new(tid * 2), start: u64::from(tid) + 1, token: u64::from(tid) + 2 }
    }

    fn sorted(table: WaiterTable<'_>) -> Vec<WaitRecord> {
        let mut records: Vec<_> = table.records().collect();
        records.sort_by_key(|wait| wait.thread.tid());
        records
    }

    #[test]
    fn a_wait_is_read_as_it_was_recorded_until_its_slot_is_freed() {
        let fixture = Fixture::new();
        assert_eq!(fixture.table().records().count(), 0);
        let slots = [1, 2, 3].map(|tid| fixture.record(&wait(tid)).unwrap());
        assert_eq!(sorted(fixture.table()), [1, 2, 3].map(wait));
        fixture.table().free(slots[1], wait(2).thread);
        assert_eq!(sorted(fixture.table()), [1, 3].map(wait));
        // Another thread's slot is not freed.
        fixture.table().free(slots[0], wait(3).thread);
        assert_eq!(sorted(fixture.table()), [1, 3].map(wait));
    }

    #[test]
    fn threads_with_successive_ids_use_different_cache_lines_of_few_pages() {
        let fixture = Fixture::new();
        let mut lines: Vec<_> = (5000..5100).map(|tid| fixture.record(&wait(tid)).unwrap() / 2).collect();
        assert!(fixture.pages() <= 8, "{}", fixture.pages());
        lines.sort_unstable();
        lines.dedup();
        assert!(lines.len() >= 90, "{} cache lines", lines.len());
    }

    #[test]
    fn a_thread_takes_the_same_slot_again_after_a_wait_without_an_end() {
        let fixture = Fixture::new();
        let slot = fixture.record(&wait(9)).unwrap();
        let again = WaitRecord { id: LockId::new(77), ..wait(9) };
        assert_eq!(fixture.record(&again), Some(slot));
        assert_eq!(sorted(fixture.table()), [again]);
    }

    #[test]
    fn a_thread_that_was_killed_while_it_wrote_its_record_is_no_waiter_and_its_slot_is_claimed_again() {
        let fixture = Fixture::new();
        let slot = fixture.table().claim(wait(5).thread, |_| false).unwrap();
        assert_eq!(fixture.table().records().count(), 0, "a record that is not complete was read");
        // All slots near the first one belong to dead threads, one of which has not completed its record.
        let first = fixture.record(&wait(6)).unwrap();
        for step in 0..NEAR {
            let words = fixture.table().slot((first + step) % WAITERS)[AT_OWNER].load(Relaxed);
            if words == 0 {
                fixture.table().try_claim((first + step) % WAITERS, 0, wait(5).thread);
            }
        }
        let claimed = fixture.table().record(&wait(7), |_| true).unwrap();
        assert_eq!(fixture.table().read(claimed).ok().unwrap().map(|found| found.wait), Some(wait(7)));
        assert_ne!(claimed, slot);
    }

    #[test]
    fn slots_of_dead_threads_are_claimed_again_without_an_end() {
        let fixture = Fixture::new();
        // Each of these threads is dead when the next one waits.
        for tid in 1..20_000 {
            assert!(fixture.table().record(&wait(tid), |other| other.tid() < tid).is_some());
            if tid % 1_000 == 0 {
                let used = fixture.table().records().count();
                assert!(used <= FIRST_SLOTS + NEAR, "{used} slots are in use after {tid} waits");
            }
        }
        assert!(fixture.pages() as usize <= (FIRST_SLOTS + NEAR) / WAITERS_PER_PAGE);
    }

    #[test]
    fn a_full_table_records_no_wait_and_checks_few_deaths() {
        let fixture = Fixture::new();
        fixture.backed.iter().for_each(|word| word.store(u64::MAX, Relaxed));
        for (slot, tid) in (0..WAITERS).zip(1..) {
            assert!(fixture.table().try_claim(slot, 0, wait(tid).thread));
            fixture.table().slot(slot)[AT_OWNER].store(wait(tid).thread.word(), Relaxed);
        }
        let checked = std::cell::Cell::new(0);
        let is_gone = |_| {
            checked.set(checked.get() + 1);
            false
        };
        let one_more = wait(WAITERS as u32 + 1);
        assert_eq!(fixture.table().record(&one_more, is_gone), None);
        assert_eq!(checked.get(), CHECKED);
        assert_eq!(fixture.table().records().count(), WAITERS);
        fixture.table().free(12_345, Owner::from_word(fixture.table().slot(12_345)[AT_OWNER].load(Relaxed)));
        assert_eq!(fixture.record(&one_more), Some(12_345));
    }

    #[test]
    fn a_wait_is_passed_over_for_up_to_a_second_or_until_its_thread_restores_it() {
        let (fixture, now) = (Fixture::new(), u64::MAX / 3);
        let slot = fixture.record(&wait(4)).unwrap();
        let found = || fixture.table().found().next().unwrap();
        let before = found();
        assert_eq!(before.passed_until(now), None);
        for length in [2, 4, 8, 16, 32, 64, 128, 128, 128].map(|units| units << PASSED_UNIT) {
            fixture.table().pass_over(&found(), now);
            assert_eq!(found().passed_until(now), Some(now + length));
            assert_eq!(found().passed_until(now + length), None);
        }
        assert_eq!((found().wait, fixture.table().records().count()), (wait(4), 1), "the listed wait has changed");
        fixture.table().restore(slot);
        assert_eq!(found(), before);
        // Another wait of the thread is not passed over in place of the one that was found.
        fixture.table().free(slot, wait(4).thread);
        assert_eq!(fixture.record(&wait(4)), Some(slot));
        fixture.table().pass_over(&before, now);
        assert_eq!(found().passed_until(now), None);
        fixture.table().pass_over(&found(), now);
        fixture.table().free(slot, wait(4).thread);
        fixture.record(&wait(4));
        assert_eq!(found().passed_until(now), None, "a new wait is passed over for the one before");
    }

    #[test]
    fn without_room_only_slots_with_blocks_are_used() {
        let fixture = Fixture::new();
        let slot = fixture.record(&wait(1)).unwrap();
        // `fallocate` fails on a file that is open for reading.
        let limited =
            TableFile::new(fixture._path.to_path_buf(), File::open(&fixture._path).unwrap(), fixture.file.id()).unwrap();
        let table = WaiterTable { file: &limited, ..fixture.table() };
        let page = |slot: usize| slot / WAITERS_PER_PAGE;
        let mut recorded = 1;
        for tid in 2..=200 {
            recorded += usize::from(table.record(&wait(tid), |_| false).is_some_and(|other| page(other) == page(slot)));
        }
        assert_eq!((recorded, fixture.pages()), (WAITERS_PER_PAGE, 1));
        assert_eq!(Fixture::new().pages(), 0);
        let empty = Fixture::new();
        assert_eq!(WaiterTable { file: &limited, ..empty.table() }.record(&wait(1), |_| false), None);
    }

    #[test]
    fn a_record_that_changes_while_it_is_read_is_never_mixed_from_two_waits() {
        let fixture = Fixture::new();
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..50_000 {
                    let wait = WaitRecord { id: LockId::new(number), start: number.into(), token: number.into(), ..wait(1) };
                    let slot = fixture.record(&wait).unwrap();
                    fixture.table().free(slot, wait.thread);
                }
                is_done.store(true, Release);
            });
            while !is_done.load(Acquire) {
                for wait in fixture.table().records() {
                    assert_eq!((u64::from(wait.id.get()), wait.token), (wait.start, wait.start));
                }
            }
        });
    }
}
