//! An open table.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::blocks;
use crate::boot;
use crate::file;
use crate::file_access::FileAccess;
use crate::filesystem;
use crate::header;
use crate::header::{Header, State};
use crate::layout;
use crate::layout::{Geometry, HEADER_WORDS, SEGMENTS};
use crate::lock_line::LockLine;
use crate::owner::Owner;
use crate::registration::Registration;
use crate::segment::{Pages, Segment};
use crate::sys::MappedWords;
use crate::table_file::TableFile;
use lock_core::__private::ForkWords;
use lock_core::PerProcess;
use lock_core::{Error, LockId, Result, StoreId};
use once_cell::race::OnceBox;

/// An open table. Opening the same file again in a process returns the same table.
pub struct Table {
    pub(crate) file: TableFile,
    pub(crate) header: Header,
    pub(crate) base: MappedWords,
    /// True if the mode of the file gave other users access when it was opened.
    pub(crate) is_shared: bool,
    pub(crate) segments: [OnceBox<Segment>; SEGMENTS],
    /// The time of the latest successful [`Table::check`], in milliseconds of the coarse monotonic clock.
    pub(crate) checked: AtomicU64,
    pub(crate) registration: PerProcess<Arc<Registration>>,
    /// The owner word of this process without a thread, and the same word if the process is at home. Both are 0 before the process is
    /// registered, and after a fork.
    pub(crate) process: ForkWords,
}

impl Table {
    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Returns the identity of the store.
    ///
    /// It depends on the device and the inode of the file, so that a copy has another identity.
    pub fn id(&self) -> StoreId {
        StoreId::new(self.header.id.get() ^ u128::from(self.file.id().number()))
    }

    /// Returns the device and the inode of the file.
    pub fn device_and_inode(&self) -> (u64, u64) {
        (self.file.id().device, self.file.id().inode)
    }

    /// Returns the owner, the group and the mode of the file, also after it was deleted.
    ///
    /// # Errors
    /// [`ErrorKind::System`](lock_core::ErrorKind::System) or [`ErrorKind::Limit`](lock_core::ErrorKind::Limit) when the program
    /// has closed the descriptor and the file cannot be opened again.
    pub fn access(&self) -> Result<FileAccess> {
        Ok((&self.file.stat()?).into())
    }

    /// Returns the time of the store's creation, in nanoseconds since 1970.
    pub fn created(&self) -> u64 {
        self.header.created
    }

    /// Calls `each` with the id, the line and the owner of each lock from `from` on that has a recorded owner, until it breaks.
    ///
    /// The order is by id. The owner may be alive or dead. The call changes no lock.
    ///
    /// # Errors
    /// As [`Table::lines`].
    pub fn owned(&self, from: LockId, each: impl FnMut(LockId, &LockLine, Owner) -> ControlFlow<()>) -> Result<()> {
        self.scan_owned(from, Pages::Keep, each)
    }

    /// Calls `each` as [`Table::owned`] does.
    pub(crate) fn scan_owned(
        &self,
        from: LockId,
        pages: Pages,
        mut each: impl FnMut(LockId, &LockLine, Owner) -> ControlFlow<()>,
    ) -> Result<()> {
        self.scan_segments(from, |segment, index| {
            segment.owned_lines(index, pages, |index, line, owner| each(segment.id(index), line, owner))
        })
    }

    /// Calls `each` with the id and the line of each lock from `from` on whose line is backed by blocks, until it breaks.
    ///
    /// The order is by id. No process has used the other lines.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt) when the file was truncated;
    /// [`ErrorKind::System`](lock_core::ErrorKind::System).
    pub fn lines(&self, from: LockId, each: impl FnMut(LockId, &LockLine) -> ControlFlow<()>) -> Result<()> {
        self.scan(from, Pages::Keep, each)
    }

    /// Calls `each` as [`Table::lines`] does.
    pub(crate) fn scan(
        &self,
        from: LockId,
        pages: Pages,
        mut each: impl FnMut(LockId, &LockLine) -> ControlFlow<()>,
    ) -> Result<()> {
        self.scan_segments(from, |segment, index| segment.backed_lines(index, pages, |index, line| each(segment.id(index), line)))
    }

    /// Calls `each` with each segment that contains ids from `from` on and the index of the first of them, until it breaks.
    fn scan_segments(&self, from: LockId, mut each: impl FnMut(&Segment, usize) -> ControlFlow<()>) -> Result<()> {
        self.check_whole()?;
        for place in self.present_from(from) {
            let (segment, index) = place?;
            if each(segment, index).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Returns facts about the table for display, each with a title and a value.
    pub fn details(&self) -> Vec<(&'static str, String)> {
        let boot = if self.header.boot == boot::id() { "this boot of the system" } else { "an earlier boot of the system" };
        let used = self.file.stat().map_or(0, |stat| stat.st_blocks.unsigned_abs() * 512);
        vec![
            ("file", self.path().display().to_string()),
            ("format", format!("version {}, {}", header::VERSION, self.header.kind)),
            ("created", format!("{}, in {boot}", self.header.creation())),
            ("bytes used", used.to_string()),
            ("file system", filesystem::describe(self.path())),
            ("processes", self.processes().to_string()),
        ]
    }

    pub(crate) fn check_range(&self, id: LockId) -> Result<()> {
        let capacity = self.limit();
        if u64::from(id.get()) < capacity { Ok(()) } else { Err(Error::out_of_range(capacity)) }
    }

    pub(crate) fn find(&self, id: LockId) -> Result<(&Segment, usize)> {
        self.check_range(id)?;
        let (number, index) = layout::locate(id);
        Ok((self.segment(number)?, index))
    }

    /// Returns the numbers of the segments up to the bound.
    pub(crate) fn segment_numbers(&self) -> impl Iterator<Item = usize> {
        let last = LockId::new((self.limit() - 1) as u32);
        0..layout::locate(last).0 + 1
    }

    pub(crate) fn has_segment(&self, number: usize) -> bool {
        self.state().segments.load(Acquire) & (1 << number) != 0
    }

    /// Returns the number of the first segment that is not full according to the hints, or that this process has not mapped.
    pub(crate) fn first_with_room(&self) -> usize {
        // A segment that is not complete may have free ids since the bound was raised.
        let is_full = |segment: &Segment| segment.is_complete() && segment.allocated().seems_full();
        self.segments.iter().take_while(|segment| segment.get().is_some_and(is_full)).count()
    }

    /// Returns the segments that exist.
    pub(crate) fn present(&self) -> impl Iterator<Item = Result<&Segment>> {
        self.present_from(LockId::new(0)).map(|place| Ok(place?.0))
    }

    /// Returns the segments that exist and contain ids from `from` on, each with the index of the first of these ids.
    pub(crate) fn present_from(&self, from: LockId) -> impl Iterator<Item = Result<(&Segment, usize)>> {
        let (first, index) = layout::locate(from);
        let numbers = self.segment_numbers().skip(first).filter(|number| self.has_segment(*number));
        numbers.map(move |number| Ok((self.segment(number)?, if number == first { index } else { 0 })))
    }

    /// Returns a segment, which is added and mapped if necessary.
    ///
    /// Each step is idempotent, so that another process can repeat it when this process is killed.
    #[inline]
    pub(crate) fn segment(&self, number: usize) -> Result<&Segment> {
        match self.segments[number].get() {
            Some(segment) if segment.is_complete() => Ok(segment),
            Some(segment) => {
                // The bound may have been raised since the segment was mapped.
                segment.raise(self.valid_ids(number));
                Ok(segment)
            }
            None => self.add_segment(number),
        }
    }

    /// Returns the number of ids of a segment that are within the bound.
    ///
    /// It is at least 1, also if the bound was damaged and ends before the segment.
    fn valid_ids(&self, number: usize) -> usize {
        let geometry = Geometry::of(number);
        self.limit().saturating_sub(geometry.first).clamp(1, geometry.ids) as usize
    }

    #[cold]
    fn add_segment(&self, number: usize) -> Result<&Segment> {
        if self.has_segment(number) {
            file::check_length(self.file.stat()?.st_size.unsigned_abs(), 1 << number)?;
        }
        let geometry = Geometry::of(number);
        let map = || MappedWords::map(self.file.get()?, geometry.offset, geometry.bytes()).map_err(|e| Error::system("mmap", e));
        self.add_mapped(number, map)
    }

    /// Adds the first segment, whose words are mapped with the process table. The file has its length.
    pub(crate) fn add_first_segment(&self, words: MappedWords) -> Result<&Segment> {
        self.add_mapped(0, || Ok(words))
    }

    fn add_mapped(&self, number: usize, map: impl FnOnce() -> Result<MappedWords>) -> Result<&Segment> {
        let geometry = Geometry::of(number);
        if !self.has_segment(number) {
            let file = self.file.get()?;
            let back = |offset, bytes| blocks::back(&file, offset, bytes).map_err(|error| error.at(self.path()));
            back(geometry.offset, geometry.least_bytes())?;
            back(geometry.end() - layout::PAGE, layout::PAGE)?;
            self.state().segments.fetch_or(1 << number, Release);
        }
        let (words, bits) = (map()?, self.valid_ids(number));
        let segment = self.segments[number].get_or_init(|| Box::new(Segment::new(geometry, words, bits)));
        // Another thread may have added the segment before the bound was raised.
        segment.raise(bits);
        Ok(segment)
    }

    /// Prefetches the record of an id, if its segment is mapped.
    pub(crate) fn prefetch_record(&self, id: LockId) {
        let (number, index) = layout::locate(id);
        if let Some(segment) = self.segments[number].get() {
            segment.prefetch_record(index);
        }
    }

    pub(crate) fn state(&self) -> State<'_> {
        State::new(&self.base[..HEADER_WORDS])
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("path", self.file.path()).field("header", &self.header).finish_non_exhaustive()
    }
}
