//! Registers the destructor that runs at the end of a thread.

use std::ptr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::mark::mark_list;

thread_local! {
    static AT_END: AtEnd = const { AtEnd };
}

/// Has the thread's own list marked at the end of the thread, as the kernel does with libc's list.
///
/// Other thread-local values may have guards and may be destroyed later. So this destructor only sets a value of a pthread key, whose
/// destructor is called after those of all thread-local values. The key alone would not do: a thread that has a thread-local value with
/// a destructor keeps the library loaded.
struct AtEnd;

impl Drop for AtEnd {
    fn drop(&mut self) {
        let value: *const Self = self;
        // SAFETY: the key was created and is never deleted. The value is not null, and nothing is read from it.
        if key().is_none_or(|key| unsafe { libc::pthread_setspecific(key, value.cast()) } != 0) {
            mark_list(ptr::null_mut());
        }
    }
}

/// Has [`mark_list`] called at the end of the thread.
pub(super) fn mark_at_end() {
    // In the destructors of a thread that are called later, what the end needs is there.
    let _ = AT_END.try_with(|_| ());
}

/// The key whose destructor is [`mark_list`]; `None` when the process has too many keys.
fn key() -> Option<libc::pthread_key_t> {
    /// The key plus one. No thread waits for another in it, which a fork could leave waiting.
    static KEY: AtomicU64 = AtomicU64::new(0);
    let known = |key: u64| (key != 0).then(|| (key - 1) as libc::pthread_key_t);
    if let Some(key) = known(KEY.load(Relaxed)) {
        return Some(key);
    }
    let mut key = 0;
    // SAFETY: the call writes a key to the place, which is valid for that. The destructor is a function of this library, and has the
    // type that is asked for.
    if unsafe { libc::pthread_key_create(&raw mut key, Some(mark_list)) } != 0 {
        return known(KEY.load(Relaxed));
    }
    match KEY.compare_exchange(0, u64::from(key) + 1, Relaxed, Relaxed) {
        Ok(_) => Some(key),
        Err(other) => {
            // SAFETY: no thread has set a value of this key, which is known here only.
            unsafe { libc::pthread_key_delete(key) };
            known(other)
        }
    }
}
