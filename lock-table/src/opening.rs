//! How a table is opened, and how it goes.

use std::fs::{File, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use nix::errno::Errno;
use nix::time::ClockId;

use crate::file_id::FileId;
use crate::header::Header;
use crate::identity::Identity;
use crate::kind::Kind;
use crate::layout::{BASE_BYTES, SEGMENTS};
use crate::options::{Bound, TableOptions};
use crate::segment::Segment;
use crate::sys::Words;
use crate::table::Table;
use crate::table_file::TableFile;
use crate::table_path::TablePath;
use crate::{boot, file, filesystem, location, open_tables, table_path};
use lock_core::__private::ForkWords;
use lock_core::PerProcess;
use lock_core::{Error, ErrorKind, OpenMode, Result, StoreId};
use once_cell::race::OnceBox;

/// For so many milliseconds it is believed that a store has its name still. Looking at every allocation would make that many times
/// dearer; and between looking and allocating, a store may lose it anyway.
const FRESH: u64 = 10;
/// The mode bits of users other than the owner.
const OTHERS: u32 = 0o077;
/// When a table was checked that is to be checked again.
const NEVER: u64 = 0;

impl Table {
    /// Opens, creates, or does whichever it takes.
    ///
    /// # Errors
    /// [`ErrorKind::Absent`], [`ErrorKind::Exists`]; [`ErrorKind::NotAStore`], [`ErrorKind::OtherVersion`],
    /// [`ErrorKind::OtherAbi`], [`ErrorKind::OtherCapacity`], [`ErrorKind::Corrupt`], [`ErrorKind::NotOurs`], and then nothing is
    /// changed; [`ErrorKind::TooManyProcesses`], [`ErrorKind::Limit`]; what the system says.
    pub fn open(path: &Path, kind: Kind, mode: OpenMode, options: &TableOptions) -> Result<Arc<Self>> {
        Self::open_at(&TablePath::whole(path), kind, mode, options)
    }

    /// The same for a file in a directory that the caller has opened and checked. The last part of the path is the file's name there.
    ///
    /// # Errors
    /// Those of [`Table::open`].
    pub fn open_in(directory: impl AsFd, path: &Path, kind: Kind, mode: OpenMode, options: &TableOptions) -> Result<Arc<Self>> {
        Self::open_at(&TablePath::in_directory(directory.as_fd(), path), kind, mode, options)
    }

    fn open_at(path: &TablePath<'_>, kind: Kind, mode: OpenMode, options: &TableOptions) -> Result<Arc<Self>> {
        loop {
            if mode != OpenMode::Create {
                match file::open_existing(path, kind, options) {
                    Ok((file, header)) => return Self::attach(path.whole, file, header).map_err(|error| error.at(path.whole)),
                    Err(error) if mode == OpenMode::OpenOrCreate && matches!(error.kind(), ErrorKind::Absent) => {}
                    Err(error) => return Err(filesystem::advise_on_absent(error, path.whole).at(path.whole)),
                }
            }
            let id = StoreId::new(file::random()?);
            let home = Identity::of_this_process()?.namespace;
            let header = Header::new(kind, options.bound.unwrap_or(Bound::DEFAULT), id, boot::id(), home);
            match file::create_new(path, &header, options) {
                Ok(file) => return Self::attach(path.whole, file, header).map_err(|error| error.at(path.whole)),
                Err(error) if mode == OpenMode::OpenOrCreate && matches!(error.kind(), ErrorKind::Exists) => {}
                Err(error) => return Err(error.at(path.whole)),
            }
        }
    }

    fn attach(path: &Path, file: File, header: Header) -> Result<Arc<Self>> {
        let id = FileId::of(&file).map_err(|e| Error::system("fstat", e))?;
        let opening = open_tables::opening()?;
        if let Some(table) = opening.find(id, &header) {
            return Ok(table);
        }
        let base = Words::map(&file, 0, BASE_BYTES).map_err(|e| Error::refused("mmap", e))?;
        let mode = file.metadata().map_err(|e| Error::system("fstat", e))?.mode();
        let table = Arc::new(Self {
            file: TableFile::new(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()), file)?,
            header,
            base,
            is_shared: mode & OTHERS != 0,
            segments: [const { OnceBox::new() }; SEGMENTS],
            checked: AtomicU64::new(0),
            registration: PerProcess::new(),
            process: ForkWords::new().ok_or_else(too_many_stores)?,
        });
        location::check(&table)?;
        table.register(&opening)?;
        table.segment(0)?;
        opening.add(&table);
        Ok(table)
    }

    /// Checks that the store's name still leads to this store, and that its file is as long as it was.
    ///
    /// Locks of a store that has lost its name go on excluding those who have it open, but nobody else: so nothing is allocated in it
    /// nor freed any more. A store that was moved away, or that is out of this process's sight, as after a `chroot`, goes on until another
    /// one has its name.
    ///
    /// # Errors
    /// [`ErrorKind::Destroyed`], [`ErrorKind::Replaced`], [`ErrorKind::Corrupt`] when the file was cut off.
    pub fn check(&self) -> Result<()> {
        self.checked.store(NEVER, Relaxed);
        let now = coarse_now();
        // Before the length: another thread may make the store grow.
        let end = self.mapped_end();
        let named = std::fs::symlink_metadata(self.path()).ok();
        let length = match named {
            // A bind mount keeps a deleted file at its place.
            Some(named) if self.is(&named) && named.nlink() == 0 => return Err(ErrorKind::Destroyed.into()),
            Some(named) if self.is(&named) => named.len(),
            named => {
                let stat = self.file.stat()?;
                match (stat.st_nlink, named) {
                    (0, _) => return Err(ErrorKind::Destroyed.into()),
                    (_, Some(_)) => return Err(ErrorKind::Replaced.into()),
                    (_, None) => stat.st_size.unsigned_abs(),
                }
            }
        };
        file::check_end(length, end)?;
        self.check_mark()?;
        self.checked.store(now, Relaxed);
        Ok(())
    }

    /// The same for what is done often, where a system call would be dear: what was found a moment ago is believed.
    pub(crate) fn check_now_and_then(&self) -> Result<()> {
        if self.is_fresh() { self.check_mark() } else { self.check() }
    }

    /// Whether all is there that this process has mapped; what is gone could not be touched.
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
            _ => Err(ErrorKind::Destroyed.into()),
        }
    }

    fn is_fresh(&self) -> bool {
        let checked = self.checked.load(Relaxed);
        checked != NEVER && coarse_now().saturating_sub(checked) < FRESH
    }

    fn mapped_end(&self) -> u64 {
        self.segments.iter().rev().find_map(OnceBox::get).map_or(BASE_BYTES, Segment::end)
    }

    /// Whether the store was destroyed, also by a process that was killed while it did that: its file has lost its name. A name
    /// that this process may not look up says nothing.
    pub fn is_destroyed(&self) -> bool {
        let told = self.check().is_err_and(|error| matches!(error.kind(), ErrorKind::Destroyed | ErrorKind::Replaced));
        told || self.has_lost_its_name()
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

    /// Removes the file, if it is still this table's.
    ///
    /// # Errors
    /// [`ErrorKind::Destroyed`] or [`ErrorKind::Replaced`] when it is not; [`ErrorKind::Corrupt`]; what the system says.
    pub fn destroy(&self) -> Result<()> {
        self.check()?;
        if self.has_lost_its_name() {
            return Err(ErrorKind::Destroyed.into());
        }
        // The name first: a store that is marked and keeps its name could be neither opened nor created.
        table_path::unlink_if(self.path(), self.file.id()).map_err(|errno| match errno {
            Errno::ENOENT => ErrorKind::Destroyed.into(),
            errno => Error::system("unlink", errno).at(self.path()),
        })?;
        self.state().destroyed.store(1, SeqCst);
        Ok(())
    }
}

/// By a clock that is read in a few nanoseconds, in milliseconds; never [`NEVER`].
fn coarse_now() -> u64 {
    ClockId::CLOCK_MONOTONIC_COARSE.now().map_or(NEVER, |now| Duration::from(now).as_millis() as u64 + 1)
}

#[cold]
fn too_many_stores() -> Error {
    let limit = format!("this process has {} stores open, which is as many as it can; close some", ForkWords::LIMIT);
    ErrorKind::Limit { limit, source: std::io::ErrorKind::ResourceBusy.into() }.into()
}
