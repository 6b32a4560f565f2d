use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lock_core::{Backend, Capabilities, Lock};

/// What is tested: a backend, or a lock that belongs to no store, with what the suite needs to know about it.
///
/// [`main!`](macro@crate::main) makes one of `BACKEND => |scratch| URL`; who has more to say builds it and hands it to the macro instead.
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
    /// The number of cases that have hung.
    hung: AtomicUsize,
}

type UrlFn = Box<dyn Fn(&Path) -> String + Send + Sync>;
type LockFn = Box<dyn Fn() -> Lock + Send + Sync>;
type GroupFn = Box<dyn Fn(u32) -> String + Send + Sync>;
type FilesFn = Box<dyn Fn(&Path, &str) -> Vec<PathBuf> + Send + Sync>;

/// Where locks come from.
pub(crate) enum Subject {
    /// A store that every peer opens.
    Store { backend: Backend, url: UrlFn },
    /// A lock that a process makes for its own threads.
    Lock(LockFn),
}

impl Suite {
    /// The suite for a backend. `url` gives the URL of a store that does not exist yet, different for each directory that it is
    /// handed; the directory exists, is empty, and is removed afterwards. A URL must not have the option `capacity` when the
    /// backend claims [`Capacity::Chosen`](lock_core::Capacity::Chosen): the suite adds it where it needs a certain one.
    ///
    /// Names of cases begin with the scheme.
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

    /// The suite for locks that belong to no store and are shared by the threads of one process. `lock` makes a new one, and
    /// `capabilities` are the claims that it is held to; its numbering and sharing are taken as single and between threads.
    pub fn of_lock(name: impl Into<String>, capabilities: Capabilities, lock: impl Fn() -> Lock + Send + Sync + 'static) -> Self {
        let capabilities = capabilities.numbering(lock_core::Numbering::Single).sharing(lock_core::Sharing::Threads);
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

    /// The same under another name, as for two kinds of store of one backend.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The same with the knowledge which files a store is recognised by (its headers), from the directory and the URL made of it.
    /// The suite damages, truncates, links and gives them away, and asks for a typed error each time.
    #[must_use]
    pub fn files(mut self, files: impl Fn(&Path, &str) -> Vec<PathBuf> + Send + Sync + 'static) -> Self {
        self.files = Some(Box::new(files));
        self
    }

    /// The same with the claim that a file system of so many bytes, which has nothing else, is enough for a store of a few locks and a
    /// few processes.
    #[must_use]
    pub fn fits_in(mut self, bytes: u64) -> Self {
        self.room = Some(bytes);
        self
    }

    /// The same with the URL options that let every user of the machine open a store of any user, such as `mode=0666&owner=any`.
    ///
    /// Without it the cases in which the owner and the waiter are different users are skipped.
    #[must_use]
    pub fn shared_between_users(mut self, option: impl Into<String>) -> Self {
        self.option_for_users = Some(option.into());
        self
    }

    /// The same with the URL options that let the members of a group, given by its id, open a store, such as `mode=0660&group=1000`.
    ///
    /// Without it the cases about groups are skipped.
    #[must_use]
    pub fn shared_in_group(mut self, options: impl Fn(u32) -> String + Send + Sync + 'static) -> Self {
        self.option_for_group = Some(Box::new(options));
        self
    }

    /// The same with another time after which a case that hangs fails (30 s unless told; `LOCK_CONFORMANCE_WATCHDOG`, in seconds,
    /// goes before both).
    #[must_use]
    pub fn watchdog(mut self, watchdog: Duration) -> Self {
        self.watchdog = Some(watchdog);
        self
    }

    /// What names of its cases begin with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The claims that it is held to.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Notes that a case hangs.
    pub(crate) fn note_hung(&self) {
        self.hung.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of cases that have hung so far.
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
