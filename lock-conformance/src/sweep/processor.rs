use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

/// Pins this thread, and the processes that it forks, to one processor until it is dropped.
///
/// A target and its tracer run in turns. Switching on one processor takes half as long as waking another one.
pub(super) struct OneProcessor {
    before: Option<CpuSet>,
}

impl OneProcessor {
    /// Pins the thread, if the system allows it.
    pub(super) fn keep_to() -> Self {
        let before = sched_getaffinity(Pid::from_raw(0)).ok();
        let mut one = CpuSet::new();
        let kept = sched_getcpu().and_then(|here| one.set(here)).and_then(|()| sched_setaffinity(Pid::from_raw(0), &one));
        Self { before: before.filter(|_| kept.is_ok()) }
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = sched_setaffinity(Pid::from_raw(0), before);
        }
    }
}
