//! Checks: threads that use one table. Each panics when something is wrong.

pub mod allocating;
pub mod locking;

use std::thread;

use crate::member::{Kind, Member};
use crate::sys;
use crate::table::Table;

/// Runs a thread of each kind, which gets its number.
fn run(kinds: &[Kind], body: impl Fn(&'static Table, usize) + Sync) {
    let table = Table::new(kinds);
    thread::scope(|scope| {
        for number in 0..kinds.len() {
            let body = &body;
            scope.spawn(move || {
                sys::begin_thread(Member::of(kinds, number));
                body(table, number);
            });
        }
    });
}
