//! Registers the destructor that runs at the end of a thread.

use std::ptr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::mark::mark_list;

thread_local! {
    static AT_END: AtEnd = const { AtEnd };
}

/// A thread-local value whose destructor schedules [`mark_list`].
///
/// Other thread-local values may hold guards and be destroyed later. So the destructor only sets the value of a pthread key, whose
/// destructor runs after those of all thread-local values. The thread-local value is needed as well: it keeps the library loaded until
/// its destructor has run.
struct AtEnd;

impl Drop for AtEnd {
    fn drop(&mut self) {
        let value: *const Self = self;
        // SAFETY: the key was created and is never deleted. The value is not null, so the destructor runs, and it is never dereferenced.
        if key().is_none_or(|key| unsafe { libc::pthread_setspecific(key, value.cast()) } != 0) {
            mark_list(ptr::null_mut());
        }
    }
}

/// Schedules [`mark_list`] for the end of the calling thread.
pub(super) fn mark_at_end() {
    // This fails only in destructors that run after that of `AT_END`, which has already scheduled the call.
    let _ = AT_END.try_with(|_| ());
}

/// Returns the pthread key whose destructor is [`mark_list`]. Returns `None` if the process has too many keys.
fn key() -> Option<libc::pthread_key_t> {
    /// The key plus one, or 0. Not a `OnceLock`: after a fork, a child could wait in it for a thread that only the parent has.
    static KEY: AtomicU64 = AtomicU64::new(0);
    let known = |key: u64| (key != 0).then(|| (key - 1) as libc::pthread_key_t);
    if let Some(key) = known(KEY.load(Relaxed)) {
        return Some(key);
    }
    let mut key = 0;
    // SAFETY: `key` is valid for writes of a key, and the destructor has the signature that the call requires.
    if unsafe { libc::pthread_key_create(&raw mut key, Some(mark_list)) } != 0 {
        return known(KEY.load(Relaxed));
    }
    match KEY.compare_exchange(0, u64::from(key) + 1, Relaxed, Relaxed) {
        Ok(_) => Some(key),
        Err(other) => {
            // SAFETY: this call created the key and has not published it, so no thread has a value of it.
            unsafe { libc::pthread_key_delete(key) };
            known(other)
        }
    }
}
