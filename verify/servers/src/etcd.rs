use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::{port, program};

/// How long a server may need until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// An etcd server, alone or as a member of a cluster.
#[derive(Debug)]
pub struct Etcd {
    member: usize,
    /// The ports of all members, for clients and for each other.
    ports: Vec<[u16; 2]>,
    arguments: Vec<String>,
    /// It listens on all addresses, not only on the loopback interface.
    is_open: bool,
    child: Option<Child>,
    scratch: TempDir,
}

impl Etcd {
    /// Starts a server with further arguments.
    ///
    /// Its data is in memory, so that a slow disk ends no session of a test.
    ///
    /// # Errors
    /// What this machine lacks.
    pub fn start(arguments: &[&str]) -> Result<Self, String> {
        Self::start_alone(arguments, false)
    }

    /// Starts a server with further arguments and its data on a disk, to measure it.
    ///
    /// # Errors
    /// What this machine lacks.
    pub fn start_on_disk(arguments: &[&str]) -> Result<Self, String> {
        let on_disk = || TempDir::new().map_err(|error| error.to_string());
        Self::start_in(on_disk, arguments, false)
    }

    /// Starts a server that listens on all addresses, for a network namespace of the test.
    ///
    /// # Errors
    /// What this machine lacks.
    pub fn start_open() -> Result<Self, String> {
        Self::start_alone(&[], true)
    }

    fn start_alone(arguments: &[&str], is_open: bool) -> Result<Self, String> {
        Self::start_in(in_memory, arguments, is_open)
    }

    fn start_in(scratch: impl Fn() -> Result<TempDir, String>, arguments: &[&str], is_open: bool) -> Result<Self, String> {
        is_installed()?;
        loop {
            let mut server = Self::new(0, vec![port::free()], scratch()?, arguments);
            server.is_open = is_open;
            server.spawn();
            // Another program may have taken a port that was free.
            if server.answers() {
                return Ok(server);
            }
        }
    }

    /// Starts a cluster of three servers.
    ///
    /// # Errors
    /// What this machine lacks.
    pub fn start_cluster() -> Result<[Self; 3], String> {
        is_installed()?;
        loop {
            let [a, b, c, d, e, f] = port::free();
            let ports = vec![[a, b], [c, d], [e, f]];
            let member = |number| Ok::<_, String>(Self::new(number, ports.clone(), in_memory()?, &[]));
            let mut servers = [member(0)?, member(1)?, member(2)?];
            servers.iter_mut().for_each(Self::spawn);
            if servers.iter_mut().all(Self::answers) {
                return Ok(servers);
            }
        }
    }

    /// Returns what this machine lacks to start a server.
    pub fn missing() -> Option<String> {
        is_installed().err()
    }

    fn new(member: usize, ports: Vec<[u16; 2]>, scratch: TempDir, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { member, ports, arguments, is_open: false, child: None, scratch }
    }

    /// Starts a server again that was killed, with its data, and waits until it answers.
    ///
    /// # Panics
    /// If it ends, or does not answer in time.
    pub fn start_again(&mut self) {
        self.spawn();
        assert!(self.answers(), "the server does not start again");
    }

    /// Starts a server again that was killed, and does not wait.
    ///
    /// # Panics
    /// If the program cannot be executed.
    pub fn spawn(&mut self) {
        let scheme = if self.has_tls() { "https" } else { "http" };
        let [client, peer] = self.ports[self.member];
        let address = if self.is_open { "0.0.0.0" } else { "127.0.0.1" };
        let (client, peer) = (format!("{scheme}://{address}:{client}"), format!("http://127.0.0.1:{peer}"));
        let members = self.ports.iter().enumerate().map(|(member, [_, port])| format!("m{member}=http://127.0.0.1:{port}"));
        let members: Vec<_> = members.collect();
        let log = File::options().create(true).append(true).open(self.scratch.path().join("log")).expect("a log");
        let mut command = program::bound("KILL").expect("it was there before");
        command.args(["etcd", "--name", &format!("m{}", self.member)]);
        command.arg("--data-dir").arg(self.scratch.path().join("data"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &members.join(","), "--logger", "zap", "--log-level", "warn"]).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("setpriv is installed"));
    }

    /// Kills the server. Its data is kept.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops the server, or continues it.
    ///
    /// # Panics
    /// If it does not run.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().expect("the server runs").id();
        kill(Pid::from_raw(pid.cast_signed()), signal).expect("the server runs");
    }

    /// Returns the address for clients.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[self.member][0]))
    }

    /// Returns the scratch directory.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Runs etcdctl, and returns its output.
    ///
    /// # Errors
    /// Its message.
    pub fn etcdctl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.address().to_string()]).args(arguments);
        let output = command.output().map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Waits until the server answers. Returns false if it ends.
    fn answers(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if self.child.as_mut().is_none_or(|child| child.try_wait().is_ok_and(|status| status.is_some())) {
                return false;
            }
            if self.is_healthy().unwrap_or(false) {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }

    fn is_healthy(&self) -> io::Result<bool> {
        let mut stream = TcpStream::connect(self.address())?;
        if self.has_tls() {
            // A connection to an unused port may connect to itself, if the system has chosen the same port for it.
            return Ok(stream.local_addr()? != stream.peer_addr()?);
        }
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.contains("\"true\""))
    }

    fn has_tls(&self) -> bool {
        self.arguments.iter().any(|argument| argument.starts_with("--cert-file"))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Creates a directory in memory, or on a disk if that fails.
fn in_memory() -> Result<TempDir, String> {
    TempDir::with_prefix_in("lock-etcd-", "/dev/shm").or_else(|_| TempDir::new()).map_err(|error| error.to_string())
}

fn is_installed() -> Result<(), String> {
    for (name, package) in [("etcd", "etcd-server"), ("etcdctl", "etcd-client"), ("setpriv", "util-linux")] {
        if program::find(name).is_none() {
            return Err(format!("this machine lacks: {name} (Debian's package {package})"));
        }
    }
    Ok(())
}
