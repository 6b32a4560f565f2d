//! The steps of a deadlock in an answer.

use lock_core::Deadlock;

use crate::protocol::Fields;

/// Adds the steps of a cycle, each with its position as a suffix.
pub(super) fn with_cycle(fields: Fields, cycle: &Deadlock) -> Fields {
    let fields = fields.with("steps", cycle.steps.len());
    cycle.steps.iter().enumerate().fold(fields, |fields, (at, step)| {
        fields
            .with(format!("cycle_pid.{at}"), step.waiter.pid)
            .with(format!("cycle_tid.{at}"), step.waiter.tid)
            .with(format!("holds.{at}"), step.holds.id)
            .with(format!("waits_for.{at}"), step.waits_for.id)
            .with(format!("dependence.{at}"), format_args!("{:?}", step.dependence))
    })
}
