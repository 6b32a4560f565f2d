//! All unsafe code of this crate: the mapping of a segment, and the calling thread's robust list.
#![allow(unsafe_code)]

mod list;
mod mapping;
mod this_thread;

pub(crate) use self::list::{link, unlink};
pub(crate) use self::mapping::Mapping;
pub(crate) use self::this_thread::ThisThread;
