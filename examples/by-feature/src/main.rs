//! A program whose backend is a cargo feature: `cargo run --no-default-features --features file -- DIR`.
//!
//! The program has the code of one backend. It opens the store `DIR/locks`.
#![forbid(unsafe_code)]

use std::error::Error;
use std::path::PathBuf;

use lock_any::StoreUrl;

/// The scheme of the backend. Several features are not an error: cargo enables every feature that any package asks for.
const SCHEME: &str = if cfg!(feature = "file") {
    "file"
} else if cfg!(feature = "sem") {
    "sem"
} else {
    "shm"
};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: example-by-feature DIR")?);
    let store = lock_any::open_or_create(StoreUrl::builder(SCHEME).path(dir.join("locks")))?;
    let lock = store.allocate("an example")?;
    {
        let _guard = lock.lock()?;
        println!("held a lock of {SCHEME}");
    }
    lock.free()?;
    Ok(())
}
