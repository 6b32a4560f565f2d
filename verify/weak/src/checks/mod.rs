//! The checks. Each runs threads on one table and panics if it fails.

pub mod allocating;
pub mod locking;

use std::thread;

use crate::member::{Kind, Member};
use crate::sys;
use crate::table::Table;

/// Runs a thread of each of these kinds. `body` gets the thread's index.
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
