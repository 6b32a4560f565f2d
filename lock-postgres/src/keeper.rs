//! A thread that keeps a socket open when the program closes descriptors that it did not open.
//!
//! Such a program (`closefrom(3)`, a loop over all numbers) would end its session, and lose its locks. The thread has a descriptor table of
//! its own (`unshare(CLONE_FILES)`, unshare(2)) with nothing but the socket, and receives and sends for the others once their number is
//! closed. The table is neither copied by a fork nor kept by an exec.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use lock_table::descriptor::Descriptor;
use nix::sched::{CloneFlags, unshare};

use crate::transfer;

/// A request to the thread, with the channel for its answer.
struct Request {
    action: Action,
    answer: Sender<io::Result<Answer>>,
}

/// What the thread does with the socket.
pub(crate) enum Action {
    SetTimeout(Duration),
    Send(Vec<u8>),
    Receive { length: usize, may_block: bool },
    Wait(Duration),
    ShutDown,
}

/// The result of an action.
pub(crate) enum Answer {
    Done,
    Received(Vec<u8>),
    Waited(bool),
}

/// The thread that keeps a socket. It ends when this value is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    requests: Mutex<Sender<Request>>,
}

impl Keeper {
    /// Starts the thread. Returns `None` if the system does not allow a table of its own; the socket then has only its number.
    pub(crate) fn start(socket: &Arc<Descriptor>) -> Option<Self> {
        let ((requests, received), (ready, is_ready)) = (channel(), channel());
        let socket = Arc::clone(socket);
        let thread = thread::Builder::new().name("lock-socket".to_owned());
        let started = thread.spawn(move || {
            let own = take(&socket);
            drop(socket);
            let _ = ready.send(own.is_some());
            if let Some(own) = own {
                serve(own.as_fd(), &received);
            }
        });
        started.ok()?;
        is_ready.recv().ok()?.then(|| Self { requests: Mutex::new(requests) })
    }

    /// Lets the thread act.
    ///
    /// # Errors
    /// Those of the action, or that the thread has ended.
    pub(crate) fn act(&self, action: Action) -> io::Result<Answer> {
        let ended = || io::Error::other("the thread that keeps the socket has ended");
        let (answer, answered) = channel();
        let requests = self.requests.lock().map_err(|_| ended())?;
        requests.send(Request { action, answer }).map_err(|_| ended())?;
        drop(requests);
        answered.recv().map_err(|_| ended())?
    }
}

/// Gives the thread a table that has nothing but a duplicate of the socket, which is returned.
fn take(socket: &Descriptor) -> Option<OwnedFd> {
    unshare(CloneFlags::CLONE_FILES).ok()?;
    let own = socket.get()?.try_clone_to_owned().ok()?;
    let entries = fs::read_dir("/proc/thread-self/fd").ok()?;
    let numbers: Vec<i32> = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number != own.as_raw_fd()) {
        // One of them was that of the list, which is closed already.
        let _ = nix::unistd::close(number);
    }
    Some(own)
}

/// Acts until the socket is dropped.
fn serve(socket: BorrowedFd<'_>, requests: &Receiver<Request>) {
    for Request { action, answer } in requests {
        let result = match action {
            Action::SetTimeout(timeout) => transfer::set_timeouts(socket, timeout).map(|()| Answer::Done),
            Action::Send(bytes) => transfer::send(socket, &bytes).map(|()| Answer::Done),
            Action::Receive { length, may_block } => {
                let mut buffer = vec![0; length];
                transfer::receive(socket, &mut buffer, may_block).map(|received| {
                    buffer.truncate(received);
                    Answer::Received(buffer)
                })
            }
            Action::Wait(time) => transfer::wait(socket, time).map(Answer::Waited),
            Action::ShutDown => {
                transfer::shut_down(socket);
                Ok(Answer::Done)
            }
        };
        // The requester waits for the answer.
        let _ = answer.send(result);
    }
}
