//! A process that is run step by step and killed wherever one likes.

use std::fs;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::machine::{self, Next};
use super::route::{Place, Route, Way};
use crate::sys;

/// Who has been in a system call for so long, and sleeps, is asleep.
const PATIENCE: Duration = Duration::from_millis(20);
/// Who was woken, or whose deadline passes, has woken long before that.
const LONG: Duration = Duration::from_secs(1);
/// Fewer repetitions of an instruction are stepped through.
const FEW: usize = 16;

/// How to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Going {
    /// From breakpoint to breakpoint, along the route that a survey found: quick, but it may lead astray.
    Quickly,
    /// By a step for each instruction since the last system call.
    BySteps,
}

/// Where a victim is after having been told to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reached {
    /// Where it was sent: stopped, or asleep where it was to fall asleep.
    There,
    /// Asleep in a system call before it came there.
    Asleep,
    /// It had done everything and has ended.
    Ended,
    /// Somewhere else: this time it took another route.
    Astray,
}

/// Why a victim no longer runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    Trap,
    SystemCall,
    Asleep,
    Ended,
}

/// A forked process under ptrace.
pub(super) struct Victim {
    pid: Pid,
    ended: bool,
}

impl Victim {
    /// Forks one that does `before`, and then stops before `act`.
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
        let mut victim = Self { pid, ended: false };
        match waitpid(pid, None)? {
            WaitStatus::Stopped(_, Signal::SIGSTOP) => {
                // So that a stop at a system call can be told from one at a breakpoint.
                ptrace::setoptions(pid, Options::PTRACE_O_TRACESYSGOOD)?;
                Ok(victim)
            }
            _ => {
                victim.ended = true;
                Err(Errno::ECHILD)
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Lets it go on to a place of a route that starts where it is.
    pub(super) fn go_to(&mut self, route: &Route, place: Place, going: Going) -> nix::Result<Reached> {
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
        let before = match (going, route.way(boundaries / 2, instructions - usize::from(falls_asleep))) {
            (Going::Quickly, Some((way, address))) => self.follow(way, address)?,
            _ => self.steps(instructions - usize::from(falls_asleep), PATIENCE)?,
        };
        if before != Reached::There || !falls_asleep {
            return Ok(before);
        }
        // It is known to sleep in this one.
        match self.steps(1, Duration::ZERO)? {
            Reached::Asleep => Ok(Reached::There),
            Reached::Ended => Ok(Reached::Ended),
            Reached::There | Reached::Astray => Ok(Reached::Astray),
        }
    }

    /// For one that was asleep: waits until it has woken and stopped.
    pub(super) fn wake(&mut self) -> nix::Result<Reached> {
        Ok(match self.stopped(LONG)? {
            Stop::Trap | Stop::SystemCall => Reached::There,
            Stop::Asleep => Reached::Asleep,
            Stop::Ended => Reached::Ended,
        })
    }

    /// The instruction that it is going to execute.
    pub(super) fn next(&self) -> Next {
        machine::next(self.pid)
    }

    /// Executes that.
    pub(super) fn step(&mut self) -> nix::Result<Reached> {
        self.steps(1, PATIENCE)
    }

    /// Kills it, and returns when it is dead and gone.
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

    /// Lets it go on by so many instructions.
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

    /// Goes a way, at whose end is this address.
    fn follow(&mut self, way: &Way, address: u64) -> nix::Result<Reached> {
        for (stop, times) in &way.stops {
            if !self.run_to(*stop, *times)? {
                return Ok(Reached::Astray);
            }
        }
        if !way.stops.is_empty() {
            machine::clear_breakpoint(self.pid)?;
        }
        let skipped = if way.repeats > FEW { way.repeats } else { 0 };
        match self.steps(way.steps - skipped, PATIENCE)? {
            Reached::There => {}
            Reached::Ended | Reached::Asleep | Reached::Astray => return Ok(Reached::Astray),
        }
        if skipped > 0 && !self.repeat(skipped)? {
            return Ok(Reached::Astray);
        }
        Ok(if machine::address(self.pid)? == address { Reached::There } else { Reached::Astray })
    }

    /// Lets it go on until it has come to an address so many times, unless it comes to a system call first.
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

    /// Lets the coming instruction, which repeats itself, do so a number of times: as many steps would, in the time of one.
    fn repeat(&mut self, times: usize) -> nix::Result<bool> {
        let Some(shortened) = machine::shorten(self.pid, times as u64)? else { return Ok(false) };
        let there = self.run_to(shortened.behind, 1)?;
        if there {
            machine::clear_breakpoint(self.pid)?;
            machine::lengthen(self.pid, &shortened)?;
        }
        Ok(there)
    }

    /// Waits for it to stop; signals that are not the tracer's are withheld.
    fn stopped(&mut self, patience: Duration) -> nix::Result<Stop> {
        let mut until = Instant::now() + patience;
        loop {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG))? {
                // Both run on one processor: it cannot stop before it has had its turn.
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

impl Drop for Victim {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether a process's main thread sleeps in the kernel.
pub(super) fn is_asleep(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('S'))
}
