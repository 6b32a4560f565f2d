//! Forked children that close all inherited descriptors, and daemons.

use super::{OwnFiles, cases, exclude_each_other_in_turn, is_free, stays_held};
use crate::fixture::Fixture;
use crate::need;

cases! { "descriptors";
    a_child_that_closes_everything_and_opens_a_log_keeps_exclusion [STORE PROCESSES CLOSE_RANGE];
    a_daemon_whose_parent_has_exited_keeps_exclusion [STORE PROCESSES];
}

fn a_child_that_closes_everything_and_opens_a_log_keeps_exclusion(fixture: &Fixture) {
    let (parent, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&other);
    parent.finds_free(lock, "no process holds it");
    for parent_holds in [false, true] {
        let child = fixture.fork(&parent);
        let highest = child.process.descriptors().last().copied().unwrap_or(0);
        if parent_holds {
            parent.lock(lock);
        }
        child.must("close_everything", &[]);
        let files = OwnFiles::open(fixture, &child, highest.max(8));
        if parent_holds {
            stays_held(fixture, &other, lock, "the parent holds it, and only its child closed descriptors");
            parent.unlock(lock);
        } else {
            child.lock(lock);
            stays_held(fixture, &other, lock, "a child that closed descriptors holds it");
            child.unlock(lock);
        }
        exclude_each_other_in_turn(&child, &other, lock);
        files.are_undamaged("many locks");
        exclude_each_other_in_turn(&child, &parent, lock);
        files.are_undamaged("many locks");
    }
}

fn a_daemon_whose_parent_has_exited_keeps_exclusion(fixture: &Fixture) {
    let (parent, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&other);
    let daemon = fixture.fork(&parent);
    daemon.must("setsid", &[]);
    let _never = parent.start("exit", &[]);
    fixture.reap(&parent.process);
    daemon.lock(lock);
    stays_held(fixture, &other, lock, "a daemon holds it");
    daemon.unlock(lock);
    is_free(&other, lock, "the daemon released it");
    exclude_each_other_in_turn(&daemon, &other, lock);
    if need::RELEASED.is_met(&fixture.suite) {
        daemon.lock(lock);
        fixture.kill(&daemon.process);
        let granted = other.lock(lock);
        if need::REPORTED.is_met(&fixture.suite) {
            assert_eq!(granted.death.map(|death| death.pid), Some(daemon.pid()), "the death of the daemon is not reported");
        }
    }
}
