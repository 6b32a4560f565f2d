//! Threads that use one table.

mod allocating;
mod locking;

use std::thread;

use crate::sys::{self, Me};
use crate::table::{Kind, Table};

/// Runs a thread of each kind, which gets its number.
fn run(kinds: &[Kind], body: impl Fn(&'static Table, usize) + Sync) {
    let table = Table::new(kinds);
    thread::scope(|scope| {
        for number in 0..kinds.len() {
            let body = &body;
            scope.spawn(move || {
                sys::begin_thread(Me { table, number });
                body(table, number);
            });
        }
    });
}
