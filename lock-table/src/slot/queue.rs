//! The order in which waiting threads acquire a lock.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, fence};
use std::time::Duration;

use super::{Slot, Waiting};
use crate::owner::Owner;
use crate::waiters::{FoundWait, PATIENCE, now};

/// The patience of a waiter in nanoseconds.
const STARVED_AFTER: u64 = PATIENCE.as_nanos() as u64;

/// The time in nanoseconds for which a free lock is reserved for a live thread that does not acquire it.
const RESERVATION: u64 = 10_000_000;

/// The word [`Queue::reservation`]: the time in units of 1,024 ns, and a hash that identifies the reservation.
const TIME_BITS: u32 = 48;
const TIME: u64 = (1 << TIME_BITS) - 1;
const UNIT: u32 = 10;

/// The recorded waiters of a lock, in the order of their waits.
///
/// A thread that has waited for longer than a millisecond has *starved*. A free lock is reserved for the starved thread that began to
/// wait first; other threads give way to it. The order is that of the tokens that the lock had when the waits began, and among waits with
/// the same token that of their starts. So a process with another clock (time_namespaces(7)) cannot overtake a thread again and again.
///
/// The order is a hint: exclusion does not depend on it. A reservation ends after 10 ms, because the thread may be stopped. That thread is
/// then *passed over* for 17 ms, and each further time for twice as long, up to a second, or until it runs again. A dead thread gets no reservation.
///
/// # Words
/// The queue uses `spare[1]` and `spare[2]` of the line. A backend that calls [`Slot::queue`] uses them for nothing else.
///
/// # Cost
/// While no thread waits, [`Queue::is_reserved`] is one load. If a thread has starved, each acquisition reads the waiter table.
#[derive(Clone, Copy, Debug)]
pub struct Queue<'a> {
    slot: &'a Slot,
    announcement: Announcement,
}

/// When the waiters of a backend announce that they starve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Announcement {
    /// When the wait begins, for waiters that may be unable to run later. Then other threads read the clock while a thread waits.
    AtStart,
    /// When the waiter has starved. It does not sleep beyond that time.
    WhenStarved,
}

impl Slot {
    /// Returns the queue of the lock. All waiters of a store announce themselves in the same way.
    #[inline]
    pub fn queue(&self, announcement: Announcement) -> Queue<'_> {
        Queue { slot: self, announcement }
    }
}

impl Queue<'_> {
    /// Returns false if no thread has starved. If the result is true, [`Queue::is_reserved`] decides.
    #[inline]
    pub fn may_be_reserved(&self) -> bool {
        self.due().load(Relaxed) != 0
    }

    /// Returns true if the lock is free and reserved for another thread than the caller, which then must not acquire it yet.
    ///
    /// `me` is the owner word with the thread, and `waiting` is the caller's wait. It may not have begun.
    #[inline]
    pub fn is_reserved(&self, me: Owner, waiting: &Waiting<'_>) -> bool {
        self.may_be_reserved() && self.is_reserved_slowly(me, waiting)
    }

    #[cold]
    fn is_reserved_slowly(&self, me: Owner, waiting: &Waiting<'_>) -> bool {
        let owner = self.slot.line().owner();
        if !owner.is_none() && !owner.is_broken() {
            return false;
        }
        let table = self.slot.table();
        loop {
            let due = self.due().load(Relaxed);
            // A time from another clock may be in the future. The next thread that waits replaces it.
            if due == 0 || due > now() {
                return false;
            }
            let Some(first) = self.first_before(me, waiting) else {
                // A thread that has waited keeps the time until it has the lock. Without it, others would not give way to the thread.
                if waiting.recorded().is_none() {
                    self.postpone(due, me);
                }
                return false;
            };
            if table.is_gone(first.wait.thread) {
                table.waiter_table().remove(&first);
            } else if self.has_expired(&first) {
                table.waiter_table().pass_over(&first, now());
            } else {
                return true;
            }
        }
    }

    /// Records that the calling thread waits as [`Waiting::begin`] does, and gives it its place. Returns the time until it has starved, or
    /// `None` if it has.
    ///
    /// The thread calls this before each sleep. If other threads have passed it over, it gets its place back.
    pub fn enqueue(&self, me: Owner, waiting: &Waiting<'_>) -> Option<Duration> {
        waiting.begin(me);
        let start = waiting.restore()?;
        let left = start.saturating_add(STARVED_AFTER).saturating_sub(now());
        if left == 0 || self.announcement == Announcement::AtStart {
            self.announce(start);
        }
        (left != 0).then(|| Duration::from_nanos(left))
    }

    /// Records that a thread whose wait is recorded starves from `start` plus a millisecond on.
    fn announce(&self, start: u64) {
        // Either this thread reads the change of a thread that has not seen its record, or that thread sees the record.
        fence(SeqCst);
        let mine = start.saturating_add(STARVED_AFTER);
        let _ = self.due().fetch_update(SeqCst, Relaxed, |due| (due == 0 || due > mine).then_some(mine));
    }

    /// Returns the first starved thread other than the caller that began to wait before the caller.
    fn first_before(&self, me: Owner, waiting: &Waiting<'_>) -> Option<FoundWait> {
        let found: Vec<_> = self.others(me).collect();
        // Read after the records, so that no start of this clock is in the future.
        let now = now();
        let place = |found: &FoundWait| (found.wait.token, found.wait.start);
        let own = waiting.recorded().map(|wait| (wait.token, wait.start));
        let starved = found.into_iter().filter(|found| starves_from(found, now) <= now);
        starved.filter(|found| own.is_none_or(|own| place(found) < own)).min_by_key(place)
    }

    /// Replaces the time `due` by the time at which the next thread starves, or by none if no other thread waits.
    fn postpone(&self, due: u64, me: Owner) {
        let next = self.next_due(me);
        if next.is_some_and(|next| next <= now()) || self.due().compare_exchange(due, next.unwrap_or(0), SeqCst, Relaxed).is_err()
        {
            return;
        }
        // A thread may have recorded its wait and read the time before this change.
        fence(SeqCst);
        if let Some(next) = self.next_due(me) {
            let _ = self.due().fetch_update(SeqCst, Relaxed, |due| (due == 0 || due > next).then_some(next));
        }
    }

    /// Returns the time at which the next thread starves that will not announce it, or a past time if a thread has starved.
    fn next_due(&self, me: Owner) -> Option<u64> {
        let found: Vec<_> = self.others(me).collect();
        let now = now();
        let next = found.iter().map(|found| starves_from(found, now)).min();
        next.filter(|next| *next <= now || self.announcement == Announcement::AtStart)
    }

    /// Returns the recorded waits of other threads for this lock.
    fn others(&self, me: Owner) -> impl Iterator<Item = FoundWait> {
        let id = self.slot.id();
        self.slot.table().waiter_table().found().filter(move |found| found.wait.id == id && found.wait.thread != me)
    }

    /// Returns true if the reservation for this thread has lasted long enough. The first call for a reservation starts it.
    fn has_expired(&self, first: &FoundWait) -> bool {
        // The token distinguishes the times at which the lock is free.
        let hash = (first.wait.start ^ self.slot.line().token().rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> TIME_BITS;
        let now = (now() >> UNIT) & TIME;
        let present = self.reservation().load(Relaxed);
        if present >> TIME_BITS == hash {
            // A start in the future is from another clock, and counts as long ago.
            return (now.wrapping_sub(present) & TIME) << UNIT >= RESERVATION;
        }
        // If the exchange fails, another thread has started it.
        let _ = self.reservation().compare_exchange(present, hash << TIME_BITS | now, Relaxed, Relaxed);
        false
    }

    /// Returns the time at which the first thread starves, or 0 if no thread waits. It may be too early.
    fn due(&self) -> &AtomicU64 {
        &self.slot.line().spare[1]
    }

    /// Returns the word that says since when the lock is reserved.
    fn reservation(&self) -> &AtomicU64 {
        &self.slot.line().spare[2]
    }
}

/// Returns the time from which a free lock is reserved for this thread.
fn starves_from(found: &FoundWait, now: u64) -> u64 {
    found.passed_until(now).unwrap_or(found.wait.start.saturating_add(STARVED_AFTER))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};
    use std::thread::JoinHandle;

    use super::*;
    use crate::waiters::WaitRecord;
    use crate::{Kind, Table, TableOptions, thread};
    use lock_core::{LockId, OpenMode};

    const MILLISECOND: u64 = 1_000_000;

    /// A lock, and a thread that lives as long as this and does not use the lock.
    struct Fixture {
        slot: Slot,
        tid: u32,
        end: Option<(Sender<()>, JoinHandle<()>)>,
        _directory: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("table");
            let table: Arc<Table> = Table::open(&path, Kind::new("test", 1), OpenMode::Create, &TableOptions::default()).unwrap();
            let ((send, tid), (end, wait)) = (channel(), channel());
            let thread = std::thread::spawn(move || {
                send.send(thread::id()).unwrap();
                let _ = wait.recv();
            });
            let slot = table.slot(LockId::new(3)).unwrap();
            Self { slot, tid: tid.recv().unwrap(), end: Some((end, thread)), _directory: directory }
        }

        fn me(&self) -> Owner {
            self.slot.current_owner(thread::id()).unwrap()
        }

        fn queue(&self) -> Queue<'_> {
            self.slot.queue(Announcement::AtStart)
        }

        /// Records and announces a wait of the other thread, or of the thread with this id.
        fn wait_since(&self, tid: u32, start: u64, token: u64) -> usize {
            let wait = WaitRecord { thread: self.me().process().with_thread(tid), id: self.slot.id(), start, token };
            let slot = self.slot.table().waiter_table().record(&wait, |_| false).unwrap();
            self.queue().announce(start);
            slot
        }

        /// Begins another reservation, if the lock is reserved for another thread than the caller.
        fn is_reserved(&self) -> bool {
            self.is_reserved_for_another(&self.slot.waiting())
        }

        fn is_reserved_for_another(&self, waiting: &Waiting<'_>) -> bool {
            self.queue().reservation().store(0, Relaxed);
            self.queue().is_reserved(self.me(), waiting)
        }

        /// Continues the reservation.
        fn is_still_reserved(&self) -> bool {
            self.queue().is_reserved(self.me(), &self.slot.waiting())
        }

        fn waits(&self) -> usize {
            self.slot.table().waiter_table().records().count()
        }

        /// Lets the present reservation seem to have begun earlier, by a time in nanoseconds.
        fn age_reservation(&self, by: u64) {
            let queue = self.queue();
            let word = queue.reservation();
            let seen = word.load(Relaxed);
            word.store(seen & !TIME | (seen.wrapping_sub(by >> UNIT) & TIME), Relaxed);
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            let (end, thread) = self.end.take().expect("the thread is ended once");
            drop(end);
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_free_lock_is_reserved_for_a_thread_that_has_starved_before_threads_that_waited_later() {
        let fixture = Fixture::new();
        assert!(!fixture.queue().may_be_reserved() && !fixture.is_reserved());
        fixture.wait_since(fixture.tid, now() - 2 * MILLISECOND, 0);
        assert!(fixture.queue().may_be_reserved());
        assert!(fixture.is_reserved(), "a thread that has not waited is served first");
        let waiting = fixture.slot.waiting();
        fixture.queue().enqueue(fixture.me(), &waiting);
        assert!(fixture.is_reserved_for_another(&waiting), "a younger waiter is served first");
        // The lock is held, so an attempt fails anyway.
        fixture.slot.line().record_owner(fixture.me());
        assert!(!fixture.is_reserved());
        fixture.slot.line().clear_owner();
        assert!(fixture.is_reserved());
    }

    #[test]
    fn the_token_orders_waits_before_the_start_does() {
        let fixture = Fixture::new();
        let waiting = fixture.slot.waiting();
        waiting.begin(fixture.me());
        let own = *waiting.recorded().unwrap();
        // The wait of another thread began earlier by its clock, but when the lock had a later token.
        let slot = fixture.wait_since(fixture.tid, own.start - 5 * MILLISECOND, own.token + 1);
        assert!(!fixture.is_reserved_for_another(&waiting), "a later token is served first");
        fixture.slot.table().waiter_table().free(slot, fixture.me().process().with_thread(fixture.tid));
        fixture.wait_since(fixture.tid, own.start - 5 * MILLISECOND, own.token);
        assert!(fixture.is_reserved_for_another(&waiting), "a later start is served first");
    }

    #[test]
    fn the_lock_is_reserved_for_the_thread_that_began_to_wait_first() {
        let fixture = Fixture::new();
        let start = now() - 5 * MILLISECOND;
        for (tid, start, token) in [(11, start, 7), (12, start + 9, 6), (13, start + 8, 6), (14, start + 10, 6)] {
            fixture.wait_since(tid, start, token);
        }
        let first = fixture.queue().first_before(fixture.me(), &fixture.slot.waiting()).unwrap();
        assert_eq!(first.wait.thread.tid(), 13);
    }

    #[test]
    fn a_thread_that_has_not_starved_or_has_another_clock_gets_no_reservation() {
        for ahead in [1_000 * MILLISECOND, u64::MAX / 2] {
            let fixture = Fixture::new();
            fixture.wait_since(fixture.tid, now() + ahead, 0);
            assert!(!fixture.is_reserved());
            // The time of another clock does not hide a thread of this one.
            fixture.wait_since(fixture.me().tid(), now() - 2 * MILLISECOND, 0);
            assert!(fixture.queue().due().load(Relaxed) < now());
        }
    }

    #[test]
    fn the_record_of_a_dead_thread_reserves_nothing_and_is_removed() {
        let fixture = Fixture::new();
        // No thread has this id: `pid_max` is at most 2²².
        let dead = Owner::FIRST_IDENTITY - 1;
        fixture.wait_since(dead, now() - 2 * MILLISECOND, 0);
        assert!(!fixture.is_reserved(), "the lock is reserved for a dead thread");
        assert_eq!((fixture.waits(), fixture.queue().due().load(Relaxed)), (0, 0));
    }

    #[test]
    fn a_reservation_ends_and_its_thread_is_passed_over_until_it_runs() {
        let fixture = Fixture::new();
        let slot = fixture.wait_since(fixture.tid, now() - 2 * MILLISECOND, 0);
        let start = now();
        assert!(fixture.is_reserved());
        // Other waiters continue the same reservation.
        fixture.age_reservation(RESERVATION / 2);
        let lasts = fixture.is_still_reserved();
        assert!(lasts || now() - start >= RESERVATION / 2, "a reservation ended early");
        fixture.age_reservation(RESERVATION);
        assert!(!fixture.is_still_reserved(), "a reservation does not end");
        assert!(!fixture.is_reserved(), "a thread that was passed over gets another reservation immediately");
        assert_eq!(fixture.waits(), 1);
        // The thread calls `enqueue`.
        fixture.slot.table().waiter_table().restore(slot);
        fixture.queue().announce(now() - 2 * MILLISECOND);
        // The lock was acquired meanwhile, which begins another reservation.
        fixture.slot.line().record_owner(fixture.me());
        fixture.slot.line().clear_owner();
        assert!(fixture.is_reserved(), "a thread that runs again does not get its place back");
    }

    #[test]
    fn a_reservation_from_another_clock_has_ended() {
        let fixture = Fixture::new();
        fixture.wait_since(fixture.tid, now() - 2 * MILLISECOND, 0);
        assert!(fixture.is_reserved());
        fixture.age_reservation(0_u64.wrapping_sub(3_600_000 * MILLISECOND));
        assert!(!fixture.is_still_reserved());
    }

    #[test]
    fn without_a_starved_thread_the_line_says_when_to_look_again() {
        for (announcement, expected) in [(Announcement::AtStart, true), (Announcement::WhenStarved, false)] {
            let fixture = Fixture::new();
            let queue = fixture.slot.queue(announcement);
            queue.due().store(1, Relaxed);
            // Starves in a minute.
            let start = now() + 60_000 * MILLISECOND;
            fixture.wait_since(fixture.tid, start, 0);
            assert!(!queue.is_reserved(fixture.me(), &fixture.slot.waiting()));
            assert_eq!(queue.due().load(Relaxed), if expected { start + STARVED_AFTER } else { 0 }, "{announcement:?}");
        }
    }
}
