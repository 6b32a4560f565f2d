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
use crate::arena::Arena;
use crate::link::Listener;
use crate::need;
use crate::peer::{MAIN, PEER_COMMAND, VARIABLE};
use crate::process::{LockRef, Pending, Process, Thread};
use crate::protocol::join;
use crate::scratch::Scratch;
use crate::transcript::Transcript;

/// What a case runs in: a directory, stores that are destroyed and peers that are killed at its end, whatever happens.
pub(crate) struct Fixture {
    pub(crate) suite: Arc<Suite>,
    pub(crate) deadline: Instant,
    transcript: Arc<Transcript>,
    listener: Listener,
    scratch: Scratch,
    /// The peers that this case has started.
    children: RefCell<Vec<Child>>,
    /// Forked children of peers; ours to reap when their parents are gone.
    forked: RefCell<Vec<Pid>>,
    urls: RefCell<Vec<String>>,
    /// URLs of stores that a user without rights makes.
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

    /// The case's own directory.
    pub(crate) fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// A new, empty directory for a program's own files.
    pub(crate) fn own_directory(&self) -> PathBuf {
        let directory = self.dir().join(format!("own{}", self.number()));
        fs::create_dir(&directory).expect("a directory for a program's files");
        directory
    }

    /// The URL of the case's store.
    pub(crate) fn url(&self) -> String {
        let known = self.urls.borrow().first().cloned();
        known.unwrap_or_else(|| self.fresh_url())
    }

    /// The URL of a store that does not exist yet.
    pub(crate) fn fresh_url(&self) -> String {
        self.fresh_place().1
    }

    /// The directory and the URL of a store that does not exist yet.
    pub(crate) fn fresh_place(&self) -> (PathBuf, String) {
        let dir = self.fresh_dir();
        let url = self.url_in(&dir);
        if self.suite.backend().is_some() {
            self.urls.borrow_mut().push(url.clone());
        }
        (dir, url)
    }

    /// A new process with the case's store open.
    pub(crate) fn peer(&self) -> Thread {
        self.peer_with(&self.url())
    }

    /// A new process with this store open, created where it is absent.
    pub(crate) fn peer_with(&self, url: &str) -> Thread {
        let main = self.blank_peer();
        if self.suite.backend().is_some() {
            main.must("open", &["open_or_create", url]);
        }
        main
    }

    /// A new process without a store.
    pub(crate) fn blank_peer(&self) -> Thread {
        let name = format!("p{}", self.number());
        self.spawn(&name).thread(MAIN)
    }

    fn spawn(&self, name: &str) -> Process {
        self.start(name).expect("the test binary runs again");
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

    /// Waits for the hello of this peer, which was started, forked or executed.
    pub(crate) fn welcome(&self, name: &str) -> Process {
        let link = self.listener.accept(self.deadline, &self.transcript).expect("a peer's hello");
        let link = link.unwrap_or_else(|| panic!("watchdog: the peer {name} does not come up"));
        assert_eq!(link.name, name, "another peer than expected came up");
        Process::new(Rc::new(link), self.deadline)
    }

    /// A child that this thread forks, with the thread as its main thread.
    pub(crate) fn fork(&self, parent: &Thread) -> Thread {
        self.fork_by("fork", parent)
    }

    /// The same in the way of this verb.
    pub(crate) fn fork_by(&self, verb: &str, parent: &Thread) -> Thread {
        let name = format!("p{}", self.number());
        self.fork_as(verb, parent, &name)
    }

    /// The children of a process that was told to fork some that do nothing.
    pub(crate) fn forked_idle(&self, forking: Pending) -> Vec<Pid> {
        let pids: Vec<_> = forking.done().numbers("pids").into_iter().map(child).collect();
        self.forked.borrow_mut().extend(&pids);
        pids
    }

    /// Ends forked children whose parent is gone.
    pub(crate) fn end_forked(&self, children: &[Pid]) {
        for pid in children {
            let _ = kill(*pid, Signal::SIGKILL);
            let _ = waitpid(*pid, None);
        }
        self.forked.borrow_mut().retain(|pid| !children.contains(pid));
    }

    /// The child is known before it can go wrong, so that it is ended whatever becomes of it.
    fn fork_as(&self, verb: &str, parent: &Thread, name: &str) -> Thread {
        let pid = parent.must(verb, &[name]).get("pid");
        self.forked.borrow_mut().push(child(pid));
        self.welcome(name).thread(MAIN)
    }

    /// A process with the pid 1 in a pid namespace of its own, with the case's store open.
    pub(crate) fn peer_apart(&self) -> Thread {
        let name = format!("p{}", self.number());
        let outside = self.blank_peer();
        let inside = self.fork_as("fork_apart", &outside, &name);
        inside.must("open", &["open_or_create", &self.url()]);
        inside
    }

    /// The same, as the root of a user namespace that has no rights outside of it.
    pub(crate) fn peer_in_user_namespace(&self) -> Thread {
        let name = format!("p{}", self.number());
        let inside = self.fork_as("fork_in_user_namespace", &self.blank_peer(), &name);
        // The child that was forked waits for the peer; both are ended.
        self.forked.borrow_mut().push(child(inside.pid()));
        inside.must("open", &["open_or_create", &self.url()]);
        inside
    }

    /// A child, with this pid, of the first process of a pid namespace.
    pub(crate) fn fork_with_pid(&self, first: &Thread, pid: u32) -> Thread {
        let name = format!("p{}", self.number());
        first.must("fork_with_pid", &[&name, &pid.to_string()]);
        // Its pid in here is known only now; it ends with the first process of its namespace.
        let child = self.welcome(&name).thread(MAIN);
        assert_eq!(child.process.own_pid(), pid, "the kernel chose another pid");
        child
    }

    /// What this thread's process becomes when the thread calls `exec`.
    pub(crate) fn exec(&self, thread: &Thread) -> Thread {
        let name = format!("p{}", self.number());
        let _never = thread.start("exec", &[&name]);
        self.welcome(&name).thread(MAIN)
    }

    /// Kills the process and waits until it is gone, so that the kernel has cleaned up after it.
    pub(crate) fn kill(&self, process: &Process) {
        process.signal(Signal::SIGKILL);
        self.reap(process);
    }

    /// Waits until the process, which ends by itself, is gone.
    pub(crate) fn reap(&self, process: &Process) {
        process.wait_closed();
        let mut children = self.children.borrow_mut();
        match children.iter().position(|child| child.id() == process.pid()) {
            Some(at) => drop(children.swap_remove(at).wait().expect("a child is there to be waited for")),
            // It may be a zombie until its parent is gone, too, and owns nothing as such.
            None => self.wait_until("the process is gone", || process.is_dead()),
        }
    }

    /// A lock to test with: allocated where locks have numbers.
    pub(crate) fn a_lock(&self, thread: &Thread) -> LockRef {
        if need::NUMBERED.is_met(&self.suite) { LockRef::Number(thread.allocate("")) } else { LockRef::Single }
    }

    /// The words that peers share, for so many locks.
    pub(crate) fn arena(&self, locks: usize) -> (PathBuf, Arena) {
        let path = self.dir().join(format!("arena-{}", self.number()));
        let arena = Arena::create(&path, locks).expect("words to share");
        (path, arena)
    }

    /// Looks again and again until it is so; the watchdog ends it.
    pub(crate) fn wait_until(&self, what: impl Display, mut is_so: impl FnMut() -> bool) {
        while !is_so() {
            assert!(Instant::now() + MARGIN < self.deadline, "watchdog: it never came that {what}");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// What peers wrote to their standard error, for the transcript.
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

    /// Ends what this case has started. A forked child is ours to reap as soon as its parent is gone.
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

    /// Destroys the stores, those that a user made by a process of that user.
    fn destroy_stores(&self) {
        self.destroy_in_peer(&self.urls.take(), &[]);
        self.destroy_in_peer(&self.urls_of_user.take(), &["become", USER]);
    }

    /// Destroys them in a peer of their own, since a backend under test may do anything. The peer executes this command first.
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
            // A store that the case has destroyed or damaged cannot be opened, and goes with the directory.
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

/// A check that fails by the watchdog does so by this much earlier than a command that it repeats, which would be reported as hanging.
pub(crate) const MARGIN: Duration = Duration::from_secs(1);

/// A child that a peer has forked. It is killed later, and `kill` takes the numbers below 1 for all processes or for a group.
fn child(pid: u32) -> Pid {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 1);
    Pid::from_raw(pid.unwrap_or_else(|| panic!("a peer forked a child with a pid that none has")))
}

/// How long a case may take before it is taken for one that hangs. Shorter after another case of the suite has hung, so that a backend
/// that hangs is reported soon.
fn watchdog(suite: &Suite) -> Duration {
    let told = env::var("LOCK_CONFORMANCE_WATCHDOG").ok().and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    let watchdog = told.or(suite.watchdog).unwrap_or(Duration::from_secs(30) * scale());
    if suite.hung() == 0 { watchdog } else { watchdog / 3 }
}

/// How many times longer than usual the long cases run (`LOCK_CONFORMANCE_SCALE`, 1 unless told).
pub(crate) fn scale() -> u32 {
    env::var("LOCK_CONFORMANCE_SCALE").ok().and_then(|scale| scale.parse().ok()).map_or(1, |scale: u32| scale.max(1))
}
