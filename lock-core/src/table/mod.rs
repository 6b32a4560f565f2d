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

mod bitmap;
mod file;
mod header;
mod kind;
mod layout;
mod manager;
mod options;
mod owner;
mod record;
mod seat;
mod segment;
mod slot;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use self::header::{Header, State};
use self::layout::{BASE_BYTES, Geometry, HEADER_WORDS, SEGMENTS};
use self::seat::Seats;
use self::segment::Segment;
use crate::fork::Descriptor;
use crate::sys::{Pinned, SetOnce, Words};
use crate::{
    Allocation, Error, ErrorKind, Generation, Holder, Label, LockId, OpenMode, Reconciled, Result, StoreId, fork, thread,
};

pub use self::kind::Kind;
pub use self::manager::{TableLocks, TableManager};
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
    /// What the lock on the seat belongs to.
    keeper: Mutex<Option<Descriptor>>,
    command: String,
}

impl Table {
    /// Opens, creates, or does whichever it takes.
    ///
    /// # Errors
    /// [`ErrorKind::Absent`], [`ErrorKind::Exists`]; [`ErrorKind::NotAStore`], [`ErrorKind::OtherVersion`],
    /// [`ErrorKind::OtherAbi`], [`ErrorKind::OtherCapacity`], [`ErrorKind::Corrupt`], [`ErrorKind::NotOurs`], and then nothing is
    /// changed; [`ErrorKind::TooManyProcesses`], [`ErrorKind::Limit`]; what the system says.
    pub fn open(path: &Path, kind: Kind, mode: OpenMode, options: &TableOptions) -> Result<Arc<Self>> {
        loop {
            if mode != OpenMode::Create {
                match file::open_existing(path, kind, options) {
                    Ok((file, header)) => return Self::attach(path, file, header),
                    Err(error) if mode == OpenMode::OpenOrCreate && matches!(error.kind(), ErrorKind::Absent) => {}
                    Err(error) => return Err(error),
                }
            }
            let id = StoreId::new(random()?);
            let header = Header::new(kind, options.bound.unwrap_or(Bound::DEFAULT), id, boot_id());
            match file::create_new(path, &header, options.mode.unwrap_or(Mode::PRIVATE)) {
                Ok(file) => return Self::attach(path, file, header),
                Err(error) if mode == OpenMode::OpenOrCreate && matches!(error.kind(), ErrorKind::Exists) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn attach(path: &Path, file: File, header: Header) -> Result<Arc<Self>> {
        let meta = file.metadata().map_err(|e| Error::system("fstat", e))?;
        let inode = (meta.dev(), meta.ino());
        let _one_at_a_time = fork::opening();
        let open = fork::watched().tables.clone();
        if let Some(table) = open.iter().filter_map(Weak::upgrade).find(|table| table.inode == inode && table.header == header) {
            return Ok(table);
        }
        let base = Words::map(&file, 0, BASE_BYTES).map_err(|e| Error::system("mmap", e))?;
        let table = Arc::new(Self {
            path: path.to_owned(),
            file,
            inode,
            header,
            base,
            segments: [const { SetOnce::new() }; SEGMENTS],
            seat: AtomicU64::new(0),
            keeper: Mutex::new(None),
            command: seat::command(),
        });
        table.take_seat()?;
        table.segment(0)?;
        let mut watched = fork::watched();
        watched.tables.retain(|table| table.strong_count() > 0);
        watched.tables.push(Arc::downgrade(&table));
        Ok(table)
    }

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

    /// Allocates the lowest free id, as far as the hints let it see; when they show none, it looks at every id.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`], [`ErrorKind::Limit`], [`ErrorKind::Destroyed`].
    pub fn allocate(&self, label: &Label) -> Result<LockId> {
        self.alive()?;
        let me = self.me()?;
        for find in [bitmap::Bitmap::find, bitmap::Bitmap::scan] {
            for number in self.segment_numbers() {
                let segment = self.segment(number)?;
                let mut from = 0;
                while let Some(index) = find(&segment.allocated(), from) {
                    if self.try_allocate(segment, index, me, label)? {
                        return Ok(segment.id(index));
                    }
                    from = index + 1;
                }
            }
        }
        Err(ErrorKind::Exhausted { capacity: self.header.bound.limit(), allocated: self.count() }.into())
    }

    /// Allocates this id.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`]; [`ErrorKind::AlreadyAllocated`], also while a living process is about to allocate it.
    pub fn allocate_exact(&self, id: LockId, label: &Label) -> Result<()> {
        self.alive()?;
        let me = self.me()?;
        let (segment, index) = self.find(id)?;
        if self.try_allocate(segment, index, me, label)? { Ok(()) } else { Err(ErrorKind::AlreadyAllocated.into()) }
    }

    /// Claim, write, publish: that order is what makes a kill harmless.
    fn try_allocate(&self, segment: &Segment, index: usize, me: Owner, label: &Label) -> Result<bool> {
        segment.back_group(&self.file, index)?;
        let record = segment.record(index);
        if !record.claim(me, |other| self.is_dead(other)) {
            return Ok(false);
        }
        let free = !segment.allocated().get(index);
        if free {
            record.write(label, &self.command);
            segment.allocated().set(index);
        }
        record.unclaim();
        Ok(free)
    }

    /// Frees an id; where a generation is given, only that allocation.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`]; [`ErrorKind::NotAllocated`]; [`ErrorKind::Stale`]. Then nothing changes.
    pub fn free(&self, id: LockId, generation: Option<Generation>) -> Result<()> {
        self.alive()?;
        let not_allocated = || Error::from(ErrorKind::NotAllocated);
        self.check_range(id)?;
        let (number, index) = layout::locate(id);
        if !self.has_segment(number) {
            return Err(not_allocated());
        }
        let segment = self.segment(number)?;
        if !segment.allocated().get(index) {
            return Err(not_allocated());
        }
        if generation.is_some_and(|generation| segment.record(index).generation() != generation) {
            return Err(ErrorKind::Stale.into());
        }
        if segment.allocated().clear(index) { Ok(()) } else { Err(not_allocated()) }
    }

    /// Frees every id; returns how many were allocated.
    ///
    /// # Errors
    /// [`ErrorKind::Destroyed`]; what the system says.
    pub fn free_all(&self) -> Result<u64> {
        self.alive()?;
        let mut freed = 0;
        for segment in self.present() {
            let allocated = segment?.allocated();
            freed += allocated.ones().filter(|index| allocated.clear(*index)).count() as u64;
        }
        Ok(freed)
    }

    /// How many ids are free; `None` without a bound.
    pub fn available(&self) -> Option<u64> {
        self.capacity().map(|capacity| capacity.saturating_sub(self.count()))
    }

    /// How many ids are allocated.
    pub fn count(&self) -> u64 {
        self.present().filter_map(Result::ok).map(|segment| segment.allocated().count()).sum()
    }

    /// The allocated ids, in order.
    ///
    /// # Errors
    /// What the system says.
    pub fn allocated(&self) -> Result<Vec<Allocation>> {
        let mut list = Vec::new();
        for segment in self.present() {
            let segment = segment?;
            let (bits, first) = (segment.allocated(), list.len());
            list.extend(bits.ones().filter_map(|index| segment.read(index)));
            debug_assert!(list[first..].is_sorted_by_key(|allocation| allocation.id));
        }
        Ok(list)
    }

    /// Makes these ids, and no others, the allocated ones.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`], and then nothing is changed; [`ErrorKind::Limit`], [`ErrorKind::Destroyed`].
    pub fn reconcile(&self, ids: &BTreeSet<LockId>) -> Result<Reconciled> {
        self.alive()?;
        if let Some(last) = ids.last() {
            self.check_range(*last).map_err(|error| error.on(*last))?;
        }
        let mut done = Reconciled::default();
        for segment in self.present() {
            let segment = segment?;
            let bits = segment.allocated();
            let freed = bits.ones().filter(|index| !ids.contains(&segment.id(*index)) && bits.clear(*index));
            done.freed.extend(freed.map(|index| segment.id(index)));
        }
        for id in ids {
            match self.allocate_exact(*id, &Label::default()) {
                Ok(()) => done.claimed.push(*id),
                Err(error) if matches!(error.kind(), ErrorKind::AlreadyAllocated) => {}
                Err(error) => return Err(error.on(*id)),
            }
        }
        Ok(done)
    }

    /// The lock with this id, allocated or not, ready to be touched.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`], [`ErrorKind::Limit`], [`ErrorKind::Destroyed`].
    pub fn slot(self: &Arc<Self>, id: LockId) -> Result<Slot> {
        self.alive()?;
        let (segment, index) = self.find(id)?;
        segment.back_group(&self.file, index)?;
        let hot = Pinned::new(Arc::clone(self), |table| table.find(id).map(|(segment, index)| segment.hot(index)))?;
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
        for segment in self.present() {
            let segment = segment?;
            for index in segment.backed_indexes() {
                let hot = segment.hot(index);
                let owner = hot.owner();
                if !owner.is_none() {
                    each(segment.id(index), hot, owner);
                }
            }
        }
        Ok(())
    }

    /// The calling thread's word in this store.
    ///
    /// # Errors
    /// In a forked child, which has to take a seat of its own: [`ErrorKind::TooManyProcesses`], [`ErrorKind::Limit`].
    #[inline]
    pub fn me(&self) -> Result<Owner> {
        let seat = match self.seat.load(Relaxed) {
            0 => self.reseat()?,
            seat => seat,
        };
        Ok(Owner::from_word(seat).with_thread(thread::id()))
    }

    /// Whether the owner's process is proved to be dead. What cannot be found out is no proof.
    pub fn is_dead(&self, owner: Owner) -> bool {
        self.seats().is_dead(owner)
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
        let boot = if self.header.boot == boot_id() { "this boot of the system" } else { "an earlier boot of the system" };
        let used = self.file.metadata().map_or(0, |meta| meta.blocks() * 512);
        vec![
            ("file", self.path.display().to_string()),
            ("format", format!("version {}, {}", header::VERSION, self.header.kind)),
            ("created", format!("{} seconds after the epoch, in {boot}", self.header.created)),
            ("bytes used", used.to_string()),
            ("processes", self.seats().count().to_string()),
        ]
    }

    /// Removes the file, if it is still this table's.
    ///
    /// # Errors
    /// [`ErrorKind::Destroyed`] when it is not; what the system says.
    pub fn destroy(&self) -> Result<()> {
        self.alive()?;
        match std::fs::symlink_metadata(&self.path) {
            Ok(meta) if (meta.dev(), meta.ino()) == self.inode => {}
            _ => return Err(ErrorKind::Destroyed.into()),
        }
        // The name first: a store that is marked and keeps its name could be neither opened nor created.
        std::fs::remove_file(&self.path).map_err(|e| Error::system("unlink", e))?;
        self.state().destroyed.store(1, SeqCst);
        Ok(())
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

    fn alive(&self) -> Result<()> {
        match self.state().destroyed.load(Relaxed) {
            0 => Ok(()),
            _ => Err(ErrorKind::Destroyed.into()),
        }
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
            self.state().segments.fetch_or(1 << number, Ordering::Release);
        }
        let bits = geometry.ids.min(self.header.bound.limit() - geometry.first) as usize;
        let words = Words::map(&self.file, geometry.offset, geometry.bytes()).map_err(|e| Error::system("mmap", e))?;
        Ok(self.segments[number].set(Segment::new(geometry, words, bits)))
    }

    fn state(&self) -> State<'_> {
        State::new(&self.base[..HEADER_WORDS])
    }

    fn seats(&self) -> Seats<'_> {
        Seats { words: &self.base[HEADER_WORDS..], backed: self.state().seat_pages, file: &self.file }
    }
}

impl Drop for Table {
    /// A lock whose guard was leaked is in a list of its thread's, which libc and the kernel follow into the mapping: then the table
    /// stays mapped, and the process stays seated.
    fn drop(&mut self) {
        let seat = Owner::from_word(*self.seat.get_mut());
        let mut held = false;
        let looked = self.owned(|_, _, owner| held |= !seat.is_none() && owner.is_same_process(seat));
        if held || looked.is_err() {
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

fn random() -> Result<u128> {
    let mut bytes = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|e| Error::system("read /dev/urandom", e))?;
    Ok(u128::from_ne_bytes(bytes))
}

/// 0 where the system does not say.
fn boot_id() -> u128 {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    u128::from_str_radix(text.trim().replace('-', "").as_str(), 16).unwrap_or(0)
}
