//! The lock files of a process, in a descriptor table that the rest of the program does not share.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::IntoRawFd;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use lock_core::{Error, Result};

use super::sys::{self, PerProcess};

/// Identifies a lock file: the identity of its store, and its path, which a later store may use again.
pub(super) type Key = (u128, PathBuf);

/// An open lock file.
pub(super) struct OpenFile {
    pub(super) file: File,
    /// The thread of this process that holds the lock.
    pub(super) owner: Option<u32>,
}

/// The thread that opens and locks this process's lock files. It has a separate descriptor table.
///
/// Calls of `close` in other threads do not reach that table. Forked children do not inherit it; a child starts a new thread.
pub(super) struct FileThread {
    tasks: Sender<Task>,
}

type Task = Box<dyn FnOnce(&mut HashMap<Key, OpenFile>) + Send>;

impl FileThread {
    /// Runs `work` on the lock file, and opens or creates the file first if it is not open.
    pub(super) fn run<T: Send + 'static>(key: &Key, work: impl FnOnce(&mut OpenFile) -> Result<T> + Send + 'static) -> Result<T> {
        let thread = Self::of_this_process()?;
        let (answer, answers) = channel();
        let key = key.clone();
        let task: Task = Box::new(move |files| {
            let done = match files.get_mut(&key) {
                Some(file) => work(file),
                None => open(&key).and_then(|file| work(files.entry(key).or_insert(file))),
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
                // Keeps lock files away from the standard descriptors.
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

fn open((_, path): &Key) -> Result<OpenFile> {
    let opened = File::options().read(true).write(true).create(true).truncate(false).open(path);
    Ok(OpenFile { file: opened.map_err(|error| Error::system("open", error))?, owner: None })
}
