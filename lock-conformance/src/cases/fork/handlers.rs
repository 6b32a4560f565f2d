//! Programs that register fork handlers before they open a store.
//!
//! Its prepare handler runs after that of the library, and its child handler runs before that of the library.

use crate::cases::cases;
use crate::fixture::Fixture;
use crate::process::{LockRef, Thread};

cases! { "fork";
    a_guard_dropped_in_a_child_handler_releases_nothing [STORE PROCESSES];
    a_mutex_held_during_fork_and_open_causes_no_deadlock [STORE PROCESSES];
    a_first_lock_in_a_prepare_handler_causes_no_deadlock [STORE PROCESSES];
}

/// Returns a process that registered handlers before it opened the store, another process, and a lock.
fn a_program_with_handlers(fixture: &Fixture) -> (Thread, Thread, LockRef) {
    let (program, other) = (fixture.blank_peer(), fixture.peer());
    program.must("at_fork", &[]);
    program.must("open", &["open", &fixture.url()]);
    let lock = fixture.a_lock(&other);
    (program, other, lock)
}

fn a_guard_dropped_in_a_child_handler_releases_nothing(fixture: &Fixture) {
    let (program, other, lock) = a_program_with_handlers(fixture);
    for _ in 0..3 {
        program.lock(lock);
        program.must("drop_in_child", &[&lock.to_string()]);
        let child = fixture.fork(&program);
        let found = child.must("handlers_found", &[]);
        assert_ne!(
            found.find::<String>("found").as_deref(),
            Some("free"),
            "in its handler, a child acquired the lock of its parent"
        );
        other.finds_busy(lock, "only a child of its owner dropped its copy of the guard, in a handler");
        child.finds_busy(lock, "its parent holds it");
        program.unlock(lock);
        assert!(other.finds_free(lock, "its owner released it").death.is_none(), "a death is reported, although no process died");
        child.lock(lock);
        program.finds_busy(lock, "the child holds it");
        child.unlock(lock);
    }
}

fn a_mutex_held_during_fork_and_open_causes_no_deadlock(fixture: &Fixture) {
    let (program, other, lock) = a_program_with_handlers(fixture);
    let (path, arena) = fixture.arena(1);
    let path = path.to_str().expect("the scratch path is text");
    program.must("mutex_over_fork", &[]);
    let maker = program.process.thread("t1").start("open_under_mutex", &[path, &fixture.url(), &lock.to_string()]);
    maker.begun();
    arena.go();
    program.must("fork_many", &["100"]);
    arena.stop();
    maker.done();
    program.lock(lock);
    other.finds_busy(lock, "a process that forked many times holds it");
    program.unlock(lock);
}

fn a_first_lock_in_a_prepare_handler_causes_no_deadlock(fixture: &Fixture) {
    let (program, other, lock) = a_program_with_handlers(fixture);
    for n in 0..3 {
        let thread = program.process.thread(&format!("t{n}"));
        thread.must("lock_over_fork", &[&lock.to_string()]);
        let child = fixture.fork(&thread);
        for (process, name) in [(&thread, "parent"), (&child, "child")] {
            let refused: Option<String> = process.must("handlers_found", &[]).find("refused");
            assert_eq!(refused, None, "a handler of the {name} was refused the lock");
        }
        assert!(other.finds_free(lock, "a handler released it").death.is_none(), "a death is reported, although no process died");
        child.lock(lock);
        thread.finds_busy(lock, "the child holds it");
        child.unlock(lock);
        other.finds_free(lock, "the child released it");
    }
}
