//! A process that is run step by step and killed wherever one likes.

use std::fs;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::sys;

/// A place in what the victim does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// After so many system calls, and so many instructions behind the last of them.
    Instruction { calls: usize, instructions: usize },
    /// The entries and exits of system calls, in turn, from 1.
    Boundary(usize),
}

/// Where a victim is after having been told to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reached {
    /// Stopped, where it was sent.
    There,
    /// Asleep in a system call.
    Asleep,
    /// It had done everything and has ended.
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
            if ptrace::traceme().is_err() || raise(Signal::SIGSTOP).is_err() {
                sys::exit_now(1);
            }
            act();
            sys::exit_now(0);
        };
        let mut victim = Self { pid, ended: false };
        match waitpid(pid, None)? {
            WaitStatus::Stopped(_, Signal::SIGSTOP) => Ok(victim),
            _ => {
                victim.ended = true;
                Err(Errno::ECHILD)
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Lets it go on to a place, counted from where it is.
    pub(super) fn go_to(&mut self, place: Place) -> nix::Result<Reached> {
        let (boundaries, instructions) = match place {
            Place::Instruction { calls, instructions } => (calls * 2, instructions),
            Place::Boundary(boundary) => (boundary, 0),
        };
        for stop in 0..boundaries + instructions {
            if stop < boundaries {
                ptrace::syscall(self.pid, None)?;
            } else {
                ptrace::step(self.pid, None)?;
            }
            match self.stopped()? {
                Reached::There => {}
                other => return Ok(other),
            }
        }
        Ok(Reached::There)
    }

    /// Lets it go on by one instruction.
    pub(super) fn step(&mut self) -> nix::Result<Reached> {
        self.go_to(Place::Instruction { calls: 0, instructions: 1 })
    }

    /// For one that was asleep: waits until it has woken and stopped.
    pub(super) fn wake(&mut self) -> nix::Result<Reached> {
        self.stopped()
    }

    /// Goes through all of it by single steps, and says how many instructions there are behind each system call, until it ends or
    /// falls asleep.
    pub(super) fn survey(&mut self) -> nix::Result<Vec<usize>> {
        let mut stretches = vec![0];
        loop {
            let calls = self.at_system_call();
            ptrace::step(self.pid, None)?;
            match self.stopped()? {
                Reached::There if calls => stretches.push(0),
                Reached::There => *stretches.last_mut().expect("there is one from the start") += 1,
                Reached::Asleep | Reached::Ended => return Ok(stretches),
            }
        }
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

    /// Waits for it to stop; signals that are not the tracer's are withheld.
    fn stopped(&mut self) -> nix::Result<Reached> {
        let mut patience = Instant::now() + Duration::from_millis(20);
        loop {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG))? {
                WaitStatus::StillAlive if Instant::now() < patience => std::hint::spin_loop(),
                WaitStatus::StillAlive if self.sleeps() => return Ok(Reached::Asleep),
                WaitStatus::StillAlive => patience = Instant::now() + Duration::from_millis(20),
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {
                    self.ended = true;
                    return Ok(Reached::Ended);
                }
                _ => return Ok(Reached::There),
            }
        }
    }

    fn sleeps(&self) -> bool {
        is_asleep(self.pid)
    }

    /// Whether the next instruction is a system call.
    #[cfg(target_arch = "x86_64")]
    fn at_system_call(&self) -> bool {
        const SYSCALL: i64 = 0x050f;
        let next = ptrace::getregs(self.pid).and_then(|registers| ptrace::read(self.pid, registers.rip as ptrace::AddressType));
        next.is_ok_and(|instruction| instruction & 0xffff == SYSCALL)
    }

    /// Elsewhere all instructions are counted from the start: slower, and no less thorough.
    #[cfg(not(target_arch = "x86_64"))]
    fn at_system_call(&self) -> bool {
        false
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
