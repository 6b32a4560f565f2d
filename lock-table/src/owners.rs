//! Owners: the identity of the calling process in a table, and the state of other processes.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::identity::{Identity, LifeState};
use crate::layout::ENTRIES_RANGE;
use crate::lock_line::LockLine;
use crate::open_tables::{self, OpenTables};
use crate::owner::Owner;
use crate::process::ProcessTable;
use crate::registration::Registration;
use crate::segment::Segment;
use crate::table::Table;
use crate::thread;
use lock_core::{Cause, HeldBy, Holder, Result};
use once_cell::race::OnceBox;

/// Pauses between attempts to determine the cause of a death. The kernel needs a moment to show it.
const PAUSES: [Duration; 4] =
    [Duration::from_micros(50), Duration::from_micros(150), Duration::from_micros(400), Duration::from_micros(1000)];

impl Table {
    /// Returns the owner word of the calling thread.
    ///
    /// # Errors
    /// In a forked child, which must register itself first: [`ErrorKind::TooManyProcesses`](lock_core::ErrorKind::TooManyProcesses),
    /// [`ErrorKind::Limit`](lock_core::ErrorKind::Limit), [`ErrorKind::System`](lock_core::ErrorKind::System).
    #[inline]
    pub fn current_owner(&self) -> Result<Owner> {
        self.owner_word(thread::id())
    }

    /// Returns the owner word of the thread of this process with the id `tid`.
    #[inline]
    pub(crate) fn owner_word(&self, tid: u32) -> Result<Owner> {
        match self.process.words()[0].load(Relaxed) {
            0 => Ok(self.register(&open_tables::lock()?)?.with_thread(tid)),
            process => Ok(Owner::from_word(process).with_thread(tid)),
        }
    }

    /// Returns true if the calling process is in the PID namespace of the store's creator.
    ///
    /// The thread ids of all processes at home are different.
    ///
    /// # Errors
    /// As [`Table::current_owner`].
    pub fn is_at_home(&self) -> Result<bool> {
        self.current_owner()?;
        Ok(self.process.words()[1].load(Relaxed) != 0)
    }

    /// Registers this process in the table, unless it is registered.
    #[cold]
    pub(crate) fn register(&self, open_tables: &OpenTables) -> Result<Owner> {
        let registration = self.registration.get_or_try_init(|| {
            let retained = open_tables.take_retained(self.file.id(), &self.header);
            retained.map_or_else(|| self.take_entry().map(Arc::new), Ok)
        })?;
        let [process, at_home] = self.process.words();
        if Identity::of_this_process()?.is_in_namespace(self.header.home) {
            at_home.store(registration.owner.word(), Relaxed);
        }
        process.store(registration.owner.word(), Relaxed);
        Ok(registration.owner)
    }

    fn take_entry(&self) -> Result<Registration> {
        let (owner, liveness) = self.processes_table().register(Identity::of_this_process()?, self.command())?;
        Ok(Registration { owner, _liveness: liveness })
    }

    /// Returns the command line of this process, for display.
    ///
    /// In a file that other users may open it is only the name of the program, because arguments may be secret.
    pub(crate) fn command(&self) -> &'static str {
        let text = |identity: &'static Identity| if self.is_shared { &identity.program } else { &identity.command };
        Identity::of_this_process().map_or("", |identity| text(identity).as_str())
    }

    /// Returns the number of processes that have the store open, including this one.
    pub fn processes(&self) -> usize {
        self.processes_table().registered().count()
    }

    /// Returns true if a process may use the store at another location, which hides its liveness lock.
    pub(crate) fn may_be_used_elsewhere(&self) -> bool {
        self.processes_table().may_be_used_elsewhere()
    }

    /// Returns true if the owner's process is proven to be dead or to have executed another program.
    ///
    /// Missing information is not a proof.
    pub fn is_dead(&self, owner: Owner) -> bool {
        !owner.is_none() && matches!(self.processes_table().life_state(owner), LifeState::Dead(_))
    }

    /// Returns true if the owner's process [is dead](Table::is_dead) or exiting.
    ///
    /// An exiting process no longer executes the program, but may still hold its liveness lock. This reads more files of `/proc`
    /// and takes longer.
    pub fn is_dead_or_dying(&self, owner: Owner) -> bool {
        !owner.is_none() && matches!(self.processes_table().life_state_or_exiting(owner), LifeState::Dead(_))
    }

    /// Returns true if the owner's thread is proven to have ended.
    ///
    /// Either its process is dead, or the process is in the PID namespace of the caller and no longer has the thread. An owner without
    /// a thread ends with its process.
    pub fn is_gone(&self, owner: Owner) -> bool {
        !owner.is_none() && matches!(self.processes_table().thread_life_state(owner), LifeState::Dead(_))
    }

    /// Returns true if the process with this [identity number](Owner::identity_number) is proven to be dead.
    pub fn is_identity_gone(&self, number: u32) -> bool {
        let processes = self.processes_table();
        match Owner::from_identity_number(number, |entry| processes.generation(entry)) {
            Some(process) => self.is_dead(process),
            // Another process has reused the entry, after proof of the death.
            None => true,
        }
    }

    /// Returns the cause of the owner's death, and waits up to 1.6 ms until the kernel shows it.
    pub(crate) fn cause(&self, owner: Owner) -> Cause {
        let mut pauses = PAUSES.iter();
        loop {
            let seen = self.visible_cause(owner);
            // While a secondary thread executes another program, the process has no main thread for a moment and seems to have exited.
            match (seen, pauses.next()) {
                (Some(cause), _) if seen == self.visible_cause(owner) => return cause,
                (_, Some(pause)) => std::thread::sleep(*pause),
                (_, None) => return Cause::Unknown,
            }
        }
    }

    /// Returns the cause of the owner's death that the kernel shows now.
    fn visible_cause(&self, owner: Owner) -> Option<Cause> {
        let processes = self.processes_table();
        match processes.thread_life_state(owner) {
            // When a process exits or executes another program, its threads end one after the other.
            LifeState::Dead(Cause::ThreadEnded) if processes.outlives_thread(owner) => return Some(Cause::ThreadEnded),
            LifeState::Dead(Cause::ThreadEnded) | LifeState::Alive | LifeState::Unknown => {}
            LifeState::Dead(cause) => return Some(cause),
        }
        match processes.life_state_or_exiting(owner) {
            LifeState::Dead(cause) => Some(cause),
            _ => None,
        }
    }

    /// Claims a word of a line for the calling thread, if the word is free or its claimant is dead.
    ///
    /// Returns false otherwise.
    ///
    /// To release the claim, the claimant stores 0. The claim of a dead thread need not be released.
    pub fn claim(&self, word: &AtomicU64, me: Owner) -> bool {
        me.claim(word, |other| self.is_gone(other))
    }

    /// Returns the thread of an owner word, whether it is alive or dead.
    pub fn describe(&self, owner: Owner) -> Holder {
        self.processes_table().describe(owner)
    }

    /// Returns the thread of an owner word for the error of a wait that timed out.
    pub fn held_by(&self, owner: Owner) -> HeldBy {
        match owner.is_none() {
            true => HeldBy::unknown("it has not recorded itself, as a program that does not use this library"),
            false if self.is_dead(owner) => HeldBy::Dead(self.describe(owner)),
            false => HeldBy::Holder(self.describe(owner)),
        }
    }

    fn processes_table(&self) -> ProcessTable<'_> {
        let state = self.state();
        ProcessTable { words: &self.base[ENTRIES_RANGE], backed: state.entry_pages, next: state.next_entry, file: &self.file }
    }
}

impl Drop for Table {
    /// Frees the process entry and unmaps the table, unless a guard was leaked.
    ///
    /// The lock of a leaked guard is in the robust list of its thread, which libc and the kernel access. In that case the table stays
    /// mapped and the process stays registered.
    fn drop(&mut self) {
        let Some(registration) = self.registration.get() else { return };
        let owner = registration.owner;
        let mut owners = self.segments.iter().filter_map(OnceBox::get).flat_map(Segment::touched_lines).map(LockLine::owner);
        let holding = owners.any(|other| !other.is_none() && other.process() == owner);
        drop(owners);
        if !holding {
            self.processes_table().unregister(owner);
            return;
        }
        self.base.leak();
        self.segments.iter().filter_map(OnceBox::get).for_each(Segment::leak);
        open_tables::retain(self.file.id(), self.header, Arc::clone(registration));
    }
}
