//! The lock files of a process, in a descriptor table that no other thread shares.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use lock_core::{Error, Result};
use nix::libc;

use super::options::Access;
use super::sys::{self, PerProcess};

/// The key of a lock file: the identity of its store and its path.
///
/// A later store can reuse the path.
pub(super) type Key = (u128, PathBuf);

/// An open lock file.
pub(super) struct OpenFile {
    pub(super) file: File,
    /// The thread of this process that holds the lock.
    pub(super) owner: Option<u32>,
}

/// The thread that opens and locks the lock files of this process.
///
/// It has a separate descriptor table, so that `close` in another thread does not affect it. A forked child does not inherit the table; it
/// starts a new thread.
pub(super) struct FileThread {
    tasks: Sender<Task>,
}

type Task = Box<dyn FnOnce(&mut HashMap<Key, OpenFile>) + Send>;

impl FileThread {
    /// Runs `work` on the lock file. Opens or creates the file first if it is not open.
    ///
    /// A new file gets the owner, group and mode of `access`.
    pub(super) fn run<T: Send + 'static>(
        key: &Key,
        access: Access,
        work: impl FnOnce(&mut OpenFile) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let thread = Self::of_this_process()?;
        let (answer, answers) = channel();
        let key = key.clone();
        let task: Task = Box::new(move |files| {
            let done = match files.get_mut(&key) {
                Some(file) => work(file),
                None => open(&key, access).and_then(|file| work(files.entry(key).or_insert(file))),
            };
            let _ = answer.send(done);
        });
        thread.tasks.send(task).expect("the thread runs until the process ends");
        answers.recv().expect("the thread runs every task")
    }

    fn of_this_process() -> Result<&'static Self> {
        static THREAD: PerProcess<FileThread> = PerProcess::new();
        match THREAD.get() {
            Some(thread) => Ok(thread),
            None => THREAD.set(Self::start()?).map_err(|error| Error::system("mmap", error)),
        }
    }

    fn start() -> Result<Self> {
        let (tasks, work) = channel::<Task>();
        let (ready, begun) = channel();
        let serve = move || {
            let begun = sys::begin_with_no_descriptors();
            if begun.is_ok() {
                // Occupies the standard descriptors, so that no lock file gets one.
                for _ in 0..3 {
                    let _ = File::open("/dev/null").map(IntoRawFd::into_raw_fd);
                }
            }
            let _ = ready.send(begun);
            let mut files = HashMap::new();
            work.into_iter().for_each(|task| task(&mut files));
        };
        let spawned = thread::Builder::new().name("lock-files".to_owned()).stack_size(256 << 10).spawn(serve);
        spawned.map_err(|error| Error::system("pthread_create", error))?;
        begun.recv().expect("the thread reports its start").map_err(|error| Error::system("close_range", error))?;
        Ok(Self { tasks })
    }
}

/// Opens the file, and creates it if it is absent.
///
/// A new file is created under a temporary name, so that no process sees it with another owner or mode.
fn open((_, path): &Key, access: Access) -> Result<OpenFile> {
    let system = |error: io::Error| match error.raw_os_error() {
        Some(libc::ELOOP) => Error::untrusted("a file of the store is a symbolic link"),
        _ => Error::system("open", error),
    };
    let options = || File::options().read(true).write(true).custom_flags(libc::O_NOFOLLOW).to_owned();
    loop {
        match options().open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return Ok(OpenFile { file: opened.map_err(system)?, owner: None }),
        }
        let made = path.with_file_name(format!("new-{}", process::id()));
        let file = options().create(true).truncate(true).mode(0o600).open(&made).map_err(system)?;
        let named = access.give(&made).and_then(|()| fs::hard_link(&made, path));
        let _ = fs::remove_file(&made);
        match named {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            named => return named.map(|()| OpenFile { file, owner: None }).map_err(|error| Error::system("link", error)),
        }
    }
}
