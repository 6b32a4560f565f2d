//! A static library that opens stores for a program in C.
//!
//! A registration (`lock_core::register!`) is in an object file that no code calls, so the linker of the C program leaves it out of the
//! program. The backends of lock-any are in a table and are not affected. A backend of another crate has to be named by its
//! constant, as [`registry`] does, and not by `use mkdir_backend as _;`.

use std::ffi::{CStr, c_char, c_int};

use lock_any::{OpenMode, Registry, Result, Store};

fn registry() -> Result<Registry> {
    lock_any::registry()?.merge([mkdir_backend::BACKEND])
}

/// Acquires and releases the lock 0 of a store, which is created if it is absent. Returns 0, or -1 after printing the error.
///
/// # Safety
/// `url` is a pointer to a string that ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn example_lock(url: *const c_char) -> c_int {
    // SAFETY: the caller passes a string that ends with a zero byte.
    let url = unsafe { CStr::from_ptr(url) }.to_string_lossy();
    match lock(&url) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            -1
        }
    }
}

fn lock(url: &str) -> Result<()> {
    let store = Store::open(&registry()?, url, OpenMode::OpenOrCreate)?;
    store.retrieve(0u32)?.lock()?.unlock()
}
