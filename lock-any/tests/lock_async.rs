//! Async tasks that wait for locks.
#![cfg(all(feature = "tokio", feature = "shm", feature = "file", feature = "sem"))]

mod local;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lock_any::{Backend, Cause, ErrorKind, Lock, LockAsync, Numbering, OpenMode, SendGuard, SendGuards, Store, StoreUrl};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::task;
use tokio::time::{timeout, timeout_at};

/// The URL of the store of a peer, which is this test program with this variable.
const PEER: &str = "LOCK_ASYNC_PEER";

/// Longer than any test.
const FAR: Duration = Duration::from_secs(100);

/// The longest time after which a dropped future has stopped to wait.
const STOPS_WITHIN: Duration = Duration::from_millis(200);

/// The thread in which the first of the waiting tasks waits.
const WAITING_THREAD: &str = "lock-async";

/// Excludes other tests, whose waiting threads would be counted.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

/// A store that is destroyed after a failure, too, because semaphores are not in the scratch directory.
struct Scratch {
    store: Store,
    lock: Lock,
    _directory: TempDir,
}

impl Scratch {
    fn new(scheme: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = StoreUrl::builder(scheme).path(directory.path().join("store"));
        let url = if scheme == "lxc" { url.option("name", "test").option("rundir", directory.path().display()) } else { url };
        let store = lock_any::create(url).unwrap();
        let lock = lock_of(&store);
        Self { store, lock, _directory: directory }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.store.destroy();
    }
}

fn lock_of(store: &Store) -> Lock {
    match store.capabilities().numbering {
        Numbering::Single => store.single().unwrap(),
        _ => store.retrieve(0).unwrap(),
    }
}

fn on_each(test: impl AsyncFn(&Scratch)) {
    let has_send_guards = |backend: &Backend| backend.capabilities().send_guards == SendGuards::Supported;
    for backend in local::backends().into_iter().filter(has_send_guards) {
        eprintln!("{}", backend.scheme());
        runtime().block_on(test(&Scratch::new(backend.scheme())));
    }
}

/// Another process that acquires and releases the lock.
struct Peer {
    child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    fn of(scratch: &Scratch) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "peer", "--nocapture"]).env(PEER, scratch.store.url());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (commands, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()).lines());
        Self { child, commands, answers }
    }

    /// Sends a command, and returns its answer.
    fn ask(&mut self, command: &str) -> String {
        writeln!(self.commands, "{command}").unwrap();
        let mut answers = self.answers.by_ref().map(Result::unwrap);
        answers.find_map(|line| line.strip_prefix("answer: ").map(str::to_owned)).expect("the peer answers")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs as a peer if this process was started as one.
#[test]
fn peer() {
    let Ok(url) = std::env::var(PEER) else { return };
    let lock = lock_of(&lock_any::open(url.as_str()).unwrap());
    let (mut guard, mut guard_async) = (None, None);
    for command in std::io::stdin().lines() {
        let answer = match command.unwrap().as_str() {
            "lock" => {
                guard = Some(lock.lock().unwrap());
                "held"
            }
            "unlock" => {
                drop((guard.take(), guard_async.take()));
                "released"
            }
            "threads for a free lock" => {
                let count = || fs::read_dir("/proc/self/task").unwrap().count();
                let runtime = Builder::new_current_thread().build().unwrap();
                let before = count();
                guard_async = Some(runtime.block_on(lock.lock_async()).unwrap());
                println!("\nanswer: {}", count() - before);
                continue;
            }
            "try" => lock.try_lock().unwrap().map_or("busy", |_| "free"),
            other => panic!("unknown command {other:?}"),
        };
        println!("\nanswer: {answer}");
    }
}

/// Returns the ids of the threads of this process that have this name.
fn threads(name: &str) -> BTreeSet<u32> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let named = tasks.filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name));
    named.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

/// Polls until the condition is true, at most for this time.
async fn becomes(what: &str, within: Duration, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < within, "it did not happen within {within:?} that {what}");
        task::yield_now().await;
    }
}

fn is_sent(_: &(impl Send + ?Sized)) {}

#[test]
fn a_free_lock_is_acquired_without_a_thread() {
    let _alone = alone();
    on_each(async |scratch| {
        // The peer has no other thread that starts threads.
        let mut peer = Peer::of(scratch);
        assert_eq!(peer.ask("threads for a free lock"), "0");
        assert!(scratch.lock.try_lock_send().unwrap().is_none());
        peer.ask("unlock");
        let future = scratch.lock.lock_async();
        is_sent(&future);
        let guard: SendGuard<'static> = future.await.unwrap();
        assert_eq!(peer.ask("try"), "busy");
        drop(guard);
        assert_eq!(peer.ask("try"), "free");
    });
}

#[test]
fn a_task_gets_the_lock_that_another_process_releases() {
    let _alone = alone();
    on_each(async |scratch| {
        let mut peer = Peer::of(scratch);
        assert_eq!(peer.ask("lock"), "held");
        let lock = scratch.lock.clone();
        let waiting = tokio::spawn(async move { lock.lock_async().await });
        becomes("a thread waits for the task", FAR, || !threads(WAITING_THREAD).is_empty()).await;
        assert!(!waiting.is_finished());
        assert_eq!(peer.ask("unlock"), "released");
        let guard = waiting.await.unwrap().unwrap();
        assert_eq!(peer.ask("try"), "busy");
        drop(guard);
        assert_eq!(peer.ask("try"), "free");
    });
}

#[test]
fn a_dropped_future_stops_to_wait_and_does_not_hold_the_lock() {
    let _alone = alone();
    let late = AtomicU32::new(0);
    on_each(async |scratch| {
        let mut peer = Peer::of(scratch);
        assert_eq!(peer.ask("lock"), "held");
        let waited = timeout(Duration::from_millis(20), scratch.lock.lock_async()).await;
        let dropped = Instant::now();
        assert!(waited.is_err(), "another process holds the lock");
        becomes("the thread ends", FAR, || threads(WAITING_THREAD).is_empty()).await;
        let stopped = dropped.elapsed();
        assert_eq!(peer.ask("unlock"), "released");
        assert_eq!(peer.ask("try"), "free");
        assert!(scratch.lock.lock_async().await.is_ok());
        // A busy machine may pause any one wait.
        late.fetch_add(u32::from(stopped > STOPS_WITHIN), Ordering::SeqCst);
    });
    assert!(late.into_inner() < 2, "a dropped future waited for more than {STOPS_WITHIN:?}");
}

/// The future is dropped soon after the release, so that its thread may already have acquired the lock.
#[test]
fn a_future_that_is_dropped_while_it_gets_the_lock_releases_it() {
    let _alone = alone();
    let scratch = Scratch::new("shm");
    runtime().block_on(async {
        for round in 0..300 {
            let guard = scratch.lock.lock_send().unwrap();
            let lock = scratch.lock.clone();
            let waiting = tokio::spawn(async move { lock.lock_async().await.map(drop) });
            becomes("the task waits", FAR, || !threads(WAITING_THREAD).is_empty()).await;
            drop(guard);
            for _ in 0..round % 16 {
                task::yield_now().await;
            }
            waiting.abort();
            let _ = waiting.await;
            let again = timeout(FAR, scratch.lock.lock_async()).await.expect("a dropped future holds the lock");
            drop(again.unwrap());
        }
    });
}

/// With a thread of tokio's blocking pool for each waiting task, the owner would get no thread.
#[test]
fn a_thousand_waiting_tasks_leave_the_owner_a_blocking_thread() {
    let _alone = alone();
    const TASKS: u32 = 1000;
    let scratch = Scratch::new("shm");
    runtime().block_on(async {
        let owner = scratch.lock.lock_async().await.unwrap();
        let (inside, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let (lock, inside, done) = (scratch.lock.clone(), Arc::clone(&inside), Arc::clone(&done));
                tokio::spawn(async move {
                    let guard = lock.lock_async().await.unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two tasks hold the lock");
                    task::yield_now().await;
                    assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1, "two tasks hold the lock");
                    done.fetch_add(1, Ordering::SeqCst);
                    drop(guard);
                })
            })
            .collect();
        becomes("a task waits", FAR, || !threads(WAITING_THREAD).is_empty()).await;
        assert_eq!(task::spawn_blocking(|| 7).await.unwrap(), 7);
        assert_eq!(done.load(Ordering::SeqCst), 0);
        owner.unlock().unwrap();
        for task in tasks {
            timeout(FAR, task).await.expect("a task waits without end").unwrap();
        }
        assert_eq!(done.load(Ordering::SeqCst), TASKS);
    });
}

/// The next task has its turn when the thread of the previous one has ended.
#[test]
fn tasks_that_stop_to_wait_together_do_not_start_a_thread_each() {
    let _alone = alone();
    let scratch = Scratch::new("shm");
    let owner = scratch.lock.lock_send().unwrap();
    Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
        let end = Instant::now() + Duration::from_millis(50);
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let lock = scratch.lock.clone();
                tokio::spawn(async move { timeout_at(end.into(), lock.lock_async()).await.is_err() })
            })
            .collect();
        for task in tasks {
            assert!(task.await.unwrap(), "the owner holds the lock");
        }
        // One that is about to end, and one that has begun.
        let waiting = threads(WAITING_THREAD).len();
        assert!(waiting <= 2, "{waiting} threads wait for tasks that were dropped");
        drop(owner);
        let guard = timeout(FAR, scratch.lock.lock_async()).await.expect("the queue has stopped");
        assert!(guard.unwrap().recovered().is_none());
    });
}

#[test]
fn a_guard_is_held_over_an_await_on_another_thread() {
    let _alone = alone();
    on_each(async |scratch| {
        let guard = scratch.lock.lock_async().await.unwrap();
        let lock = scratch.lock.clone();
        let moved = tokio::spawn(async move {
            let at_first = thread::current().id();
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(lock.try_lock_send().unwrap().is_none(), "the guard is not held in its task");
            (guard, at_first)
        });
        let (guard, _) = moved.await.unwrap();
        assert!(scratch.lock.try_lock().unwrap().is_none());
        let released = thread::spawn(move || guard.unlock());
        released.join().unwrap().unwrap();
        assert!(scratch.lock.try_lock().unwrap().is_some());
    });
}

#[test]
fn a_panic_in_a_task_is_reported_and_a_cancelled_task_is_not() {
    let _alone = alone();
    let scratch = Scratch::new("shm");
    runtime().block_on(async {
        let lock = scratch.lock.clone();
        let panics = tokio::spawn(async move {
            let _guard = lock.lock_async().await.unwrap();
            task::yield_now().await;
            panic!("a panic that the test asks for");
        });
        assert!(panics.await.unwrap_err().is_panic());
        let mut guard = scratch.lock.lock_async().await.unwrap();
        assert_eq!(guard.recovered().map(|death| death.cause), Some(Cause::Panicked));
        guard.mark_consistent().unwrap();
        drop(guard);
        let lock = scratch.lock.clone();
        let waits = tokio::spawn(async move {
            let _guard = lock.lock_async().await.unwrap();
            std::future::pending::<()>().await;
        });
        becomes("the task holds the lock", FAR, || scratch.lock.try_lock_send().unwrap().is_none()).await;
        waits.abort();
        assert!(waits.await.unwrap_err().is_cancelled());
        assert!(scratch.lock.lock_async().await.unwrap().recovered().is_none());
    });
}

/// The thread holds the lock itself, so that no other thread could release it.
#[test]
fn a_thread_that_holds_the_lock_is_refused() {
    let _alone = alone();
    on_each(async |scratch| {
        let guard = scratch.lock.lock().unwrap();
        assert_eq!(scratch.lock.lock_async().await.unwrap_err().kind(), ErrorKind::AlreadyHeld);
        drop(guard);
    });
}

#[test]
fn waiting_tasks_of_two_handles_exclude_each_other() {
    let _alone = alone();
    let scratch = Scratch::new("shm");
    let other = lock_of(&lock_any::open_with(scratch.store.url(), OpenMode::Open).unwrap());
    runtime().block_on(async {
        let mut held = 0;
        for round in 0..100 {
            let lock = if round % 2 == 0 { &scratch.lock } else { &other };
            let (first, second) = tokio::join!(lock.lock_async(), async {
                let guard = scratch.lock.lock_async();
                timeout(Duration::ZERO, guard).await
            });
            assert!(first.is_ok() && second.is_err(), "two tasks hold the lock");
            held += 1;
        }
        assert_eq!(held, 100);
    });
}
