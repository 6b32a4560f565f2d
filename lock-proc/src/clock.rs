//! The clocks of `/proc`.

use std::fs;
use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::{SysconfVar, sysconf};

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

/// Returns how long a thread has not run. The error is at most a tick of the scheduler.
///
/// The calling thread runs now, so that its time is the present time on the scheduler's clock.
pub(crate) fn not_run_for(tid: u32) -> Option<Duration> {
    let last = last_run(&tid.to_string())?;
    Some(last_run("thread-self")?.saturating_sub(last))
}
