use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, PoisonError};

use lock_core::{Error, ErrorDetails, Guard, Lock, LockId, Result, Store};
use nix::unistd::gettid;

use super::cycle::with_cycle;
use super::droppable::Droppable;
use super::own_file::OwnFile;
use super::{Command, Inheritance, Peer};
use crate::panic_message::panic_message;
use crate::protocol::{Answer, Fields, Refusal};
use crate::suite::Subject;

/// A thread of a peer, with its guards, handles and files.
pub(super) struct Worker {
    pub(super) peer: Arc<Peer>,
    pub(super) name: String,
    pub(super) guards: HashMap<String, Guard<'static>>,
    /// Whether the library told that a lock was lost, for locks of which the thread asked for it.
    pub(super) losses: HashMap<String, Arc<AtomicBool>>,
    /// A separate store and separate handles, if a command created them.
    pub(super) own: Option<RefCell<Inheritance>>,
    /// A store and a handle that the thread can drop.
    pub(super) droppable: Option<Droppable>,
    /// Files of the program, which the library must not use or close.
    pub(super) own_files: Vec<OwnFile>,
    /// The tag of the current command.
    pub(super) tag: u64,
    /// Duration of the last acquisition, in nanoseconds.
    pub(super) took: Option<u128>,
    /// The source of commands after a fork.
    pub(super) new_commands: Option<Receiver<Command>>,
}

/// The answer to a command, or the end of the thread.
pub(super) type Next = ControlFlow<(), Result<Fields>>;

impl Worker {
    pub(super) fn new(peer: Arc<Peer>, name: &str) -> Self {
        Self {
            peer,
            name: name.to_owned(),
            guards: HashMap::new(),
            losses: HashMap::new(),
            own: None,
            droppable: None,
            own_files: Vec::new(),
            tag: 0,
            took: None,
            new_commands: None,
        }
    }

    /// Executes commands until one ends the thread.
    pub(super) fn run(mut self, mut commands: Receiver<Command>) {
        while let Ok(command) = commands.recv() {
            self.tag = command.tag;
            self.took = None;
            let arguments: Vec<_> = command.arguments.iter().map(String::as_str).collect();
            let answer = match catch_unwind(AssertUnwindSafe(|| self.perform(&command.verb, &arguments))) {
                Ok(Next::Continue(Ok(fields))) => Answer::Done(fields),
                Ok(Next::Continue(Err(error))) => Answer::Refused(describe(&error, self.took)),
                Ok(Next::Break(())) => return,
                Err(panic) => Answer::Panicked(panic_message(&*panic).to_owned()),
            };
            self.peer.answer(self.tag, &answer);
            if let Some(other) = self.new_commands.take() {
                commands = other;
            }
        }
    }

    fn perform(&mut self, verb: &str, arguments: &[&str]) -> Next {
        if let Some(next) = self.change_process(verb, arguments).or_else(|| self.change_surroundings(verb, arguments)) {
            return next;
        }
        let done = self
            .acquire_or_release(verb, arguments)
            .or_else(|| self.send_or_receive(verb, arguments))
            .or_else(|| self.allocate_or_free(verb, arguments))
            .or_else(|| self.open_or_list(verb, arguments))
            .or_else(|| self.wait_or_list(verb, arguments))
            .or_else(|| self.refuse_or_list(verb, arguments))
            .or_else(|| self.repeat_or_race(verb, arguments))
            .or_else(|| self.repeat(verb, arguments))
            .or_else(|| self.contend(verb, arguments))
            .or_else(|| self.name(verb, arguments))
            .or_else(|| self.grow_or_watch(verb, arguments))
            .or_else(|| self.use_semaphores(verb, arguments))
            .or_else(|| self.use_mutexes(verb, arguments))
            .or_else(|| self.close_or_reuse(verb, arguments))
            .or_else(|| self.open_or_drop(verb, arguments))
            .or_else(|| self.plan_a_fork(verb, arguments))
            .or_else(|| self.fork_many_times(verb, arguments))
            .or_else(|| self.report_or_mark(verb, arguments));
        Next::Continue(done.unwrap_or_else(|| panic!("a peer got the unknown command {verb} {arguments:?}")))
    }

    /// Executes a command as a part of another one. It must not end the thread.
    pub(super) fn answer_to(&mut self, verb: &str, arguments: &[&str]) -> Result<Fields> {
        match self.perform(verb, arguments) {
            Next::Continue(answer) => answer,
            Next::Break(()) => unreachable!("{verb} ends its thread"),
        }
    }

    /// Reports that the command has started and may block.
    pub(super) fn begin(&self) {
        self.peer.answer(self.tag, &Answer::Begun(gettid().as_raw().unsigned_abs()));
    }

    pub(super) fn store(&self) -> Store {
        self.with_owned(|owned| owned.store.clone()).expect("the peer has opened a store")
    }

    /// Returns the handle of `lock`: a number, or `-` for the lock without a number.
    pub(super) fn handle(&self, lock: &str) -> Result<&'static Lock> {
        if let Some(handle) = self.with_owned(|owned| owned.handles.get(lock).copied()) {
            return Ok(handle);
        }
        let made: Lock = match &self.peer.suite.subject {
            Subject::Lock(make) => make(),
            Subject::Store { .. } if lock == "-" => self.store().single()?,
            Subject::Store { .. } => self.store().retrieve(id_of(lock))?,
        };
        // Another thread may have inserted a handle meanwhile. A lock without a store must have one handle only.
        Ok(self.with_owned(|owned| *owned.handles.entry(lock.to_owned()).or_insert_with(|| Box::leak(Box::new(made)))))
    }

    pub(super) fn keep(&self, name: &str, lock: Lock) {
        self.with_owned(|owned| owned.handles.insert(name.to_owned(), Box::leak(Box::new(lock))));
    }

    pub(super) fn with_owned<T>(&self, work: impl FnOnce(&mut Inheritance) -> T) -> T {
        match &self.own {
            Some(own) => work(&mut own.borrow_mut()),
            None => work(&mut self.peer.owned.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

pub(super) fn id_of(text: &str) -> LockId {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not a lock id"))
}

/// Converts an error of the library to an answer.
pub(super) fn describe(error: &Error, took: Option<u128>) -> Refusal {
    let kind = format!("{:?}", error.kind());
    let mut fields = took.map_or_else(Fields::new, |took| Fields::new().with("took", took));
    if let Some(holder) = error.holder() {
        fields = fields.with("pid", holder.pid).with("tid", holder.tid).with("command", &holder.command);
    }
    match error.details() {
        ErrorDetails::Exhausted { capacity, allocated, .. } => {
            fields = fields.with("capacity", capacity).with("allocated", allocated);
        }
        ErrorDetails::Deadlock { cycle, .. } => fields = with_cycle(fields, cycle),
        ErrorDetails::OutOfRange { capacity, .. } => fields = fields.with("capacity", capacity),
        ErrorDetails::OtherCapacity { found, asked, .. } => fields = fields.with("found", found).with("asked", asked),
        _ => {}
    }
    if let Some(id) = error.id() {
        fields = fields.with("id", id);
    }
    Refusal { kind, text: error.to_string(), fields }
}
