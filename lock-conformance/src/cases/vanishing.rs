//! Stores whose files are deleted, replaced or cut off while somebody has them open, by somebody who knows nothing of locks.
//!
//! Who has such a store open goes on excluding the others who have it open. But who opens it from now on gets another store or none, so
//! that who allocates in the old one is told: the ids would mean something else to others.

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

/// A store that two processes have open, with the files that it is recognised by.
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
        // Both have a handle from before.
        a.finds_free(lock, "nobody holds it");
        b.finds_free(lock, "nobody holds it");
        Self { url, files, a, b, lock }
    }

    /// Puts another, new store in the place of this one.
    fn replace(&self, fixture: &Fixture) {
        let (dir, url) = fixture.fresh_place();
        fixture.kill(&fixture.peer_with(&url).process);
        let others = (fixture.suite.files.as_ref().expect("the case needs files"))(&dir, &url);
        for (other, file) in others.iter().zip(&self.files) {
            fs::rename(other, file).expect("one file takes the place of another");
        }
    }

    fn delete(&self) {
        self.files.iter().for_each(|file| fs::remove_file(file).expect("the file is removed"));
    }

    fn handles_exclude_each_other(&self) {
        let (a, b, lock) = (&self.a, &self.b, self.lock);
        a.unlock(lock);
        b.lock(lock);
        a.finds_busy(lock, "somebody who has the same store open holds it");
        let waiter = a.start_lock(lock);
        waiter.waits("somebody who has the same store open holds it");
        b.unlock(lock);
        waiter.granted();
        b.finds_busy(lock, "the waiter has it");
        a.unlock(lock);
    }

    /// Asserts that who has it open learns that it is not the one of its name any more, and that it changes nothing.
    fn is_told(&self, thread: &Thread) {
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
                Ok(_) => panic!("{thread} was not refused {verb}, although others would get another store by that name"),
                Err(refusal) => {
                    let kinds = ["Destroyed", "Replaced"];
                    assert!(kinds.contains(&refusal.kind.as_str()), "{verb}: that is not what the error says: {refusal}");
                }
            }
        }
    }

    /// What it has outside of its files goes with it; whether it is refused does not matter.
    fn clean_up(&self) {
        let _ = self.a.ask("destroy", &[]);
    }
}

fn handles_on_a_deleted_store_go_on_excluding_each_other(fixture: &Fixture) {
    let open = Open::new(fixture);
    open.a.lock(open.lock);
    open.delete();
    open.b.finds_busy(open.lock, "its store was deleted, and its handles are whole");
    open.handles_exclude_each_other();
    open.clean_up();
}

fn handles_on_a_replaced_store_go_on_excluding_each_other(fixture: &Fixture) {
    let open = Open::new(fixture);
    open.a.lock(open.lock);
    open.replace(fixture);
    open.b.finds_busy(open.lock, "its store was replaced, and its handles are whole");
    open.handles_exclude_each_other();
    open.clean_up();
}

fn a_deleted_store_is_absent_and_the_next_one_is_another(fixture: &Fixture) {
    let open = Open::new(fixture);
    let first: String = open.b.must("probe", &["open", &open.url]).get("id");
    open.delete();
    let newcomer = fixture.blank_peer();
    newcomer.refused("Absent", "open", &["open", &open.url]);
    // Beside what is left of the deleted one, a backend may refuse to make another.
    if let Ok(made) = newcomer.ask("open", &["open_or_create", &open.url]) {
        assert_ne!(made.get::<String>("id"), first, "another store has the identity of the one that was deleted");
        let lock = fixture.a_lock(&newcomer);
        newcomer.finds_free(lock, "the store is new");
    }
    open.clean_up();
}

fn who_has_a_deleted_store_open_is_told(fixture: &Fixture) {
    let open = Open::new(fixture);
    open.a.must("check", &[]);
    open.delete();
    open.is_told(&open.a);
    // And still, when there is another one.
    let _ = fixture.blank_peer().ask("open", &["open_or_create", &open.url]);
    open.is_told(&open.b);
    open.clean_up();
}

/// Without having asked: a backend need not look at every time, and has to look now and then.
fn who_allocates_in_a_deleted_store_is_told_before_long(fixture: &Fixture) {
    let open = Open::new(fixture);
    open.delete();
    fixture.wait_until("who allocates is told", || open.b.ask("allocate", &[""]).is_err());
    open.is_told(&open.b);
    open.clean_up();
}

fn who_has_a_replaced_store_open_is_told(fixture: &Fixture) {
    let open = Open::new(fixture);
    open.replace(fixture);
    open.is_told(&open.a);
    open.is_told(&open.b);
    open.clean_up();
}

/// As long as nobody can be misled, nobody is refused: the store may have been moved out of this process's sight only.
fn who_has_a_store_open_that_was_moved_away_is_told_when_another_has_its_name(fixture: &Fixture) {
    let open = Open::new(fixture);
    for file in &open.files {
        fs::rename(file, file.with_extension("moved")).expect("the file is moved");
    }
    let newcomer = fixture.blank_peer();
    newcomer.refused("Absent", "open", &["open", &open.url]);
    open.replace(fixture);
    open.is_told(&open.a);
    open.is_told(&open.b);
    open.clean_up();
}

/// Whoever touched what is gone would die of a SIGBUS, which is as it is for the holder of a lock; who allocates, frees or looks
/// is told.
fn a_store_that_is_cut_off_while_it_is_used_is_refused_and_whole_again_when_it_is_put_back(fixture: &Fixture) {
    let open = Open::new(fixture);
    let (a, b, LockRef::Number(id)) = (&open.a, &open.b, open.lock) else { unreachable!("the case needs numbers") };
    a.lock(open.lock);
    let (id, next) = (id.to_string(), (id + 1).to_string());
    let prober = fixture.blank_peer();
    for file in &open.files {
        let whole = fs::read(file).expect("the file is read");
        for length in [0, whole.len() / 2, whole.len() - 1] {
            let cut = File::options().write(true).open(file).expect("the file opens");
            cut.set_len(length as u64).expect("the file is cut");
            for mode in ["open", "open_or_create"] {
                let refusal = prober.ask("probe", &[mode, &open.url]).expect_err("a store that was cut off opens");
                assert!(is_about_damage(&refusal.kind), "that is not what the error says: {refusal}");
            }
            let changes: [(&str, &[&str]); 5] =
                [("check", &[]), ("allocate", &[""]), ("take", &[&next, ""]), ("free", &[&id]), ("free_all", &[])];
            for (verb, arguments) in changes {
                match b.ask(verb, arguments) {
                    Ok(_) => panic!("{verb} was not refused in a store that was cut to {length} of {} bytes", whole.len()),
                    Err(refusal) => assert!(is_about_damage(&refusal.kind), "{verb}: that is not what the error says: {refusal}"),
                }
            }
            let mut looks: Vec<(&str, &[&str])> = vec![("allocated", &[]), ("available", &[])];
            if need::HOLDERS.is_met(&fixture.suite) {
                looks.push(("held", &[]));
            }
            for (verb, arguments) in looks {
                if let Err(refusal) = b.ask(verb, arguments) {
                    assert!(is_about_damage(&refusal.kind), "{verb}: that is not what the error says: {refusal}");
                }
            }
            cut.set_len(whole.len() as u64).and_then(|()| cut.write_all_at(&whole, 0)).expect("the file is put back");
        }
    }
    b.must("check", &[]);
    b.finds_busy(open.lock, "its owner lives, and its store is whole again");
    a.unlock(open.lock);
    b.finds_free(open.lock, "it was released");
    assert_eq!(b.allocated().len(), 1, "what was allocated before is allocated");
}

fn is_about_damage(kind: &str) -> bool {
    matches!(kind, "Corrupt" | "NotAStore" | "OtherVersion" | "OtherAbi")
}
