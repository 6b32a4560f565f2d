//! Locks on open files, which exclude flock(1), `flock --fcntl` and `lockctl`.
//!
//! A file has two independent kinds of locks on Linux, and a program of each kind does not see the other. [`OpenFile`] acquires
//! both: the one of flock(2), and the one of an open file description over the whole file (`F_OFD_SETLK` of fcntl(2)). The kernel
//! releases them when the last descriptor of the description is closed, also when its process is killed.
//!
//! A lock for writing of the second kind needs a descriptor that is open for writing. A directory, a device, a file that others
//! may only read, and a file that can be executed are open for reading. There the second lock is for reading: it excludes
//! programs that lock the file for writing.

mod holders;
mod kind;
mod open;
mod wait;

pub(crate) use self::open::{OpenFile, Refusal};
