//! Names: finding the id that is allocated under a name, and allocating it on first use.
//!
//! There is no index. The hash of a name gives a sequence of groups ([`Name::groups`]), and the name is allocated in the first group of
//! the sequence that has a free id. A name that finds no free id in a group marks the group as overflowed before it is allocated in a
//! later one. So a search ends at the first group without the mark, and reads few groups. Another mark says which groups have names, so
//! that a search does not read the records of other groups.
//!
//! The sequence depends on the bound, rounded to a power of two. Groups between the bound and the rounded one have no valid ids yet: they
//! are passed and marked like full ones, so that a name is still found when the bound is raised. If the bound has passed a power of two
//! since the creation, a search follows the sequence of each of these powers, the present one first.
//!
//! A thread that allocates a name has one of 64 claims, by the hash of the name. It searches again under the claim, so that of several
//! threads that race, one allocates the name. The claim of a dead thread is replaced. A kill at any instruction leaves a free id or an
//! allocated one, and at most a mark that is not needed.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::thread;
use std::time::{Duration, Instant};

use crate::name::{Name, rounded};
use crate::owner::Owner;
use crate::segment::{Mark, Segment};
use crate::table::Table;
use lock_core::{Error, Generation, Label, LockId, Result};

/// Time to wait for a live thread that allocates a name. An allocation takes microseconds.
const PATIENCE: Duration = Duration::from_secs(10);
const SHORTEST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(2);

impl Table {
    /// Returns the id that is allocated under this name and its generation. Allocates an id if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`](lock_core::ErrorKind::Exhausted) when the name is new and no id is free;
    /// [`ErrorKind::TimedOut`](lock_core::ErrorKind::TimedOut) when a live thread does not finish allocating a name;
    /// [`ErrorKind::Limit`](lock_core::ErrorKind::Limit); those of [`Table::check`].
    pub fn named(&self, label: &Label) -> Result<(LockId, Generation)> {
        self.check_now_and_then()?;
        let name = Name::new(label);
        if let Some(found) = self.find_name(&name)? {
            return Ok(found);
        }
        let claim = self.claim_name(&name, PATIENCE)?;
        // Another thread may have allocated the name before this thread had the claim.
        match self.find_name(&name)? {
            Some(found) => Ok(found),
            None => self.allocate_name(&name, claim.me),
        }
    }

    fn find_name(&self, name: &Name<'_>) -> Result<Option<(LockId, Generation)>> {
        for limit in self.rounded_limits() {
            for place in self.searched(name, limit) {
                let (segment, group) = place?;
                if let Some((index, generation)) = segment.find_name(group, name) {
                    return Ok(Some((segment.id(index), generation)));
                }
            }
        }
        Ok(None)
    }

    /// Returns the rounded limits that the table has had, the present one first.
    fn rounded_limits(&self) -> impl Iterator<Item = u64> {
        let first = rounded(self.ids_at_creation());
        std::iter::successors(Some(rounded(self.limit())), move |limit| (*limit > first).then_some(limit / 2))
    }

    /// Returns the groups in which the name can be, if it was allocated when the table had this rounded limit.
    fn searched(&self, name: &Name<'_>, limit: u64) -> impl Iterator<Item = Result<(&Segment, usize)>> {
        // No name is in a group beyond the present limit, and such groups need no mark to be passed.
        let present = self.limit();
        let mut groups = name.groups(limit).filter(move |place| place.first() < present);
        let mut is_last = false;
        std::iter::from_fn(move || {
            let place = groups.next().filter(|place| !is_last && self.has_segment(place.segment))?;
            let segment = self.segment(place.segment);
            is_last = !segment.as_ref().is_ok_and(|segment| segment.has(Mark::Overflowed, place.group));
            Some(segment.map(|segment| (segment, place.group)))
        })
    }

    /// Allocates a name, which the caller has claimed and not found.
    fn allocate_name(&self, name: &Name<'_>, me: Owner) -> Result<(LockId, Generation)> {
        // Read once: the bound may be raised meanwhile.
        let limit = self.limit();
        let groups = name.groups(rounded(limit));
        let (mut unmarked, mut marked) = (groups.clone(), 0);
        let allocator = self.allocator();
        for (at, place) in groups.enumerate() {
            let is_valid = place.first() < limit;
            if !is_valid || self.has_segment(place.segment) && self.segment(place.segment)?.is_full(place.group) {
                continue;
            }
            // The groups before this one are marked only now, so that a full store gets no marks.
            for passed in unmarked.by_ref().take(at - marked) {
                self.segment(passed.segment)?.mark(&self.file, Mark::Overflowed, passed.group)?;
            }
            marked = at;
            let segment = self.segment(place.segment)?;
            segment.mark(&self.file, Mark::Named, place.group)?;
            for index in segment.indexes_of(place.group) {
                if let Some(generation) = self.try_allocate(segment, index, me, name.label(), name.tag(), &allocator)? {
                    return Ok((segment.id(index), generation));
                }
            }
        }
        Err(Error::exhausted(self.limit(), self.count()?))
    }

    /// Claims the right to allocate a name. Waits at most this long for a live thread that has the claim.
    fn claim_name(&self, name: &Name<'_>, patience: Duration) -> Result<NameClaim<'_>> {
        let me = self.current_owner()?;
        let word = &self.state().name_claims[name.claim()];
        let (start, mut pause) = (Instant::now(), SHORTEST_PAUSE);
        // A thread that ended by a raw `exit` system call may have left the claim to a new thread with the same id.
        while !me.claim(word, |other| other.is_none() || self.is_gone(other)) && word.load(Acquire) != me.word() {
            let waited = start.elapsed();
            if waited > patience {
                let holder = self.held_by(Owner::from_word(word.load(Relaxed)));
                return Err(Error::timed_out(waited, holder).advise("it is allocating a name; continue or end its process"));
            }
            thread::sleep(pause);
            pause = LONGEST_PAUSE.min(pause * 2);
        }
        Ok(NameClaim { word, me })
    }
}

/// The right to allocate the names of a claim word, until it is dropped.
#[derive(Debug)]
struct NameClaim<'a> {
    word: &'a AtomicU64,
    me: Owner,
}

impl Drop for NameClaim<'_> {
    fn drop(&mut self) {
        let _ = self.word.compare_exchange(self.me.word(), 0, Release, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::{Bound, Kind, TableOptions};
    use lock_core::{ErrorKind, OpenMode};
    use rstest::rstest;

    fn create(directory: &Path, bound: Bound) -> Arc<Table> {
        let options = TableOptions { bound: Some(bound), ..TableOptions::default() };
        Table::open(&directory.join("table"), Kind::new("test", 1), OpenMode::Create, &options).unwrap()
    }

    fn label(number: u32) -> Label {
        Label::new(format!("name {number}")).unwrap()
    }

    fn id_of(table: &Table, number: u32) -> LockId {
        table.named(&label(number)).unwrap().0
    }

    /// Returns the number of groups in which a search for the name looks, if it finds nothing.
    fn cost(table: &Table, number: u32) -> usize {
        table.rounded_limits().map(|limit| table.searched(&Name::new(&label(number)), limit).count()).sum()
    }

    #[rstest]
    #[case(Bound::Locks(1))]
    #[case(Bound::Locks(10))]
    #[case(Bound::Locks(64))]
    #[case(Bound::Locks(65))]
    #[case(Bound::Locks(1024))]
    #[case(Bound::Locks(1500))]
    #[case(Bound::Locks(2048))]
    fn names_fill_a_table_and_are_found_when_it_is_full(#[case] bound: Bound) {
        let directory = tempfile::tempdir().unwrap();
        let table = create(directory.path(), bound);
        let limit = bound.limit() as u32;
        let ids: BTreeMap<_, _> = (0..limit).map(|number| (id_of(&table, number), number)).collect();
        assert_eq!(ids.len() as u32, limit, "two names have one id");
        assert!(ids.iter().all(|(id, number)| id_of(&table, *number) == *id));
        assert_eq!(table.named(&label(limit)).unwrap_err().kind(), ErrorKind::Exhausted);
        for allocation in table.allocated().unwrap() {
            assert!(allocation.is_named && allocation.label == label(ids[&allocation.id]));
        }
        let (last, number) = ids.last_key_value().unwrap();
        table.free(*last, None).unwrap();
        assert_eq!(id_of(&table, limit), *last, "the only free id");
        assert_eq!(table.named(&label(*number)).unwrap_err().kind(), ErrorKind::Exhausted);
    }

    #[rstest]
    #[case(&[1, 2, 3, 10, 64, 65, 200])]
    #[case(&[100, 101, 129, 600, 1000, 1024, 1025])]
    #[case(&[65, 1500, 1600, 2048, 2100])]
    #[case(&[1000, 5000])]
    fn names_keep_their_ids_while_the_table_grows(#[case] limits: &[u32]) {
        let directory = tempfile::tempdir().unwrap();
        let table = create(directory.path(), Bound::Locks(limits[0]));
        let mut ids = Vec::new();
        for limit in limits {
            table.grow(Some(u64::from(*limit))).unwrap();
            ids.extend((ids.len() as u32..*limit).map(|number| id_of(&table, number)));
            assert_eq!(table.named(&label(*limit)).unwrap_err().kind(), ErrorKind::Exhausted);
            assert!((0..*limit).all(|number| id_of(&table, number) == ids[number as usize]), "{limit}");
            assert_eq!(table.count().unwrap(), u64::from(*limit));
        }
    }

    #[test]
    fn a_name_of_a_small_table_is_found_when_there_is_no_bound() {
        let directory = tempfile::tempdir().unwrap();
        let table = create(directory.path(), Bound::Locks(70));
        let before: Vec<_> = (0..70).map(|number| id_of(&table, number)).collect();
        table.grow(None).unwrap();
        let after: Vec<_> = (0..2000).map(|number| id_of(&table, number)).collect();
        assert_eq!(after[..70], before);
        let set: std::collections::BTreeSet<_> = after.iter().collect();
        assert_eq!(set.len(), after.len(), "two names have one id");
    }

    #[test]
    fn a_full_table_gets_no_marks_from_refused_names() {
        let directory = tempfile::tempdir().unwrap();
        let table = create(directory.path(), Bound::Locks(2048));
        while table.allocate(&Label::default()).is_ok() {}
        for number in 0..100 {
            assert_eq!(table.named(&label(number)).unwrap_err().kind(), ErrorKind::Exhausted);
            assert_eq!(cost(&table, number), 1);
        }
    }

    #[test]
    fn an_allocation_with_the_same_label_has_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let table = create(directory.path(), Bound::Locks(64));
        let plain = table.allocate(&label(1)).unwrap();
        let (named, generation) = table.named(&label(1)).unwrap();
        assert_ne!(named, plain);
        assert!(!table.allocation(plain).unwrap().unwrap().is_named);
        assert!(table.allocation(named).unwrap().unwrap().is_named);
        table.free(named, Some(generation)).unwrap();
        table.allocate_exact(named, &label(1)).unwrap();
        assert_ne!(id_of(&table, 1), named, "the id was allocated with the label, but not by name");
    }

    #[test]
    fn a_search_beside_many_ordinary_ids_reads_a_group_of_each_segment() {
        let directory = tempfile::tempdir().unwrap();
        let table = create(directory.path(), Bound::Unbounded);
        for _ in 0..20_000 {
            table.allocate(&Label::default()).unwrap();
        }
        let ids: Vec<_> = (0..500).map(|number| id_of(&table, number)).collect();
        assert!(ids.iter().all(|id| id.get() >= 16 * 1024), "the segments before are full");
        // The ordinary ids fill the segments 0 to 4, and the first part of segment 5.
        assert!((0..500).all(|number| id_of(&table, number) == ids[number as usize] && cost(&table, number) <= 7));
    }

    #[test]
    fn names_overflow_a_segment_only_when_it_is_nearly_full() {
        let directory = tempfile::tempdir().unwrap();
        let table = create(directory.path(), Bound::Unbounded);
        let ids: Vec<_> = (0..6_000).map(|number| id_of(&table, number)).collect();
        assert!(ids[..512].iter().all(|id| id.get() < 1024));
        assert!(ids.iter().filter(|id| id.get() < 4096).count() > 3_900);
        let searched: usize = (0..6_000).map(|number| cost(&table, number)).sum();
        assert!(searched < 6 * 6_000, "{searched}");
        assert!((0..6_000).all(|number| id_of(&table, number) == ids[number as usize]));
    }

    /// Otherwise an id that is freed during the attempt would not be found by a thread that needs a free id.
    #[test]
    fn an_attempt_to_allocate_an_allocated_id_does_not_claim_it() {
        let directory = tempfile::tempdir().unwrap();
        let table = create(directory.path(), Bound::Locks(1));
        let id = id_of(&table, 1);
        let (segment, index) = table.find(id).unwrap();
        let dead = thread::scope(|scope| scope.spawn(|| table.current_owner().unwrap()).join().unwrap());
        assert!(segment.record(index).claim(dead, |_| false));
        assert_eq!(table.allocate_exact(id, &Label::default()).unwrap_err().kind(), ErrorKind::AlreadyAllocated);
        let me = table.current_owner().unwrap();
        assert!(!segment.record(index).claim(me, |_| false), "the claim of the dead thread was replaced");
    }

    #[test]
    fn the_claim_of_a_dead_thread_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let table = create(directory.path(), Bound::Locks(64));
        let dead = thread::scope(|scope| scope.spawn(|| table.current_owner().unwrap()).join().unwrap());
        let claims = table.state().name_claims;
        claims.iter().for_each(|claim| claim.store(dead.word(), Relaxed));
        for number in 0..64 {
            id_of(&table, number);
        }
        assert!(claims.iter().all(|claim| [0, dead.word()].contains(&claim.load(Relaxed))));
    }

    #[test]
    fn a_thread_waits_for_a_live_claim() {
        let directory = tempfile::tempdir().unwrap();
        let table = create(directory.path(), Bound::Locks(64));
        let claim = table.claim_name(&Name::new(&label(1)), PATIENCE).unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| id_of(&table, 1));
            // Another name is not delayed, unless it has the same claim.
            let other = (2..).find(|number| Name::new(&label(*number)).claim() != Name::new(&label(1)).claim()).unwrap();
            id_of(&table, other);
            assert!(!table.allocated().unwrap().iter().any(|allocation| allocation.label == label(1)));
            let (id, _) = table.allocate_name(&Name::new(&label(1)), claim.me).unwrap();
            drop(claim);
            assert_eq!(waiter.join().unwrap(), id);
        });
    }

    #[test]
    fn a_wait_for_a_live_claim_ends_and_names_its_process() {
        let directory = tempfile::tempdir().unwrap();
        let table = create(directory.path(), Bound::Locks(64));
        let _claim = table.claim_name(&Name::new(&label(1)), PATIENCE).unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| table.claim_name(&Name::new(&label(1)), Duration::from_millis(1)).unwrap_err());
            let error = waiter.join().unwrap();
            assert_eq!(error.holder().map(|holder| holder.pid), Some(std::process::id()));
            assert!(error.is_timed_out() && error.to_string().contains("continue or end its process"), "{error}");
        });
    }

    #[test]
    fn threads_that_race_for_names_get_the_same_ids() {
        let directory = tempfile::tempdir().unwrap();
        let table = create(directory.path(), Bound::Locks(600));
        let ids: Vec<Vec<_>> = thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..500).map(|number| id_of(&table, number)).collect())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|of_thread| *of_thread == ids[0]));
        assert_eq!(table.count().unwrap(), 500);
    }

    #[test]
    fn damaged_words_cause_no_panic_and_no_endless_search() {
        let directory = tempfile::tempdir().unwrap();
        let table = create(directory.path(), Bound::Locks(1500));
        let ids: Vec<_> = (0..100).map(|number| id_of(&table, number)).collect();
        for id in &ids {
            let (segment, index) = table.find(*id).unwrap();
            // Odd while the record is being written, which a set bit contradicts.
            segment.record(index).generation_word().store(u64::MAX, Relaxed);
        }
        for segment in [0, 1] {
            let segment = table.segment(segment).unwrap();
            (0..8).for_each(|group| segment.mark(&table.file, Mark::Overflowed, group).unwrap());
        }
        for number in 0..100 {
            let id = id_of(&table, number);
            assert!(!ids.contains(&id) && id_of(&table, number) == id);
        }
    }
}
