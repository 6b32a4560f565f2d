use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lock_core::{Error, Result};
use lock_table::descriptor::Descriptor;
use lock_table::fork;
use nix::errno::Errno;
use nix::sys::socket::sockopt::{KeepAlive, TcpKeepCount, TcpKeepIdle, TcpKeepInterval, TcpUserTimeout};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::keeper::{Action, Answer, Keeper};
use crate::server::{Host, Server};
use crate::transfer;

/// A connected socket. Clones are the same socket.
///
/// A forked child closes it without a message to the server, and cannot use it. A number that the program has closed is not used: the
/// [`Keeper`] has the socket then, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Socket {
    descriptor: Arc<Descriptor>,
    keeper: Option<Arc<Keeper>>,
    epoch: u64,
}

/// The probes of an idle connection before it is given up.
const PROBES: u32 = 3;

/// The longest wait of a keeper, during which it does nothing else.
const KEEPERS_WAIT: Duration = Duration::from_millis(1);

impl Socket {
    /// Connects to a server. `silence` is the time after which a peer that does not confirm what was sent is given up.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`](lock_core::ErrorKind::Unreachable) and those of opening a descriptor.
    pub(crate) fn connect(server: &Server, timeout: Duration, silence: Duration) -> Result<Self> {
        fork::retry_across_forks(|| {
            let connected = match (&server.host, server.socket()) {
                (Host::Name(name), _) => connect_tcp(name, server.port, timeout, silence),
                (Host::Directory(_), Some(path)) => connect_unix(&path, timeout),
                (Host::Directory(_), None) => Err(Errno::EINVAL.into()),
            };
            let fd = connected.map_err(|error| refused(server, error))?;
            Ok(Self { descriptor: Arc::new(Descriptor::new(fd)?), keeper: None, epoch: fork::current() })
        })
    }

    /// Keeps the socket open when the program closes its number.
    pub(crate) fn keep(&mut self) {
        if self.keeper.is_none() {
            self.keeper = Keeper::start(&self.descriptor).map(Arc::new);
        }
    }

    /// Sets the time limit of [`Socket::send`] and [`Socket::receive`].
    pub(crate) fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self.descriptor.get() {
            Some(fd) => transfer::set_timeouts(fd, timeout),
            None => self.keeper()?.act(Action::SetTimeout(timeout)).map(drop),
        }
    }

    /// Sends all bytes.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        match self.descriptor.get() {
            Some(fd) => transfer::send(fd, bytes),
            None => self.keeper()?.act(Action::Send(bytes.to_vec())).map(drop),
        }
    }

    /// Receives some bytes: 0 at the end of the connection.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the time limit passed, or at once if the call may not block and there are none.
    pub(crate) fn receive(&self, buffer: &mut [u8], may_block: bool) -> io::Result<usize> {
        if let Some(fd) = self.descriptor.get() {
            return transfer::receive(fd, buffer, may_block);
        }
        match self.keeper()?.act(Action::Receive { length: buffer.len(), may_block })? {
            Answer::Received(bytes) => {
                buffer[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Ends the connection in both directions, for all clones.
    pub(crate) fn shut_down(&self) {
        match self.descriptor.get() {
            Some(fd) => transfer::shut_down(fd),
            // Without a keeper the program has closed the socket.
            None => drop(self.keeper().and_then(|keeper| keeper.act(Action::ShutDown))),
        }
    }

    /// Waits until there is something to receive. Returns false when the time passed, or earlier.
    pub(crate) fn wait(&self, time: Duration) -> io::Result<bool> {
        if let Some(fd) = self.descriptor.get() {
            return transfer::wait(fd, time);
        }
        let waited = self.keeper()?.act(Action::Wait(time.min(KEEPERS_WAIT)))?;
        Ok(matches!(waited, Answer::Waited(true)))
    }

    fn keeper(&self) -> io::Result<&Keeper> {
        // A forked child does not have the thread.
        let keeper = self.keeper.as_deref().filter(|_| self.epoch == fork::epoch());
        keeper.ok_or_else(|| io::Error::other("the program has closed the socket"))
    }
}

fn refused(server: &Server, error: io::Error) -> Error {
    let reason = match (server.socket(), error.kind()) {
        (Some(path), io::ErrorKind::NotFound) => format!("there is no socket {}", path.display()),
        (_, io::ErrorKind::WouldBlock) => "it did not answer in time".to_owned(),
        _ => error.to_string(),
    };
    match error.raw_os_error() {
        Some(libc_limit) if is_limit(libc_limit) => Error::system("socket", error),
        _ => Error::unreachable(server.to_string(), reason),
    }
}

/// Returns true for errors of a limit of this process or machine.
fn is_limit(errno: i32) -> bool {
    matches!(Errno::from_raw(errno), Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS)
}

fn connect_unix(path: &Path, timeout: Duration) -> io::Result<OwnedFd> {
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    transfer::set_timeouts(fd.as_fd(), timeout)?;
    loop {
        match connect(fd.as_raw_fd(), &UnixAddr::new(path)?) {
            Ok(()) | Err(Errno::EISCONN) => return Ok(fd),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn connect_tcp(name: &str, port: u16, timeout: Duration, silence: Duration) -> io::Result<OwnedFd> {
    let mut last = io::Error::other("the name has no address");
    for address in (name, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let fd = OwnedFd::from(stream);
                transfer::set_timeouts(fd.as_fd(), timeout)?;
                set_keepalive(fd.as_fd(), silence)?;
                return Ok(fd);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn set_keepalive(fd: BorrowedFd<'_>, silence: Duration) -> io::Result<()> {
    let probe = u32::try_from(silence.as_secs()).unwrap_or(u32::MAX).div_ceil(PROBES + 1).max(1);
    transfer::set(fd, KeepAlive, &true)?;
    transfer::set(fd, TcpKeepIdle, &probe)?;
    transfer::set(fd, TcpKeepInterval, &probe)?;
    transfer::set(fd, TcpKeepCount, &PROBES)?;
    transfer::set(fd, TcpUserTimeout, &u32::try_from(silence.as_millis()).unwrap_or(u32::MAX))
}
