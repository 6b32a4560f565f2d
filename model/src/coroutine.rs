//! A simulated thread: real code on a stack of its own, that stops before each operation. Unsafe code is here and in `sys`.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use crate::op::Op;

const STACK: usize = 128 * 1024;

type Link = Yielder<u64, Op>;

thread_local! {
    static RUNNING: Cell<*const Link> = const { Cell::new(ptr::null()) };
}

/// A thread that can be started again and again.
pub(crate) struct Simulated {
    coroutine: Option<Coroutine<u64, Op, Result<(), String>, DefaultStack>>,
    stack: Option<DefaultStack>,
    link: *const Link,
}

/// Where it stopped.
pub(crate) enum Stop {
    Before(Op),
    /// It returned, or panicked with this message.
    End(Result<(), String>),
}

impl Simulated {
    pub(crate) fn new() -> Self {
        Self { coroutine: None, stack: None, link: ptr::null() }
    }

    /// Starts it, wherever it is.
    pub(crate) fn start(&mut self, body: impl FnOnce() + 'static) -> Stop {
        self.abandon();
        let stack = self.stack.take().unwrap_or_else(|| DefaultStack::new(STACK).expect("there is memory for a stack"));
        self.coroutine = Some(Coroutine::with_stack(stack, move |link: &Link, _| {
            RUNNING.set(link);
            catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                    .unwrap_or_else(|| "it panicked".to_owned())
            })
        }));
        self.go_on(0)
    }

    /// Goes on with what its operation gave.
    pub(crate) fn resume(&mut self, value: u64) -> Stop {
        RUNNING.set(self.link);
        self.go_on(value)
    }

    fn go_on(&mut self, value: u64) -> Stop {
        let coroutine = self.coroutine.as_mut().expect("it was started");
        match coroutine.resume(value) {
            CoroutineResult::Yield(op) => {
                self.link = RUNNING.get();
                Stop::Before(op)
            }
            CoroutineResult::Return(end) => Stop::End(end),
        }
    }

    fn abandon(&mut self) {
        let Some(mut coroutine) = self.coroutine.take() else { return };
        // SAFETY: nothing refers to what is on its stack. What is there refers to setups, which are never freed, and owns at most
        // some memory of the heap, which is lost.
        unsafe { coroutine.force_reset() };
        self.stack = Some(coroutine.into_stack());
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// The running thread cannot go on: what is wrong is for the history, and not for the terminal.
pub(crate) fn fail(what: String) -> ! {
    resume_unwind(Box::new(what))
}

/// Stops the running thread before an operation; returns what that gave.
pub(crate) fn suspend(op: Op) -> u64 {
    // SAFETY: only simulated threads have steps, and before one goes on, its link is put here; the link is on its stack, which it is
    // running on.
    let link = unsafe { &*RUNNING.get() };
    link.suspend(op)
}
