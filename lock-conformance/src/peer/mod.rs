//! The peer: a process of the test binary that executes commands of the suite, sent over a socket.

mod acquire;
mod allocate;
mod contending;
mod cycle;
mod deadlocks;
mod descriptors;
mod droppable;
mod dropping;
mod forking;
mod growing;
mod handlers;
mod held_guard;
mod lifecycle;
mod loops;
mod mutexes;
mod naming;
pub(crate) mod own_file;
mod repeating;
mod reports;
mod semaphores;
mod sending;
mod store;
mod surroundings;
mod waiting;
mod worker;

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::mem;
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

use self::sending::SendGuards;
use crate::Suite;
use crate::protocol::{Answer, join, split};
use crate::sys::{self, Fork};

pub(crate) use surroundings::{mount_new, own_mounts};

/// The environment variable of a peer: socket, suite and the peer's name, separated by tabs.
pub(crate) const VARIABLE: &str = "LOCK_CONFORMANCE_PEER";

/// The command name of peers in process lists. The names of suite and peer follow.
pub(crate) const PEER_COMMAND: &str = "lock-conformance-peer";

/// The name of the main thread.
pub(crate) const MAIN: &str = "main";

/// Runs as a peer, and does not return, if the suite started this process as one.
pub(crate) fn run_if_asked(suites: &[Arc<Suite>]) {
    let Ok(asked) = env::var(VARIABLE) else { return };
    let words = split(&asked);
    let [socket, suite, name] = words.as_slice() else { panic!("{VARIABLE} is set to {asked:?}, but only the suite may set it") };
    let suite = suites.iter().find(|known| known.name() == suite).unwrap_or_else(|| panic!("there is no suite {suite:?}"));
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // A backend may need a descriptor for each lock, and some cases need many locks.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    let (peer, commands) = Peer::connect(Arc::clone(suite), socket, name, Inheritance::default(), SendGuards::new());
    worker::Worker::new(peer, MAIN).run(commands);
    sys::exit_now(0)
}

/// The state that all threads of a peer share.
pub(crate) struct Peer {
    suite: Arc<Suite>,
    socket: String,
    link: Mutex<UnixStream>,
    link_fd: RawFd,
    threads: Mutex<HashMap<String, Sender<Command>>>,
    owned: Mutex<Inheritance>,
    /// The guards that belong to the process.
    send_guards: Mutex<SendGuards>,
}

/// The store and handles that a forked child inherits.
#[derive(Default, Clone)]
pub(crate) struct Inheritance {
    store: Option<Store>,
    /// Handles are leaked, so that guards can borrow them.
    handles: HashMap<String, &'static Lock>,
}

/// A command for a thread.
pub(crate) struct Command {
    tag: u64,
    verb: String,
    arguments: Vec<String>,
}

impl Peer {
    /// Sends hello and starts to receive commands. Commands for the main thread arrive at the receiver.
    fn connect(
        suite: Arc<Suite>,
        socket: &str,
        name: &str,
        owned: Inheritance,
        send_guards: SendGuards,
    ) -> (Arc<Self>, Receiver<Command>) {
        let link = SocketAddr::from_abstract_name(socket)
            .and_then(|address| UnixStream::connect_addr(&address))
            .unwrap_or_else(|_| sys::exit_now(3));
        let (to_main, commands) = channel();
        let peer = Arc::new(Self {
            suite,
            socket: socket.to_owned(),
            link_fd: link.as_raw_fd(),
            link: Mutex::new(link.try_clone().expect("the socket can be duplicated")),
            threads: Mutex::new(HashMap::from([(MAIN.to_owned(), to_main)])),
            owned: Mutex::new(owned),
            send_guards: Mutex::new(send_guards),
        });
        peer.write(&join(["hello", name, &std::process::id().to_string()]));
        let listener = Arc::clone(&peer);
        thread::spawn(move || listener.listen(&link));
        (peer, commands)
    }

    /// Passes each command to its thread. Ends the process when the suite has closed the socket.
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
        // A thread that has ended does not answer. The suite then reports a time-out.
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

    /// Forks while it holds the mutexes that the child uses.
    fn fork(&self, fork: Fork) -> nix::Result<Option<Pid>> {
        let _link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let _owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
        let _send_guards = self.send_guards.lock().unwrap_or_else(PoisonError::into_inner);
        if fork != Fork::Libc {
            // Then no other thread is in the allocator, whose lock would stay held in the child.
            while !other_threads_sleep() {
                thread::yield_now();
            }
        }
        fork.run()
    }

    /// Returns the descriptors of the socket to the suite.
    fn link_fds(&self) -> [RawFd; 2] {
        [self.link_fd, self.link.lock().unwrap_or_else(PoisonError::into_inner).as_raw_fd()]
    }

    /// Closes the parent's socket in a forked child, and connects as a separate peer.
    fn reconnect(&self, name: &str) -> io::Result<(Arc<Self>, Receiver<Command>)> {
        self.link_fds().into_iter().try_for_each(sys::give_up)?;
        let owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let send_guards = mem::take(&mut *self.send_guards.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Self::connect(Arc::clone(&self.suite), &self.socket, name, owned, send_guards))
    }
}

/// Returns whether all other threads of this process sleep in a system call.
fn other_threads_sleep() -> bool {
    let own = gettid().to_string();
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let mut others = threads.filter(|entry| entry.file_name().to_str() != Some(own.as_str()));
    others.all(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('S'))
    })
}
