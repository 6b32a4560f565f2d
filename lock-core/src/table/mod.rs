//! The allocation table: one mapped file that says which ids are allocated, what for, and who holds what.
//!
//! Every built-in backend uses it, and others may: a backend gives [`TableManager`] what to do with a [`Slot`], and creation,
//! validation, allocation, labels, holders, listing and recovery are done.
//!
//! # What holds at every instruction
//! - The file becomes visible when it is whole: it is made without a name and then linked to its name; the first link wins.
//! - An id is allocated when its bit is set, and that is the last step of an allocation: claim the id, write the label, publish.
//!   A killed allocator leaves a claim that counts for nothing, since its death can be proved.
//! - The file grows in segments, each as large as all before it together, and its blocks are reserved before they are touched: a
//!   full file system is an error and no SIGBUS.
//! - A process's death is proved by a file lock that the kernel drops.

mod allocation;
mod bitmap;
mod file;
mod header;
mod kind;
mod layout;
mod manager;
mod opening;
mod options;
mod owner;
mod record;
mod seat;
mod segment;
mod slot;

use std::fmt;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, PoisonError};

use self::header::{Header, State};
use self::layout::{Geometry, HEADER_WORDS, SEGMENTS};
use self::seat::Seats;
use self::segment::Segment;
use crate::fork::Descriptor;
use crate::sys::{Pinned, SetOnce, Words};
use crate::{Error, ErrorKind, Holder, LockId, Result, StoreId, fork, thread};

pub use self::kind::Kind;
pub use self::manager::{CLAIMS, TableLocks, TableManager};
pub use self::options::{Bound, Mode, TableOptions};
pub use self::owner::Owner;
pub use self::slot::{Hot, Slot};

/// An open table. A process that opens one twice has one.
pub struct Table {
    path: PathBuf,
    /// For looking and growing. What is mapped keeps it alive, so that no lock may be on it.
    file: File,
    inode: (u64, u64),
    header: Header,
    base: Words,
    segments: [SetOnce<Segment>; SEGMENTS],
    /// This process's seat without a thread; 0 while it has none, as after a fork.
    seat: AtomicU64,
    /// When it was found to be whole and to have its name.
    checked: AtomicU64,
    /// What the lock on the seat belongs to.
    keeper: Mutex<Option<Descriptor>>,
    command: String,
}

impl Table {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The identity of the store.
    pub fn id(&self) -> StoreId {
        self.header.id
    }

    /// How many locks there can be; `None` without a bound.
    pub fn capacity(&self) -> Option<u64> {
        match self.header.bound {
            Bound::Locks(locks) => Some(u64::from(locks)),
            Bound::Unbounded => None,
        }
    }

    /// The lock with this id, allocated or not, ready to be touched.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`], [`ErrorKind::Limit`], [`ErrorKind::Destroyed`]; [`ErrorKind::Corrupt`] when the file was cut off.
    /// Whether the table has its name still is not looked at: see [`Table::check`].
    pub fn slot(self: &Arc<Self>, id: LockId) -> Result<Slot> {
        self.check_whole()?;
        self.check_mark()?;
        let (segment, index) = self.find(id)?;
        segment.back_group(&self.file, index)?;
        let hot = Pinned::new(Arc::clone(self), |table| table.find(id).map(|(segment, index)| segment.touch(index)))?;
        let generation = Pinned::new(Arc::clone(self), |table| {
            table.find(id).map(|(segment, index)| segment.record(index).generation_word())
        })?;
        Ok(Slot::new(hot, generation, id))
    }

    /// The locks that somebody is written down as the owner of, dead or alive, with their lines, in order. Touches nothing.
    ///
    /// # Errors
    /// What the system says.
    pub fn owned(&self, mut each: impl FnMut(LockId, &Hot, Owner)) -> Result<()> {
        self.lines(|id, hot| {
            let owner = hot.owner();
            if !owner.is_none() {
                each(id, hot, owner);
            }
        })
    }

    /// All lines that anybody can have touched, in order: those that are backed by blocks. For what a backend keeps in them.
    ///
    /// # Errors
    /// What the system says.
    pub fn lines(&self, mut each: impl FnMut(LockId, &Hot)) -> Result<()> {
        self.check_whole()?;
        for segment in self.present() {
            let segment = segment?;
            segment.backed_lines(|index, hot| each(segment.id(index), hot));
        }
        Ok(())
    }

    /// How many processes have the store open, this one included.
    pub fn processes(&self) -> usize {
        self.seats().count()
    }

    /// The calling thread's word in this store.
    ///
    /// # Errors
    /// In a forked child, which has to take a seat of its own: [`ErrorKind::TooManyProcesses`], [`ErrorKind::Limit`].
    #[inline]
    pub fn me(&self) -> Result<Owner> {
        self.owner_word(thread::id())
    }

    /// The same for a thread of this process that knows its id.
    #[inline]
    pub(crate) fn owner_word(&self, tid: u32) -> Result<Owner> {
        match self.seated_owner(tid) {
            Some(owner) => Ok(owner),
            None => Ok(Owner::from_word(self.reseat()?).with_thread(tid)),
        }
    }

    /// The same, if the process has a seat already.
    #[inline]
    pub(crate) fn seated_owner(&self, tid: u32) -> Option<Owner> {
        let seat = self.seat.load(Relaxed);
        (seat != 0).then(|| Owner::from_word(seat).with_thread(tid))
    }

    /// Whether the owner's process is proved to be dead. What cannot be found out is no proof.
    pub fn is_dead(&self, owner: Owner) -> bool {
        self.seats().is_dead(owner)
    }

    /// Whether the owner itself, a thread, is proved to have ended: its process is dead, or it lives in the pid namespace of this
    /// process and has no such thread any more.
    pub fn is_gone(&self, owner: Owner) -> bool {
        self.seats().is_gone(owner)
    }

    /// Whether no two threads that use the store can have the same thread id: every process that ever had it open is of one pid
    /// namespace.
    pub fn thread_ids_are_unique(&self) -> bool {
        self.seats().thread_ids_are_unique()
    }

    /// Claims a word of a line for the calling thread: from nobody, or from somebody who is dead. Never waits. Whoever has claimed
    /// it stores 0 to give it back; nobody needs to when a claimant dies.
    pub fn claim(&self, word: &AtomicU64, me: Owner) -> bool {
        me.claim(word, |other| self.is_dead(other))
    }

    /// Who that is or was.
    pub fn describe(&self, owner: Owner) -> Holder {
        self.seats().describe(owner)
    }

    /// Facts for people to read.
    pub fn details(&self) -> Vec<(&'static str, String)> {
        let boot =
            if self.header.boot == opening::boot_id() { "this boot of the system" } else { "an earlier boot of the system" };
        let used = self.file.metadata().map_or(0, |meta| meta.blocks() * 512);
        vec![
            ("file", self.path.display().to_string()),
            ("format", format!("version {}, {}", header::VERSION, self.header.kind)),
            ("created", format!("{}, in {boot}", self.header.creation())),
            ("bytes used", used.to_string()),
            ("processes", self.processes().to_string()),
        ]
    }

    /// In a forked child: the seat is the parent's.
    pub(crate) fn disown(&self) {
        self.seat.store(0, Relaxed);
    }

    #[cold]
    fn reseat(&self) -> Result<u64> {
        let _one_at_a_time = fork::opening();
        match self.seat.load(Relaxed) {
            0 => self.take_seat(),
            seat => Ok(seat),
        }
    }

    fn take_seat(&self) -> Result<u64> {
        let keeper = file::reopen(&self.file)?;
        let seat = self.seats().take(&keeper)?.word();
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(Descriptor::new(keeper));
        self.seat.store(seat, Relaxed);
        Ok(seat)
    }

    fn check_range(&self, id: LockId) -> Result<()> {
        let capacity = self.header.bound.limit();
        if u64::from(id.get()) < capacity { Ok(()) } else { Err(ErrorKind::OutOfRange { capacity }.into()) }
    }

    fn find(&self, id: LockId) -> Result<(&Segment, usize)> {
        self.check_range(id)?;
        let (number, index) = layout::locate(id);
        Ok((self.segment(number)?, index))
    }

    /// The segments that the bound has room for.
    fn segment_numbers(&self) -> impl Iterator<Item = usize> {
        let limit = self.header.bound.limit();
        (0..SEGMENTS).take_while(move |number| Geometry::of(*number).first < limit)
    }

    fn has_segment(&self, number: usize) -> bool {
        self.state().segments.load(Acquire) & (1 << number) != 0
    }

    /// The segments that are there.
    fn present(&self) -> impl Iterator<Item = Result<&Segment>> {
        self.segment_numbers().filter(|number| self.has_segment(*number)).map(|number| self.segment(number))
    }

    /// A segment, made if it is not there. Each step can be repeated by anybody, whoever was killed after whichever.
    fn segment(&self, number: usize) -> Result<&Segment> {
        if let Some(segment) = self.segments[number].get() {
            return Ok(segment);
        }
        let geometry = Geometry::of(number);
        if self.has_segment(number) {
            let length = self.file.metadata().map_err(|e| Error::system("fstat", e))?.len();
            file::check_length(length, 1 << number)?;
        } else {
            file::back(&self.file, geometry.offset, geometry.bitmap_bytes())?;
            file::back(&self.file, geometry.end() - layout::PAGE, layout::PAGE)?;
            self.state().segments.fetch_or(1 << number, Release);
        }
        let bits = geometry.ids.min(self.header.bound.limit() - geometry.first) as usize;
        let words = Words::map(&self.file, geometry.offset, geometry.bytes()).map_err(|e| Error::refused("mmap", e))?;
        Ok(self.segments[number].set(Segment::new(geometry, words, bits)))
    }

    fn state(&self) -> State<'_> {
        State::new(&self.base[..HEADER_WORDS])
    }

    fn seats(&self) -> Seats<'_> {
        let state = self.state();
        Seats {
            words: &self.base[HEADER_WORDS..],
            backed: state.seat_pages,
            next: state.next_seat,
            file: &self.file,
            namespace: state.namespace,
            command: &self.command,
        }
    }
}

impl Drop for Table {
    /// A lock whose guard was leaked is in a list of its thread's, which libc and the kernel follow into the mapping: then the table
    /// stays mapped, and the process stays seated.
    fn drop(&mut self) {
        let seat = Owner::from_word(*self.seat.get_mut());
        let mut owners = self.segments.iter().filter_map(SetOnce::get).flat_map(Segment::touched_lines).map(Hot::owner);
        let holding = !seat.is_none() && owners.any(|owner| owner.process() == seat);
        drop(owners);
        if holding {
            self.base.leak();
            self.segments.iter_mut().filter_map(SetOnce::get_mut).for_each(Segment::leak);
            std::mem::forget(self.keeper.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("path", &self.path).field("header", &self.header).finish_non_exhaustive()
    }
}
