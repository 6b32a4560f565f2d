//! Properties that hold for every input. Each is a function that takes any bytes and panics if the property does not hold.
//!
//! `tests/short.rs` generates inputs with proptest, as part of the tests. `targets` is a package for cargo-fuzz on nightly, which
//! `cargo xtask fuzz --minutes N` runs. Both use the same input format.
//!
//! - [`table()`]: a file is either refused with a typed error or a store on which every operation returns.
//! - [`url()`]: a text is either refused with a typed error or a URL with consistent parts.
//! - [`sequence()`]: the results of a sequence of operations are those of a simple model.
//! - [`growing()`]: the same for ids of any size, in a store that grows.
//!
//! Damage to a store *while* one of its locks is held is not covered. The kernel and libc follow the links of a held lock, as they
//! follow those of a process-shared mutex. The links of a free lock are overwritten before they are read.
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

/// Returns the name of an error's kind.
fn kind(error: &lock_core::Error) -> String {
    let text = format!("{:?}", error.kind());
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}
