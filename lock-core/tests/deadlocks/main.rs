//! Cycles of waiting threads: the graph, the refusal and the warning. Threads of one process are the members.

mod named;
#[cfg(feature = "tracing")]
mod warning;

use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use lock_core::{Dependence, Error, ErrorKind, Guard, Result, Store, WaitGraph, WaitOptions};
use named::{COUNTED, NAMED, store};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

/// How a member waits for its second lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    /// With the options of the store.
    Plain,
    Refusing,
}

/// Runs members that each hold the lock of their number and wait for the next one, the last for the first. Returns their results.
fn ring(store: &Store, members: &[Member]) -> Vec<Result<()>> {
    let all_hold = Arc::new(Barrier::new(members.len()));
    let member = |(number, member): (usize, &Member)| {
        let (store, all_hold, member) = (store.clone(), Arc::clone(&all_hold), *member);
        let next = (number + 1) % members.len();
        thread::spawn(move || {
            let own = store.retrieve(number as u32)?;
            let _own = own.lock()?;
            all_hold.wait();
            let options = WaitOptions::new().timeout(LONG);
            let options = if member == Member::Refusing { options.refuse_deadlocks() } else { options };
            store.retrieve(next as u32)?.lock_with(options).map(drop)
        })
    };
    let threads: Vec<_> = members.iter().enumerate().map(member).collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

fn refusals(results: &[Result<()>]) -> Vec<&Error> {
    results.iter().filter_map(|result| result.as_ref().err()).collect()
}

#[test]
fn exactly_one_member_of_a_ring_refuses_and_its_error_has_the_cycle() {
    for members in 1..=4 {
        let store = store(&NAMED, "?deadlocks=refuse").unwrap();
        let results = ring(&store, &vec![Member::Plain; members]);
        let refusals = refusals(&results);
        assert_eq!(refusals.len(), 1, "of {members}: {results:?}");
        assert_eq!(refusals[0].kind(), ErrorKind::Deadlock, "{}", refusals[0]);
        let cycle = refusals[0].deadlock_cycle().unwrap();
        assert!(cycle.is_certain() && cycle.steps.len() == members);
        let refused = results.iter().position(Result::is_err).unwrap();
        assert_eq!(cycle.steps[0].holds.id.get() as usize, refused, "the first step is that of the caller: {cycle}");
        for (step, next) in cycle.steps.iter().zip(cycle.steps.iter().cycle().skip(1)) {
            assert_eq!(step.waits_for, next.holds, "{cycle}");
        }
        let message = refusals[0].to_string();
        assert!(message.starts_with("lock ") && message.contains(": deadlock after "), "{message}");
        assert!(message.contains("holds lock 0 and waits for lock") && message.contains("; release"), "{message}");
    }
}

#[test]
fn many_rings_at_once_have_one_refusal_each() {
    let rings: Vec<_> = (0..8).map(|_| store(&NAMED, "?deadlocks=refuse").unwrap()).collect();
    let run = |store: &Store| {
        let store = store.clone();
        thread::spawn(move || (0..5).map(|_| refusals(&ring(&store, &[Member::Plain; 3])).len()).collect::<Vec<_>>())
    };
    let rings: Vec<_> = rings.iter().map(run).collect();
    for ring in rings {
        assert_eq!(ring.join().unwrap(), [1; 5]);
    }
}

#[test]
fn only_a_member_with_the_option_refuses() {
    use Member::{Plain, Refusing};
    for members in [[Refusing, Plain, Plain], [Plain, Refusing, Plain], [Plain, Plain, Refusing]] {
        let results = ring(&store(&NAMED, "").unwrap(), &members);
        let refused: Vec<_> = results.iter().map(|result| result.as_ref().is_err_and(Error::is_deadlock)).collect();
        assert_eq!(refused, members.map(|member| member == Refusing), "{results:?}");
    }
}

/// Waits until the store has this many waiting threads.
fn until_waiting(store: &Store, count: usize) {
    while store.waiting().unwrap().waiters.len() != count {
        thread::yield_now();
    }
}

fn lock(store: &Store, id: u32) -> Guard<'static> {
    store.retrieve(id).unwrap().lock_owned().unwrap()
}

/// Longer than the refusal of a cycle takes.
const SHORT: Duration = Duration::from_millis(1100);

#[test]
fn the_waits_of_a_chain_are_not_refused() {
    let store = store(&NAMED, "?deadlocks=refuse").unwrap();
    let end = lock(&store, 9);
    let first = {
        let store = store.clone();
        thread::spawn(move || {
            let _held = lock(&store, 8);
            drop(lock(&store, 9));
        })
    };
    until_waiting(&store, 1);
    let second = {
        let store = store.clone();
        thread::spawn(move || store.retrieve(8).unwrap().try_lock_for(SHORT).map(drop))
    };
    assert!(second.join().unwrap().unwrap_err().is_timed_out());
    drop(end);
    first.join().unwrap();
}

#[test]
fn a_wait_behind_a_cycle_is_not_refused() {
    let store = store(&NAMED, "").unwrap();
    let both_hold = Arc::new(Barrier::new(2));
    let member = |own: u32, other: u32| {
        let (store, both_hold) = (store.clone(), Arc::clone(&both_hold));
        thread::spawn(move || {
            let _own = lock(&store, own);
            both_hold.wait();
            store.retrieve(other).unwrap().try_lock_for(SHORT * 2).map(drop)
        })
    };
    let members = [member(0, 1), member(1, 0)];
    until_waiting(&store, 2);
    let _behind = lock(&store, 2);
    let options = WaitOptions::new().timeout(SHORT).refuse_deadlocks();
    let result = store.retrieve(0).unwrap().lock_with(options).map(drop);
    assert!(result.unwrap_err().is_timed_out());
    // The one that times out first lets the other one in.
    members.into_iter().for_each(|member| drop(member.join().unwrap()));
}

#[test]
fn the_lock_of_a_process_with_other_threads_is_not_refused() {
    let store = store(&NAMED, "?deadlocks=refuse").unwrap();
    let lock = store.retrieve(1).unwrap();
    let guard = lock.lock_send().unwrap();
    // Another thread may release it.
    assert_eq!(lock.try_lock_for(SHORT).unwrap_err().kind(), ErrorKind::TimedOut);
    let waiter = {
        let lock = lock.clone();
        thread::spawn(move || lock.try_lock_for(LONG).map(drop))
    };
    until_waiting(&store, 1);
    let cycles = store.deadlocks().unwrap();
    assert_eq!(cycles.len(), 1);
    assert_eq!(cycles[0].steps[0].dependence, Dependence::Process);
    assert!(!cycles[0].is_certain());
    drop(guard);
    waiter.join().unwrap().unwrap();
}

/// Threads that lock two of a few locks in any order and start again after a refusal. Each refusal must be of a real cycle: after it, the
/// thread still holds its lock, and all threads reach their goal.
#[test]
fn threads_in_a_storm_of_deadlocks_make_progress() {
    const LOCKS: u32 = 3;
    let store = store(&NAMED, "?deadlocks=refuse").unwrap();
    let sum = Arc::new(Mutex::new(0));
    let worker = |number: u32| {
        let (store, sum) = (store.clone(), Arc::clone(&sum));
        thread::spawn(move || {
            let mut done = 0;
            while done < 30 {
                let (from, to) = ((number + done) % LOCKS, (number + 2 * done + 1) % LOCKS);
                let _from = lock(&store, from);
                if from == to {
                    done += 1;
                    continue;
                }
                match store.retrieve(to).unwrap().lock() {
                    Ok(_to) => done += 1,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Deadlock, "{error}"),
                }
            }
            *sum.lock().unwrap() += done;
        })
    };
    let workers: Vec<_> = (0..4).map(worker).collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert_eq!(*sum.lock().unwrap(), 4 * 30);
}

#[test]
fn a_store_without_names_of_waiters_refuses_the_option() {
    let error = store(&COUNTED, "?deadlocks=refuse").unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("does not name holders and waiters"), "{error}");
    let store = store(&COUNTED, "?deadlocks=warn").unwrap();
    let lock = store.retrieve(1).unwrap();
    let error = lock.lock_with(WaitOptions::new().refuse_deadlocks()).unwrap_err();
    assert!(error.is_unsupported(), "{error}");
    assert!(store.deadlocks().unwrap_err().is_unsupported());
}

#[test]
fn a_bad_value_of_the_option_is_refused() {
    for options in ["?deadlocks=no", "?deadlocks="] {
        let error = store(&NAMED, options).unwrap_err();
        assert!(error.kind() == ErrorKind::BadUrl && error.to_string().contains("`refuse`"), "{error}");
    }
}

#[test]
fn a_cycle_across_stores_is_found_when_both_are_read() {
    let (a, b) = (store(&NAMED, "").unwrap(), store(&NAMED, "").unwrap());
    let both_hold = Arc::new(Barrier::new(2));
    let member = |own: &Store, other: &Store| {
        let (own, other, barrier) = (own.clone(), other.clone(), Arc::clone(&both_hold));
        thread::spawn(move || {
            let _own = lock(&own, 1);
            barrier.wait();
            other.retrieve(1).unwrap().try_lock_for(SHORT).map(drop)
        })
    };
    let threads = [member(&a, &b), member(&b, &a)];
    until_waiting(&a, 1);
    until_waiting(&b, 1);
    let graph = WaitGraph::read([&a, &b, &a]).unwrap();
    assert_eq!(graph.cycles.len(), 1, "{graph:?}");
    assert_eq!((graph.waits.len(), graph.locks.len()), (2, 2), "a store that is given twice is read once");
    assert!(WaitGraph::read([&a]).unwrap().cycles.is_empty() && b.deadlocks().unwrap().is_empty());
    // The one that times out first lets the other one in.
    threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
}
