//! A simulated thread: a coroutine that is suspended before each operation. Only this file and `sys` have unsafe code.
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

/// A simulated thread, which can be restarted.
pub(crate) struct Simulated {
    coroutine: Option<Coroutine<u64, Op, Result<(), String>, DefaultStack>>,
    stack: Option<DefaultStack>,
    link: *const Link,
}

/// The reason why a simulated thread stopped.
pub(crate) enum Stop {
    /// It is suspended before this operation.
    Before(Op),
    /// It has returned, or panicked with this message.
    End(Result<(), String>),
}

impl Simulated {
    pub(crate) fn new() -> Self {
        Self { coroutine: None, stack: None, link: ptr::null() }
    }

    /// Starts the thread from the beginning, and abandons an unfinished run.
    pub(crate) fn start(&mut self, body: impl FnOnce() + 'static) -> Stop {
        self.abandon();
        let stack = self.stack.take().unwrap_or_else(|| DefaultStack::new(STACK).expect("a stack can be allocated"));
        self.coroutine = Some(Coroutine::with_stack(stack, move |link: &Link, _| {
            RUNNING.set(link);
            catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                    .unwrap_or_else(|| "the thread panicked".to_owned())
            })
        }));
        self.run_on(0)
    }

    /// Resumes the thread with the result of its operation.
    pub(crate) fn resume(&mut self, value: u64) -> Stop {
        RUNNING.set(self.link);
        self.run_on(value)
    }

    fn run_on(&mut self, value: u64) -> Stop {
        let coroutine = self.coroutine.as_mut().expect("the thread was started");
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
        // SAFETY: no pointer to the coroutine's stack is used after this. Values on the stack refer only to a `Setup`, which is never
        // freed, and own at most heap memory, which leaks.
        unsafe { coroutine.force_reset() };
        self.stack = Some(coroutine.into_stack());
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Ends the running thread with an error. Unlike `panic!`, this prints nothing.
pub(crate) fn fail(what: String) -> ! {
    resume_unwind(Box::new(what))
}

/// Suspends the running thread before an operation, and returns the result of the operation.
pub(crate) fn suspend(op: Op) -> u64 {
    // SAFETY: only a simulated thread calls this. `RUNNING` is set to its yielder before it runs, and the yielder is on its stack.
    let link = unsafe { &*RUNNING.get() };
    link.suspend(op)
}
