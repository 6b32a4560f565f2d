//! The process table: an entry for each process that has the store open, and the proof of its death.
//!
//! A process that opens a store allocates an entry and writes its identity to it. It holds the [liveness lock](super::liveness) of the
//! entry until it exits, executes another program or closes the store. A process counts as dead only on proof: its liveness lock is
//! not held, and no other evidence shows that it is alive ([`LifeState`]).
//!
//! Each entry has a generation, which is incremented when the entry is reused. An owner word contains the generation, so a word from an
//! earlier use identifies a dead process.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use crate::identity::{Identity, LifeState};
use crate::layout::{ENTRIES, ENTRIES_PER_PAGE, ENTRY_WORDS, PAGE};
use crate::liveness::{HeldBy, Liveness};
use crate::owner::Owner;
use crate::table_file::TableFile;
use crate::{blocks, layout, record};
use lock_core::{Cause, Error, Holder, Result};

/// The number of entries that are allocated first, round robin.
///
/// The entry of a dead process is needed for the report of its death. 1024 entries delay its reuse, and limit the table to 128 KiB.
const PREFERRED: usize = 1024;

const AT_GENERATION: usize = 0;
const AT_PID: usize = 1;
const AT_START: usize = 2;
const AT_NAMESPACE: usize = 3;
const AT_PIDFD_INODE: usize = 4;
const AT_HELD_BY: usize = 5;
const AT_COMMAND: usize = 6;

/// The value at [`AT_HELD_BY`] after the process has closed the store.
const CLOSED_STORE: u64 = 4;

/// A bit in the generation of an entry: a process without a liveness lock is writing the entry.
const WRITING: u64 = 1 << 32;

/// The words of all entries, and the file that has their liveness locks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessTable<'a> {
    pub(crate) words: &'a [AtomicU64],
    pub(crate) backed: &'a [AtomicU64],
    pub(crate) file: &'a TableFile,
    /// The number of entries that were tried. The next process starts at this entry.
    pub(crate) next: &'a AtomicU64,
}

impl ProcessTable<'_> {
    /// Allocates an entry for the calling process, with this command.
    pub(crate) fn register(self, me: &Identity, command: &str) -> Result<(Owner, Liveness)> {
        let mut no_room = None;
        let mut liveness = Liveness::open(self.file, me.namespace != 0)?;
        for entry in self.candidates() {
            // After blocks could not be reserved, try only entries that have blocks.
            if (no_room.is_some() && !self.is_backed(entry)) || !liveness.try_lock(entry)? {
                continue;
            }
            if let Err(error) = self.back(entry) {
                no_room = Some(error);
            } else if self.is_vacant(entry, liveness.held_by() != HeldBy::Nothing)
                && let Some(owner) = self.write_entry(entry, &liveness, me, command)
            {
                liveness.close();
                return Ok((owner, liveness));
            }
            liveness.unlock(entry)?;
        }
        let foreign = || [0, ENTRIES - 1].into_iter().find_map(|entry| self.foreign_lock(&liveness, entry));
        let too_many = || Error::too_many_processes(ENTRIES as u32);
        Err(no_room.or_else(foreign).unwrap_or_else(too_many))
    }

    /// Returns the error for a foreign file lock that conflicts with the liveness lock of an entry.
    fn foreign_lock(self, liveness: &Liveness, entry: usize) -> Option<Error> {
        let foreign = liveness.foreign_lock(entry)?;
        let path = self.file.path().display();
        let reason =
            format!("{foreign} holds a file lock on {path} that conflicts with the locks of this program; end that program");
        Some(Error::untrusted(reason))
    }

    /// Frees the entry of a process that closes the store.
    ///
    /// The entry keeps the identity of the process until it is reused, because the report of a panic may name the process. The caller
    /// releases the liveness lock afterwards.
    pub(crate) fn unregister(self, owner: Owner) {
        let words = self.entry(owner.entry());
        if words[AT_GENERATION].load(SeqCst) == owner.generation() {
            words[AT_HELD_BY].store(CLOSED_STORE, SeqCst);
        }
    }

    fn has_closed_store(self, entry: usize) -> bool {
        self.entry(entry)[AT_HELD_BY].load(SeqCst) == CLOSED_STORE
    }

    /// Returns the entries in the order in which a process tries them.
    ///
    /// All processes advance one counter, so an entry is reused only after all other preferred entries were tried.
    fn candidates(self) -> impl Iterator<Item = usize> {
        let preferred = (0..PREFERRED).map(move |_| self.next.fetch_add(1, Relaxed) as usize % PREFERRED);
        preferred.chain(PREFERRED..ENTRIES)
    }

    /// Writes the identity of the calling process to an entry whose liveness lock it holds.
    ///
    /// Returns `None` when another process has written the entry.
    fn write_entry(self, entry: usize, liveness: &Liveness, me: &Identity, command: &str) -> Option<Owner> {
        let words = self.entry(entry);
        let before = words[AT_GENERATION].load(SeqCst);
        let generation = Owner::next_generation(before & !WRITING);
        // The liveness lock excludes other processes, except those that cannot hold one. The exchange excludes them, and invalidates
        // owner words of the earlier generation.
        let writing = if liveness.held_by() == HeldBy::Nothing { generation | WRITING } else { generation };
        if words[AT_GENERATION].compare_exchange(before, writing, SeqCst, SeqCst).is_err() {
            return None;
        }
        words[AT_PID].store((u64::from(me.boot) << 32) | u64::from(me.pid), Relaxed);
        words[AT_START].store(me.start_time, Relaxed);
        words[AT_NAMESPACE].store(me.namespace, Relaxed);
        words[AT_PIDFD_INODE].store(me.pidfd_inode, Relaxed);
        words[AT_HELD_BY].store(liveness.held_by() as u64, Relaxed);
        record::write_text(&words[AT_COMMAND..], command);
        words[AT_GENERATION].store(generation, SeqCst);
        Some(Owner::from_process(entry, generation))
    }

    /// Returns true if the entry can be allocated: its process has closed the store or is dead.
    ///
    /// `has_lock` is true if the caller holds the liveness lock of the entry.
    fn is_vacant(self, entry: usize, has_lock: bool) -> bool {
        if !has_lock && self.file.is_locked(entry) != Some(false) {
            return false;
        }
        let words = self.entry(entry);
        let generation = words[AT_GENERATION].load(SeqCst);
        if generation & WRITING != 0 {
            return false;
        }
        let never_used = generation == 0 || words[AT_PID].load(SeqCst) == 0;
        never_used
            || self.has_closed_store(entry)
            || matches!(self.life_state_without_lock(entry, Some(false)), LifeState::Dead(_))
    }

    /// Returns the state of the owner's process.
    pub(crate) fn life_state(self, owner: Owner) -> LifeState {
        let Some(entry) = self.entry_of(owner) else { return LifeState::Dead(Cause::Unknown) };
        // In a damaged store the owner may have an entry without blocks. No process holds the lock of such an entry.
        let locked = self.file.is_locked(entry);
        let life = match locked {
            Some(true) => LifeState::Alive,
            _ if self.is_backed(entry) && self.has_closed_store(entry) => LifeState::Dead(Cause::Unknown),
            _ => self.life_state_without_lock(entry, locked),
        };
        // If the entry was reused during these reads, the owner's process is dead.
        match self.entry_of(owner) {
            Some(_) => life,
            None => LifeState::Dead(Cause::Unknown),
        }
    }

    /// Returns the state of the owner's process, where an exiting process counts as dead.
    ///
    /// The kernel may release the liveness lock of an exiting process milliseconds after the process has stopped to run, for example when
    /// it has inotify watches.
    pub(crate) fn life_state_or_exiting(self, owner: Owner) -> LifeState {
        match self.life_state(owner) {
            LifeState::Alive => match self.entry_of(owner) {
                Some(entry) if self.is_backed(entry) && self.identity(entry).is_exiting() => LifeState::Dead(Cause::ProcessEnded),
                Some(_) => LifeState::Alive,
                None => LifeState::Dead(Cause::Unknown),
            },
            life => life,
        }
    }

    /// Returns the state of the owner's thread, or of its process if the owner has no thread.
    pub(crate) fn thread_life_state(self, owner: Owner) -> LifeState {
        let life = self.life_state(owner);
        if life != LifeState::Alive || owner.tid() == 0 {
            return life;
        }
        let Some(entry) = self.entry_of(owner).filter(|entry| self.is_backed(*entry)) else {
            return LifeState::Dead(Cause::Unknown);
        };
        match (self.identity(entry).thread_life_state(owner.tid()), self.entry_of(owner)) {
            (_, None) => LifeState::Dead(Cause::Unknown),
            (LifeState::Dead(cause), Some(_)) => LifeState::Dead(cause),
            _ => LifeState::Alive,
        }
    }

    /// Returns true if the owner's process certainly continues after the end of its thread.
    pub(crate) fn outlives_thread(self, owner: Owner) -> bool {
        let entry = self.entry_of(owner).filter(|entry| self.is_backed(*entry));
        entry.is_some_and(|entry| self.identity(entry).outlives_thread(self.words.as_ptr().addr()))
    }

    /// Returns the state of the process of an entry from evidence other than its liveness lock.
    ///
    /// `locked` is `Some(false)` if the lock is not held, and `None` if that is unknown.
    fn life_state_without_lock(self, entry: usize, locked: Option<bool>) -> LifeState {
        if !self.is_backed(entry) {
            return if locked == Some(false) { LifeState::Dead(Cause::Unknown) } else { LifeState::Unknown };
        }
        let identity = self.identity(entry);
        match identity.life_state() {
            // The process exists. It may execute another program, which may use the same store.
            LifeState::Alive => match identity.has_executed(self.words.as_ptr().addr()) {
                LifeState::Alive if locked == Some(false) && self.has_reregistered(entry) => LifeState::Dead(Cause::Executed),
                life => life,
            },
            // A lock that a mapping holds ends only with the process and with `exec`.
            LifeState::Unknown if locked == Some(false) && self.held_by(entry) == HeldBy::Mapping => {
                LifeState::Dead(Cause::ProcessEnded)
            }
            life => life,
        }
    }

    /// Returns true if the process of an entry, whose lock is not held, holds the lock of another entry.
    ///
    /// A lock that a mapping holds ends with the program, so the other entry belongs to the program that the process executes now. A lock
    /// that a descriptor holds proves nothing: the program may have closed the descriptor, and the other entry may belong to a second
    /// copy of this library.
    fn has_reregistered(self, entry: usize) -> bool {
        let process = |entry: usize| {
            let words = self.entry(entry);
            [AT_PID, AT_START, AT_NAMESPACE, AT_PIDFD_INODE].map(|at| words[at].load(SeqCst))
        };
        let this = process(entry);
        self.held_by(entry) == HeldBy::Mapping
            && (0..ENTRIES)
                .filter(|other| *other != entry && self.is_backed(*other))
                .any(|other| process(other) == this && self.file.is_locked(other) == Some(true))
    }

    /// Returns the entry of the owner, or `None` if another process has reused it.
    fn entry_of(self, owner: Owner) -> Option<usize> {
        let entry = owner.entry();
        (!self.is_backed(entry) || self.entry(entry)[AT_GENERATION].load(SeqCst) == owner.generation()).then_some(entry)
    }

    fn identity(self, entry: usize) -> Identity {
        let words = self.entry(entry);
        let word = |at: usize| words[at].load(Relaxed);
        Identity {
            pid: word(AT_PID) as u32,
            boot: (word(AT_PID) >> 32) as u32,
            start_time: word(AT_START),
            namespace: word(AT_NAMESPACE),
            pidfd_inode: word(AT_PIDFD_INODE),
            command: String::new(),
            program: String::new(),
        }
    }

    fn held_by(self, entry: usize) -> HeldBy {
        HeldBy::from_word(self.entry(entry)[AT_HELD_BY].load(Relaxed))
    }

    /// Describes an owner with the identity in its entry.
    ///
    /// If another process has reused the entry, only the thread id is known.
    pub(crate) fn describe(self, owner: Owner) -> Holder {
        let unknown = Holder::of_process(0).with_thread(owner.tid());
        if !self.is_backed(owner.entry()) {
            return unknown;
        }
        let words = self.entry(owner.entry());
        let number = |at: usize| Some(words[at].load(Relaxed)).filter(|number| *number != 0);
        let mut holder = Holder::of_process(words[AT_PID].load(Relaxed) as u32)
            .with_thread(owner.tid())
            .with_command(record::read_text(&words[AT_COMMAND..]));
        holder.start_time = number(AT_START);
        holder.pid_namespace = number(AT_NAMESPACE);
        std::sync::atomic::fence(Acquire);
        if words[AT_GENERATION].load(Relaxed) == owner.generation() { holder } else { unknown }
    }

    /// Returns the processes that have the store open, as owners without a thread.
    pub(crate) fn registered(self) -> impl Iterator<Item = Owner> {
        let entries = (0..ENTRIES).filter(move |entry| self.is_backed(*entry));
        entries.filter_map(move |entry| {
            let words = self.entry(entry);
            let generation = words[AT_GENERATION].load(SeqCst);
            let used = generation != 0 && generation & WRITING == 0 && words[AT_PID].load(SeqCst) != 0;
            let owner = Owner::from_process(entry, generation);
            (used && !self.has_closed_store(entry) && !matches!(self.life_state(owner), LifeState::Dead(_))).then_some(owner)
        })
    }

    /// Returns true unless it is proven that no process with this id, start time and PID namespace has the store open.
    pub(crate) fn may_have(self, pid: u32, start_time: u64, namespace: u64) -> bool {
        let pages = (0..ENTRIES).step_by(ENTRIES_PER_PAGE).filter(|first| self.is_backed(*first));
        pages.flat_map(|first| first..first + ENTRIES_PER_PAGE).any(|entry| {
            let words = self.entry(entry);
            let is_same = words[AT_PID].load(Relaxed) as u32 == pid
                && [AT_START, AT_NAMESPACE].map(|at| words[at].load(Relaxed)) == [start_time, namespace];
            is_same && {
                let owner = Owner::from_process(entry, words[AT_GENERATION].load(SeqCst));
                !matches!(self.life_state(owner), LifeState::Dead(_))
            }
        })
    }

    /// Returns true if a process may be alive, and ignores liveness locks, which may be invisible here.
    pub(crate) fn may_be_used_elsewhere(self) -> bool {
        (0..ENTRIES).filter(|entry| self.is_backed(*entry)).any(|entry| {
            let words = self.entry(entry);
            let used = words[AT_GENERATION].load(SeqCst) != 0 && words[AT_PID].load(SeqCst) != 0;
            used && !self.has_closed_store(entry) && !matches!(self.identity(entry).life_state(), LifeState::Dead(_))
        })
    }

    /// Returns the current generation of an entry, or `None` if the entry has no blocks.
    pub(crate) fn generation(self, entry: usize) -> Option<u64> {
        self.is_backed(entry).then(|| self.entry(entry)[AT_GENERATION].load(SeqCst))
    }

    /// Reserves blocks for the page of an entry.
    fn back(self, entry: usize) -> Result<()> {
        let page = entry / ENTRIES_PER_PAGE;
        if self.is_backed(entry) {
            return Ok(());
        }
        blocks::back(self.file.get()?, layout::entry_page(entry), PAGE).map_err(|error| error.at(self.file.path()))?;
        self.backed[page / 64].fetch_or(1 << (page % 64), Release);
        Ok(())
    }

    /// Returns true if the page of the entry is backed by blocks, so that it can be accessed.
    fn is_backed(self, entry: usize) -> bool {
        let page = entry / ENTRIES_PER_PAGE;
        entry < ENTRIES && self.backed[page / 64].load(Acquire) & (1 << (page % 64)) != 0
    }

    fn entry(&self, entry: usize) -> &[AtomicU64] {
        &self.words[entry * ENTRY_WORDS..][..ENTRY_WORDS]
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::file_id::FileId;
    use crate::layout::BASE_BYTES;

    /// A process table in a file without a store.
    struct Fixture {
        path: tempfile::TempPath,
        file: TableFile,
        words: Vec<AtomicU64>,
        backed: [AtomicU64; ENTRIES / ENTRIES_PER_PAGE / 64],
        next: AtomicU64,
    }

    /// The identity of another process in the PID namespace of the caller. No process has its id.
    fn another() -> Identity {
        Identity { pid: 0x3f_fff0, start_time: 1, pidfd_inode: 0, command: "another".to_owned(), ..this_process().clone() }
    }

    /// The identity of a process in another PID namespace. Only its liveness lock shows its state.
    fn elsewhere() -> Identity {
        Identity { namespace: 1, ..another() }
    }

    fn this_process() -> &'static Identity {
        Identity::of_this_process().unwrap()
    }

    impl Fixture {
        fn new() -> Self {
            let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
            file.as_file().set_len(BASE_BYTES).unwrap();
            let words = std::iter::repeat_with(AtomicU64::default).take(ENTRIES * ENTRY_WORDS).collect();
            let table_file = TableFile::new(file.path().to_owned(), file.reopen().unwrap(), FileId::of(&file).unwrap()).unwrap();
            let backed = [const { AtomicU64::new(0) }; 8];
            Self { path: file.into_temp_path(), file: table_file, words, backed, next: AtomicU64::new(0) }
        }

        fn table(&self) -> ProcessTable<'_> {
            ProcessTable { words: &self.words, backed: &self.backed, file: &self.file, next: &self.next }
        }

        fn register(&self, identity: &Identity) -> (Owner, Liveness) {
            self.table().register(identity, &identity.command).unwrap()
        }

        fn is_dead(&self, owner: Owner) -> bool {
            matches!(self.table().life_state(owner), LifeState::Dead(_))
        }
    }

    #[test]
    fn all_preferred_entries_are_tried_before_any_other() {
        let fixture = Fixture::new();
        assert_eq!(fixture.register(this_process()).0.entry(), 0, "the creation of the store reserves the page of entry 0");
        let mut preferred: Vec<_> = fixture.table().candidates().take(PREFERRED).collect();
        preferred.sort_unstable();
        assert!(preferred.into_iter().eq(0..PREFERRED));
        assert!(fixture.table().candidates().skip(PREFERRED).eq(PREFERRED..ENTRIES));
    }

    #[test]
    fn a_dead_process_is_named_until_all_preferred_entries_were_reused() {
        let fixture = Fixture::new();
        // Live processes, whose entries are skipped.
        let _alive: Vec<_> = (0..10).map(|_| fixture.register(&another())).collect();
        let (dead, liveness) = fixture.register(&another());
        assert!(!fixture.is_dead(dead));
        drop(liveness);
        for newcomer in 11..PREFERRED {
            let (owner, _liveness) = fixture.register(&another());
            assert!(fixture.is_dead(dead) && !fixture.is_dead(owner));
            assert_eq!(fixture.table().describe(dead).pid, another().pid, "the entry was reused after {newcomer} registrations");
        }
    }

    #[test]
    fn a_process_whose_entry_was_reused_is_dead_and_has_no_name() {
        let fixture = Fixture::new();
        let (dead, liveness) = fixture.register(&another());
        drop(liveness);
        let again = std::iter::repeat_with(|| fixture.register(&another())).find(|(owner, _)| owner.entry() == dead.entry());
        let (again, _liveness) = again.unwrap();
        assert_ne!(again.generation(), dead.generation());
        assert!(fixture.is_dead(dead) && !fixture.is_dead(again));
        assert_eq!(fixture.table().describe(dead).pid, 0);
    }

    #[test]
    fn a_process_that_lost_its_liveness_lock_is_alive() {
        let fixture = Fixture::new();
        let (owner, liveness) = fixture.register(this_process());
        drop(liveness);
        // The words of this test are not a mapping of the file, so the comparison of mappings shows nothing.
        assert_eq!(fixture.table().life_state(owner), LifeState::Alive);
        for _ in 0..2 * PREFERRED {
            assert_ne!(fixture.register(&another()).0.entry(), owner.entry(), "another process got its entry");
        }
        assert!(!fixture.is_dead(owner));
    }

    #[test]
    fn a_process_that_registers_again_after_the_end_of_its_lock_has_executed_another_program() {
        let fixture = Fixture::new();
        let [(earlier, ended), (beside, _liveness)] = [fixture.register(this_process()), fixture.register(this_process())];
        // Both locks are held, as by two copies of this library in one program.
        assert_eq!([earlier, beside].map(|owner| fixture.table().life_state(owner)), [LifeState::Alive; 2]);
        drop(ended);
        assert_eq!(fixture.table().life_state(earlier), LifeState::Dead(Cause::Executed));
        assert_eq!(fixture.table().life_state(beside), LifeState::Alive);
        // The program may have closed the descriptor of a lock, so the end of the lock proves nothing.
        fixture.words[earlier.entry() * ENTRY_WORDS + AT_HELD_BY].store(HeldBy::Descriptor as u64, Relaxed);
        assert_eq!(fixture.table().life_state(earlier), LifeState::Alive);
    }

    #[test]
    fn without_other_evidence_the_liveness_lock_decides() {
        let fixture = Fixture::new();
        let (owner, liveness) = fixture.register(&elsewhere());
        assert_eq!(liveness.held_by(), HeldBy::Mapping);
        assert_eq!(fixture.table().life_state(owner), LifeState::Alive);
        drop(liveness);
        assert!(fixture.is_dead(owner));
        // The program may have closed the descriptor of a lock, so the end of the lock proves nothing.
        fixture.words[owner.entry() * ENTRY_WORDS + AT_HELD_BY].store(HeldBy::Descriptor as u64, Relaxed);
        assert_eq!(fixture.table().life_state(owner), LifeState::Unknown);
    }

    #[test]
    fn an_entry_is_reused_after_its_process_closed_the_store() {
        let fixture = Fixture::new();
        for _ in 0..3 * PREFERRED {
            let (owner, liveness) = fixture.register(this_process());
            assert!(owner.entry() < PREFERRED, "entries of closed stores are not reused");
            fixture.table().unregister(owner);
            drop(liveness);
            assert!(fixture.is_dead(owner));
            assert_eq!(fixture.table().describe(owner).pid, this_process().pid, "the entry no longer names its process");
        }
        assert_eq!(fixture.table().registered().count(), 0);
    }

    #[test]
    fn entries_with_blocks_are_used_when_no_blocks_are_left() {
        let fixture = Fixture::new();
        let (dead, liveness) = fixture.register(&another());
        drop(liveness);
        fixture.next.store(ENTRIES_PER_PAGE as u64, Relaxed);
        // `fallocate` fails on a file that is open for reading.
        let limited = TableFile::new(fixture.path.to_path_buf(), File::open(&fixture.path).unwrap(), fixture.file.id()).unwrap();
        let table = ProcessTable { file: &limited, ..fixture.table() };
        assert_eq!(table.register(&another(), "").unwrap().0.entry(), dead.entry());
    }

    #[test]
    fn a_failed_query_is_no_proof_of_death() {
        let fixture = Fixture::new();
        let (owner, liveness) = fixture.register(&elsewhere());
        drop(liveness);
        assert!(fixture.is_dead(owner));
        // As a mapping would, it keeps the number of the file from being given to that of another test.
        let _open = File::open(&fixture.path).unwrap();
        // The file is removed and the program has closed the descriptor, so the lock cannot be queried.
        std::fs::remove_file(&fixture.path).unwrap();
        let number = fixture.file.get().map(|fd| std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&fd))).unwrap();
        nix::unistd::close(number).unwrap();
        assert_eq!(fixture.table().life_state(owner), LifeState::Unknown);
    }

    #[test]
    fn an_owner_with_an_entry_without_blocks_is_dead() {
        let fixture = Fixture::new();
        let (owner, _liveness) = fixture.register(this_process());
        for entry in [(owner.entry() + 64) % PREFERRED, ENTRIES - 1] {
            let none = Owner::from_process(entry, 1).with_thread(1);
            assert!(fixture.is_dead(none), "{none:?}");
            assert_eq!(fixture.table().describe(none).pid, 0);
        }
    }
}
