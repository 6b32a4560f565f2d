//! How a table is opened, and how it goes.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, Weak};

use super::header::Header;
use super::layout::{BASE_BYTES, SEGMENTS};
use super::{Bound, Kind, Mode, Table, TableOptions, file, seat};
use crate::sys::{SetOnce, Words};
use crate::{Error, ErrorKind, OpenMode, Result, StoreId, fork};

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

    /// Whether the store was destroyed, also by somebody who was killed in the middle of that: its file has lost its name.
    pub fn is_destroyed(&self) -> bool {
        self.alive().is_err() || !self.has_its_name()
    }

    fn has_its_name(&self) -> bool {
        std::fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.inode)
    }

    /// Removes the file, if it is still this table's.
    ///
    /// # Errors
    /// [`ErrorKind::Destroyed`] when it is not; what the system says.
    pub fn destroy(&self) -> Result<()> {
        self.alive()?;
        if !self.has_its_name() {
            return Err(ErrorKind::Destroyed.into());
        }
        // The name first: a store that is marked and keeps its name could be neither opened nor created.
        std::fs::remove_file(&self.path).map_err(|e| Error::system("unlink", e))?;
        self.state().destroyed.store(1, SeqCst);
        Ok(())
    }
}

pub(super) fn random() -> Result<u128> {
    let mut bytes = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|e| Error::system("read /dev/urandom", e))?;
    Ok(u128::from_ne_bytes(bytes))
}

/// 0 where the system does not say.
pub(super) fn boot_id() -> u128 {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    u128::from_str_radix(text.trim().replace('-', "").as_str(), 16).unwrap_or(0)
}
