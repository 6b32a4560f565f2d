//! Waiters as victims: whatever becomes of them, who waits beside them gets the lock.

use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use lock_core::Capabilities;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::operation::{recovers, recovers_in_time, visit};
use super::route::{Place, Route};
use super::scene::{Check, Mark, Scene, pid_of};
use super::subject::Subject;
use super::survey::Survey;
use super::victim::{Going, Reached, Victim, is_asleep};
use crate::sys;

/// How long the third has, of which a store may need a part to find out that a wake-up was lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// A deadline that does not pass while the victim is stepped, and one that passes soon after it has fallen asleep.
const LATER: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_millis(40);

/// Attempts to see a waiter sleep and wake.
const SURVEYS: usize = 20;

const GOT_IT: u64 = 1 << 32;

/// Something that a waiter goes through.
pub(super) struct Contest {
    pub(super) name: &'static str,
    pub(super) applies: fn(&Capabilities) -> bool,
    moment: Moment,
    deadline: Option<Duration>,
}

pub(super) const CONTESTS: &[Contest] = &[
    Contest { name: "wait for a lock", applies: recovers, moment: Moment::Waiting, deadline: None },
    Contest {
        name: "wait for a lock with a deadline",
        applies: recovers_in_time,
        moment: Moment::Waiting,
        deadline: Some(LATER),
    },
    Contest { name: "be woken with a lock", applies: recovers, moment: Moment::Woken, deadline: None },
    Contest { name: "be woken before a deadline", applies: recovers_in_time, moment: Moment::Woken, deadline: Some(LATER) },
    Contest { name: "give up at a deadline", applies: recovers_in_time, moment: Moment::TimedOut, deadline: Some(SOON) },
];

/// When the victim is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Moment {
    /// On its way to sleep, or asleep.
    Waiting,
    /// After it has been woken.
    Woken,
    /// After its deadline has passed while it slept.
    TimedOut,
}

/// A victim that waits, beside another.
pub(super) struct Waiter {
    scene: Scene,
    contest: &'static Contest,
    /// For those that are killed after they have slept.
    to_sleep: Option<Route>,
}

impl Waiter {
    pub(super) fn new(scene: Scene, contest: &'static Contest) -> Self {
        Self { scene, contest, to_sleep: None }
    }
}

impl Subject for Waiter {
    fn survey(&mut self) -> io::Result<Route> {
        // The second part is seen by one that took the route of the first, which not everyone does.
        for _ in 0..SURVEYS {
            // With more time than it has later: it is slow.
            let later = self.contest.deadline.map(|_| LATER);
            let to_sleep = shown(|show| run(&mut self.scene, later, show, None))?;
            if self.contest.moment == Moment::Waiting {
                return to_sleep.ok_or_else(|| io::Error::other("there is no waiter"));
            }
            self.to_sleep = to_sleep;
            let (scene, to_sleep) = (&mut self.scene, self.to_sleep.as_ref());
            if let Some(route) = shown(|show| sleep_and(scene, self.contest, to_sleep, show))? {
                return Ok(route);
            }
        }
        Err(io::Error::other("the waiter does not come to sleep, or does not wake"))
    }

    fn kill_at(&mut self, place: Place, route: &Route, going: Going) -> Result<Reached, String> {
        let mut go = |victim: &mut Victim| victim.go_to(route, place, going).map_err(text);
        let (contest, scene) = (self.contest, &mut self.scene);
        let killed = match contest.moment {
            Moment::Waiting => run(scene, contest.deadline, &mut go, None),
            // The way to sleep is always the quick one: by steps it takes longer than the deadline.
            Moment::Woken | Moment::TimedOut => sleep_and(scene, contest, self.to_sleep.as_ref(), &mut go),
        };
        killed.and_then(|(check, reached)| check.map(|()| reached)).inspect_err(|_| self.scene.renew())
    }
}

/// What victims are surveyed to do, if they come to that.
fn shown(mut run: impl FnMut(Go<'_>) -> Result<(Check, Reached), String>) -> io::Result<Option<Route>> {
    let mut survey = Survey::new();
    while !survey.is_done() {
        let mut came = false;
        let mut show = |victim: &mut Victim| {
            came = true;
            survey.go_on(victim).map(|()| Reached::There).map_err(text)
        };
        run(&mut show).and_then(|(check, _)| check).map_err(io::Error::other)?;
        if !came {
            return Ok(None);
        }
    }
    Ok(Some(survey.route()))
}

type Go<'a> = &'a mut dyn FnMut(&mut Victim) -> Result<Reached, String>;

/// As `run`, with a victim that goes to sleep first.
fn sleep_and(scene: &mut Scene, contest: &Contest, to_sleep: Option<&Route>, after: Go<'_>) -> Result<(Check, Reached), String> {
    let (route, sleep) = to_sleep.and_then(|route| Some((route, route.sleep()?))).ok_or("the waiter does not come to sleep")?;
    let mut before = |victim: &mut Victim| victim.go_to(route, sleep, Going::Quickly).map_err(text);
    run(scene, contest.deadline, &mut before, Some((contest.moment, after)))
}

/// Has a victim wait for a lock, kills it when it has gone so far, and looks whether a third gets the lock then.
fn run(
    scene: &mut Scene,
    deadline: Option<Duration>,
    go: Go<'_>,
    after: Option<(Moment, Go<'_>)>,
) -> Result<(Check, Reached), String> {
    scene.with_store().map_err(|e| e.to_string())?;
    scene.reset();
    let wait = || match deadline {
        None => visit(scene, scene.lock().lock()),
        Some(deadline) => visit(scene, scene.lock().try_lock_for(deadline)),
    };
    let mut victim = Victim::start(|| scene.settle(), wait).map_err(text)?;
    let victim_pid = victim.pid();
    let lock = scene.lock();
    let mut guard = Some(lock.lock().map_err(|e| e.to_string())?);
    let mut reached = go(&mut victim)?;
    let mut third = None;
    if let (Some((moment, after)), Reached::There) = (after, reached) {
        if moment == Moment::Woken {
            third = Some(Third::start(scene)?);
            guard = None;
        }
        reached = match victim.wake().map_err(text)? {
            Reached::There => after(&mut victim)?,
            elsewhere => elsewhere,
        };
    }
    // Who was served before the victim cannot be told of its death; whoever comes next is.
    let served = scene.note().load(SeqCst) != 0;
    victim.kill();
    let third = third.map_or_else(|| Third::start(scene), Ok)?;
    drop(guard);
    let check = third.gets_it(scene).and_then(|first| {
        let mut guard = lock.lock().map_err(|e| e.to_string())?;
        let again = pid_of(&guard).unwrap_or(0);
        if !served && scene.has_lasting_reports() && again != first {
            return Err(format!("the first owner after the victim got a report of {first}, the second of {again}"));
        }
        // The next victim begins without a report.
        guard.mark_consistent().map_err(|e| e.to_string())?;
        match if served { again } else { first } {
            0 if scene.reports() && scene.marked(Mark::Inside) => {
                Err("a waiter died inside, and the next was not told".to_owned())
            }
            pid if pid != 0 && pid != victim_pid => Err(format!("told that {pid} died, and it was {victim_pid}")),
            _ => Ok(()),
        }
    });
    Ok((check, reached))
}

fn text(error: Errno) -> String {
    error.to_string()
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
                if let Ok(guard) = scene.lock().lock() {
                    scene.note().store(GOT_IT | u64::from(pid_of(&guard).unwrap_or(0)), SeqCst);
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

    /// Returns when it has had the lock and has ended: the pid of whom it was told that he died; 0 where nobody did.
    fn gets_it(self, scene: &Scene) -> Result<u32, String> {
        let patience = Instant::now() + PATIENCE;
        while matches!(waitpid(self.0, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive)) {
            if Instant::now() > patience {
                return Err("another waiter sleeps for ever: its wake-up is lost".to_owned());
            }
            std::thread::yield_now();
        }
        match scene.note().load(SeqCst) {
            0 => Err("another waiter ended without the lock".to_owned()),
            note => Ok((note & (GOT_IT - 1)) as u32),
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
