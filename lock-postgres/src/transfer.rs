//! Transfers over a socket.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{ReceiveTimeout, SendTimeout};
use nix::sys::socket::{MsgFlags, SetSockOpt, Shutdown, recv, setsockopt, shutdown};
use nix::sys::time::TimeVal;

/// Sends all bytes.
pub(crate) fn send(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match nix::sys::socket::send(socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Receives some bytes: 0 at the end of the connection.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when the time limit passed, or at once if the call may not block and there are none.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], may_block: bool) -> io::Result<usize> {
    let flags = if may_block { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT };
    loop {
        match recv(socket.as_raw_fd(), buffer, flags) {
            Err(Errno::EINTR) => {}
            received => return Ok(received?),
        }
    }
}

/// Waits until there is something to receive. Returns false when the time passed.
pub(crate) fn wait(socket: BorrowedFd<'_>, time: Duration) -> io::Result<bool> {
    let end = Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        // Rounded up, so that the wait is never too short.
        let milliseconds = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        let mut fds = [PollFd::new(socket, PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::ZERO)) {
            Ok(0) | Err(Errno::EINTR) if !left.is_zero() => {}
            Ok(0) | Err(Errno::EINTR) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Ends the connection in both directions, for all descriptors of the socket.
pub(crate) fn shut_down(socket: BorrowedFd<'_>) {
    // It fails if the peer has ended the connection.
    let _ = shutdown(socket.as_raw_fd(), Shutdown::Both);
}

/// Sets the time limits of sending and receiving.
pub(crate) fn set_timeouts(socket: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    // 0 would mean no limit.
    let timeout = timeout.max(Duration::from_millis(1));
    let time = TimeVal::new(timeout.as_secs().try_into().unwrap_or(i64::MAX), timeout.subsec_micros().into());
    set(socket, ReceiveTimeout, &time)?;
    set(socket, SendTimeout, &time)
}

/// Sets an option of a socket.
pub(crate) fn set<O: SetSockOpt>(socket: BorrowedFd<'_>, option: O, value: &O::Val) -> io::Result<()> {
    Ok(setsockopt(&socket, option, value)?)
}
