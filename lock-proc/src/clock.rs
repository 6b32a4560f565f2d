//! The clocks of `/proc`.

use std::fs;
use std::thread;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::ClockId;
use nix::unistd::{Pid, SysconfVar, sysconf};

/// Returns the time since boot, time in suspension included.
pub(crate) fn since_boot() -> Option<Duration> {
    ClockId::CLOCK_BOOTTIME.now().ok().map(Duration::from)
}

/// Returns a number of clock ticks, the unit of times in `/proc/PID/stat`.
pub(crate) fn ticks(count: u64) -> Option<Duration> {
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().filter(|ticks| *ticks > 0)? as u64;
    Some(Duration::from_secs(count / per_second) + Duration::from_secs(1) * (count % per_second) as u32 / per_second as u32)
}

/// Returns when a thread last ran, on the scheduler's clock: `se.exec_start` of its file `sched`.
///
/// Kernels without `CONFIG_SCHED_DEBUG` do not have the file.
fn last_run(thread: &str) -> Option<Duration> {
    let sched = fs::read_to_string(format!("/proc/{thread}/sched")).ok()?;
    let line = sched.lines().find_map(|line| line.strip_prefix("se.exec_start"))?;
    let milliseconds: f64 = line.rsplit(':').next()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(milliseconds / 1000.0).ok()
}

/// Returns how long a thread has not run, which last ran on this processor. The result is never too long: the error is at most a tick of
/// the scheduler, and the time in which a hypervisor stopped the processor is left out.
///
/// Each processor has its own clock, which stands still in that time and while it handles interrupts. So a thread of this function runs on
/// the same processor, and its time is the present time there. `None` if this process may not use the processor.
pub(crate) fn not_run_for(tid: u32, processor: usize) -> Option<Duration> {
    let last = last_run(&tid.to_string())?;
    let now = thread::Builder::new().spawn(move || {
        let mut processors = CpuSet::new();
        processors.set(processor).ok()?;
        sched_setaffinity(Pid::from_raw(0), &processors).ok()?;
        last_run("thread-self")
    });
    Some(now.ok()?.join().ok()??.saturating_sub(last))
}
