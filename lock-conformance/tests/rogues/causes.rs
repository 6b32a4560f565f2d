//! Wrong backends that report a wrong cause of death.

use std::fs;
use std::thread;
use std::time::Duration;

use lock_core::{Acquired, Capabilities, Cause, Deadline, Death, Holder, Proof, RawLock, Recovery, Result, ThreadDeath};

use super::Faulty;
use super::fault::{Fault, faulty};
use super::ruled::{Attempt, Rule, Ruled, is_alive, pid, ruled};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        ruled::<TakesProcessesForThreads>(),
        ruled::<TakesProcessesForThreadsIfItWaited>(),
        ruled::<TakesExecForTheEnd>(),
        ruled::<TakesExecForTheEndIfItWaited>(),
        faulty::<TakesThreadsForProcesses>(),
    ]
}

/// Replaces the cause of a report if the owner died and whether its process has ended equals `ended`.
fn if_process_ended(death: Option<Death>, ended: bool, cause: Cause) -> Option<Death> {
    let death = death?;
    let wrong = death.cause == Cause::Unknown && is_alive(pid(&death)) != ended;
    Some(if wrong { death.with_cause(cause) } else { death })
}

fn waited(attempt: &Attempt) -> bool {
    attempt.note_before_wait.is_some()
}

#[derive(Debug)]
struct TakesProcessesForThreads;

impl Rule for TakesProcessesForThreads {
    const NAME: &'static str = "takes-processes-for-threads";
    const FAULT: &'static str = "Reports the end of a process as the end of a thread";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::the_end_of_a_process_has_that_cause", "but the report says ThreadEnded")];
    // The storm cases catch it, too.
    const CAUGHT_BY_NO_OTHER: bool = false;

    fn report(_: &Ruled, death: Option<Death>, attempt: &Attempt) -> Option<Death> {
        if waited(attempt) { death } else { if_process_ended(death, true, Cause::ThreadEnded) }
    }
}

#[derive(Debug)]
struct TakesProcessesForThreadsIfItWaited;

impl Rule for TakesProcessesForThreadsIfItWaited {
    const NAME: &'static str = "takes-processes-for-threads-if-it-waited";
    const FAULT: &'static str = "Reports the end of a process as the end of a thread to a waiter";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::the_end_of_a_process_has_that_cause_for_a_sleeping_waiter", "but the report says ThreadEnded")];
    // The storm cases catch it, too.
    const CAUGHT_BY_NO_OTHER: bool = false;

    fn report(_: &Ruled, death: Option<Death>, attempt: &Attempt) -> Option<Death> {
        let death = death?;
        // The dead process can still be a zombie.
        let exec = fs::read_link(format!("/proc/{}/exe", pid(&death))).is_ok();
        Some(if waited(attempt) && !exec && death.cause == Cause::Unknown { death.with_cause(Cause::ThreadEnded) } else { death })
    }
}

#[derive(Debug)]
struct TakesExecForTheEnd;

impl Rule for TakesExecForTheEnd {
    const NAME: &'static str = "takes-exec-for-the-end";
    const FAULT: &'static str = "Reports an exec as the end of a process";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::an_exec_has_that_cause", "but the report says ProcessEnded")];

    fn report(_: &Ruled, death: Option<Death>, attempt: &Attempt) -> Option<Death> {
        if waited(attempt) { death } else { if_process_ended(death, false, Cause::ProcessEnded) }
    }
}

#[derive(Debug)]
struct TakesExecForTheEndIfItWaited;

impl Rule for TakesExecForTheEndIfItWaited {
    const NAME: &'static str = "takes-exec-for-the-end-if-it-waited";
    const FAULT: &'static str = "Reports an exec as the end of a process to a waiter";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::an_exec_has_that_cause_for_a_sleeping_waiter", "but the report says ProcessEnded")];

    fn report(_: &Ruled, death: Option<Death>, attempt: &Attempt) -> Option<Death> {
        if waited(attempt) { if_process_ended(death, false, Cause::ProcessEnded) } else { death }
    }
}

#[derive(Debug)]
struct TakesThreadsForProcesses;

impl Fault for TakesThreadsForProcesses {
    const NAME: &'static str = "takes-threads-for-processes";
    const FAULT: &'static str = "Reports the end of a thread as the end of a process";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("death_reports::the_end_of_a_thread_has_that_cause", "but the report says ProcessEnded"),
        ("death_reports::the_end_of_a_thread_has_that_cause_for_a_sleeping_waiter", "but the report says ProcessEnded"),
    ];
    const CLAIMS: Capabilities = reference::CLAIMS.with_thread_death(ThreadDeath::Reported);

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let mut token = 0;
        loop {
            let acquired = honest.acquire(Deadline::Now)?;
            if acquired != Acquired::TimedOut {
                return Ok(acquired);
            }
            if let Some(dead) = honest.holder()?.filter(has_ended) {
                token += 1;
                let death = Death::of(Some(dead)).with_cause(Cause::ProcessEnded);
                return Ok(Acquired::Recovered(Box::new(Recovery { token: u64::MAX / 2 + token, death })));
            }
            if deadline.has_passed() {
                return Ok(Acquired::TimedOut);
            }
            thread::sleep(Duration::from_micros(500));
        }
    }

    fn release(honest: &dyn RawLock, proof: Proof) -> Result<()> {
        // This thread does not own the lock below, which a thread that has ended acquired.
        let _ = honest.release(proof);
        Ok(())
    }
}

/// Checks whether the thread has ended while its process is alive.
fn has_ended(holder: &Holder) -> bool {
    is_alive(holder.pid) && fs::metadata(format!("/proc/{}/task/{}", holder.pid, holder.tid)).is_err()
}
