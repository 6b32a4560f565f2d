//! Temporary ids: those that last as long as the process that allocated them.

use super::cases;
use crate::fixture::{Fixture, scale};
use crate::process::{LockRef, Thread};

cases! { "reclaiming";
    the_temporary_ids_of_a_dead_process_are_reclaimed [TEMPORARY PROCESSES];
    the_temporary_ids_of_live_processes_stay_allocated [TEMPORARY PROCESSES];
    the_temporary_ids_of_a_stopped_process_stay_allocated [TEMPORARY PROCESSES];
    other_ids_of_a_dead_process_stay_allocated [TEMPORARY PROCESSES];
    a_temporary_id_is_listed_as_such [TEMPORARY PROCESSES LABELS];
    a_temporary_id_whose_lock_is_held_stays_allocated [TEMPORARY PROCESSES HOLDERS];
    a_temporary_id_that_was_freed_is_not_reclaimed [TEMPORARY PROCESSES];
    the_temporary_ids_of_a_process_in_another_namespace_stay_allocated [TEMPORARY PROCESSES PID_NAMESPACES];
    a_forked_child_does_not_keep_the_temporary_ids_of_its_parent [TEMPORARY PROCESSES];
    of_several_processes_one_reclaims_an_id [TEMPORARY PROCESSES];
    a_process_killed_while_it_reclaims_loses_no_id [TEMPORARY PROCESSES];
    temporary_ids_and_reclaiming_are_refused [NUMBERED] unless TEMPORARY;
}

fn temporary(thread: &Thread) -> u32 {
    thread.must("allocate_temporary", &[""]).get("id")
}

fn reclaim(thread: &Thread) -> Vec<u32> {
    thread.must("reclaim", &[]).numbers("freed")
}

fn the_temporary_ids_of_a_dead_process_are_reclaimed(fixture: &Fixture) {
    let watcher = fixture.peer();
    for _ in 0..3 {
        let owner = fixture.peer();
        let ids: Vec<_> = (0..3).map(|_| temporary(&owner)).collect();
        assert_eq!(watcher.allocated(), ids, "temporary ids are not allocated");
        fixture.kill(&owner.process);
        assert_eq!(watcher.allocated(), ids, "temporary ids are free before they are reclaimed");
        assert_eq!(reclaim(&watcher), ids, "the temporary ids of a dead process were not reclaimed");
        assert_eq!(watcher.allocated(), [], "reclaimed ids are still allocated");
        assert_eq!(reclaim(&watcher), [], "ids were reclaimed twice");
    }
}

fn the_temporary_ids_of_live_processes_stay_allocated(fixture: &Fixture) {
    let owners = [fixture.peer(), fixture.peer()];
    let mut ids: Vec<_> = owners.iter().map(temporary).collect();
    ids.sort_unstable();
    for process in owners.iter().chain([&fixture.peer()]) {
        assert_eq!(reclaim(process), [], "the temporary ids of a live process were reclaimed");
        assert_eq!(process.allocated(), ids, "the temporary ids of a live process are free");
    }
}

fn the_temporary_ids_of_a_stopped_process_stay_allocated(fixture: &Fixture) {
    let (owner, watcher) = (fixture.peer(), fixture.peer());
    let id = temporary(&owner);
    owner.process.stop();
    assert_eq!(reclaim(&watcher), [], "the temporary id of a stopped process was reclaimed");
    owner.process.signal(nix::sys::signal::Signal::SIGCONT);
    assert_eq!(owner.allocated(), [id]);
}

fn other_ids_of_a_dead_process_stay_allocated(fixture: &Fixture) {
    let (owner, watcher) = (fixture.peer(), fixture.peer());
    let mut kept = vec![owner.allocate("")];
    let reclaimed = temporary(&owner);
    owner.must("take", &["7", ""]);
    kept.push(7);
    fixture.kill(&owner.process);
    assert_eq!(reclaim(&watcher), [reclaimed], "other ids than the temporary ones of a dead process were reclaimed");
    assert_eq!(watcher.allocated(), kept, "an id that is not temporary was freed");
}

fn a_temporary_id_is_listed_as_such(fixture: &Fixture) {
    let (owner, watcher) = (fixture.peer(), fixture.peer());
    let labelled: u32 = owner.must("allocate_temporary", &["for one run"]).get("id");
    let plain = owner.allocate("lasting");
    let listed = watcher.must("allocated", &[]);
    for (id, label, is_temporary) in [(labelled, "for one run", true), (plain, "lasting", false)] {
        let found: (String, bool) = (listed.get(&format!("label.{id}")), listed.get(&format!("is_temporary.{id}")));
        assert_eq!(found, (label.to_owned(), is_temporary), "the list has other facts of the id {id}");
        assert!(!listed.get::<bool>(&format!("is_named.{id}")), "the list has a name of the id {id}");
    }
}

fn a_temporary_id_whose_lock_is_held_stays_allocated(fixture: &Fixture) {
    let (owner, holder, watcher) = (fixture.peer(), fixture.peer(), fixture.peer());
    let id = temporary(&owner);
    holder.lock(LockRef::Number(id));
    fixture.kill(&owner.process);
    assert_eq!(reclaim(&watcher), [], "a temporary id was reclaimed, although a live process holds its lock");
    assert_eq!(watcher.allocated(), [id]);
    holder.unlock(LockRef::Number(id));
    assert_eq!(reclaim(&watcher), [id], "a temporary id was not reclaimed after the release of its lock");
}

fn a_temporary_id_that_was_freed_is_not_reclaimed(fixture: &Fixture) {
    let (owner, watcher) = (fixture.peer(), fixture.peer());
    let id = temporary(&owner);
    owner.free(id);
    watcher.must("take", &[&id.to_string(), "another"]);
    let freed = temporary(&owner);
    owner.free(freed);
    fixture.kill(&owner.process);
    assert_eq!(reclaim(&watcher), [], "an id was reclaimed that its allocator has freed");
    assert_eq!(watcher.allocated(), [id], "an id that was allocated again was freed");
}

fn the_temporary_ids_of_a_process_in_another_namespace_stay_allocated(fixture: &Fixture) {
    let outside = fixture.peer();
    let inside = fixture.peer_apart();
    let of_inside = temporary(&inside);
    let of_outside = temporary(&outside);
    for process in [&outside, &inside] {
        assert_eq!(reclaim(process), [], "the temporary id of a live process in another PID namespace was reclaimed");
    }
    fixture.kill(&inside.process);
    fixture.wait_until("the temporary id of a dead process in another PID namespace is reclaimed", || {
        reclaim(&outside) == [of_inside]
    });
    assert_eq!(outside.allocated(), [of_outside]);
}

fn a_forked_child_does_not_keep_the_temporary_ids_of_its_parent(fixture: &Fixture) {
    let (parent, watcher) = (fixture.peer(), fixture.peer());
    let of_parent = temporary(&parent);
    let child = fixture.fork(&parent);
    let of_child = temporary(&child);
    assert_eq!(reclaim(&watcher), [], "the temporary ids of live processes were reclaimed after a fork");
    fixture.kill(&parent.process);
    assert_eq!(reclaim(&watcher), [of_parent], "the temporary id of a dead parent was not reclaimed, or that of its child was");
    assert_eq!(child.allocated(), [of_child]);
}

fn of_several_processes_one_reclaims_an_id(fixture: &Fixture) {
    let racers: Vec<_> = (0..3).map(|_| fixture.peer()).collect();
    for _ in 0..10 * scale() {
        let owner = fixture.peer();
        let mut ids: Vec<_> = (0..20).map(|_| temporary(&owner)).collect();
        fixture.kill(&owner.process);
        let racing: Vec<_> = racers.iter().map(|racer| racer.start("reclaim", &[])).collect();
        let mut freed: Vec<_> = racing.into_iter().flat_map(|racing| racing.done().numbers("freed")).collect();
        freed.sort_unstable();
        ids.sort_unstable();
        assert_eq!(freed, ids, "several processes reclaimed an id, or none did");
        assert_eq!(racers[0].allocated(), []);
    }
}

/// Kills processes in the middle of many calls.
fn a_process_killed_while_it_reclaims_loses_no_id(fixture: &Fixture) {
    let watcher = fixture.peer();
    for round in 0..10 * scale() {
        let (owner, reclaimer) = (fixture.peer(), fixture.peer());
        let ids: Vec<_> = (0..30).map(|_| temporary(&owner)).collect();
        fixture.kill(&owner.process);
        let _reclaiming = reclaimer.start("reclaim", &[]);
        std::thread::sleep(std::time::Duration::from_micros(50 << (round % 10)));
        fixture.kill(&reclaimer.process);
        let freed = reclaim(&watcher);
        assert!(freed.iter().all(|id| ids.contains(id)), "other ids were reclaimed");
        assert_eq!(watcher.allocated(), [], "an id stays allocated after a process that reclaimed it was killed");
        let again: Vec<_> = ids.iter().map(|_| watcher.allocate("")).collect();
        assert_eq!(again, ids, "an id cannot be allocated after a process that reclaimed it was killed");
        watcher.must("free_all", &[]);
    }
}

fn temporary_ids_and_reclaiming_are_refused(fixture: &Fixture) {
    let a = fixture.peer();
    a.refused("Unsupported", "allocate_temporary", &[""]);
    a.refused("Unsupported", "reclaim", &[]);
    assert_eq!(a.allocated(), [], "a temporary id was allocated, although that was refused");
}
