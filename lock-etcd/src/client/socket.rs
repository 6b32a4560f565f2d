use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use lock_table::descriptor::Descriptor;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send, setsockopt, sockopt};

use super::endpoint::Endpoint;

/// A TCP connection whose reads and writes end at a deadline.
///
/// A forked child closes its copy of the descriptor. A descriptor that the program has closed is not used again.
#[derive(Debug)]
pub(super) struct Socket {
    descriptor: Descriptor,
    /// The end of the current operation.
    deadline: Instant,
}

impl Socket {
    /// Connects to the first address that accepts, until the deadline.
    pub(super) fn connect(endpoint: &Endpoint, deadline: Instant) -> io::Result<Self> {
        let mut last = None;
        for address in (endpoint.host(), endpoint.port()).to_socket_addrs()? {
            let remaining = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match TcpStream::connect_timeout(&address, remaining) {
                Ok(stream) => return Self::new(stream, deadline),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
    }

    fn new(stream: TcpStream, deadline: Instant) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        // A watch is silent for a long time. These find out that the server's machine is gone.
        setsockopt(&stream, sockopt::KeepAlive, &true)?;
        setsockopt(&stream, sockopt::TcpKeepIdle, &5)?;
        setsockopt(&stream, sockopt::TcpKeepInterval, &5)?;
        setsockopt(&stream, sockopt::TcpUserTimeout, &20_000)?;
        let descriptor = Descriptor::new(OwnedFd::from(stream)).map_err(io::Error::from)?;
        Ok(Self { descriptor, deadline })
    }

    /// Sets the end of the following reads and writes.
    pub(super) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// Returns true if the connection is open and the server has sent nothing.
    pub(super) fn is_idle(&self) -> bool {
        let Some(fd) = self.descriptor.get() else { return false };
        recv(fd.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK) == Err(Errno::EAGAIN)
    }

    /// Repeats a system call that does not block until it succeeds, fails, or the deadline passes.
    fn retry(&self, event: PollFlags, mut call: impl FnMut(BorrowedFd<'_>) -> Result<usize, Errno>) -> io::Result<usize> {
        loop {
            let fd = self.descriptor.get().ok_or_else(closed)?;
            match call(fd) {
                Err(Errno::EAGAIN) => {}
                Err(Errno::EINTR) => continue,
                result => return result.map_err(Into::into),
            }
            let remaining = self.deadline.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // Rounded up, so that the last round does not spin.
            let timeout = PollTimeout::try_from(remaining + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(fd, event)], timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.retry(PollFlags::POLLIN, |fd| recv(fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT))
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.retry(PollFlags::POLLOUT, |fd| send(fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the program closed the descriptor of the connection")
}
