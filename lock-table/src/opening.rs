//! Opening, checking and destroying a table.

use std::fs::{File, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use nix::errno::Errno;
use nix::sys::stat::{FileStat, fstat};

use crate::file_id::FileId;
use crate::header::Header;
use crate::identity::Identity;
use crate::kind::Kind;
use crate::layout::{BASE_BYTES, Geometry, SEGMENTS};
use crate::options::{Bound, TableOptions};
use crate::segment::Segment;
use crate::sys::{self, MappedWords};
use crate::table::Table;
use crate::table_file::TableFile;
use crate::table_path::TablePath;
use crate::{boot, file, filesystem, location, open_tables, table_path};
use lock_core::__private::ForkWords;
use lock_core::PerProcess;
use lock_core::{Error, ErrorKind, OpenMode, Result, StoreId};
use once_cell::race::OnceBox;

/// The time in milliseconds for which the result of [`Table::check`] is reused.
///
/// A check for each allocation would make allocations many times slower. It would not be safer either, because the store can lose its
/// name between the check and the allocation.
const FRESH: u64 = 10;
/// The mode bits of users other than the owner.
const OTHERS: u32 = 0o077;
/// The time of the latest check of a table that must be checked again.
const NEVER: u64 = 0;

impl Table {
    /// Opens or creates the table in the file with this path.
    ///
    /// # Errors
    /// - [`ErrorKind::Absent`] with [`OpenMode::Open`]; [`ErrorKind::Exists`] with [`OpenMode::Create`].
    /// - [`ErrorKind::NotAStore`], [`ErrorKind::OtherVersion`], [`ErrorKind::OtherAbi`], [`ErrorKind::OtherCapacity`],
    ///   [`ErrorKind::Corrupt`], [`ErrorKind::Untrusted`] when the file is not a valid table. The file is not changed.
    /// - [`ErrorKind::TooManyProcesses`], [`ErrorKind::Unsupported`], [`ErrorKind::Limit`], [`ErrorKind::System`].
    pub fn open(path: &Path, kind: Kind, mode: OpenMode, options: &TableOptions) -> Result<Arc<Self>> {
        Self::open_at(&TablePath::whole(path), kind, mode, options)
    }

    /// Opens or creates the table in a directory that the caller has opened and checked.
    ///
    /// The last component of the path is the name of the file in the directory. The whole path is for messages.
    ///
    /// # Errors
    /// As [`Table::open`].
    pub fn open_in(directory: impl AsFd, path: &Path, kind: Kind, mode: OpenMode, options: &TableOptions) -> Result<Arc<Self>> {
        Self::open_at(&TablePath::in_directory(directory.as_fd(), path), kind, mode, options)
    }

    fn open_at(path: &TablePath<'_>, kind: Kind, mode: OpenMode, options: &TableOptions) -> Result<Arc<Self>> {
        loop {
            if mode != OpenMode::Create {
                match file::open_existing(path, kind, options) {
                    Ok((file, header, stat)) => {
                        return Self::attach(path.whole, file, &stat, header).map_err(|error| error.at(path.whole));
                    }
                    Err(error) if mode == OpenMode::OpenOrCreate && matches!(error.kind(), ErrorKind::Absent) => {}
                    Err(error) => return Err(filesystem::advise_on_absent(error, path.whole).at(path.whole)),
                }
            }
            let id = StoreId::new(file::random()?);
            let home = Identity::of_this_process()?.namespace;
            let header = Header::new(kind, options.bound.unwrap_or(Bound::DEFAULT), id, boot::id(), home);
            match file::create_new(path, &header, options) {
                Ok(file) => {
                    let stat = fstat(&file).map_err(|e| Error::system("fstat", e))?;
                    return Self::attach(path.whole, file, &stat, header).map_err(|error| error.at(path.whole));
                }
                Err(error) if mode == OpenMode::OpenOrCreate && matches!(error.kind(), ErrorKind::Exists) => {}
                Err(error) => return Err(error.at(path.whole)),
            }
        }
    }

    fn attach(path: &Path, file: File, stat: &FileStat, header: Header) -> Result<Arc<Self>> {
        let id = FileId::in_status(stat);
        let open_tables = open_tables::lock()?;
        if let Some(table) = open_tables.find(id, &header) {
            return Ok(table);
        }
        // The first segment follows the process table, so one mapping contains both.
        let words = MappedWords::map(&file, 0, Geometry::of(0).end()).map_err(|e| Error::system("mmap", e))?;
        let (base, first) = words.split(BASE_BYTES);
        let table = Arc::new(Self {
            file: TableFile::new(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()), file, id)?,
            header,
            base,
            is_shared: stat.st_mode & OTHERS != 0,
            segments: [const { OnceBox::new() }; SEGMENTS],
            checked: AtomicU64::new(0),
            registration: PerProcess::new(),
            process: ForkWords::new().ok_or_else(too_many_stores)?,
        });
        location::check(&table)?;
        table.register(&open_tables)?;
        table.add_first_segment(first)?;
        open_tables.add(&table);
        Ok(table)
    }

    /// Checks that the store's name still leads to this store, and that its file was not truncated.
    ///
    /// The locks of a deleted store only exclude the processes that have it open, so allocating and freeing return an error. A store that
    /// was renamed, or whose path this process cannot see (for example after `chroot`), stays valid until another store gets its name.
    ///
    /// # Errors
    /// [`ErrorKind::Destroyed`] when the file was deleted; [`ErrorKind::Replaced`] when the name leads to another file;
    /// [`ErrorKind::Corrupt`] when the file was truncated.
    pub fn check(&self) -> Result<()> {
        self.checked.store(NEVER, Relaxed);
        let now = coarse_now();
        // Read the end before the length of the file, because another thread may extend the store in between.
        let end = self.mapped_end();
        let named = std::fs::symlink_metadata(self.path()).ok();
        let length = match named {
            // A bind mount keeps the name of a deleted file, which then has no links.
            Some(named) if self.is(&named) && named.nlink() == 0 => return Err(Error::destroyed()),
            Some(named) if self.is(&named) => named.len(),
            named => {
                let stat = self.file.stat()?;
                match (stat.st_nlink, named) {
                    (0, _) => return Err(Error::destroyed()),
                    (_, Some(_)) => return Err(Error::replaced()),
                    (_, None) => stat.st_size.unsigned_abs(),
                }
            }
        };
        file::check_end(length, end)?;
        self.check_mark()?;
        self.checked.store(now, Relaxed);
        Ok(())
    }

    /// Checks the table as [`Table::check`] does, and reuses a result that is less than 10 ms old.
    pub(crate) fn check_now_and_then(&self) -> Result<()> {
        if self.is_fresh() { self.check_mark() } else { self.check() }
    }

    /// Checks that the file contains all that this process has mapped.
    ///
    /// An access to a missing part causes a SIGBUS.
    pub(crate) fn check_whole(&self) -> Result<()> {
        if self.is_fresh() {
            return Ok(());
        }
        let end = self.mapped_end();
        file::check_end(self.file.stat()?.st_size.unsigned_abs(), end)
    }

    pub(crate) fn check_mark(&self) -> Result<()> {
        match self.state().destroyed.load(Relaxed) {
            0 => Ok(()),
            _ => Err(Error::destroyed()),
        }
    }

    fn is_fresh(&self) -> bool {
        let checked = self.checked.load(Relaxed);
        checked != NEVER && coarse_now().saturating_sub(checked) < FRESH
    }

    fn mapped_end(&self) -> u64 {
        self.segments.iter().rev().find_map(OnceBox::get).map_or(BASE_BYTES, Segment::end)
    }

    /// Returns true if the store was destroyed, or if a process was killed while it destroyed the store.
    ///
    /// The file of such a store has lost its name. When this process may not read the directory, the result is false.
    pub fn is_destroyed(&self) -> bool {
        let failed_check = self.check().is_err_and(|error| matches!(error.kind(), ErrorKind::Destroyed | ErrorKind::Replaced));
        failed_check || self.has_lost_its_name()
    }

    fn has_lost_its_name(&self) -> bool {
        match std::fs::symlink_metadata(self.path()) {
            Ok(named) => !self.is(&named) || named.nlink() == 0,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }

    fn is(&self, named: &Metadata) -> bool {
        FileId { device: named.dev(), inode: named.ino() } == self.file.id()
    }

    /// Removes the file, if its name still leads to this table.
    ///
    /// # Errors
    /// Those of [`Table::check`]; [`ErrorKind::System`].
    pub fn destroy(&self) -> Result<()> {
        self.check()?;
        if self.has_lost_its_name() {
            return Err(Error::destroyed());
        }
        // Remove the name before setting the mark. After the other order, a killed process would leave a store with a mark and a name,
        // which can neither be opened nor created.
        table_path::unlink_if(self.path(), self.file.id()).map_err(|errno| match errno {
            Errno::ENOENT => Error::destroyed(),
            errno => Error::system("unlink", errno).at(self.path()),
        })?;
        self.state().destroyed.store(1, SeqCst);
        Ok(())
    }
}

/// Returns the time of the coarse monotonic clock in milliseconds, never [`NEVER`].
///
/// Reading this clock takes a few nanoseconds.
fn coarse_now() -> u64 {
    let (seconds, nanoseconds) = sys::coarse_time(libc::CLOCK_MONOTONIC_COARSE);
    seconds * 1000 + u64::from(nanoseconds / 1_000_000) + 1
}

#[cold]
fn too_many_stores() -> Error {
    let limit = format!("this process has {} stores open, which is the maximum; close some", ForkWords::LIMIT);
    Error::limit(limit, std::io::ErrorKind::ResourceBusy)
}
