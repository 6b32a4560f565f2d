//! Network namespaces: each client has one, which a pair of virtual interfaces connects with the servers' namespace.
//!
//! This process is in a namespace of its own, so that the machine's network does not change. All namespaces end with their processes.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use nix::sched::{CloneFlags, unshare};

/// The namespace of a client.
pub(crate) struct Namespace {
    number: u8,
    /// Keeps the namespace.
    process: Child,
}

/// Moves the calling thread, and those that it starts, to a new namespace. Returns what this machine lacks.
pub(crate) fn enter() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|error| format!("this machine lacks: the right to create network namespaces ({error})"))?;
    ip(&["link", "set", "lo", "up"]).map_err(|error| format!("this machine lacks: ip of iproute2 ({error})"))
}

impl Namespace {
    /// Creates the namespace of a client.
    pub(crate) fn new(client: usize) -> io::Result<Self> {
        let number = u8::try_from(client + 1).map_err(io::Error::other)?;
        // It ends with this thread.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig=KILL", "unshare", "--net", "sleep", "infinity"]);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let namespace = Self { number, process };
        let begin = Instant::now();
        let name = |process: &str| fs::read_link(format!("/proc/{process}/ns/net"));
        while name(&namespace.id())? == name("self")? {
            if begin.elapsed() > Duration::from_secs(30) {
                return Err(io::Error::other("the namespace was not created"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        let (outside, id) = (namespace.interface(), namespace.id());
        ip(&["link", "add", &outside, "type", "veth", "peer", "name", "eth0", "netns", &id])?;
        ip(&["addr", "add", &format!("{}/30", namespace.gateway()), "dev", &outside])?;
        ip(&["link", "set", &outside, "up"])?;
        namespace.inside(&["ip", "addr", "add", &format!("10.99.{number}.2/30"), "dev", "eth0"])?;
        namespace.inside(&["ip", "link", "set", "eth0", "up"])?;
        Ok(namespace)
    }

    /// Returns the address of the servers, as the client sees it.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, self.number, 1)
    }

    /// Returns a command for a program in the namespace.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.id(), "--net", "--"]);
        command
    }

    /// Takes the connection down, or up again.
    pub(crate) fn part(&self, is_parted: bool) {
        // An error is ignored: the run may be ending.
        let _ = ip(&["link", "set", &self.interface(), if is_parted { "down" } else { "up" }]);
    }

    fn inside(&self, arguments: &[&str]) -> io::Result<()> {
        succeed(self.command().args(arguments))
    }

    fn interface(&self) -> String {
        format!("client{}", self.number)
    }

    fn id(&self) -> String {
        self.process.id().to_string()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    succeed(Command::new("ip").args(arguments))
}

fn succeed(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() { Ok(()) } else { Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())) }
}
