//! Stores whose files another program deletes, replaces or truncates while processes have them open.
//!
//! Processes that have such a store open continue to exclude each other. A process that opens the URL afterwards gets another store or
//! none. Allocating in the old store is therefore an error: its ids would name other locks in the new store.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::cases;
use crate::fixture::Fixture;
use crate::need;
use crate::process::{LockRef, Thread};

cases! { "vanishing";
    handles_on_a_deleted_store_go_on_excluding_each_other [STORE PROCESSES FILES];
    handles_on_a_replaced_store_go_on_excluding_each_other [STORE PROCESSES FILES];
    a_deleted_store_is_absent_and_the_next_one_is_another [STORE PROCESSES FILES];
    who_has_a_deleted_store_open_is_told [STORE PROCESSES FILES NUMBERED];
    who_allocates_in_a_deleted_store_is_told_before_long [STORE PROCESSES FILES NUMBERED];
    who_has_a_replaced_store_open_is_told [STORE PROCESSES FILES NUMBERED];
    who_has_a_store_open_that_was_moved_away_is_told_when_another_has_its_name [STORE PROCESSES FILES NUMBERED];
    a_store_that_is_cut_off_while_it_is_used_is_refused_and_whole_again_when_it_is_put_back [STORE PROCESSES FILES NUMBERED];
}

/// A store that two processes have open, and the files that identify it.
struct Open {
    url: String,
    files: Vec<PathBuf>,
    a: Thread,
    b: Thread,
    lock: LockRef,
}

impl Open {
    fn new(fixture: &Fixture) -> Self {
        let (dir, url) = fixture.fresh_place();
        let (a, b) = (fixture.peer_with(&url), fixture.peer_with(&url));
        let files = (fixture.suite.files.as_ref().expect("the case needs files"))(&dir, &url);
        let lock = fixture.a_lock(&a);
        // Both open their handles before the files change.
        a.finds_free(lock, "no thread holds it");
        b.finds_free(lock, "no thread holds it");
        Self { url, files, a, b, lock }
    }

    /// Replaces the files of this store by those of a new one.
    fn replace(&self, fixture: &Fixture) {
        let (dir, url) = fixture.fresh_place();
        fixture.kill(&fixture.peer_with(&url).process);
        let others = (fixture.suite.files.as_ref().expect("the case needs files"))(&dir, &url);
        for (other, file) in others.iter().zip(&self.files) {
            fs::rename(other, file).expect("the file can be replaced");
        }
    }

    fn delete(&self) {
        self.files.iter().for_each(|file| fs::remove_file(file).expect("the file can be removed"));
    }

    fn handles_exclude_each_other(&self) {
        let (a, b, lock) = (&self.a, &self.b, self.lock);
        a.unlock(lock);
        b.lock(lock);
        a.finds_busy(lock, "another process that has the store open holds it");
        let waiter = a.start_lock(lock);
        waiter.waits("another process that has the store open holds it");
        b.unlock(lock);
        waiter.granted();
        b.finds_busy(lock, "the waiter owns it");
        a.unlock(lock);
    }

    /// Asserts that operations fail because the URL no longer leads to this store.
    fn refuses_changes(&self, thread: &Thread) {
        let LockRef::Number(id) = self.lock else { unreachable!("the case needs numbers") };
        let (id, other) = (id.to_string(), (id + 1).to_string());
        let asks: [(&str, &[&str]); 6] = [
            ("check", &[]),
            ("allocate", &[""]),
            ("take", &[&other, ""]),
            ("free", &[&id]),
            ("free_all", &[]),
            ("retrieve", &[&id]),
        ];
        for (verb, arguments) in asks {
            match thread.ask(verb, arguments) {
                Ok(_) => panic!("{thread} was not refused {verb}, although the URL no longer leads to its store"),
                Err(refusal) => {
                    let kinds = ["Destroyed", "Replaced"];
                    assert!(kinds.contains(&refusal.kind.as_str()), "{verb}: the error has the wrong kind: {refusal}");
                }
            }
        }
    }

    /// Removes what the store keeps outside of its files. A refusal is ignored.
    fn clean_up(&self) {
        let _ = self.a.ask("destroy", &[]);
    }
}

fn handles_on_a_deleted_store_go_on_excluding_each_other(fixture: &Fixture) {
    let open = Open::new(fixture);
    open.a.lock(open.lock);
    open.delete();
    open.b.finds_busy(open.lock, "deleting the store does not release it");
    open.handles_exclude_each_other();
    open.clean_up();
}

fn handles_on_a_replaced_store_go_on_excluding_each_other(fixture: &Fixture) {
    let open = Open::new(fixture);
    open.a.lock(open.lock);
    open.replace(fixture);
    open.b.finds_busy(open.lock, "replacing the store does not release it");
    open.handles_exclude_each_other();
    open.clean_up();
}

fn a_deleted_store_is_absent_and_the_next_one_is_another(fixture: &Fixture) {
    let open = Open::new(fixture);
    let first: String = open.b.must("probe", &["open", &open.url]).get("id");
    open.delete();
    let newcomer = fixture.blank_peer();
    newcomer.refused("Absent", "open", &["open", &open.url]);
    // A backend may refuse to create a store next to the remains of the deleted one.
    if let Ok(made) = newcomer.ask("open", &["open_or_create", &open.url]) {
        assert_ne!(made.get::<String>("id"), first, "the new store has the identity of the deleted one");
        let lock = fixture.a_lock(&newcomer);
        newcomer.finds_free(lock, "the store is new");
    }
    open.clean_up();
}

fn who_has_a_deleted_store_open_is_told(fixture: &Fixture) {
    let open = Open::new(fixture);
    open.a.must("check", &[]);
    open.delete();
    open.refuses_changes(&open.a);
    // The result is the same once a new store has the URL.
    let _ = fixture.blank_peer().ask("open", &["open_or_create", &open.url]);
    open.refuses_changes(&open.b);
    open.clean_up();
}

/// A backend need not check its store at each allocation, but it has to check repeatedly.
fn who_allocates_in_a_deleted_store_is_told_before_long(fixture: &Fixture) {
    let open = Open::new(fixture);
    open.delete();
    fixture.wait_until("allocating fails", || open.b.ask("allocate", &[""]).is_err());
    open.refuses_changes(&open.b);
    open.clean_up();
}

fn who_has_a_replaced_store_open_is_told(fixture: &Fixture) {
    let open = Open::new(fixture);
    open.replace(fixture);
    open.refuses_changes(&open.a);
    open.refuses_changes(&open.b);
    open.clean_up();
}

/// Operations may succeed until another store has the URL.
///
/// Before that, the store may be invisible in this mount namespace only.
fn who_has_a_store_open_that_was_moved_away_is_told_when_another_has_its_name(fixture: &Fixture) {
    let open = Open::new(fixture);
    for file in &open.files {
        fs::rename(file, file.with_extension("moved")).expect("the file can be moved");
    }
    let newcomer = fixture.blank_peer();
    newcomer.refused("Absent", "open", &["open", &open.url]);
    open.replace(fixture);
    open.refuses_changes(&open.a);
    open.refuses_changes(&open.b);
    open.clean_up();
}

/// Accessing a truncated part of a mapping raises `SIGBUS`.
///
/// The owner of a lock is not protected from that, but allocating, freeing and listing have to fail with an error instead.
fn a_store_that_is_cut_off_while_it_is_used_is_refused_and_whole_again_when_it_is_put_back(fixture: &Fixture) {
    let open = Open::new(fixture);
    let (a, b, LockRef::Number(id)) = (&open.a, &open.b, open.lock) else { unreachable!("the case needs numbers") };
    a.lock(open.lock);
    let (id, next) = (id.to_string(), (id + 1).to_string());
    let prober = fixture.blank_peer();
    for file in &open.files {
        let whole = fs::read(file).expect("the file can be read");
        for length in [0, whole.len() / 2, whole.len() - 1] {
            let cut = File::options().write(true).open(file).expect("the file can be opened");
            cut.set_len(length as u64).expect("the file can be truncated");
            for mode in ["open", "open_or_create"] {
                let refusal = prober.ask("probe", &[mode, &open.url]).expect_err("a truncated store must not open");
                assert!(is_about_damage(&refusal.kind), "the error has the wrong kind: {refusal}");
            }
            let changes: [(&str, &[&str]); 5] =
                [("check", &[]), ("allocate", &[""]), ("take", &[&next, ""]), ("free", &[&id]), ("free_all", &[])];
            for (verb, arguments) in changes {
                match b.ask(verb, arguments) {
                    Ok(_) => panic!("{verb} was not refused in a store truncated to {length} of {} bytes", whole.len()),
                    Err(refusal) => assert!(is_about_damage(&refusal.kind), "{verb}: the error has the wrong kind: {refusal}"),
                }
            }
            let mut queries: Vec<(&str, &[&str])> = vec![("allocated", &[]), ("available", &[])];
            if need::HOLDERS.is_met(&fixture.suite) {
                queries.push(("held", &[]));
            }
            if need::LISTED_WAITERS.is_met(&fixture.suite) {
                queries.push(("waiting", &[]));
            }
            for (verb, arguments) in queries {
                if let Err(refusal) = b.ask(verb, arguments) {
                    assert!(is_about_damage(&refusal.kind), "{verb}: the error has the wrong kind: {refusal}");
                }
            }
            cut.set_len(whole.len() as u64).and_then(|()| cut.write_all_at(&whole, 0)).expect("the file can be restored");
        }
    }
    b.must("check", &[]);
    b.finds_busy(open.lock, "its owner lives, and the store is restored");
    a.unlock(open.lock);
    b.finds_free(open.lock, "it was released");
    assert_eq!(b.allocated().len(), 1, "restoring the files changed the set of allocated ids");
}

fn is_about_damage(kind: &str) -> bool {
    matches!(kind, "Corrupt" | "NotAStore" | "OtherVersion" | "OtherAbi")
}
