//! Waiters as victims: whatever becomes of them, who waits beside them gets the lock.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::operation::visit;
use super::scene::{Check, Mark, Scene};
use super::victim::{Reached, Victim, is_asleep};
use crate::sys;

/// How long the third has, of which a store may need a part to find out that a wake-up was lost.
const PATIENCE: Duration = Duration::from_secs(1);

const GOT_IT: u64 = 1 << 32;

/// When the victim is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moment {
    /// On its way to sleep, or asleep.
    Waiting,
    /// After it has been woken.
    Woken,
}

/// How many instructions there are to sweep.
pub(super) fn survey(scene: &mut Scene, moment: Moment) -> Result<usize, String> {
    // Twice, as for the other operations.
    run(scene, moment, usize::MAX)?.0?;
    run(scene, moment, usize::MAX).map(|(_, steps)| steps)
}

/// Kills the victim after `steps` instructions.
pub(super) fn sweep(scene: &mut Scene, moment: Moment, steps: usize) -> Result<bool, String> {
    let (check, taken) = run(scene, moment, steps)?;
    check.map(|()| taken == steps)
}

fn run(scene: &mut Scene, moment: Moment, steps: usize) -> Result<(Check, usize), String> {
    scene.with_store().map_err(|e| e.to_string())?;
    scene.reset();
    let text = |e: Errno| e.to_string();
    let mut victim = Victim::start(|| scene.settle(), || visit(scene, scene.lock().lock())).map_err(text)?;
    let lock = scene.lock();
    let guard = lock.lock().map_err(|e| e.to_string())?;
    let mut taken = 0;
    let mut step = |victim: &mut Victim, limit: usize| -> Result<Reached, String> {
        let mut reached = Reached::There;
        while taken < limit && reached == Reached::There {
            reached = victim.step().map_err(text)?;
            taken += 1;
        }
        Ok(reached)
    };
    match moment {
        Moment::Waiting => {
            step(&mut victim, steps)?;
            let victim_pid = victim.pid();
            victim.kill();
            let third = Third::start(scene)?;
            drop(guard);
            Ok((third.gets_it(scene, victim_pid), taken))
        }
        Moment::Woken => {
            let mut reached = Reached::There;
            while reached == Reached::There {
                reached = victim.step().map_err(text)?;
            }
            let third = Third::start(scene)?;
            drop(guard);
            if reached == Reached::Asleep && victim.wake().map_err(text)? == Reached::There {
                step(&mut victim, steps)?;
            }
            let victim_pid = victim.pid();
            victim.kill();
            Ok((third.gets_it(scene, victim_pid), taken))
        }
    }
}

/// A process that waits for the lock, not traced.
struct Third(Pid);

impl Third {
    /// Returns when it is asleep.
    fn start(scene: &Scene) -> Result<Self, String> {
        let third = match sys::fork().map_err(|e| e.to_string())? {
            Some(pid) => Self(pid),
            None => {
                let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
                let told = scene
                    .lock()
                    .lock()
                    .map(|guard| guard.recovered().map_or(0, |death| death.holder.as_ref().map_or(0, |holder| holder.pid)));
                if let Ok(pid) = told {
                    scene.note().store(GOT_IT | u64::from(pid), SeqCst);
                }
                sys::exit_now(0);
            }
        };
        let patience = Instant::now() + PATIENCE;
        while !is_asleep(third.0) {
            if Instant::now() > patience {
                return Err("the third process does not come to wait".to_owned());
            }
            std::thread::yield_now();
        }
        Ok(third)
    }

    fn gets_it(self, scene: &Scene, victim: u32) -> Check {
        let patience = Instant::now() + PATIENCE;
        while scene.note().load(SeqCst) == 0 {
            if Instant::now() > patience {
                return Err("another waiter sleeps for ever: its wake-up is lost".to_owned());
            }
            std::thread::yield_now();
        }
        let told = scene.note().load(SeqCst) & (GOT_IT - 1);
        match told {
            0 if scene.reports() && scene.marked(Mark::Inside) => {
                Err("a waiter died inside, and the next was not told".to_owned())
            }
            pid if pid != 0 && pid != u64::from(victim) => Err(format!("told that {pid} died, and it was {victim}")),
            _ => Ok(()),
        }
    }
}

impl Drop for Third {
    fn drop(&mut self) {
        if matches!(waitpid(self.0, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive)) {
            let _ = kill(self.0, Signal::SIGKILL);
            let _ = waitpid(self.0, None);
        }
    }
}
