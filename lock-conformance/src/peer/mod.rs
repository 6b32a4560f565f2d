//! The peer: this test binary, run again, doing with its threads what the suite tells it over a socket.

mod acquire;
mod allocate;
mod descriptors;
mod droppable;
mod dropping;
mod fate;
mod forking;
mod growing;
mod handlers;
mod loops;
mod mutexes;
pub(crate) mod own_file;
mod repeating;
mod reports;
mod semaphores;
mod store;
mod surroundings;
mod worker;

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use lock_core::{Lock, Store};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, gettid};

use crate::Suite;
use crate::protocol::{Answer, join, split};
use crate::sys::{self, Fork};

pub(crate) use surroundings::{mount_new, own_mounts};

/// The environment variable that makes a peer of the test binary: socket, suite and the peer's name, separated by tabs.
pub(crate) const VARIABLE: &str = "LOCK_CONFORMANCE_PEER";

/// What peers are called in lists of processes, before the names of suite and peer.
pub(crate) const PEER_COMMAND: &str = "lock-conformance-peer";

/// The thread that the process began with.
pub(crate) const MAIN: &str = "main";

/// Becomes a peer if the suite started this process as one, and does not return then.
pub(crate) fn run_if_asked(suites: &[Arc<Suite>]) {
    let Ok(asked) = env::var(VARIABLE) else { return };
    let words = split(&asked);
    let [socket, suite, name] = words.as_slice() else { panic!("{VARIABLE} is for the suite's own use, and has {asked:?}") };
    let suite = suites.iter().find(|known| known.name() == suite).unwrap_or_else(|| panic!("there is no suite {suite:?}"));
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // A backend may need a descriptor for each lock, and some cases need many locks.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    let (peer, commands) = Peer::connect(Arc::clone(suite), socket, name, Inheritance::default());
    worker::Worker::new(peer, MAIN).run(commands);
    sys::exit_now(0)
}

/// What all threads of a peer share.
pub(crate) struct Peer {
    suite: Arc<Suite>,
    socket: String,
    link: Mutex<UnixStream>,
    link_fd: RawFd,
    threads: Mutex<HashMap<String, Sender<Command>>>,
    owned: Mutex<Inheritance>,
}

/// What a forked child has from its parent.
#[derive(Default, Clone)]
pub(crate) struct Inheritance {
    store: Option<Store>,
    /// Handles live as long as the process, so that guards may borrow them.
    handles: HashMap<String, &'static Lock>,
}

/// What a thread is told to do.
pub(crate) struct Command {
    tag: u64,
    verb: String,
    arguments: Vec<String>,
}

impl Peer {
    /// Says hello and begins to listen; the commands for the main thread come out of the receiver.
    fn connect(suite: Arc<Suite>, socket: &str, name: &str, owned: Inheritance) -> (Arc<Self>, Receiver<Command>) {
        let link = SocketAddr::from_abstract_name(socket)
            .and_then(|address| UnixStream::connect_addr(&address))
            .unwrap_or_else(|_| sys::exit_now(3));
        let (to_main, commands) = channel();
        let peer = Arc::new(Self {
            suite,
            socket: socket.to_owned(),
            link_fd: link.as_raw_fd(),
            link: Mutex::new(link.try_clone().expect("a descriptor more")),
            threads: Mutex::new(HashMap::from([(MAIN.to_owned(), to_main)])),
            owned: Mutex::new(owned),
        });
        peer.write(&join(["hello", name, &std::process::id().to_string()]));
        let listener = Arc::clone(&peer);
        thread::spawn(move || listener.listen(&link));
        (peer, commands)
    }

    /// Hands each command to its thread, until the suite is gone: then nobody needs this process any more.
    fn listen(self: Arc<Self>, link: &UnixStream) {
        for line in BufReader::new(link).lines() {
            let Ok(line) = line else { break };
            let mut words = split(&line).into_iter();
            let (Some(tag), Some(thread), Some(verb)) = (words.next(), words.next(), words.next()) else { break };
            let command = Command { tag: tag.parse().expect("a tag"), verb, arguments: words.collect() };
            self.hand_over(thread, command);
        }
        sys::exit_now(0);
    }

    fn hand_over(self: &Arc<Self>, thread: String, command: Command) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let to_thread = threads.entry(thread.clone()).or_insert_with(|| {
            let (to_thread, commands) = channel();
            let worker_peer = Arc::clone(self);
            thread::spawn(move || worker::Worker::new(worker_peer, &thread).run(commands));
            to_thread
        });
        // A thread that has ended answers nothing, as the suite will find out.
        let _ = to_thread.send(command);
    }

    fn answer(&self, tag: u64, answer: &Answer) {
        self.write(&answer.line(tag));
    }

    fn write(&self, line: &str) {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        if link.write_all(format!("{line}\n").as_bytes()).is_err() {
            sys::exit_now(0);
        }
    }

    /// Forks, with everything whole that the child goes on to use.
    fn fork(&self, fork: Fork) -> nix::Result<Option<Pid>> {
        let _link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let _owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
        if fork != Fork::Libc {
            // Then none of them is in the middle of an allocation, which the child could not wait for.
            while !other_threads_sleep() {
                thread::yield_now();
            }
        }
        fork.run()
    }

    /// The descriptors of the socket to the suite.
    fn link_fds(&self) -> [RawFd; 2] {
        [self.link_fd, self.link.lock().unwrap_or_else(PoisonError::into_inner).as_raw_fd()]
    }

    /// In a forked child: gives the parent's link up and becomes a peer of its own.
    fn reborn(&self, name: &str) -> io::Result<(Arc<Self>, Receiver<Command>)> {
        self.link_fds().into_iter().try_for_each(sys::give_up)?;
        let owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Self::connect(Arc::clone(&self.suite), &self.socket, name, owned))
    }
}

/// Whether all threads of this process but the calling one sleep in a system call.
fn other_threads_sleep() -> bool {
    let own = gettid().to_string();
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let mut others = threads.filter(|entry| entry.file_name().to_str() != Some(own.as_str()));
    others.all(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('S'))
    })
}
