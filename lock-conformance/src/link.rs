//! The suite's end of the sockets that connect it with its peers.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::protocol::{Answer, join, split};
use crate::sys;
use crate::transcript::Transcript;

/// The socket that the peers of a case connect to.
pub(crate) struct Listener {
    socket: UnixListener,
    name: String,
}

impl Listener {
    pub(crate) fn new() -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        // An abstract name leaves no file behind.
        let name = format!("lock-conformance-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let socket = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, name })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Waits for the next peer to connect; returns `None` at the deadline.
    pub(crate) fn accept(&self, deadline: Instant, transcript: &Arc<Transcript>) -> io::Result<Option<Link>> {
        loop {
            match self.socket.accept() {
                Ok((stream, _)) => return Link::new(stream, transcript).map(Some),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// A connection to a peer.
pub(crate) struct Link {
    pub(crate) name: String,
    /// The peer's pid in the suite's PID namespace.
    pub(crate) pid: u32,
    /// The peer's pid in its own PID namespace.
    pub(crate) own_pid: u32,
    stream: UnixStream,
    inbox: Arc<Inbox>,
    next_tag: AtomicU64,
    transcript: Arc<Transcript>,
}

/// The received answers, and whether the peer can send more.
#[derive(Default)]
struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    begun: HashMap<u64, u32>,
    answers: HashMap<u64, Answer>,
    closed: bool,
}

/// The result of waiting for an answer.
pub(crate) enum Arrival<T> {
    /// The answer has arrived.
    Here(T),
    /// The peer has closed its socket, so the answer will never arrive.
    Gone,
    /// The deadline passed before the answer arrived.
    Late,
}

impl Link {
    fn new(stream: UnixStream, transcript: &Arc<Transcript>) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        // A peer sends its hello as soon as it connects, so a longer wait is an error.
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut hello = String::new();
        reader.read_line(&mut hello)?;
        let words = split(&hello);
        let [_, name, pid] = words.as_slice() else {
            return Err(io::Error::other(format!("a peer sent {hello:?} instead of hello")));
        };
        let (pid, own_pid) = (sys::pid_of_other_end(&stream)?, pid.parse().map_err(io::Error::other)?);
        stream.set_read_timeout(None)?;
        transcript.note(&format!("{name} >"), &hello);
        let inbox = Arc::<Inbox>::default();
        let (to, who, log) = (Arc::clone(&inbox), format!("{name} >"), Arc::clone(transcript));
        thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                log.note(&who, &line);
                to.receive(&line);
            }
            log.note(&who, "(socket closed)");
            to.close();
        });
        let (name, transcript) = (name.clone(), Arc::clone(transcript));
        Ok(Self { name, pid, own_pid, stream, inbox, next_tag: AtomicU64::new(1), transcript })
    }

    /// Sends a command; returns the tag of its answers.
    ///
    /// The failure of a dead peer shows when its answers are waited for.
    pub(crate) fn send(&self, thread: &str, words: &[&str]) -> u64 {
        let tag = self.next_tag.fetch_add(1, Ordering::Relaxed);
        let tag_text = tag.to_string();
        let line = join([tag_text.as_str(), thread].into_iter().chain(words.iter().copied()));
        self.transcript.note(&format!("{} <", self.name), &line);
        let _ = (&self.stream).write_all(format!("{line}\n").as_bytes());
        tag
    }

    /// Waits for the id of the thread that has started the command.
    pub(crate) fn begun(&self, tag: u64, deadline: Instant) -> Arrival<u32> {
        self.inbox.wait(deadline, |state| state.begun.get(&tag).copied())
    }

    /// Waits for the answer to the command and removes it.
    pub(crate) fn answer(&self, tag: u64, deadline: Instant) -> Arrival<Answer> {
        self.inbox.wait(deadline, |state| state.answers.remove(&tag))
    }

    /// Returns whether the answer has arrived.
    pub(crate) fn has_answered(&self, tag: u64) -> bool {
        self.inbox.state.lock().unwrap_or_else(PoisonError::into_inner).answers.contains_key(&tag)
    }

    /// Waits until the peer's end of the socket is closed; returns false at the deadline.
    pub(crate) fn closed(&self, deadline: Instant) -> bool {
        matches!(self.inbox.wait(deadline, |_| None::<()>), Arrival::Gone)
    }
}

impl Inbox {
    fn receive(&self, line: &str) {
        let Some((tag, answer)) = Answer::read(line) else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Answer::Begun(tid) => drop(state.begun.insert(tag, tid)),
            answer => drop(state.answers.insert(tag, answer)),
        }
        self.changed.notify_all();
    }

    fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
    }

    fn wait<T>(&self, deadline: Instant, mut look: impl FnMut(&mut State) -> Option<T>) -> Arrival<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = look(&mut state) {
                return Arrival::Here(found);
            }
            if state.closed {
                return Arrival::Gone;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Arrival::Late;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
