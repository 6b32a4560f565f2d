//! Handles by which a case controls its peers.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use lock_core::Cause;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::link::{Arrival, Link};
use crate::protocol::{Answer, Fields, Refusal};
use crate::threads;

/// A peer process.
#[derive(Clone)]
pub(crate) struct Process {
    link: Rc<Link>,
    deadline: Instant,
}

/// A thread of a peer, identified by its name. It starts with its first command.
#[derive(Clone)]
pub(crate) struct Thread {
    pub(crate) process: Process,
    name: String,
}

/// A command without an answer yet.
pub(crate) struct Pending {
    thread: Thread,
    tag: u64,
    what: String,
}

/// A reference to a lock in a command.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum LockRef {
    Number(u32),
    Single,
}

/// An acquisition of a lock.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) token: u64,
    pub(crate) death: Option<Dead>,
}

/// The owner that died, and the cause. Unknown ids are 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Dead {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) cause: Cause,
}

impl Process {
    pub(crate) fn new(link: Rc<Link>, deadline: Instant) -> Self {
        Self { link, deadline }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.link.pid
    }

    /// Returns the pid in the peer's own PID namespace.
    pub(crate) fn own_pid(&self) -> u32 {
        self.link.own_pid
    }

    pub(crate) fn thread(&self, name: &str) -> Thread {
        Thread { process: self.clone(), name: name.to_owned() }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).expect("a peer can be signalled");
    }

    /// Returns the open descriptor numbers of the peer.
    pub(crate) fn descriptors(&self) -> BTreeSet<u32> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("a peer's descriptors can be listed");
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Stops the peer, and waits until its main thread has stopped.
    pub(crate) fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        while self.state_of(self.pid()) != Some('T') {
            assert!(Instant::now() < self.deadline, "watchdog: {} does not stop", self.link.name);
            thread::sleep(POLL);
        }
    }

    /// Waits until the peer has closed its socket.
    pub(crate) fn wait_closed(&self) {
        assert!(self.link.closed(self.deadline), "watchdog: {} does not end", self.link.name);
    }

    /// Returns whether the peer is dead: reaped, or a zombie without other threads.
    pub(crate) fn is_dead(&self) -> bool {
        self.threads().all(|tid| matches!(self.state_of(tid), None | Some('Z' | 'X')))
    }

    /// Returns the ids of the peer's threads.
    pub(crate) fn threads(&self) -> impl Iterator<Item = u32> {
        threads::ids(self.pid())
    }

    /// Returns the state letter of a thread of the peer, `None` without such a thread.
    fn state_of(&self, tid: u32) -> Option<char> {
        threads::state(self.pid(), tid)
    }

    /// Returns the processor time of a thread of the peer, if the kernel counts it.
    fn time_of(&self, tid: u32) -> Option<Duration> {
        threads::times(self.pid(), tid).map(|times| times.running)
    }

    /// Waits until a thread of the peer has ended.
    pub(crate) fn wait_for_end_of(&self, tid: u32) {
        while !matches!(self.state_of(tid), None | Some('Z' | 'X')) {
            assert!(Instant::now() < self.deadline, "watchdog: thread {tid} of {} does not end", self.link.name);
            thread::sleep(POLL);
        }
    }
}

/// Interval between reads of `/proc`.
const POLL: Duration = Duration::from_micros(200);

impl Thread {
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns the thread id.
    pub(crate) fn tid(&self) -> u32 {
        self.must("ping", &[]).get("tid")
    }

    /// Sends a command without waiting for its answer.
    pub(crate) fn start(&self, verb: &str, arguments: &[&str]) -> Pending {
        let words: Vec<_> = [verb].into_iter().chain(arguments.iter().copied()).collect();
        let tag = self.process.link.send(&self.name, &words);
        Pending { thread: self.clone(), tag, what: words.join(" ") }
    }

    /// Sends a command and waits for its result.
    pub(crate) fn ask(&self, verb: &str, arguments: &[&str]) -> Result<Fields, Refusal> {
        self.start(verb, arguments).outcome()
    }

    /// Sends a command that must succeed.
    pub(crate) fn must(&self, verb: &str, arguments: &[&str]) -> Fields {
        self.start(verb, arguments).done()
    }

    /// Sends a command that must fail with an error of this kind.
    pub(crate) fn refused(&self, kind: &str, verb: &str, arguments: &[&str]) -> Refusal {
        let what = format!("{self} {verb} {}", arguments.join(" "));
        match self.ask(verb, arguments) {
            Ok(fields) => panic!("{what} was not refused, but answered {fields:?}; it should have been {kind}"),
            Err(refusal) => {
                assert_eq!(refusal.kind, kind, "{what} was refused in another way: {refusal}");
                refusal
            }
        }
    }

    pub(crate) fn lock(&self, lock: LockRef) -> Grant {
        grant(&self.must("lock", &[&lock.to_string()])).expect("lock() does not return busy")
    }

    pub(crate) fn try_lock(&self, lock: LockRef) -> Option<Grant> {
        grant(&self.must("try_lock", &[&lock.to_string()]))
    }

    pub(crate) fn start_lock(&self, lock: LockRef) -> Pending {
        self.start("lock", &[&lock.to_string()])
    }

    pub(crate) fn lock_for(&self, lock: LockRef, duration: Duration) -> Result<Grant, Refusal> {
        let fields = self.ask("lock_for", &[&lock.to_string(), &duration.as_nanos().to_string()])?;
        Ok(grant(&fields).expect("lock_for() reports a time-out as an error"))
    }

    /// Asserts that another thread holds the lock.
    pub(crate) fn finds_busy(&self, lock: LockRef, why: &str) {
        let granted = grant(&self.must("find_busy", &[&lock.to_string()]));
        assert!(granted.is_none(), "{self} got the lock {lock}, although {why}");
    }

    /// Asserts that the lock is free, and releases it again. Returns the guard's report.
    pub(crate) fn finds_free(&self, lock: LockRef, why: &str) -> Grant {
        let granted = self.try_lock(lock);
        let grant = granted.unwrap_or_else(|| panic!("{self} found the lock {lock} busy, although {why}"));
        self.unlock(lock);
        grant
    }

    pub(crate) fn unlock(&self, lock: LockRef) {
        self.must("unlock", &[&lock.to_string()]);
    }

    pub(crate) fn mark_consistent(&self, lock: LockRef) {
        self.must("mark_consistent", &[&lock.to_string()]);
    }

    pub(crate) fn allocate(&self, label: &str) -> u32 {
        self.must("allocate", &[label]).get("id")
    }

    pub(crate) fn free(&self, id: u32) {
        self.must("free", &[&id.to_string()]);
    }

    /// Returns the allocated ids.
    pub(crate) fn allocated(&self) -> Vec<u32> {
        self.must("allocated", &[]).numbers("ids")
    }

    /// Returns the number of free ids, `None` if the number of ids is not limited.
    pub(crate) fn available(&self) -> Option<u64> {
        self.must("available", &[]).find("available")
    }
}

impl fmt::Display for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.process.link.name, self.name)
    }
}

impl Pending {
    /// Returns the thread that executes the command.
    pub(crate) fn thread(&self) -> &Thread {
        &self.thread
    }

    /// Waits for the result of the command.
    pub(crate) fn outcome(self) -> Result<Fields, Refusal> {
        let (thread, what) = (&self.thread, &self.what);
        match thread.process.link.answer(self.tag, thread.process.deadline) {
            Arrival::Here(Answer::Done(fields)) => Ok(fields),
            Arrival::Here(Answer::Refused(refusal)) => Err(refusal),
            Arrival::Here(Answer::Panicked(text)) => panic!("{thread} panicked in {what:?}: {text}"),
            Arrival::Here(Answer::Begun(_)) => unreachable!("the inbox stores these separately"),
            Arrival::Gone => panic!("{thread} died in {what:?}"),
            Arrival::Late => panic!("watchdog: {thread} hangs in {what:?}"),
        }
    }

    /// Waits for the result of a command that must succeed.
    pub(crate) fn done(self) -> Fields {
        let (thread, what) = (self.thread.clone(), self.what.clone());
        self.outcome().unwrap_or_else(|refusal| panic!("{thread} was refused {what:?}: {refusal}"))
    }

    /// Waits for the grant of a command that must acquire a lock.
    pub(crate) fn granted(self) -> Grant {
        let what = format!("{} {}", self.thread, self.what);
        grant(&self.done()).unwrap_or_else(|| panic!("{what} found the lock busy"))
    }

    /// Returns whether the answer has arrived.
    pub(crate) fn has_answered(&self) -> bool {
        self.thread.process.link.has_answered(self.tag)
    }

    /// Waits until a thread has started the command; returns the thread id.
    pub(crate) fn begun(&self) -> u32 {
        match self.thread.process.link.begun(self.tag, self.thread.process.deadline) {
            Arrival::Here(tid) => tid,
            Arrival::Gone => panic!("{} died before it began {:?}", self.thread, self.what),
            Arrival::Late => panic!("watchdog: {} does not begin {:?}", self.thread, self.what),
        }
    }

    /// Waits until the thread sleeps in the command, and asserts that the command has not returned.
    ///
    /// The thread counts as waiting in each of these states:
    ///
    /// - It and all other threads of its process, which may work for it, sleep in several consecutive samples.
    /// - It sleeps after 250 ms, although other threads do not.
    /// - It has used 100 ms of processor time, since a lock may wait by spinning.
    ///
    /// A wrong guess makes the case weaker, but does not fail it.
    pub(crate) fn waits(&self, why: &str) {
        let (tid, process) = (self.begun(), &self.thread.process);
        let (mut asleep, begun, at_first) = (0, Instant::now(), process.time_of(tid));
        let is_done = |asleep| {
            let is_late = begun.elapsed() > Duration::from_millis(250);
            match process.state_of(tid) {
                Some('S') => asleep == 4 || is_late,
                _ => {
                    let times = at_first.zip(process.time_of(tid));
                    times.map_or(is_late, |(before, now)| now - before > Duration::from_millis(100))
                }
            }
        };
        while !is_done(asleep) {
            assert!(!self.has_answered(), "{} returned from {:?}, although {why}", self.thread, self.what);
            asleep = if process.threads().all(|tid| process.state_of(tid) == Some('S')) { asleep + 1 } else { 0 };
            thread::sleep(POLL);
        }
        assert!(!self.has_answered(), "{} returned from {:?}, although {why}", self.thread, self.what);
    }
}

impl fmt::Display for LockRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(id) => write!(f, "{id}"),
            Self::Single => f.write_str("-"),
        }
    }
}

/// Reads the answer to an acquisition; `None` if the lock was busy.
pub(crate) fn grant(fields: &Fields) -> Option<Grant> {
    if fields.has("busy") {
        return None;
    }
    let death = fields.has("death").then(|| Dead {
        pid: fields.find("dead_pid").unwrap_or_default(),
        tid: fields.find("dead_tid").unwrap_or_default(),
        cause: cause(&fields.get::<String>("cause")),
    });
    Some(Grant { token: fields.get("token"), death })
}

/// Parses the name of a cause.
fn cause(name: &str) -> Cause {
    let known = [Cause::SessionEnded, Cause::Unknown, Cause::ProcessEnded, Cause::Executed, Cause::ThreadEnded, Cause::Panicked];
    let named = known.into_iter().find(|cause| format!("{cause:?}") == name);
    named.unwrap_or_else(|| panic!("a peer reported the unknown cause {name:?}"))
}
