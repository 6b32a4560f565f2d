//! What holds for whatever comes in: properties that take any bytes, and panic where one does not hold.
//!
//! `tests/short.rs` feeds them with proptest, in every run of the tests; `targets` is a package for cargo-fuzz, on nightly, which
//! `cargo xtask fuzz --minutes N` runs. A failing input of one is an input of the other.
//!
//! - [`table()`]: any file is either refused with a typed error or a store on which everything returns.
//! - [`url()`]: any text is either refused with a typed error or a URL whose parts agree.
//! - [`sequence()`]: any sequence of operations gives what a model of a few lines says.
//! - [`growing()`]: so it does on ids of any size, in a store that grows.
//!
//! A store that is damaged *while* one of its locks is held is not covered: the kernel and libc follow the links in a line of a held
//! lock, as they follow those in a process-shared mutex. Links in a line of a lock that is free are overwritten before they are read.
#![forbid(unsafe_code)]

mod actor;
mod damage;
mod growing;
mod model;
mod scratch;
mod sequence;
mod step;
mod table;
mod url;

pub use growing::growing;
pub use sequence::{BACKENDS, sequence};
pub use table::table;
pub use url::url;

/// The name of an error's kind, for comparing.
fn kind(error: &lock_core::Error) -> String {
    let text = format!("{:?}", error.kind());
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}
