//! How the calling process is known in a table, and what is known of other processes.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::identity::{Identity, Life};
use crate::layout::HEADER_WORDS;
use crate::lock_line::Hot;
use crate::open_tables::{self, Opening};
use crate::owner::Owner;
use crate::process::ProcessTable;
use crate::registration::Registration;
use crate::segment::Segment;
use crate::table::Table;
use crate::thread;
use lock_core::{Cause, Holder, Result};
use once_cell::race::OnceBox;

/// How long to wait in all for what the system says of an owner whose death it has just reported.
const PAUSES: [Duration; 4] =
    [Duration::from_micros(50), Duration::from_micros(150), Duration::from_micros(400), Duration::from_micros(1000)];

impl Table {
    /// The calling thread's word in this store.
    ///
    /// # Errors
    /// In a forked child, which has to register itself: [`ErrorKind::TooManyProcesses`](lock_core::ErrorKind::TooManyProcesses),
    /// [`ErrorKind::Limit`](lock_core::ErrorKind::Limit).
    #[inline]
    pub fn me(&self) -> Result<Owner> {
        self.owner_word(thread::id())
    }

    /// The same for a thread of this process that knows its id.
    #[inline]
    pub(crate) fn owner_word(&self, tid: u32) -> Result<Owner> {
        match self.process.words()[0].load(Relaxed) {
            0 => Ok(self.register(&open_tables::opening()?)?.with_thread(tid)),
            process => Ok(Owner::from_word(process).with_thread(tid)),
        }
    }

    /// Whether the calling process is in the PID namespace of the store's creator, so that its thread ids differ from those of all other
    /// processes that are.
    ///
    /// # Errors
    /// Those of [`Table::me`].
    pub fn is_at_home(&self) -> Result<bool> {
        self.me()?;
        Ok(self.process.words()[1].load(Relaxed) != 0)
    }

    #[cold]
    pub(crate) fn register(&self, opening: &Opening) -> Result<Owner> {
        let registration = self.registration.get_or_try_init(|| {
            let left = opening.take_left(self.file.id(), &self.header);
            left.map_or_else(|| self.take_entry().map(Arc::new), Ok)
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

    /// The command line of this process, for people to read. In a file that other users may open it is the program's name: arguments
    /// may be secrets.
    pub(crate) fn command(&self) -> &'static str {
        let text = |identity: &'static Identity| if self.is_shared { &identity.program } else { &identity.command };
        Identity::of_this_process().map_or("", |identity| text(identity).as_str())
    }

    /// How many processes have the store open, this one included.
    pub fn processes(&self) -> usize {
        self.processes_table().living().count()
    }

    /// Whether a process other than the caller may use the store through another path, where its file locks cannot be seen.
    pub(crate) fn may_be_used_elsewhere(&self) -> bool {
        self.processes_table().may_be_used_elsewhere()
    }

    /// Whether the owner's process is proved to be dead, or to have executed another program. What cannot be found out is no proof.
    pub fn is_dead(&self, owner: Owner) -> bool {
        !owner.is_none() && matches!(self.processes_table().life(owner), Life::Ended(_))
    }

    /// The same, also of a process that the kernel is still about to remove, but whose program runs no more. This looks closer, and takes
    /// longer.
    pub fn is_dead_or_dying(&self, owner: Owner) -> bool {
        !owner.is_none() && matches!(self.processes_table().life_or_dying(owner), Life::Ended(_))
    }

    /// Whether the owner itself, a thread, is proved to have ended: its process is dead, or it lives in the PID namespace of this
    /// process and has no such thread any more.
    pub fn is_gone(&self, owner: Owner) -> bool {
        !owner.is_none() && matches!(self.processes_table().life_of_thread(owner), Life::Ended(_))
    }

    /// Whether the process of an [identity number](Owner::identity_number) is proved to be dead.
    pub fn is_identity_gone(&self, number: u32) -> bool {
        let processes = self.processes_table();
        match Owner::of_identity_number(number, |entry| processes.generation(entry)) {
            Some(process) => self.is_dead(process),
            // Its entry was taken again, after proof of its death.
            None => true,
        }
    }

    /// How the owner ended. The system may take a moment to say so.
    pub(crate) fn cause(&self, owner: Owner) -> Cause {
        let mut pauses = PAUSES.iter();
        loop {
            let seen = self.visible_cause(owner);
            // While a secondary thread executes another program, the process has no main thread for an instant, and seems to have ended.
            match (seen, pauses.next()) {
                (Some(cause), _) if seen == self.visible_cause(owner) => return cause,
                (_, Some(pause)) => std::thread::sleep(*pause),
                (_, None) => return Cause::Unknown,
            }
        }
    }

    /// What the system says of the owner's end at this moment.
    fn visible_cause(&self, owner: Owner) -> Option<Cause> {
        let processes = self.processes_table();
        match processes.life_of_thread(owner) {
            // When a process ends or executes another program, its threads end one after the other.
            Life::Ended(Cause::ThreadEnded) if processes.lives_on(owner) => return Some(Cause::ThreadEnded),
            Life::Ended(Cause::ThreadEnded) | Life::Lives | Life::Unknown => {}
            Life::Ended(cause) => return Some(cause),
        }
        match processes.life_or_dying(owner) {
            Life::Ended(cause) => Some(cause),
            _ => None,
        }
    }

    /// Claims a word of a line for the calling thread: from nobody, or from a claimant that is dead. Never waits. The claimant
    /// stores 0 to give it back; nobody needs to when a claimant dies.
    pub fn claim(&self, word: &AtomicU64, me: Owner) -> bool {
        me.claim(word, |other| self.is_gone(other))
    }

    /// The thread that an owner's word names, dead or alive.
    pub fn describe(&self, owner: Owner) -> Holder {
        self.processes_table().describe(owner)
    }

    fn processes_table(&self) -> ProcessTable<'_> {
        let state = self.state();
        ProcessTable { words: &self.base[HEADER_WORDS..], backed: state.entry_pages, next: state.next_entry, file: &self.file }
    }
}

impl Drop for Table {
    /// A lock whose guard was leaked is in a list of its thread's, which libc and the kernel follow into the mapping: then the table
    /// stays mapped, and the process registered.
    fn drop(&mut self) {
        let Some(registration) = self.registration.get() else { return };
        let owner = registration.owner;
        let mut owners = self.segments.iter().filter_map(OnceBox::get).flat_map(Segment::touched_lines).map(Hot::owner);
        let holding = owners.any(|other| !other.is_none() && other.process() == owner);
        drop(owners);
        if !holding {
            self.processes_table().unregister(owner);
            return;
        }
        self.base.leak();
        self.segments.iter().filter_map(OnceBox::get).for_each(Segment::leak);
        open_tables::leave(self.file.id(), self.header, Arc::clone(registration));
    }
}
