mod surroundings;

pub(crate) use surroundings::{GROUP, OTHER_USER, USER};

use std::cell::{Cell, RefCell};
use std::env;
use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::Suite;
use crate::link::Listener;
use crate::need;
use crate::peer::{MAIN, PEER_COMMAND, VARIABLE};
use crate::process::{LockRef, Pending, Process, Thread};
use crate::protocol::join;
use crate::scratch::Scratch;
use crate::shared_memory::SharedMemory;
use crate::transcript::Transcript;

/// The environment of a case: a directory, stores and peers.
///
/// All are removed at its end, even after a failure.
pub(crate) struct Fixture {
    pub(crate) suite: Arc<Suite>,
    pub(crate) deadline: Instant,
    transcript: Arc<Transcript>,
    listener: Listener,
    scratch: Scratch,
    /// The peers that this case has spawned.
    children: RefCell<Vec<Child>>,
    /// Forked children of peers. This process reaps them after their parents have ended.
    forked: RefCell<Vec<Pid>>,
    urls: RefCell<Vec<String>>,
    /// URLs of stores that an unprivileged user creates.
    urls_of_user: RefCell<Vec<String>>,
    count: Cell<u32>,
}

impl Fixture {
    pub(crate) fn new(suite: &Arc<Suite>, transcript: Arc<Transcript>) -> Self {
        Self {
            suite: Arc::clone(suite),
            deadline: Instant::now() + watchdog(suite),
            transcript,
            listener: Listener::new().expect("a socket for the peers"),
            scratch: Scratch::new().expect("a scratch directory"),
            children: RefCell::default(),
            forked: RefCell::default(),
            urls: RefCell::default(),
            urls_of_user: RefCell::default(),
            count: Cell::new(0),
        }
    }

    /// Returns how often to repeat what a local lock does this many times. At a server each operation takes some milliseconds.
    pub(crate) fn repetitions(&self, local: u32) -> u32 {
        if need::LOCAL.is_met(&self.suite) { local } else { local / 25 }
    }

    /// Returns the time after which a local lock or one at a server is late.
    pub(crate) fn patience(&self, local: Duration) -> Duration {
        if need::LOCAL.is_met(&self.suite) { local } else { local * 10 }
    }

    /// Returns the time at which half of the time until the watchdog's limit is over. A case begins no further round then.
    pub(crate) fn half_time(&self) -> Instant {
        self.deadline - self.deadline.saturating_duration_since(Instant::now()) / 2
    }

    /// Returns the case's directory.
    pub(crate) fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// Creates an empty directory for files of a program.
    pub(crate) fn own_directory(&self) -> PathBuf {
        let directory = self.dir().join(format!("own{}", self.number()));
        fs::create_dir(&directory).expect("a directory for a program's files");
        directory
    }

    /// Returns the URL of the case's store.
    pub(crate) fn url(&self) -> String {
        let known = self.urls.borrow().first().cloned();
        known.unwrap_or_else(|| self.fresh_url())
    }

    /// Returns the URL of a store that does not exist yet.
    pub(crate) fn fresh_url(&self) -> String {
        self.fresh_place().1
    }

    /// Returns the directory and the URL of a store that does not exist yet.
    pub(crate) fn fresh_place(&self) -> (PathBuf, String) {
        let dir = self.fresh_dir();
        let url = self.url_in(&dir);
        if self.suite.backend().is_some() {
            self.urls.borrow_mut().push(url.clone());
        }
        (dir, url)
    }

    /// Spawns a process with the case's store open.
    pub(crate) fn peer(&self) -> Thread {
        self.peer_with(&self.url())
    }

    /// Spawns a process with this store open. Creates the store if it does not exist.
    pub(crate) fn peer_with(&self, url: &str) -> Thread {
        let main = self.blank_peer();
        if self.suite.backend().is_some() {
            main.must("open", &["open_or_create", url]);
        }
        main
    }

    /// Spawns a process without a store.
    pub(crate) fn blank_peer(&self) -> Thread {
        let name = format!("p{}", self.number());
        self.spawn(&name).thread(MAIN)
    }

    fn spawn(&self, name: &str) -> Process {
        self.start(name).expect("the test binary can be spawned");
        self.welcome(name)
    }

    fn start(&self, name: &str) -> io::Result<()> {
        let words = join([self.listener.name(), self.suite.name(), name]);
        let messages = File::create(self.dir().join(format!("stderr-{name}")))?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0(PEER_COMMAND).args([self.suite.name(), name]);
        command.env(VARIABLE, words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(messages);
        self.children.borrow_mut().push(command.spawn()?);
        Ok(())
    }

    /// Waits until this peer, which was spawned, forked or executed, connects.
    pub(crate) fn welcome(&self, name: &str) -> Process {
        let link = self.listener.accept(self.deadline, &self.transcript).expect("a peer's hello");
        let link = link.unwrap_or_else(|| panic!("watchdog: the peer {name} does not connect"));
        assert_eq!(link.name, name, "another peer than expected connected");
        Process::new(Rc::new(link), self.deadline)
    }

    /// Forks a child from this thread, which becomes the child's main thread.
    pub(crate) fn fork(&self, parent: &Thread) -> Thread {
        self.fork_by("fork", parent)
    }

    /// Forks a child with this command.
    pub(crate) fn fork_by(&self, verb: &str, parent: &Thread) -> Thread {
        let name = format!("p{}", self.number());
        self.fork_as(verb, parent, &name)
    }

    /// Waits for a command that forks idle children, and registers them.
    pub(crate) fn forked_idle(&self, forking: Pending) -> Vec<Pid> {
        let pids: Vec<_> = forking.done().numbers("pids").into_iter().map(child).collect();
        self.forked.borrow_mut().extend(&pids);
        pids
    }

    /// Kills and reaps forked children whose parent has ended.
    pub(crate) fn end_forked(&self, children: &[Pid]) {
        for pid in children {
            let _ = kill(*pid, Signal::SIGKILL);
            let _ = waitpid(*pid, None);
        }
        self.forked.borrow_mut().retain(|pid| !children.contains(pid));
    }

    /// Forks a child and registers it before it connects, so that it is killed even after a failure.
    fn fork_as(&self, verb: &str, parent: &Thread, name: &str) -> Thread {
        let pid = parent.must(verb, &[name]).get("pid");
        self.forked.borrow_mut().push(child(pid));
        self.welcome(name).thread(MAIN)
    }

    /// Starts the first process of a new PID namespace, with the case's store open.
    pub(crate) fn peer_apart(&self) -> Thread {
        let name = format!("p{}", self.number());
        let outside = self.blank_peer();
        let inside = self.fork_as("fork_apart", &outside, &name);
        inside.must("open", &["open_or_create", &self.url()]);
        inside
    }

    /// As [`Fixture::peer_apart`], but as the root of a new user namespace, without privileges outside of it.
    pub(crate) fn peer_in_user_namespace(&self) -> Thread {
        let name = format!("p{}", self.number());
        let inside = self.fork_as("fork_in_user_namespace", &self.blank_peer(), &name);
        // The forked child waits for the peer; both are killed at the end.
        self.forked.borrow_mut().push(child(inside.pid()));
        inside.must("open", &["open_or_create", &self.url()]);
        inside
    }

    /// Forks a child with this pid from the first process of a PID namespace.
    pub(crate) fn fork_with_pid(&self, first: &Thread, pid: u32) -> Thread {
        let name = format!("p{}", self.number());
        first.must("fork_with_pid", &[&name, &pid.to_string()]);
        // The child's pid in this namespace is known only now. It ends with the first process of its namespace.
        let child = self.welcome(&name).thread(MAIN);
        assert_eq!(child.process.own_pid(), pid, "the kernel chose another pid");
        child
    }

    /// Makes the thread call `exec`; returns the main thread of the new program.
    pub(crate) fn exec(&self, thread: &Thread) -> Thread {
        let name = format!("p{}", self.number());
        let _never = thread.start("exec", &[&name]);
        self.welcome(&name).thread(MAIN)
    }

    /// Kills the process and waits until it is dead, so that the kernel has released its resources.
    pub(crate) fn kill(&self, process: &Process) {
        process.signal(Signal::SIGKILL);
        self.reap(process);
    }

    /// Waits for the end of a process that exits by itself.
    pub(crate) fn reap(&self, process: &Process) {
        process.wait_closed();
        let mut children = self.children.borrow_mut();
        match children.iter().position(|child| child.id() == process.pid()) {
            Some(at) => drop(children.swap_remove(at).wait().expect("a child can be waited for")),
            // The process may stay a zombie until its parent has ended. A zombie owns nothing.
            None => self.wait_until("the process is dead", || process.is_dead()),
        }
    }

    /// Returns a lock to test: an allocated one if locks have numbers.
    pub(crate) fn a_lock(&self, thread: &Thread) -> LockRef {
        if need::NUMBERED.is_met(&self.suite) { LockRef::Number(thread.allocate("")) } else { LockRef::Single }
    }

    /// Creates the shared memory of peers for this many locks.
    pub(crate) fn arena(&self, locks: usize) -> (PathBuf, SharedMemory) {
        let path = self.dir().join(format!("arena-{}", self.number()));
        let arena = SharedMemory::create(&path, locks).expect("words to share");
        (path, arena)
    }

    /// Polls until the condition is true. Fails when the watchdog's time is over.
    pub(crate) fn wait_until(&self, what: impl Display, mut is_so: impl FnMut() -> bool) {
        while !is_so() {
            assert!(Instant::now() + MARGIN < self.deadline, "watchdog: it did not happen that {what}");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Copies the standard error of peers to the transcript.
    pub(crate) fn note_messages(&self) {
        let mut files: Vec<_> = fs::read_dir(self.dir()).into_iter().flatten().flatten().collect();
        files.sort_by_key(fs::DirEntry::file_name);
        for file in files {
            let name = file.file_name().to_string_lossy().into_owned();
            let Some(peer) = name.strip_prefix("stderr-") else { continue };
            for line in fs::read_to_string(file.path()).unwrap_or_default().lines() {
                self.transcript.note(&format!("{peer} stderr"), line);
            }
        }
    }

    fn number(&self) -> u32 {
        self.count.replace(self.count.get() + 1)
    }

    /// Kills and reaps all peers of this case.
    ///
    /// This process can reap a forked child once the child's parent has ended.
    fn end_peers(&self) {
        let (mut children, forked) = (self.children.take(), self.forked.take());
        for pid in &forked {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        for child in &mut children {
            let _ = child.kill();
        }
        for mut child in children {
            let _ = child.wait();
        }
        for pid in forked {
            let _ = waitpid(pid, None);
        }
    }

    /// Destroys the stores. Stores of an unprivileged user are destroyed by a process of that user.
    fn destroy_stores(&self) {
        self.destroy_in_peer(&self.urls.take(), &[]);
        self.destroy_in_peer(&self.urls_of_user.take(), &["become", USER]);
    }

    /// Destroys stores in a separate peer, which first executes the command `first`.
    ///
    /// A faulty backend can then do no harm here.
    fn destroy_in_peer(&self, urls: &[String], first: &[&str]) {
        if urls.is_empty() || self.start(&format!("p{}", self.number())).is_err() {
            return;
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        let Ok(Some(link)) = self.listener.accept(deadline, &self.transcript) else { return };
        if !first.is_empty() {
            let _ = link.answer(link.send(MAIN, first), deadline);
        }
        for url in urls {
            // A store that the case has destroyed or damaged cannot be opened. It is removed with the directory.
            let opened = link.send(MAIN, &["open", "open", url]);
            let destroyed = link.send(MAIN, &["destroy"]);
            let _ = (link.answer(opened, deadline), link.answer(destroyed, deadline));
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.end_peers();
        self.destroy_stores();
        self.end_peers();
    }
}

/// Time before the watchdog's at which a repeated check fails.
///
/// The command that the check repeats is then not reported as hanging.
pub(crate) const MARGIN: Duration = Duration::from_secs(1);

/// Converts the pid of a forked child.
///
/// It is killed later, and `kill` with a number below 1 would signal a group or all processes.
fn child(pid: u32) -> Pid {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 1);
    Pid::from_raw(pid.unwrap_or_else(|| panic!("a peer reported an invalid pid of a child")))
}

/// Returns the time limit of a case.
///
/// It is shorter after another case of the suite has hung, so that a run ends soon.
fn watchdog(suite: &Suite) -> Duration {
    let told = env::var("LOCK_CONFORMANCE_WATCHDOG").ok().and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    let watchdog = told.or(suite.watchdog).unwrap_or(Duration::from_secs(30) * scale());
    if suite.hung() == 0 { watchdog } else { watchdog / 3 }
}

/// Returns the factor by which long cases run longer (`LOCK_CONFORMANCE_SCALE`, default 1).
pub(crate) fn scale() -> u32 {
    env::var("LOCK_CONFORMANCE_SCALE").ok().and_then(|scale| scale.parse().ok()).map_or(1, |scale: u32| scale.max(1))
}
