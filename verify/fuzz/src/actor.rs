use std::collections::BTreeMap;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use lock_core::{Deadline, Error, Guard, Lock};

/// The guards of a thread, by lock id.
type Guards = BTreeMap<u32, Guard<'static>>;
type Job = Box<dyn FnOnce(&mut Guards) + Send>;

/// A thread that acquires and releases locks on request, one at a time.
pub(crate) struct Actor {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    pub(crate) tid: u32,
}

/// The result of an attempt to acquire a lock.
pub(crate) enum Attempt {
    Held { token: u64, death: Option<Option<u32>> },
    Busy,
    Refused(Error),
}

impl Actor {
    pub(crate) fn new() -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = thread::spawn(move || {
            let mut guards = Guards::new();
            while let Ok(job) = queue.recv() {
                job(&mut guards);
            }
        });
        let mut actor = Self { jobs: Some(jobs), thread: Some(thread), tid: 0 };
        actor.tid = actor.run(|_| lock_table::thread::id());
        actor
    }

    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce(&mut Guards) -> T + Send + 'static) -> T {
        let (reply, answer) = mpsc::channel();
        let job = Box::new(move |guards: &mut Guards| drop(reply.send(job(guards))));
        self.jobs.as_ref().and_then(|jobs| jobs.send(job).ok()).expect("the thread is running");
        answer.recv().expect("the thread does not panic")
    }

    pub(crate) fn acquire(&self, lock: Lock, deadline: Option<Deadline>) -> Attempt {
        self.run(move |guards| {
            let id = lock.id().get();
            let taken = match deadline {
                None => lock.try_lock_owned(),
                Some(deadline) => lock.lock_owned_by(deadline).map(Some),
            };
            match taken {
                Ok(Some(mut guard)) => {
                    let death = guard.recovered().map(|death| death.holder.as_ref().map(|holder| holder.tid));
                    // In the model, each death is reported once.
                    guard.mark_consistent().expect("the guard holds the lock");
                    let attempt = Attempt::Held { token: guard.token().map_or(0, lock_core::Token::get), death };
                    guards.insert(id, guard);
                    attempt
                }
                Ok(None) => Attempt::Busy,
                Err(error) => Attempt::Refused(error),
            }
        })
    }

    /// Releases a lock by a drop or by `unlock`. Returns whether the thread held it.
    pub(crate) fn release(&self, id: u32, by_drop: bool) -> bool {
        self.run(move |guards| match guards.remove(&id) {
            None => false,
            Some(guard) if by_drop => {
                drop(guard);
                true
            }
            Some(guard) => {
                guard.unlock().expect("the thread holds the lock");
                true
            }
        })
    }

    pub(crate) fn release_all(&self) {
        self.run(Guards::clear);
    }

    /// Ends the thread while it holds its locks.
    pub(crate) fn die(mut self) {
        self.run(|guards| {
            for guard in std::mem::take(guards).into_values() {
                let lock = guard.lock().clone();
                drop(guard);
                // Forget a guard that owns no handle. A leaked handle would keep the store open.
                std::mem::forget(lock.lock_by(Deadline::Now).expect("no other thread acquires locks"));
            }
        });
        self.join();
    }

    fn join(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.join();
    }
}
