//! The directory of a store: creates it in one step, and opens it.

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory, NotFound};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use lock_core::{Error, ErrorKind, LockId, OpenMode, Result, StoreId};

/// The subdirectories: allocated ids, held locks, and locks to be.
const ALLOCATED: &str = "allocated";
const LOCKS: &str = "locks";
const DRAFTS: &str = "drafts";
/// The start of the name of the subdirectory that identifies the store.
const IDENTITY: &str = "mkdir-store-";

/// An open store.
#[derive(Debug)]
pub(crate) struct Dir {
    path: PathBuf,
    id: StoreId,
}

impl Dir {
    /// Opens or creates the store at that path.
    pub(crate) fn open(path: &Path, mode: OpenMode) -> Result<Self> {
        match mode {
            OpenMode::Open => Self::find(path),
            OpenMode::Create => Self::create(path),
            OpenMode::OpenOrCreate => loop {
                match Self::find(path) {
                    Err(error) if error.is_absent() => {}
                    found => return found,
                }
                match Self::create(path) {
                    // Another process has created the store first.
                    Err(error) if error.already_exists() => {}
                    created => return created,
                }
            },
        }
    }

    fn find(path: &Path) -> Result<Self> {
        let not_a_store = |reason: &str| Error::not_a_store(reason);
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == NotFound => return Err(Error::absent()),
            Err(error) => return Err(Error::system("lstat", error).at(path)),
            Ok(facts) if facts.is_symlink() => {
                let reason = "it is a symbolic link; use the path that it leads to".to_owned();
                return Err(Error::untrusted(reason));
            }
            Ok(facts) if !facts.is_dir() => return Err(not_a_store("it is not a directory")),
            Ok(_) => {}
        }
        let entries = fs::read_dir(path).map_err(|error| Error::system("readdir", error).at(path))?;
        let mut names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let id = names.find_map(|name| u128::from_str_radix(name.strip_prefix(IDENTITY)?, 16).ok());
        let id = id.ok_or_else(|| not_a_store("its identity is missing"))?;
        Ok(Self { path: path.to_owned(), id: StoreId::new(id) })
    }

    /// Makes the store beside its place and moves it there in one step, so that no process sees half of it.
    fn create(path: &Path) -> Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", unique()?));
        let draft = path.with_file_name(name);
        let made = Self::fill(&draft).and_then(|()| match fs::symlink_metadata(path) {
            Ok(_) => Err(Error::exists()),
            Err(_) => fs::rename(&draft, path).map_err(|error| match error.kind() {
                AlreadyExists | DirectoryNotEmpty | NotADirectory => Error::exists(),
                _ => Error::system("rename", error).at(path),
            }),
        });
        if made.is_err() {
            // A draft that cannot be removed does no harm: no process opens it.
            let _ = fs::remove_dir_all(&draft);
        }
        made?;
        Self::find(path)
    }

    fn fill(draft: &Path) -> Result<()> {
        mkdir(draft)?;
        for name in [ALLOCATED, LOCKS, DRAFTS, &format!("{IDENTITY}{}", unique()?)] {
            mkdir(&draft.join(name))?;
        }
        Ok(())
    }

    /// Checks that the path still leads to this store.
    pub(crate) fn check(&self) -> Result<()> {
        match Self::find(&self.path) {
            Ok(found) if found.id == self.id => Ok(()),
            Ok(_) => Err(Error::replaced()),
            Err(error) if matches!(error.kind(), ErrorKind::Absent | ErrorKind::NotAStore) => Err(Error::destroyed()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn id(&self) -> StoreId {
        self.id
    }

    /// The directory whose existence allocates the id.
    pub(crate) fn allocation(&self, id: LockId) -> PathBuf {
        self.allocations().join(id.to_string())
    }

    pub(crate) fn allocations(&self) -> PathBuf {
        self.path.join(ALLOCATED)
    }

    /// The directory of a lock.
    pub(crate) fn lock(&self, id: LockId) -> PathBuf {
        self.path.join(LOCKS).join(id.to_string())
    }

    pub(crate) fn drafts(&self) -> PathBuf {
        self.path.join(DRAFTS)
    }
}

/// Makes a directory that only its user can read and change.
pub(crate) fn mkdir(path: &Path) -> Result<()> {
    DirBuilder::new().mode(0o700).create(path).map_err(|error| Error::system("mkdir", error).at(path))
}

/// Returns a name that no other process or thread uses. A process id does not do: it is used again, and processes of two
/// containers may have the same one.
pub(crate) fn unique() -> Result<String> {
    let mut bytes = [0; 16];
    let random = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    random.map_err(|error| Error::system("read", error).at("/dev/urandom".as_ref()))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}
