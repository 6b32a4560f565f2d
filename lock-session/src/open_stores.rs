use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lock_core::{PerProcess, Result};

use crate::{Engine, Sessions};

/// The stores that a process has open.
///
/// Handles of one store share its session, also when the program opens the store several times. So a thread that holds a lock is refused
/// the lock by each of them. The key of a store contains everything that a session depends on, such as its times. A forked child has its
/// own session.
pub struct OpenStores<K, E: Engine>(PerProcess<Mutex<Vec<OpenStore<K, E>>>>);

struct OpenStore<K, E: Engine> {
    key: K,
    sessions: Weak<Sessions<E>>,
    /// The same, if the store was closed and locks are held whose guards were leaked. They stay held until the process ends.
    leaked: Option<Arc<Sessions<E>>>,
}

impl<K: Send, E: Engine> OpenStores<K, E> {
    /// Creates an empty list, for a static variable.
    pub const fn new() -> Self {
        Self(PerProcess::new())
    }

    /// Returns the sessions of an open store that the function accepts.
    ///
    /// # Errors
    /// None but those of the process.
    pub fn find(&self, is_meant: impl Fn(&K, &E) -> bool) -> Result<Option<Arc<Sessions<E>>>> {
        let open = self.open()?;
        let mut sessions = open.iter().filter_map(|store| Some((&store.key, store.sessions.upgrade()?)));
        Ok(sessions.find_map(|(key, sessions)| is_meant(key, sessions.engine()).then_some(sessions)))
    }

    /// Returns the sessions of the open store with this key, or those of a new engine.
    ///
    /// # Errors
    /// As [`OpenStores::find`].
    pub fn find_or_insert(&self, key: K, engine: impl FnOnce() -> E) -> Result<Arc<Sessions<E>>>
    where
        K: PartialEq,
    {
        let mut open = self.open()?;
        open.retain(|store| store.sessions.strong_count() > 0);
        if let Some(sessions) = open.iter().find(|store| store.key == key).and_then(|store| store.sessions.upgrade()) {
            return Ok(sessions);
        }
        let sessions = Arc::new(Sessions::new(engine()));
        open.push(OpenStore { key, sessions: Arc::downgrade(&sessions), leaked: None });
        Ok(sessions)
    }

    /// Notes that a store is closed. Its session lasts if there are guards that were leaked.
    pub fn close(&self, sessions: &Arc<Sessions<E>>) {
        if !sessions.holds_locks() {
            return;
        }
        // Without the list, the session ends with the value.
        if let Ok(mut open) = self.open()
            && let Some(store) = open.iter_mut().find(|store| std::ptr::eq(store.sessions.as_ptr(), &**sessions))
        {
            store.leaked = Some(Arc::clone(sessions));
        }
    }

    fn open(&self) -> Result<MutexGuard<'_, Vec<OpenStore<K, E>>>> {
        Ok(self.0.get_or_try_init(|| Ok(Mutex::new(Vec::new())))?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<K: Send, E: Engine> Default for OpenStores<K, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, E: Engine> fmt::Debug for OpenStores<K, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenStores").finish_non_exhaustive()
    }
}
