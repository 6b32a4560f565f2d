use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lock_core::{Backend, Capabilities, Lock};

/// A backend, or a lock without a store, with the settings for its tests.
///
/// [`main!`](macro@crate::main) creates a suite from `BACKEND => |scratch| URL`. To change a setting, pass a suite to the macro instead.
///
/// # Examples
/// ```no_run
/// # const BACKEND: lock_core::Backend = lock_core::Backend::new("x", "x", "", |_, _| Err(lock_core::Error::unsupported("")));
/// use lock_conformance::Suite;
/// let suite = Suite::new(BACKEND, |scratch| format!("mine:{}/store", scratch.display()))
///     .files(|scratch, _url| vec![scratch.join("store")]);
/// ```
pub struct Suite {
    name: String,
    capabilities: Capabilities,
    pub(crate) subject: Subject,
    pub(crate) files: Option<FilesFn>,
    pub(crate) room: Option<u64>,
    pub(crate) option_for_users: Option<String>,
    pub(crate) option_for_group: Option<GroupFn>,
    pub(crate) watchdog: Option<Duration>,
    /// Number of cases that have hung.
    hung: AtomicUsize,
}

type UrlFn = Box<dyn Fn(&Path) -> String + Send + Sync>;
type LockFn = Box<dyn Fn() -> Lock + Send + Sync>;
type GroupFn = Box<dyn Fn(u32) -> String + Send + Sync>;
type FilesFn = Box<dyn Fn(&Path, &str) -> Vec<PathBuf> + Send + Sync>;

/// The source of locks.
pub(crate) enum Subject {
    /// A store that every peer opens.
    Store { backend: Backend, url: UrlFn },
    /// A lock that a process creates for its own threads.
    Lock(LockFn),
}

impl Suite {
    /// Creates a suite for a backend. Names of cases start with the scheme.
    ///
    /// `url` gets an empty directory, which is removed afterwards, and returns the URL of a store that does not exist yet. Different
    /// directories must give different URLs. If the backend claims [`Capacity::Chosen`](lock_core::Capacity::Chosen), the URL must not
    /// have the option `capacity`, because the suite adds it.
    pub fn new(backend: Backend, url: impl Fn(&Path) -> String + Send + Sync + 'static) -> Self {
        Self {
            name: backend.scheme().to_owned(),
            capabilities: backend.capabilities(),
            subject: Subject::Store { backend, url: Box::new(url) },
            files: None,
            room: None,
            option_for_users: None,
            option_for_group: None,
            watchdog: None,
            hung: AtomicUsize::new(0),
        }
    }

    /// Creates a suite for locks without a store, which the threads of one process share.
    ///
    /// `lock` creates a lock, and `capabilities` are its claims. The suite sets their numbering to single and their sharing to threads.
    pub fn of_lock(name: impl Into<String>, capabilities: Capabilities, lock: impl Fn() -> Lock + Send + Sync + 'static) -> Self {
        let capabilities = capabilities.with_numbering(lock_core::Numbering::Single).with_sharing(lock_core::Sharing::Threads);
        Self {
            name: name.into(),
            capabilities,
            subject: Subject::Lock(Box::new(lock)),
            files: None,
            room: None,
            option_for_users: None,
            option_for_group: None,
            watchdog: None,
            hung: AtomicUsize::new(0),
        }
    }

    /// Renames the suite, for example to test two kinds of store of one backend.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets a function that returns the header files of a store, from its directory and its URL.
    ///
    /// The suite damages, truncates and links these files and changes their owner, and expects a typed error each time.
    #[must_use]
    pub fn files(mut self, files: impl Fn(&Path, &str) -> Vec<PathBuf> + Send + Sync + 'static) -> Self {
        self.files = Some(Box::new(files));
        self
    }

    /// Sets the space that a store needs, in bytes.
    ///
    /// An otherwise empty file system of this size must be large enough for a store of a few locks and processes.
    #[must_use]
    pub fn fits_in(mut self, bytes: u64) -> Self {
        self.room = Some(bytes);
        self
    }

    /// Sets the URL options that let every user open a store of any user, such as `mode=0666&owner=any`.
    ///
    /// Without them, cases in which the owner and the waiter are different users are skipped.
    #[must_use]
    pub fn shared_between_users(mut self, option: impl Into<String>) -> Self {
        self.option_for_users = Some(option.into());
        self
    }

    /// Sets the URL options that let the members of a group open a store, such as `mode=0660&group=1000`.
    ///
    /// The function gets the id of the group. Without it, cases about groups are skipped.
    #[must_use]
    pub fn shared_in_group(mut self, options: impl Fn(u32) -> String + Send + Sync + 'static) -> Self {
        self.option_for_group = Some(Box::new(options));
        self
    }

    /// Sets the time limit of a case, 30 s by default.
    ///
    /// `LOCK_CONFORMANCE_WATCHDOG`, in seconds, overrides it.
    #[must_use]
    pub fn watchdog(mut self, watchdog: Duration) -> Self {
        self.watchdog = Some(watchdog);
        self
    }

    /// Returns the name of the suite, with which the names of its cases start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the claims that the suite tests.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Records that a case hangs.
    pub(crate) fn note_hung(&self) {
        self.hung.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of cases that have hung so far.
    pub(crate) fn hung(&self) -> usize {
        self.hung.load(Ordering::Relaxed)
    }

    pub(crate) fn backend(&self) -> Option<&Backend> {
        match &self.subject {
            Subject::Store { backend, .. } => Some(backend),
            Subject::Lock(_) => None,
        }
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("name", &self.name).field("capabilities", &self.capabilities).finish_non_exhaustive()
    }
}
