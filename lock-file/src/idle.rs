//! The lock files that the handles of this process have open. Only a held lock needs one: of those that are idle, the ones that were opened
//! first are closed when there are many.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError, Weak};

use lock_core::PerProcess;
use nix::sys::resource::{Resource, getrlimit};

/// A handle that has its file open.
pub(crate) trait Handle: Send + Sync {
    /// Closes the file if the handle does not use it; false if it does.
    fn close_if_idle(&self) -> bool;
}

static OPEN: PerProcess<Mutex<VecDeque<Weak<dyn Handle>>>> = PerProcess::new();

/// The most that are open at a time, if not more of them are held; and the part of RLIMIT_NOFILE that they may take.
const AT_MOST: usize = 1024;
const PART: usize = 4;

/// How many handles are asked to close their file when another one opens its.
const ASKED: usize = 8;

/// Notes that a handle has its file open, and has others close theirs if there are too many.
pub(crate) fn opened(lock: Weak<dyn Handle>) {
    let Ok(open) = OPEN.get_or_try_init(|| Ok(Mutex::default())) else { return };
    let mut asked = Vec::new();
    {
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push_back(lock);
        for _ in 0..ASKED.min(open.len().saturating_sub(limit())) {
            asked.extend(open.pop_front());
        }
    }
    close(open, asked);
}

/// Has all idle handles close their files.
pub(crate) fn close_all() {
    let Some(open) = OPEN.get() else { return };
    let all = std::mem::take(&mut *open.lock().unwrap_or_else(PoisonError::into_inner));
    close(open, all.into());
}

/// Asks the handles; those that are in use stay in the list.
fn close(open: &Mutex<VecDeque<Weak<dyn Handle>>>, asked: Vec<Weak<dyn Handle>>) {
    let in_use = asked.into_iter().filter(|lock| lock.upgrade().is_some_and(|lock| !lock.close_if_idle())).collect::<Vec<_>>();
    open.lock().unwrap_or_else(PoisonError::into_inner).extend(in_use);
}

fn limit() -> usize {
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |limit| limit.0);
    AT_MOST.min(usize::try_from(files).unwrap_or(usize::MAX) / PART)
}
