//! A traced process that can be stopped and killed at any instruction.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::machine::{self, Next};
use super::route::{Place, Route, Way};
use crate::sys;
use crate::threads;

/// A target that sleeps in a system call for this long counts as asleep.
const PATIENCE: Duration = Duration::from_millis(20);
/// Time limit for a target to wake after a wake-up or its deadline.
const LONG: Duration = Duration::from_secs(1);
/// Maximum number of iterations of a repeating instruction to single-step.
const FEW: usize = 16;

/// How a target is moved to a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Movement {
    /// From breakpoint to breakpoint along a surveyed route. Fast, but the target may take another route.
    Quickly,
    /// By single steps from the last system call.
    BySteps,
}

/// Where a target stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reached {
    /// At the requested place, stopped, or asleep where a sleep was requested.
    There,
    /// Asleep in a system call before the place.
    Asleep,
    /// The target completed its operation and ended.
    Ended,
    /// At another address, because the target took another route.
    OffRoute,
}

/// Why a target no longer runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    Trap,
    SystemCall,
    Asleep,
    Ended,
}

/// A forked process under ptrace.
pub(super) struct TargetProcess {
    pid: Pid,
    ended: bool,
}

impl TargetProcess {
    /// Forks a target that runs `before` and stops before `act`.
    pub(super) fn start(before: impl FnOnce(), act: impl FnOnce()) -> nix::Result<Self> {
        let Some(pid) = sys::fork()? else {
            let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
            before();
            sys::Memory::keep_apart();
            if ptrace::traceme().is_err() || raise(Signal::SIGSTOP).is_err() {
                sys::exit_now(1);
            }
            act();
            sys::exit_now(0);
        };
        let mut target = Self { pid, ended: false };
        match waitpid(pid, None)? {
            WaitStatus::Stopped(_, Signal::SIGSTOP) => {
                // Distinguishes a stop at a system call from one at a breakpoint.
                ptrace::setoptions(pid, Options::PTRACE_O_TRACESYSGOOD)?;
                Ok(target)
            }
            _ => {
                target.ended = true;
                Err(Errno::ECHILD)
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Moves the target to a place of a route that starts at its current position.
    pub(super) fn move_to(&mut self, route: &Route, place: Place, by: Movement) -> nix::Result<Reached> {
        let (boundaries, instructions) = match place {
            Place::Instruction { calls, instructions } => (calls * 2, instructions),
            Place::Boundary(boundary) => (boundary, 0),
        };
        for _ in 0..boundaries {
            ptrace::syscall(self.pid, None)?;
            match self.stopped(PATIENCE)? {
                Stop::Trap | Stop::SystemCall => {}
                Stop::Asleep => return Ok(Reached::Asleep),
                Stop::Ended => return Ok(Reached::Ended),
            }
        }
        if instructions == 0 {
            return Ok(Reached::There);
        }
        let falls_asleep = route.sleep() == Some(place);
        let before = match (by, route.way(boundaries / 2, instructions - usize::from(falls_asleep))) {
            (Movement::Quickly, Some((way, address))) => self.follow(way, address)?,
            _ => self.steps(instructions - usize::from(falls_asleep), PATIENCE)?,
        };
        if before != Reached::There || !falls_asleep {
            return Ok(before);
        }
        // The target is known to sleep in this call.
        match self.steps(1, Duration::ZERO)? {
            Reached::Asleep => Ok(Reached::There),
            Reached::Ended => Ok(Reached::Ended),
            Reached::There | Reached::OffRoute => Ok(Reached::OffRoute),
        }
    }

    /// Waits until a sleeping target has woken and stopped.
    pub(super) fn wake(&mut self) -> nix::Result<Reached> {
        Ok(match self.stopped(LONG)? {
            Stop::Trap | Stop::SystemCall => Reached::There,
            Stop::Asleep => Reached::Asleep,
            Stop::Ended => Reached::Ended,
        })
    }

    /// Returns the next instruction.
    pub(super) fn next(&self) -> Next {
        machine::next(self.pid)
    }

    /// Executes one instruction.
    pub(super) fn step(&mut self) -> nix::Result<Reached> {
        self.steps(1, PATIENCE)
    }

    /// Kills the target and waits until it is reaped.
    pub(super) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if !self.ended {
            let _ = kill(self.pid, Signal::SIGKILL);
            while !matches!(waitpid(self.pid, None), Ok(WaitStatus::Signaled(..) | WaitStatus::Exited(..)) | Err(Errno::ECHILD)) {
            }
            self.ended = true;
        }
    }

    /// Executes this many instructions.
    fn steps(&mut self, steps: usize, patience: Duration) -> nix::Result<Reached> {
        for _ in 0..steps {
            ptrace::step(self.pid, None)?;
            match self.stopped(patience)? {
                Stop::Trap | Stop::SystemCall => {}
                Stop::Asleep => return Ok(Reached::Asleep),
                Stop::Ended => return Ok(Reached::Ended),
            }
        }
        Ok(Reached::There)
    }

    /// Follows a way that ends at this address.
    fn follow(&mut self, way: &Way, address: u64) -> nix::Result<Reached> {
        for (stop, times) in &way.stops {
            if !self.run_to(*stop, *times)? {
                return Ok(Reached::OffRoute);
            }
        }
        if !way.stops.is_empty() {
            machine::clear_breakpoint(self.pid)?;
        }
        let skipped = if way.repeats > FEW { way.repeats } else { 0 };
        match self.steps(way.steps - skipped, PATIENCE)? {
            Reached::There => {}
            Reached::Ended | Reached::Asleep | Reached::OffRoute => return Ok(Reached::OffRoute),
        }
        if skipped > 0 && !self.repeat(skipped)? {
            return Ok(Reached::OffRoute);
        }
        Ok(if machine::address(self.pid)? == address { Reached::There } else { Reached::OffRoute })
    }

    /// Runs the target until it has reached an address this many times or enters a system call.
    fn run_to(&mut self, address: u64, times: usize) -> nix::Result<bool> {
        if machine::set_breakpoint(self.pid, address).is_err() {
            return Ok(false);
        }
        for _ in 0..times {
            ptrace::syscall(self.pid, None)?;
            if self.stopped(PATIENCE)? != Stop::Trap {
                return Ok(false);
            }
        }
        Ok(machine::address(self.pid)? == address)
    }

    /// Runs several iterations of the next instruction, a repeating one, in the time of one step.
    fn repeat(&mut self, times: usize) -> nix::Result<bool> {
        let Some(shortened) = machine::shorten(self.pid, times as u64)? else { return Ok(false) };
        let there = self.run_to(shortened.behind, 1)?;
        if there {
            machine::clear_breakpoint(self.pid)?;
            machine::lengthen(self.pid, &shortened)?;
        }
        Ok(there)
    }

    /// Waits until the target stops. Suppresses signals that are not the tracer's.
    fn stopped(&mut self, patience: Duration) -> nix::Result<Stop> {
        let mut until = Instant::now() + patience;
        loop {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG))? {
                // Tracer and target share one processor, so the target cannot stop before it is scheduled.
                WaitStatus::StillAlive if Instant::now() < until => std::thread::yield_now(),
                WaitStatus::StillAlive if is_asleep(self.pid) => return Ok(Stop::Asleep),
                WaitStatus::StillAlive => {
                    std::thread::yield_now();
                    until = Instant::now() + patience;
                }
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {
                    self.ended = true;
                    return Ok(Stop::Ended);
                }
                WaitStatus::PtraceSyscall(_) => return Ok(Stop::SystemCall),
                _ => return Ok(Stop::Trap),
            }
        }
    }
}

impl Drop for TargetProcess {
    fn drop(&mut self) {
        self.end();
    }
}

/// Returns whether a process's main thread sleeps in the kernel.
pub(super) fn is_asleep(pid: Pid) -> bool {
    let pid = pid.as_raw().unsigned_abs();
    threads::state(pid, pid) == Some('S')
}
