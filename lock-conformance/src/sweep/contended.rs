//! Sweeps over waiters: a process that waits beside a killed waiter still acquires the lock.

use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use lock_core::OwnerKind::{Process, Thread};
use lock_core::{Capabilities, OwnerKind};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::operation::{give_up, recovers, recovers_in_time, sends, visit, visit_send};
use super::route::{Place, Route};
use super::setup::{Check, Mark, Setup, WAITER_PATIENCE, pid_of};
use super::subject::Subject;
use super::survey::Survey;
use super::target::{Movement, Reached, TargetProcess, is_asleep};
use crate::sys;

/// A deadline that does not pass while the target is stepped.
const LATER: Duration = Duration::from_secs(600);
/// A deadline that passes soon after the target falls asleep.
const SOON: Duration = Duration::from_millis(40);

/// Number of attempts to observe a waiter that sleeps and wakes.
const SURVEYS: usize = 20;

const ACQUIRED: u64 = 1 << 32;

/// One kind of wait that is swept.
pub(super) struct Wait {
    pub(super) name: &'static str,
    pub(super) applies: fn(&Capabilities) -> bool,
    moment: Moment,
    deadline: Option<Duration>,
    owner: OwnerKind,
}

pub(super) const WAITS: &[Wait] = &[
    Wait { name: "wait for a lock", applies: recovers, moment: Moment::Waiting, deadline: None, owner: Thread },
    Wait {
        name: "wait for a lock with a deadline",
        applies: recovers_in_time,
        moment: Moment::Waiting,
        deadline: Some(LATER),
        owner: Thread,
    },
    Wait { name: "wait for a lock for the process", applies: sends, moment: Moment::Waiting, deadline: None, owner: Process },
    Wait { name: "be woken with a lock", applies: recovers, moment: Moment::Woken, deadline: None, owner: Thread },
    Wait {
        name: "be woken before a deadline",
        applies: recovers_in_time,
        moment: Moment::Woken,
        deadline: Some(LATER),
        owner: Thread,
    },
    Wait { name: "be woken with a lock of the process", applies: sends, moment: Moment::Woken, deadline: None, owner: Process },
    Wait {
        name: "give up at a deadline",
        applies: recovers_in_time,
        moment: Moment::TimedOut,
        deadline: Some(SOON),
        owner: Thread,
    },
];

/// The phase of the wait in which the target is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Moment {
    /// Before or during its sleep.
    Waiting,
    /// After it is woken.
    Woken,
    /// After its deadline passes during its sleep.
    TimedOut,
}

/// A waiter that is killed while another process waits for the same lock.
pub(super) struct Waiter {
    setup: Setup,
    kind: &'static Wait,
    /// The route to the sleep, for waiters that are killed after it.
    to_sleep: Option<Route>,
}

impl Waiter {
    pub(super) fn new(setup: Setup, kind: &'static Wait) -> Self {
        Self { setup, kind, to_sleep: None }
    }
}

/// How the target waits.
#[derive(Clone, Copy)]
struct Attempt {
    owner: OwnerKind,
    deadline: Option<Duration>,
    /// The lock is held until the target is dead.
    gives_up: bool,
}

impl Wait {
    fn attempt(&self) -> Attempt {
        Attempt { owner: self.owner, deadline: self.deadline, gives_up: self.moment == Moment::TimedOut }
    }
}

impl Subject for Waiter {
    fn survey(&mut self) -> io::Result<Route> {
        // The second part, after the sleep, can be surveyed only in targets that take the surveyed route to the sleep. Not all do.
        for _ in 0..SURVEYS {
            // Stepping is slow, so the survey uses a later deadline than the sweep.
            let attempt = self.kind.attempt();
            let later = Attempt { deadline: attempt.deadline.map(|_| LATER), ..attempt };
            let to_sleep = survey_part(|show| run(&mut self.setup, later, show, None))?;
            if self.kind.moment == Moment::Waiting {
                return to_sleep.ok_or_else(|| io::Error::other("no process waited for the lock"));
            }
            self.to_sleep = to_sleep;
            let (setup, to_sleep) = (&mut self.setup, self.to_sleep.as_ref());
            if let Some(route) = survey_part(|show| sleep_and(setup, self.kind, to_sleep, show))? {
                return Ok(route);
            }
        }
        Err(io::Error::other("the waiter does not fall asleep, or does not wake"))
    }

    fn kill_at(&mut self, place: Place, route: &Route, by: Movement) -> Result<Reached, String> {
        let mut go = |target: &mut TargetProcess| target.move_to(route, place, by).map_err(text);
        let (kind, setup) = (self.kind, &mut self.setup);
        let killed = match kind.moment {
            Moment::Waiting => run(setup, kind.attempt(), &mut go, None),
            // Stepping to the sleep would take longer than the deadline, so breakpoints are used.
            Moment::Woken | Moment::TimedOut => sleep_and(setup, kind, self.to_sleep.as_ref(), &mut go),
        };
        killed.and_then(|(check, reached)| check.map(|()| reached)).inspect_err(|_| self.setup.discard_store())
    }
}

/// Surveys a part of the wait; `None` if a target does not reach that part.
fn survey_part(mut run: impl FnMut(Go<'_>) -> Result<(Check, Reached), String>) -> io::Result<Option<Route>> {
    let mut survey = Survey::new();
    while !survey.is_done() {
        let mut is_reached = false;
        let mut show = |target: &mut TargetProcess| {
            is_reached = true;
            survey.extend(target).map(|()| Reached::There).map_err(text)
        };
        run(&mut show).and_then(|(check, _)| check).map_err(io::Error::other)?;
        if !is_reached {
            return Ok(None);
        }
    }
    Ok(Some(survey.route()))
}

type Go<'a> = &'a mut dyn FnMut(&mut TargetProcess) -> Result<Reached, String>;

/// Moves the target to its sleep first, and then runs `after` as in [`run`].
fn sleep_and(setup: &mut Setup, kind: &Wait, to_sleep: Option<&Route>, after: Go<'_>) -> Result<(Check, Reached), String> {
    let (route, sleep) = to_sleep.and_then(|route| Some((route, route.sleep()?))).ok_or("the waiter does not fall asleep")?;
    let mut before = |target: &mut TargetProcess| target.move_to(route, sleep, Movement::Quickly).map_err(text);
    run(setup, kind.attempt(), &mut before, Some((kind.moment, after)))
}

/// Makes a target wait for a lock, kills it after `go`, and checks that a bystander acquires the lock.
fn run(setup: &mut Setup, attempt: Attempt, go: Go<'_>, after: Option<(Moment, Go<'_>)>) -> Result<(Check, Reached), String> {
    setup.with_store().map_err(|e| e.to_string())?;
    setup.reset();
    let wait = || match attempt.deadline {
        None if attempt.owner == Process => visit_send(setup, setup.lock().lock_send()),
        None => visit(setup, setup.lock().lock()),
        Some(deadline) if attempt.gives_up => give_up(setup, deadline),
        Some(deadline) => visit(setup, setup.lock().try_lock_for(deadline)),
    };
    let mut target = TargetProcess::start(|| setup.attach(), wait).map_err(text)?;
    let target_pid = target.pid();
    let lock = setup.lock();
    let mut guard = Some(lock.lock().map_err(|e| e.to_string())?);
    let mut reached = go(&mut target)?;
    let mut bystander = None;
    if let (Some((moment, after)), Reached::There) = (after, reached) {
        if moment == Moment::Woken {
            bystander = Some(Bystander::start(setup)?);
            guard = None;
        }
        reached = match target.wake().map_err(text)? {
            Reached::There => after(&mut target)?,
            elsewhere => elsewhere,
        };
    }
    // A bystander that acquired the lock before the kill gets no report of the death. The owner after it does.
    let served = setup.note().load(SeqCst) != 0;
    target.kill();
    let bystander = bystander.map_or_else(|| Bystander::start(setup), Ok)?;
    drop(guard);
    let check = bystander.wait_for_report(setup).and_then(|first| {
        let mut guard = lock.lock().map_err(|e| e.to_string())?;
        let again = pid_of(&guard).unwrap_or(0);
        if !served && setup.has_lasting_reports() && again != first {
            return Err(format!("the first owner after the target got a report of {first}, the second of {again}"));
        }
        // The next target starts without a pending report.
        guard.mark_consistent().map_err(|e| e.to_string())?;
        match if served { again } else { first } {
            0 if setup.reports() && setup.marked(Mark::Inside) => {
                Err("a waiter died in the critical section, and the next owner got no report".to_owned())
            }
            pid if pid != 0 && pid != target_pid => Err(format!("the report names {pid}, but {target_pid} died")),
            _ => Ok(()),
        }
    });
    Ok((check.and_then(|()| setup.check_no_waiters()), reached))
}

fn text(error: Errno) -> String {
    error.to_string()
}

/// An untraced process that waits for the same lock.
struct Bystander(Pid);

impl Bystander {
    /// Starts the process and waits until it is asleep.
    fn start(setup: &Setup) -> Result<Self, String> {
        let bystander = match sys::fork().map_err(|e| e.to_string())? {
            Some(pid) => Self(pid),
            None => {
                let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
                if let Ok(guard) = setup.lock().lock() {
                    setup.note().store(ACQUIRED | u64::from(pid_of(&guard).unwrap_or(0)), SeqCst);
                }
                sys::exit_now(0);
            }
        };
        let patience = Instant::now() + WAITER_PATIENCE;
        while !is_asleep(bystander.0) {
            if Instant::now() > patience {
                return Err("the other waiter does not fall asleep".to_owned());
            }
            std::thread::yield_now();
        }
        Ok(bystander)
    }

    /// Waits until it has acquired the lock and ended.
    ///
    /// Returns the pid in its death report, 0 without a report.
    fn wait_for_report(self, setup: &Setup) -> Result<u32, String> {
        let patience = Instant::now() + WAITER_PATIENCE;
        while matches!(waitpid(self.0, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive)) {
            if Instant::now() > patience {
                return Err("the other waiter is still asleep: its wake-up is lost".to_owned());
            }
            std::thread::yield_now();
        }
        match setup.note().load(SeqCst) {
            0 => Err("the other waiter ended without acquiring the lock".to_owned()),
            note => Ok((note & (ACQUIRED - 1)) as u32),
        }
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        if matches!(waitpid(self.0, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive)) {
            let _ = kill(self.0, Signal::SIGKILL);
            let _ = waitpid(self.0, None);
        }
    }
}
