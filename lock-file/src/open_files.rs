//! The lock files that the handles of this process have open.
//!
//! Only a held lock needs an open file. When many files are open, idle handles close theirs, the oldest first.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError, Weak};

use lock_core::PerProcess;
use nix::sys::resource::{Resource, getrlimit};

/// A handle that has its lock file open.
pub(crate) trait IdleFile: Send + Sync {
    /// Closes the file unless the handle uses it. Returns whether the handle was idle.
    fn close_if_idle(&self) -> bool;
}

/// The handles with an open file, the oldest first.
static OPEN: PerProcess<Mutex<VecDeque<Weak<dyn IdleFile>>>> = PerProcess::new();

/// The number of open files above which idle handles close theirs.
const MAX_OPEN: usize = 1024;

/// The same as a fraction of `RLIMIT_NOFILE`: one in four.
const LIMIT_DIVISOR: usize = 4;

/// The largest number of handles that close their file when another handle opens one.
const BATCH: usize = 8;

/// Records that a handle has its file open, and closes idle files if there are too many.
pub(crate) fn register(handle: Weak<dyn IdleFile>) {
    let Ok(open) = OPEN.get_or_try_init(|| Ok(Mutex::default())) else { return };
    let mut oldest = Vec::new();
    {
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push_back(handle);
        for _ in 0..BATCH.min(open.len().saturating_sub(limit())) {
            oldest.extend(open.pop_front());
        }
    }
    close(open, oldest);
}

/// Closes the files of all idle handles.
pub(crate) fn close_idle() {
    let Some(open) = OPEN.get() else { return };
    let all = std::mem::take(&mut *open.lock().unwrap_or_else(PoisonError::into_inner));
    close(open, all.into());
}

/// Closes the files of idle handles, and puts the other handles back into the list.
fn close(open: &Mutex<VecDeque<Weak<dyn IdleFile>>>, handles: Vec<Weak<dyn IdleFile>>) {
    let in_use = handles.into_iter().filter(|handle| handle.upgrade().is_some_and(|handle| !handle.close_if_idle()));
    let in_use = in_use.collect::<Vec<_>>();
    open.lock().unwrap_or_else(PoisonError::into_inner).extend(in_use);
}

fn limit() -> usize {
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |limit| limit.0);
    MAX_OPEN.min(usize::try_from(files).unwrap_or(usize::MAX) / LIMIT_DIVISOR)
}
