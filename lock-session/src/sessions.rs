use std::sync::{Arc, Mutex, PoisonError};

use lock_core::{PerProcess, Result};

use crate::Engine;
use crate::held::Held;
use crate::live::Live;

/// The sessions of a store: one for each process that needs one.
///
/// A session starts when it is first needed. A process whose session was lost, and a forked child, start another one. Dropping this ends
/// the session.
#[derive(Debug)]
pub struct Sessions<E: Engine> {
    engine: Arc<E>,
    process: PerProcess<OfProcess<E>>,
}

/// The session of a process and the locks that it holds.
#[derive(Debug)]
struct OfProcess<E: Engine> {
    current: Mutex<Option<Arc<Live<E>>>>,
    held: Held<E>,
}

impl<E: Engine> Sessions<E> {
    /// Creates the sessions of a store. None starts.
    pub fn new(engine: E) -> Self {
        Self { engine: Arc::new(engine), process: PerProcess::new() }
    }

    /// Returns the engine.
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// Returns true if this process has guards of locks, for example leaked ones.
    ///
    /// The locks of a leaked guard stay held as long as this value exists. So a manager that is dropped while there are such locks keeps
    /// it.
    pub fn holds_locks(&self) -> bool {
        self.process.get().is_some_and(|process| !process.held.is_empty())
    }

    /// Returns the session of this process, and starts one if there is none.
    pub(crate) fn live(&self) -> Result<Arc<Live<E>>> {
        let process = self.process()?;
        let mut current = process.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = current.as_ref().filter(|live| live.remaining().is_ok()) {
            return Ok(Arc::clone(live));
        }
        *current = None;
        let live = Live::start(&self.engine)?;
        *current = Some(Arc::clone(&live));
        Ok(live)
    }

    /// Returns the locks that this process holds.
    pub(crate) fn held(&self) -> Result<&Held<E>> {
        Ok(&self.process()?.held)
    }

    fn process(&self) -> Result<&OfProcess<E>> {
        self.process.get_or_try_init(|| Ok(OfProcess { current: Mutex::new(None), held: Held::new() }))
    }
}

impl<E: Engine> Drop for Sessions<E> {
    fn drop(&mut self) {
        let current = self.process.get().map(|process| process.current.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(live) = current.flatten() {
            live.close();
        }
    }
}
