//! Reading a segment without touching it: allocated ids, held locks, their owners and the threads that wait.
//!
//! Everything is read from the file. No mutex is locked, so that it works while the segment mutex is stuck.

use std::fs::File;
use std::mem::offset_of;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lock_core::{Error, ErrorKind, HeldBy, HeldLock, Holder, LockId, Result, Waiter, Waits};
use lock_proc::{FileId, FutexWaiter, State, Thread, futex_waiters};
use lock_table::{this_process, thread};

use crate::image::word;
use crate::layout::{GROUP, GROUP_LOCKS, GROUP_MUTEXES_AT, Group, MUTEX_AT, Mutex, group_at, lock_at};
use crate::mutex::{has_died, has_waiters, owner};
use crate::record::Record;
use crate::segment::{Segment, read_at};

/// The number of groups that are read by one call.
const GROUPS: u32 = 64;

/// The time between two readings that decide whether a waiter has lost its wake-up.
const RECHECK: Duration = Duration::from_millis(20);

/// The state of a mutex, as its bytes show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct MutexState {
    word: u32,
    record: Record,
}

impl MutexState {
    fn of(mutex: &Mutex) -> Self {
        Self { word: mutex.word.load(Relaxed), record: Record::read(mutex) }
    }

    fn from_bytes(bytes: &[u8], at: usize) -> Self {
        let field = |offset: usize| word(bytes, at + offset);
        let record = Record::from_fields(
            field(offset_of!(Mutex, owner)),
            field(offset_of!(Mutex, count)),
            field(offset_of!(Mutex, spare)),
        );
        Self { word: field(offset_of!(Mutex, word)), record }
    }

    fn read(file: &File, offset: u64) -> Result<Self> {
        let mut bytes = [0; size_of::<Mutex>()];
        match read_at(file, &mut bytes, offset)? {
            read if read == bytes.len() => Ok(Self::from_bytes(&bytes, 0)),
            _ => Err(truncated()),
        }
    }

    /// Returns whether the record names the owner.
    fn is_recorded(self) -> bool {
        self.record.pid().is_some() && self.record.owner == self.owner()
    }

    /// Returns the owner's thread id, or 0.
    fn owner(self) -> u32 {
        owner(self.word)
    }
}

/// Calls `visit` with the number and the bytes of each group from `first` on, until it returns false.
fn visit_groups(segment: &Segment, first: u32, mut visit: impl FnMut(u32, &[u8]) -> bool) -> Result<()> {
    let file = segment.reopen()?;
    let mut next = first;
    while next < segment.groups() {
        let count = GROUPS.min(segment.groups() - next);
        let mut bytes = vec![0; GROUP * count as usize];
        if read_at(&file, &mut bytes, group_at(next))? != bytes.len() {
            return Err(truncated());
        }
        for (number, group) in (next..).zip(bytes.chunks_exact(GROUP)) {
            if !visit(number, group) {
                return Ok(());
            }
        }
        next += count;
    }
    Ok(())
}

#[cold]
fn truncated() -> Error {
    Error::corrupt("the file was truncated while it was read")
}

fn bitmap(group: &[u8]) -> u32 {
    word(group, offset_of!(Group, bitmap))
}

/// Returns the number of allocated ids.
pub(crate) fn count_allocated(segment: &Segment) -> Result<u64> {
    let mut count = 0;
    visit_groups(segment, 0, |_, group| {
        count += u64::from(bitmap(group).count_ones());
        true
    })?;
    Ok(count)
}

/// Returns the allocated ids from `from` on: the first `limit`, or more.
pub(crate) fn allocated_from(segment: &Segment, from: u32, limit: usize) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    visit_groups(segment, from / GROUP_LOCKS, |number, group| {
        let allocated = bitmap(group);
        ids.extend(
            (0..GROUP_LOCKS).filter(|id| allocated & 1 << id != 0).map(|id| number * GROUP_LOCKS + id).filter(|id| *id >= from),
        );
        ids.len() < limit
    })?;
    Ok(ids)
}

/// Returns the held locks from `from` on: the first `limit`, or more.
pub(crate) fn held_from(segment: &Segment, from: u32, limit: usize) -> Result<Vec<HeldLock>> {
    let mut found = Vec::new();
    visit_groups(segment, from / GROUP_LOCKS, |number, group| {
        for lock in 0..GROUP_LOCKS {
            let state = MutexState::from_bytes(group, GROUP_MUTEXES_AT + size_of::<Mutex>() * lock as usize);
            let id = number * GROUP_LOCKS + lock;
            if state.owner() != 0 && id >= from {
                found.push((id, state));
            }
        }
        found.len() < limit
    })?;
    let file = FileId::of(segment.path()).ok();
    let is_waited_for = found.iter().any(|(_, state): &(u32, MutexState)| has_waiters(state.word));
    let sleepers = file.as_ref().filter(|_| is_waited_for).map(|file| futex_waiters(file).found).unwrap_or_default();
    let describe = |(id, state)| {
        let of_lock: Vec<_> = sleepers.iter().filter(|waiter| lock_at(waiter.offset, segment.locks()) == Some(id)).collect();
        let (held_by, doubt) = describe_owner(state, file.as_ref(), &of_lock);
        let mut held = HeldLock::new(LockId::new(id), held_by.holder().cloned());
        held.doubt = doubt;
        held
    };
    Ok(found.into_iter().map(describe).collect())
}

/// Returns the holder of a mutex of the segment, or `None` if it is free or the holder is unknown.
pub(crate) fn holder(segment: &Segment, offset: u64, mutex: &Mutex) -> Option<Holder> {
    match held_by(segment, offset, mutex) {
        HeldBy::Holder(holder) => Some(holder),
        _ => None,
    }
}

/// Describes the holder of a mutex of the segment.
pub(crate) fn held_by(segment: &Segment, offset: u64, mutex: &Mutex) -> HeldBy {
    let state = match segment.reopen() {
        Ok(file) => MutexState::read(&file, offset),
        // The mapping of a truncated file must not be read.
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotAStore) => Err(error),
        // A process that cannot open the file again has changed its user or its root directory, or the file was removed. The mapping is
        // then all that is left of the segment.
        Err(_) => Ok(MutexState::of(mutex)),
    };
    let state = match state {
        Ok(state) => state,
        Err(error) => return HeldBy::unknown(error.to_string()),
    };
    let file = FileId::of(segment.path()).ok();
    let sleepers = file
        .as_ref()
        .filter(|_| has_waiters(state.word) && !state.is_recorded())
        .map(|file| futex_waiters(file).found)
        .unwrap_or_default();
    let sleepers: Vec<_> = sleepers.iter().filter(|waiter| waiter.offset == offset).collect();
    describe_owner(state, file.as_ref(), &sleepers).0
}

/// Describes the owner of a mutex in this state, for which these threads wait, and says why the answer is not certain.
fn describe_owner(state: MutexState, file: Option<&FileId>, sleepers: &[&FutexWaiter]) -> (HeldBy, Option<String>) {
    let (tid, record) = (state.owner(), state.record);
    if tid == 0 {
        return (HeldBy::Free, None);
    }
    match record.pid() {
        Some(pid) if state.is_recorded() => describe_recorded(pid, tid, record),
        _ => describe_thread(tid, file, sleepers),
    }
}

/// Describes an owner that this crate has recorded.
fn describe_recorded(pid: u32, tid: u32, record: Record) -> (HeldBy, Option<String>) {
    let mut holder = record.holder().unwrap_or_else(|| Holder::of_process(pid).with_thread(tid));
    let ours = this_process().pid_namespace;
    if record.namespace().map(u64::from) != ours || ours.is_none() {
        let doubt = match record.namespace() {
            Some(namespace) => format!("the ids are those of another PID namespace ({namespace}); look there"),
            None => "the ids may be those of another PID namespace".to_owned(),
        };
        return (HeldBy::Holder(holder), Some(doubt));
    }
    if !thread::exists(pid, tid) {
        let doubt = format!("process {pid} has no thread {tid} any more; the next acquisition takes the lock over");
        return (HeldBy::Dead(holder), Some(doubt));
    }
    // `/proc` may hide the process, or show another PID namespace.
    if let Some(thread) = Thread::find(tid).filter(|thread| thread.pid == pid) {
        holder.command = thread.command;
        holder.start_time = Some(thread.start_time);
    }
    (HeldBy::Holder(holder), None)
}

/// Describes an owner of which only the thread id is known: podman, or another program with libc's functions.
fn describe_thread(tid: u32, file: Option<&FileId>, sleepers: &[&FutexWaiter]) -> (HeldBy, Option<String>) {
    let unnamed = || Holder::of_process(0).with_thread(tid);
    let Some(thread) = Thread::find(tid) else {
        return if Thread::exists(tid) {
            (HeldBy::Holder(unnamed()), Some(format!("/proc does not show thread {tid}; run as root")))
        } else {
            is_none_of_these(format!(
                "no thread has the id {tid}: the owner died without releasing the lock, or it is in another PID namespace"
            ))
        };
    };
    if sleepers.iter().any(|waiter| waiter.thread.tid == tid) {
        return is_none_of_these(format!(
            "the lock names thread {tid}, but thread {tid} waits for it; the owner is in another PID namespace"
        ));
    }
    let maps = file.map_or_else(|| Ok(true), |file| thread.maps(file));
    let waits_for_it = |waiter: &&&FutexWaiter| owner(waiter.value) == tid;
    let longest = sleepers.iter().filter(waits_for_it).filter_map(|waiter| waiter.asleep).max();
    let is_younger = started_after(thread.age(), longest);
    let holder = Holder::from(thread);
    if is_younger {
        return is_none_of_these(format!(
            "the lock names thread {tid}, which is {holder} now, but a thread waited for it before that process started"
        ));
    }
    match maps {
        Ok(true) => (HeldBy::Holder(holder), None),
        Ok(false) => is_none_of_these(format!(
            "the lock names thread {tid}, which is {holder} now, and that process does not use the segment"
        )),
        Err(error) => {
            let doubt = format!("the memory map of process {} could not be read ({error}); run as root", holder.pid);
            (HeldBy::Holder(holder), Some(doubt))
        }
    }
}

/// Describes an owner that is known not to be a thread of this PID namespace, for this reason.
fn is_none_of_these(reason: String) -> (HeldBy, Option<String>) {
    (HeldBy::unknown(reason.clone()), Some(reason))
}

/// Returns whether a process of this age started after a sleep of this length began.
fn started_after(age: Option<Duration>, asleep: Option<Duration>) -> bool {
    /// The precision of both times.
    const TICK: Duration = Duration::from_millis(20);
    age.zip(asleep).is_some_and(|(age, asleep)| age + TICK < asleep)
}

/// Returns the threads that wait for locks of the segment.
pub(crate) fn waiting(segment: &Segment) -> Result<Waits> {
    let file = segment.reopen()?;
    let id = FileId::of(segment.path()).map_err(|error| Error::system("stat", error).at(segment.path()))?;
    let found = futex_waiters(&id);
    let mut sleepers: Vec<_> =
        found.found.into_iter().filter_map(|waiter| Some((lock_at(waiter.offset, segment.locks())?, waiter))).collect();
    sleepers.sort_by_key(|(lock, waiter)| (*lock, waiter.thread.pid, waiter.thread.tid));
    let suspected = |waiter: &FutexWaiter| Ok(!has_waiters(MutexState::read(&file, waiter.offset)?.word));
    let suspects: Vec<bool> = sleepers.iter().map(|(_, waiter)| suspected(waiter)).collect::<Result<_>>()?;
    let mut still_lost = Vec::new();
    if suspects.contains(&true) {
        std::thread::sleep(RECHECK);
        still_lost = futex_waiters(&id).found;
    }
    let mut waiters = Vec::new();
    for ((lock, waiter), is_suspect) in sleepers.into_iter().zip(suspects) {
        // The second sleep is the first one if the thread has slept for longer since.
        let is_same = |other: &FutexWaiter| {
            (other.thread.tid, other.offset, other.value) == (waiter.thread.tid, waiter.offset, waiter.value)
                && other.asleep >= waiter.asleep
        };
        // A stopped thread was woken, and goes on when it is continued.
        let is_lost =
            is_suspect && waiter.thread.state == State::Sleeping && still_lost.iter().any(is_same) && suspected(&waiter)?;
        let waited = waiter.asleep;
        waiters.push(Waiter::new(LockId::new(lock), waiter.thread.into()).with_waited(waited).with_lost(is_lost));
    }
    Ok(Waits::new(waiters, found.unseen.map(|unseen| unseen.to_string())))
}

/// Returns facts about the segment.
pub(crate) fn details(segment: &Segment) -> Vec<(&'static str, String)> {
    let mutex = segment_mutex(segment).unwrap_or_else(|error| error.to_string());
    vec![("file", segment.path().display().to_string()), ("segment mutex", mutex)]
}

/// Describes the state of the segment mutex.
fn segment_mutex(segment: &Segment) -> Result<String> {
    let state = MutexState::read(&segment.reopen()?, MUTEX_AT as u64)?;
    if state.owner() == 0 {
        let text = if has_died(state.word) { "free; its last owner died, which the next one recovers" } else { "free" };
        return Ok(text.to_owned());
    }
    let file = FileId::of(segment.path()).map_err(|error| Error::system("stat", error))?;
    let sleepers = futex_waiters(&file).found;
    let sleepers: Vec<_> = sleepers.iter().filter(|waiter| waiter.offset == MUTEX_AT as u64).collect();
    let (held_by, doubt) = describe_owner(state, Some(&file), &sleepers);
    let doubt = doubt.map(|doubt| format!(" ({doubt})")).unwrap_or_default();
    let does = held_by.holder().and_then(|holder| Thread::find(holder.tid)).map(|thread| format!("; {}", thread.activity()));
    let waiting: Vec<_> = sleepers.iter().map(|waiter| Holder::from(waiter.thread.clone()).to_string()).collect();
    let waiting =
        if waiting.is_empty() { "no thread waits for it".to_owned() } else { format!("waiting: {}", waiting.join(", ")) };
    Ok(format!("{held_by}{doubt}{}; {waiting}", does.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_started_after_a_sleep_began_only_if_both_times_are_known() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert!(started_after(seconds(3), seconds(4)));
        for (age, asleep) in [(seconds(4), seconds(3)), (seconds(3), seconds(3)), (None, seconds(4)), (seconds(3), None)] {
            assert!(!started_after(age, asleep), "{age:?} {asleep:?}");
        }
    }
}
