//! The processes that have a store open: an entry for each, and proof of their deaths.
//!
//! A process that opens a store takes an entry, writes there what identifies it, and holds its [liveness lock](super::liveness) for as
//! long as it lives and executes the same program. Death is declared on positive proof only: the lock is gone and nothing says that the
//! process lives ([`Life`]).

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use crate::identity::{Identity, Life};
use crate::layout::{ENTRIES, ENTRIES_PER_PAGE, ENTRY_WORDS, PAGE};
use crate::liveness::{Keeping, Liveness};
use crate::owner::Owner;
use crate::table_file::TableFile;
use crate::{blocks, layout, record};
use lock_core::{Cause, Error, ErrorKind, Holder, Result};

/// Entries taken before any beyond them: enough that the dead are named for a while, few enough to stay small.
const USUAL: usize = 1024;

const AT_GENERATION: usize = 0;
const AT_PID: usize = 1;
const AT_START: usize = 2;
const AT_NAMESPACE: usize = 3;
const AT_PIDFD_INODE: usize = 4;
const AT_KEEPING: usize = 5;
const AT_COMMAND: usize = 6;

/// In the place of what keeps the lock: the process has closed the store.
const GIVEN_BACK: u64 = 4;

/// In the generation of an entry: a process without a liveness lock is about to write to it.
const WRITING: u64 = 1 << 32;

/// The words of all entries, and the file that their locks are on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessTable<'a> {
    pub(crate) words: &'a [AtomicU64],
    pub(crate) backed: &'a [AtomicU64],
    pub(crate) file: &'a TableFile,
    /// Counts the entries that were tried: the next process begins there.
    pub(crate) next: &'a AtomicU64,
}

impl ProcessTable<'_> {
    /// Takes an entry for the calling process, with this text for its command.
    pub(crate) fn register(self, me: &Identity, command: &str) -> Result<(Owner, Liveness)> {
        let mut no_room = None;
        let mut liveness = Liveness::open(self.file, me.namespace != 0)?;
        for entry in self.choices() {
            // Where no room was left for one, only those count that have theirs.
            if (no_room.is_some() && !self.exists(entry)) || !liveness.try_lock(entry)? {
                continue;
            }
            if let Err(error) = self.back(entry) {
                no_room = Some(error);
            } else if self.is_vacant(entry, liveness.keeping() != Keeping::Nothing)
                && let Some(owner) = self.settle(entry, &liveness, me, command)
            {
                liveness.close();
                return Ok((owner, liveness));
            }
            liveness.unlock(entry)?;
        }
        let foreign = || [0, ENTRIES - 1].into_iter().find_map(|entry| self.foreign_lock(&liveness, entry));
        let too_many = || ErrorKind::TooManyProcesses { limit: ENTRIES as u32 }.into();
        Err(no_room.or_else(foreign).unwrap_or_else(too_many))
    }

    /// The refusal for a file lock of another program that covers the liveness lock of an entry.
    fn foreign_lock(self, liveness: &Liveness, entry: usize) -> Option<Error> {
        let foreign = liveness.foreign_lock(entry)?;
        let reason = format!("{foreign} has a file lock on {}, where this program needs one; end it", self.file.path().display());
        Some(ErrorKind::NotOurs { reason }.into())
    }

    /// Gives the entry of a process that closes the store to the next one. Until then the entry says which process it was, which a
    /// report of a panic may name. The caller drops the liveness lock afterwards.
    pub(crate) fn unregister(self, owner: Owner) {
        let words = self.entry(owner.entry());
        if words[AT_GENERATION].load(SeqCst) == owner.generation() {
            words[AT_KEEPING].store(GIVEN_BACK, SeqCst);
        }
    }

    fn is_given_back(self, entry: usize) -> bool {
        self.entry(entry)[AT_KEEPING].load(SeqCst) == GIVEN_BACK
    }

    /// The entries in the order in which they are tried: all processes go through the usual ones together. So the dead are named until
    /// their entries are taken again, which is after all others were tried.
    fn choices(self) -> impl Iterator<Item = usize> {
        let usual = (0..USUAL).map(move |_| self.next.fetch_add(1, Relaxed) as usize % USUAL);
        usual.chain(USUAL..ENTRIES)
    }

    /// Makes an entry the caller's, whose liveness lock it has. `None` when another process was faster.
    fn settle(self, entry: usize, liveness: &Liveness, me: &Identity, command: &str) -> Option<Owner> {
        let words = self.entry(entry);
        let before = words[AT_GENERATION].load(SeqCst);
        let generation = Owner::next_generation(before & !WRITING);
        // The lock keeps others from the entry, but not processes that cannot have one. From the exchange on, what was said of the
        // earlier generation is void.
        let writing = if liveness.keeping() == Keeping::Nothing { generation | WRITING } else { generation };
        if words[AT_GENERATION].compare_exchange(before, writing, SeqCst, SeqCst).is_err() {
            return None;
        }
        words[AT_PID].store((u64::from(me.boot) << 32) | u64::from(me.pid), Relaxed);
        words[AT_START].store(me.start_time, Relaxed);
        words[AT_NAMESPACE].store(me.namespace, Relaxed);
        words[AT_PIDFD_INODE].store(me.pidfd_inode, Relaxed);
        words[AT_KEEPING].store(liveness.keeping() as u64, Relaxed);
        record::write_text(&words[AT_COMMAND..], command);
        words[AT_GENERATION].store(generation, SeqCst);
        Some(Owner::of_process(entry, generation))
    }

    /// Whether the entry can be taken: it was given back, or its process is dead. `has_lock` says that its liveness lock is the caller's.
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
        never_used || self.is_given_back(entry) || matches!(self.life_without_lock(entry, Some(false)), Life::Ended(_))
    }

    /// What is known of the owner's process.
    pub(crate) fn life(self, owner: Owner) -> Life {
        let Some(entry) = self.entry_of(owner) else { return Life::Ended(Cause::Unknown) };
        // In a damaged store the owner may be one of an entry that is not there: nobody has its lock either.
        let locked = self.file.is_locked(entry);
        let life = match locked {
            Some(true) => Life::Lives,
            _ if self.exists(entry) && self.is_given_back(entry) => Life::Ended(Cause::Unknown),
            _ => self.life_without_lock(entry, locked),
        };
        // What was read may have been another process's, and then this one is dead.
        match self.entry_of(owner) {
            Some(_) => life,
            None => Life::Ended(Cause::Unknown),
        }
    }

    /// The same, also of a process whose liveness lock the kernel has not come to yet: the file systems' clean-up of a dying process
    /// takes milliseconds when it has watches of inotify.
    pub(crate) fn life_or_dying(self, owner: Owner) -> Life {
        match self.life(owner) {
            Life::Lives => match self.entry_of(owner) {
                Some(entry) if self.exists(entry) && self.identity(entry).is_dying() => Life::Ended(Cause::ProcessEnded),
                Some(_) => Life::Lives,
                None => Life::Ended(Cause::Unknown),
            },
            life => life,
        }
    }

    /// What is known of the owner itself, a thread.
    pub(crate) fn life_of_thread(self, owner: Owner) -> Life {
        let life = self.life(owner);
        if life != Life::Lives {
            return life;
        }
        let Some(entry) = self.entry_of(owner).filter(|entry| self.exists(*entry)) else { return Life::Ended(Cause::Unknown) };
        match (self.identity(entry).life_of_thread(owner.tid()), self.entry_of(owner)) {
            (_, None) => Life::Ended(Cause::Unknown),
            (Life::Ended(cause), Some(_)) => Life::Ended(cause),
            _ => Life::Lives,
        }
    }

    /// Whether it is certain that the owner's process lives on after the end of its thread.
    pub(crate) fn lives_on(self, owner: Owner) -> bool {
        let entry = self.entry_of(owner).filter(|entry| self.exists(*entry));
        entry.is_some_and(|entry| self.identity(entry).lives_on(self.words.as_ptr().addr()))
    }

    /// What says that the process of an entry lives, beside its lock, which it does not have (or nobody can tell).
    fn life_without_lock(self, entry: usize, locked: Option<bool>) -> Life {
        if !self.exists(entry) {
            return if locked == Some(false) { Life::Ended(Cause::Unknown) } else { Life::Unknown };
        }
        let identity = self.identity(entry);
        match identity.life() {
            // It has the same process id, and may be another program by now, which may use the store in its turn.
            Life::Lives => match identity.has_executed(self.words.as_ptr().addr()) {
                Life::Lives if locked == Some(false) && self.is_of_earlier_program(entry) => Life::Ended(Cause::Executed),
                life => life,
            },
            // The lock ends with the process and with `exec`, and with nothing else.
            Life::Unknown if locked == Some(false) && self.keeping(entry) == Keeping::Mapping => Life::Ended(Cause::ProcessEnded),
            life => life,
        }
    }

    /// Whether the process of an entry, whose lock is gone, lives and has registered once more, with a lock.
    ///
    /// A lock that a mapping keeps ends with the program, so that the later entry is that of the next program that the process
    /// executes. A lock that a descriptor keeps may have been closed, and the later entry may be that of a second copy of this library.
    fn is_of_earlier_program(self, entry: usize) -> bool {
        let process = |entry: usize| {
            let words = self.entry(entry);
            [AT_PID, AT_START, AT_NAMESPACE, AT_PIDFD_INODE].map(|at| words[at].load(SeqCst))
        };
        let this = process(entry);
        self.keeping(entry) == Keeping::Mapping
            && (0..ENTRIES)
                .filter(|other| *other != entry && self.exists(*other))
                .any(|other| process(other) == this && self.file.is_locked(other) == Some(true))
    }

    /// The owner's entry, if it is still its process's.
    fn entry_of(self, owner: Owner) -> Option<usize> {
        let entry = owner.entry();
        (!self.exists(entry) || self.entry(entry)[AT_GENERATION].load(SeqCst) == owner.generation()).then_some(entry)
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

    fn keeping(self, entry: usize) -> Keeping {
        Keeping::from_word(self.entry(entry)[AT_KEEPING].load(Relaxed))
    }

    /// What the process wrote into its entry; where the entry was taken by another since, only the thread id is known.
    pub(crate) fn describe(self, owner: Owner) -> Holder {
        let unknown = Holder::of_process(0).with_thread(owner.tid());
        if !self.exists(owner.entry()) {
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

    /// The processes that have the store open, as owners without a thread.
    pub(crate) fn living(self) -> impl Iterator<Item = Owner> {
        let entries = (0..ENTRIES).filter(move |entry| self.exists(*entry));
        entries.filter_map(move |entry| {
            let words = self.entry(entry);
            let generation = words[AT_GENERATION].load(SeqCst);
            let used = generation != 0 && generation & WRITING == 0 && words[AT_PID].load(SeqCst) != 0;
            let owner = Owner::of_process(entry, generation);
            (used && !self.is_given_back(entry) && !matches!(self.life(owner), Life::Ended(_))).then_some(owner)
        })
    }

    /// Whether a process is not proved dead by anything but its lock, which may be invisible here.
    pub(crate) fn may_be_used_elsewhere(self) -> bool {
        (0..ENTRIES).filter(|entry| self.exists(*entry)).any(|entry| {
            let words = self.entry(entry);
            let used = words[AT_GENERATION].load(SeqCst) != 0 && words[AT_PID].load(SeqCst) != 0;
            used && !self.is_given_back(entry) && !matches!(self.identity(entry).life(), Life::Ended(_))
        })
    }

    /// The generation of an entry's latest process.
    pub(crate) fn generation(self, entry: usize) -> Option<u64> {
        self.exists(entry).then(|| self.entry(entry)[AT_GENERATION].load(SeqCst))
    }

    fn back(self, entry: usize) -> Result<()> {
        let page = entry / ENTRIES_PER_PAGE;
        if self.exists(entry) {
            return Ok(());
        }
        blocks::back(self.file.get()?, layout::entry_page(entry), PAGE).map_err(|error| error.at(self.file.path()))?;
        self.backed[page / 64].fetch_or(1 << (page % 64), Release);
        Ok(())
    }

    /// Whether the entry's page is backed by blocks, so that it can be touched.
    fn exists(self, entry: usize) -> bool {
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
    use crate::layout::BASE_BYTES;

    /// The process table of a store that has nothing else.
    struct Fixture {
        path: tempfile::TempPath,
        file: TableFile,
        words: Vec<AtomicU64>,
        backed: [AtomicU64; ENTRIES / ENTRIES_PER_PAGE / 64],
        next: AtomicU64,
    }

    /// Another process, as far as the table knows: a process id that no process has, in the namespace of the caller.
    fn another() -> Identity {
        Identity { pid: 0x3f_fff0, start_time: 1, pidfd_inode: 0, command: "another".to_owned(), ..me().clone() }
    }

    /// The same in another namespace, where nothing but its lock is known of it.
    fn elsewhere() -> Identity {
        Identity { namespace: 1, ..another() }
    }

    fn me() -> &'static Identity {
        Identity::of_this_process().unwrap()
    }

    impl Fixture {
        fn new() -> Self {
            let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
            file.as_file().set_len(BASE_BYTES).unwrap();
            let words = std::iter::repeat_with(AtomicU64::default).take(ENTRIES * ENTRY_WORDS).collect();
            let table_file = TableFile::new(file.path().to_owned(), file.reopen().unwrap()).unwrap();
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
            matches!(self.table().life(owner), Life::Ended(_))
        }
    }

    #[test]
    fn every_usual_entry_is_tried_before_any_other() {
        let fixture = Fixture::new();
        assert_eq!(fixture.register(me()).0.entry(), 0, "its page is backed at the creation of the store");
        let mut usual: Vec<_> = fixture.table().choices().take(USUAL).collect();
        usual.sort_unstable();
        assert!(usual.into_iter().eq(0..USUAL));
        assert!(fixture.table().choices().skip(USUAL).eq(USUAL..ENTRIES));
    }

    #[test]
    fn the_dead_are_named_until_all_usual_entries_were_taken() {
        let fixture = Fixture::new();
        // Some stay, so that their entries are passed over.
        let _staying: Vec<_> = (0..10).map(|_| fixture.register(&another())).collect();
        let (dead, liveness) = fixture.register(&another());
        assert!(!fixture.is_dead(dead));
        drop(liveness);
        for newcomer in 11..USUAL {
            let (owner, _liveness) = fixture.register(&another());
            assert!(fixture.is_dead(dead) && !fixture.is_dead(owner));
            assert_eq!(fixture.table().describe(dead).pid, another().pid, "the name is gone after {newcomer} newcomers");
        }
    }

    #[test]
    fn a_process_whose_entry_was_taken_again_is_dead_and_has_no_name() {
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
    fn a_process_that_lost_its_lock_lives() {
        let fixture = Fixture::new();
        let (owner, liveness) = fixture.register(me());
        drop(liveness);
        // The words of this test are no mapping of the file, which says nothing of the process.
        assert_eq!(fixture.table().life(owner), Life::Lives);
        for _ in 0..2 * USUAL {
            assert_ne!(fixture.register(&another()).0.entry(), owner.entry(), "its entry was given to another process");
        }
        assert!(!fixture.is_dead(owner));
    }

    #[test]
    fn a_process_that_registers_again_after_its_lock_ended_has_executed_another_program() {
        let fixture = Fixture::new();
        let [(earlier, ended), (beside, _liveness)] = [fixture.register(me()), fixture.register(me())];
        // Two copies of this library in one program.
        assert_eq!([earlier, beside].map(|owner| fixture.table().life(owner)), [Life::Lives; 2]);
        drop(ended);
        assert_eq!(fixture.table().life(earlier), Life::Ended(Cause::Executed));
        assert_eq!(fixture.table().life(beside), Life::Lives);
        // A lock that the program could have closed proves nothing.
        fixture.words[earlier.entry() * ENTRY_WORDS + AT_KEEPING].store(Keeping::Descriptor as u64, Relaxed);
        assert_eq!(fixture.table().life(earlier), Life::Lives);
    }

    #[test]
    fn where_nothing_is_known_of_a_process_its_lock_decides() {
        let fixture = Fixture::new();
        let (owner, liveness) = fixture.register(&elsewhere());
        assert_eq!(liveness.keeping(), Keeping::Mapping);
        assert_eq!(fixture.table().life(owner), Life::Lives);
        drop(liveness);
        assert!(fixture.is_dead(owner));
        // A lock that the program could have closed proves nothing.
        fixture.words[owner.entry() * ENTRY_WORDS + AT_KEEPING].store(Keeping::Descriptor as u64, Relaxed);
        assert_eq!(fixture.table().life(owner), Life::Unknown);
    }

    #[test]
    fn an_entry_that_was_given_back_is_taken_while_its_process_lives() {
        let fixture = Fixture::new();
        for _ in 0..3 * USUAL {
            let (owner, liveness) = fixture.register(me());
            assert!(owner.entry() < USUAL, "closed stores use entries up");
            fixture.table().unregister(owner);
            drop(liveness);
            assert!(fixture.is_dead(owner));
            assert_eq!(fixture.table().describe(owner).pid, me().pid, "its entry was not taken again");
        }
        assert_eq!(fixture.table().living().count(), 0);
    }

    #[test]
    fn where_there_is_no_room_for_more_entries_those_that_are_there_are_taken() {
        let fixture = Fixture::new();
        let (dead, liveness) = fixture.register(&another());
        drop(liveness);
        fixture.next.store(ENTRIES_PER_PAGE as u64, Relaxed);
        // What is open for reading cannot be given room.
        let limited = TableFile::new(fixture.path.to_path_buf(), File::open(&fixture.path).unwrap()).unwrap();
        let table = ProcessTable { file: &limited, ..fixture.table() };
        assert_eq!(table.register(&another(), "").unwrap().0.entry(), dead.entry());
    }

    #[test]
    fn what_cannot_be_found_out_is_no_proof_of_death() {
        let fixture = Fixture::new();
        let (owner, liveness) = fixture.register(&elsewhere());
        drop(liveness);
        assert!(fixture.is_dead(owner));
        // The file is another one by now, and the program has closed the descriptor.
        std::fs::remove_file(&fixture.path).unwrap();
        let number = fixture.file.get().map(|fd| std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&fd))).unwrap();
        nix::unistd::close(number).unwrap();
        assert_eq!(fixture.table().life(owner), Life::Unknown);
    }

    #[test]
    fn an_owner_of_an_entry_that_is_not_there_is_dead() {
        let fixture = Fixture::new();
        let (owner, _liveness) = fixture.register(me());
        for entry in [(owner.entry() + 64) % USUAL, ENTRIES - 1] {
            let none = Owner::of_process(entry, 1).with_thread(1);
            assert!(fixture.is_dead(none), "{none:?}");
            assert_eq!(fixture.table().describe(none).pid, 0);
        }
    }
}
