use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use lock_core::{
    Allocation, Error, ErrorKind, Generation, HeldLock, Holder, Label, LockId, Manager, OpenMode, RawLock, Reconciled, Result,
    StoreId, StoreUrl,
};
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};

use super::lock::{FileLock, command_of};
use super::options::{Access, Bound, Mode, STICKY, Trusted};
use super::users;

const MAGIC: &str = "reference-lock-store";
const VERSION: u32 = 1;
/// The marks behind the process id in the file of an id. The number of the process follows [`TEMPORARY`].
const NO_NAME: &str = "";
const NAME: &str = "+";
const TEMPORARY: char = '~';

/// A store that is a directory.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    id: u128,
    /// The bound at the creation.
    created_bound: Bound,
    /// The time of the creation, in nanoseconds since 1970.
    created: u64,
    /// Owner, group and mode of the header. All other files get the same.
    access: Access,
    /// The mode and the owners that the URL allows.
    allowed: (Mode, Trusted),
    wrap: Wrap,
}

/// A function that makes the lock of a store from the lock of a file.
type Wrap = fn(Arc<FileLock>) -> Arc<dyn RawLock>;

/// Opens a store.
pub(crate) fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    open_with(url, mode, |lock| lock)
}

/// Opens a store whose locks are those that `wrap` returns.
pub(super) fn open_with(url: &StoreUrl, mode: OpenMode, wrap: Wrap) -> Result<Arc<dyn Manager>> {
    let mut options = url.options();
    let asked = options.take::<Bound>("capacity")?;
    let mode_asked = options.take::<Mode>("mode")?.unwrap_or(Mode::DEFAULT);
    let owner = options.take::<String>("owner")?;
    let trusted = Trusted { any: owner.is_some_and(|owner| owner == "any"), group: options.take("group")? };
    options.finish()?;
    let path = url.location();
    if mode != OpenMode::Open {
        let made = Directory::create(path, asked.unwrap_or(Bound::DEFAULT), mode_asked, trusted.group)?;
        if !made && mode == OpenMode::Create {
            return Err(Error::exists());
        }
    }
    let store = Directory { wrap, ..Directory::read(path, (mode_asked, trusted))? };
    let bound = store.bound();
    match asked {
        Some(asked) if !(store.created_bound.limit()..=bound.limit()).contains(&asked.limit()) => {
            Err(Error::other_capacity(bound.to_string(), asked.to_string()))
        }
        _ => Ok(Arc::new(store)),
    }
}

impl Directory {
    /// Creates the directory under a temporary name and renames it. Returns false if the store exists.
    ///
    /// If several processes race, the first rename wins. No process sees an incomplete store.
    fn create(path: &Path, bound: Bound, mode: Mode, group: Option<u32>) -> Result<bool> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        if fs::symlink_metadata(path).is_ok() {
            return Ok(false);
        }
        let made = path.with_file_name(format!("new-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let fill = || -> io::Result<bool> {
            for directory in [made.clone(), made.join("ids"), made.join("locks"), made.join("users")] {
                DirBuilder::new().mode(0o700).create(directory)?;
            }
            let mut id = [0; 16];
            File::open("/dev/urandom")?.read_exact(&mut id)?;
            let now = UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos());
            let header = format!("{MAGIC} {VERSION} {bound} {} {now}\n", u128::from_le_bytes(id));
            File::options()
                .write(true)
                .create_new(true)
                .mode(0o600 | STICKY)
                .open(made.join("header"))?
                .write_all(header.as_bytes())?;
            if mode.is_shared() {
                fs::set_permissions(made.join("header"), Permissions::from_mode(mode.bits() | STICKY))?;
                for directory in [made.join("ids"), made.join("locks"), made.join("users"), made.clone()] {
                    fs::set_permissions(directory, Permissions::from_mode(mode.of_directory()))?;
                }
            }
            if let Some(group) = group {
                for file in ["header", "ids", "locks", "users", "."] {
                    chown(made.join(file), None, Some(group))?;
                }
            }
            match fs::rename(&made, path) {
                Ok(()) => Ok(true),
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTEMPTY | libc::EEXIST)) => Ok(false),
                Err(error) => Err(error),
            }
        };
        let done = fill();
        if !matches!(done, Ok(true)) {
            let _ = fs::remove_dir_all(&made);
        }
        done.map_err(|error| Error::system("create the directory", error))
    }

    fn read(path: &Path, allowed: (Mode, Trusted)) -> Result<Self> {
        check_link(path)?;
        let header = path.join("header");
        let opened = File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(&header);
        let mut file = opened.map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT) => Error::absent(),
            Some(libc::ELOOP) => untrusted("the header is a symbolic link"),
            _ => Error::system("open the header", error),
        })?;
        let facts = file.metadata().map_err(|error| Error::system("fstat", error))?;
        if !allowed.1.includes(&facts) {
            return Err(untrusted("the header belongs to another user or another group"));
        }
        if !Mode::of_file(facts.mode()).is_within(allowed.0) {
            return Err(untrusted("other users may write the header"));
        }
        if facts.nlink() != 1 {
            return Err(untrusted("the header has a second hard link"));
        }
        let filesystem = fstatfs(&file).map_err(|errno| Error::system("fstatfs", errno))?.filesystem_type();
        if filesystem == OVERLAYFS_SUPER_MAGIC {
            return Err(untrusted(
                "the directory is on an overlay, whose locks do not exclude processes that use the upper layer",
            ));
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(|error| Error::system("read the header", error))?;
        let (bound, id, created) = parse(&text, &header)?;
        let path = fs::canonicalize(path).map_err(|error| Error::system("realpath", error))?;
        // The inode distinguishes a copy from the original.
        Ok(Self {
            path,
            id: id ^ u128::from(facts.ino()),
            created_bound: bound,
            created,
            access: Access::of(&facts),
            allowed,
            wrap: |lock| lock,
        })
    }

    fn bound(&self) -> Bound {
        let raised = fs::read_to_string(self.path.join("raised")).ok();
        raised.and_then(|raised| raised.parse().ok()).unwrap_or(self.created_bound)
    }

    /// Locks the header, so that only one process changes the store in more than one step. The kernel releases this lock at its death.
    fn only_one(&self) -> Result<Flock<File>> {
        let header = File::open(self.path.join("header")).map_err(|error| Error::system("open the header", error))?;
        Flock::lock(header, FlockArg::LockExclusive).map_err(|(_, errno)| Error::system("flock", errno))
    }

    fn check_range(&self, id: LockId) -> Result<()> {
        match self.bound().0 {
            Some(capacity) if u64::from(id.get()) >= capacity => Err(Error::out_of_range(capacity)),
            _ => Ok(()),
        }
    }

    fn id_file(&self, id: LockId) -> PathBuf {
        self.path.join("ids").join(id.to_string())
    }

    /// Allocates the id: writes the label to a temporary file and links it. Returns false if the id is allocated.
    fn claim(&self, id: LockId, label: &Label, mark: &str) -> Result<bool> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        check_link(&self.path)?;
        check_link(&self.path.join("ids"))?;
        let written = self.path.join(format!("claim-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&written);
        let filled = file.and_then(|mut file| write!(file, "{}{mark} {label}", process::id()));
        filled.and_then(|()| self.access.give(&written)).map_err(|error| Error::system("write", error))?;
        let linked = fs::hard_link(&written, self.id_file(id));
        let _ = fs::remove_file(&written);
        match linked {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(Error::system("link", error)),
        }
    }

    fn allocate_marked(&self, label: &Label, mark: &str) -> Result<LockId> {
        let taken = self.numbers_in("ids")?;
        for id in (0..self.bound().0.map_or(u32::MAX, |capacity| capacity as u32)).map(LockId::new) {
            if !taken.contains(&id) && self.claim(id, label, mark)? {
                return Ok(id);
            }
        }
        let (capacity, allocated) = (self.bound().0.unwrap_or(u32::MAX.into()), taken.len() as u64);
        Err(Error::exhausted(capacity, allocated))
    }

    /// Returns the ids that have a file in the directory.
    fn numbers_in(&self, directory: &str) -> Result<BTreeSet<LockId>> {
        let entries = fs::read_dir(self.path.join(directory)).map_err(|error| Error::system("opendir", error))?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }
}

impl Manager for Directory {
    fn id(&self) -> StoreId {
        StoreId::new(self.id)
    }

    fn check(&self) -> Result<()> {
        match Self::read(&self.path, self.allowed) {
            Ok(named) if named.id == self.id => Ok(()),
            Ok(_) => Err(Error::replaced()),
            Err(error) if matches!(error.kind(), ErrorKind::Absent) => Err(Error::destroyed()),
            Err(error) => Err(error),
        }
    }

    fn capacity(&self) -> Option<u64> {
        self.bound().0
    }

    fn grow(&self, capacity: Option<u64>) -> Result<()> {
        self.check()?;
        let _only_one = self.only_one()?;
        let (present, raised) = (self.bound(), Bound(capacity));
        if raised.limit() < present.limit() || capacity.is_some_and(|capacity| capacity >= LockId::LIMIT) {
            return Err(Error::other_capacity(present.to_string(), raised.to_string()));
        }
        let written = self.path.join(format!("raised-{}", process::id()));
        fs::write(&written, raised.to_string())
            .and_then(|()| self.access.give(&written))
            .and_then(|()| fs::rename(&written, self.path.join("raised")))
            .map_err(|error| Error::system("write the capacity", error))
    }

    fn allocate_temporary(&self, label: &Label) -> Result<LockId> {
        self.check()?;
        let number = users::join(&self.path, self.id, self.access)?;
        self.allocate_marked(label, &format!("{TEMPORARY}{number}"))
    }

    fn reclaim(&self) -> Result<Vec<LockId>> {
        self.check()?;
        let _only_one = self.only_one()?;
        let mut freed = Vec::new();
        for id in self.numbers_in("ids")? {
            let text = fs::read_to_string(self.id_file(id)).unwrap_or_default();
            let number = text.split_once(' ').and_then(|(pid, _)| pid.split_once(TEMPORARY)?.1.parse().ok());
            let Some(number) = number else { continue };
            let is_used = users::is_alive(&self.path, self.id, self.access, number)? || self.lock(id)?.holder()?.is_some();
            if !is_used && self.free(id, None).is_ok() {
                freed.push(id);
            }
        }
        Ok(freed)
    }

    fn token_base(&self) -> u64 {
        self.created
    }

    fn lock(&self, id: LockId) -> Result<Arc<dyn RawLock>> {
        self.check()?;
        self.check_range(id)?;
        check_link(&self.path)?;
        check_link(&self.path.join("locks"))?;
        let lock = FileLock::of(&self.path.join("locks").join(id.to_string()), self.id, self.access)?;
        Ok((self.wrap)(lock))
    }

    fn allocate(&self, label: &Label) -> Result<LockId> {
        self.check()?;
        self.allocate_marked(label, NO_NAME)
    }

    fn named(&self, name: &Label) -> Result<(LockId, Option<Generation>)> {
        self.check()?;
        let _only_one = self.only_one()?;
        let known = self.allocated()?.into_iter().find(|allocation| allocation.is_named && allocation.label == *name);
        let id = known.map_or_else(|| self.allocate_marked(name, NAME), |allocation| Ok(allocation.id))?;
        Ok((id, None))
    }

    fn allocate_exact(&self, id: LockId, label: &Label) -> Result<()> {
        self.check()?;
        self.check_range(id)?;
        if self.claim(id, label, NO_NAME)? { Ok(()) } else { Err(Error::already_allocated()) }
    }

    fn free(&self, id: LockId, _: Option<Generation>) -> Result<()> {
        self.check()?;
        self.check_range(id)?;
        fs::remove_file(self.id_file(id)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::not_allocated(),
            _ => Error::system("unlink", error),
        })
    }

    fn free_all(&self) -> Result<u64> {
        self.check()?;
        let freed = self.numbers_in("ids")?.into_iter().filter(|id| fs::remove_file(self.id_file(*id)).is_ok()).count();
        Ok(freed as u64)
    }

    fn available(&self) -> Result<Option<u64>> {
        let allocated = self.numbers_in("ids")?.len() as u64;
        Ok(self.bound().0.map(|capacity| capacity - allocated))
    }

    fn allocated(&self) -> Result<Vec<Allocation>> {
        let mut allocations = Vec::new();
        for id in self.numbers_in("ids")? {
            let Ok(text) = fs::read_to_string(self.id_file(id)) else { continue };
            let mut allocation = Allocation::new(id);
            if let Some((pid, label)) = text.split_once(' ') {
                allocation.label = Label::new(label)?;
                allocation.is_named = pid.ends_with(NAME);
                allocation.is_temporary = pid.contains(TEMPORARY);
                let pid = pid.trim_end_matches(NAME).split(TEMPORARY).next().and_then(|pid| pid.parse().ok());
                allocation.allocator = pid.map(|pid| Holder::of_process(pid).with_command(command_of(pid)));
            }
            allocations.push(allocation);
        }
        Ok(allocations)
    }

    fn reconcile(&self, ids: &BTreeMap<LockId, Label>) -> Result<Reconciled> {
        self.check()?;
        ids.keys().try_for_each(|id| self.check_range(*id))?;
        let mut done = Reconciled::default();
        let taken = self.numbers_in("ids")?;
        for id in taken.iter().filter(|id| !ids.contains_key(id)) {
            self.free(*id, None)?;
            done.freed.push(*id);
        }
        for (id, label) in ids.iter().filter(|(id, _)| !taken.contains(id)) {
            self.claim(*id, label, NO_NAME)?;
            done.allocated.push(*id);
        }
        Ok(done)
    }

    fn held(&self) -> Result<Vec<HeldLock>> {
        let mut held = Vec::new();
        for id in self.numbers_in("locks")? {
            if let Some(holder) = self.lock(id)?.holder()? {
                held.push(HeldLock::new(id, Some(holder)));
            }
        }
        Ok(held)
    }

    fn destroy(&self) -> Result<()> {
        fs::remove_dir_all(&self.path).map_err(|error| Error::system("remove the directory", error))
    }
}

fn parse(text: &[u8], header: &Path) -> Result<(Bound, u128, u64)> {
    let not_a_store = |reason: &str| Error::not_a_store(reason);
    let text = str::from_utf8(text).map_err(|_| not_a_store("the header is not UTF-8 text"))?;
    let Some(line) = text.strip_suffix('\n') else { return Err(not_a_store("the header is truncated")) };
    let [magic, version, capacity, id, created] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(not_a_store("the header does not consist of five words"));
    };
    if magic != MAGIC {
        return Err(not_a_store("the header does not start with the magic word"));
    }
    let found = version.parse().map_err(|_| not_a_store("the version is not a number"))?;
    if found != VERSION {
        return Err(Error::other_version(found, VERSION, header));
    }
    let corrupt = |what: &str| Error::corrupt(what);
    let bound = capacity.parse().map_err(corrupt)?;
    let id = id.parse().map_err(|_| corrupt("the store identity is not a number"))?;
    let created = created.parse().map_err(|_| corrupt("the creation time is not a number"))?;
    Ok((bound, id, created))
}

fn check_link(path: &Path) -> Result<()> {
    let linked = fs::symlink_metadata(path).is_ok_and(|facts| facts.is_symlink());
    if linked { Err(untrusted("the store or one of its directories is a symbolic link")) } else { Ok(()) }
}

fn untrusted(reason: &str) -> Error {
    Error::untrusted(reason)
}
