use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicU32, AtomicU64, compiler_fence};

use super::record::Record;
use super::{Owner, Table};
use crate::sys::Pinned;
use crate::{Acquired, Death, Generation, Holder, LockId, Recovery, Result};

/// The line of a lock: what changes with every acquisition, alone in its 64 bytes. All zero is a free lock.
///
/// The table keeps `token` and `owner`. The rest belongs to the backend and is laid out for a futex word in the kernel's robust list:
/// the node's `next` stands behind the word where the C library's mutexes have it (32 bytes with glibc, 28 with musl), and `prev`
/// before `next`. So `word` and `waiters` trade places on musl: only a backend whose stores differ there anyway may use them.
#[repr(C)]
#[derive(Debug)]
pub struct Hot {
    /// The backend's: a futex word.
    #[cfg(not(target_env = "musl"))]
    pub word: AtomicU32,
    /// The backend's: whether anybody waits, or may be about to.
    pub waiters: AtomicU32,
    /// The backend's: a futex word.
    #[cfg(target_env = "musl")]
    pub word: AtomicU32,
    token: AtomicU64,
    owner: AtomicU64,
    /// The backend's: the link to the previous node.
    pub prev: AtomicU64,
    /// The backend's: the link to the next node.
    pub next: AtomicU64,
    /// The backend's, for what it needs.
    pub spare: [AtomicU64; 3],
}

impl Hot {
    /// Who is written down as the owner. A dead one's word stays until the next owner comes.
    #[inline]
    pub fn owner(&self) -> Owner {
        Owner::from_word(self.owner.load(Acquire))
    }

    /// The token of the present acquisition, or the latest.
    #[inline]
    pub fn token(&self) -> u64 {
        self.token.load(Relaxed)
    }

    /// Writes the new owner down; called by it, right after it took the lock. Returns the fencing token, and who was
    /// written down before: somebody who died in its critical section, or nobody.
    #[inline]
    pub fn begin(&self, me: Owner) -> (u64, Owner) {
        let before = Owner::from_word(self.owner.load(Relaxed));
        (self.begin_after_nobody(me), before)
    }

    /// The same, by who knows that nobody was written down.
    #[inline]
    pub fn begin_after_nobody(&self, me: Owner) -> u64 {
        // Nobody counts that far, but a damaged store may begin there; and here is no place to panic, with the lock taken.
        let token = self.token.load(Relaxed).wrapping_add(1);
        self.token.store(token, Relaxed);
        self.owner.store(me.word(), Relaxed);
        // The critical section comes after that, whatever kills it.
        compiler_fence(std::sync::atomic::Ordering::SeqCst);
        token
    }

    /// Strikes the owner out; called by it, right before it gives the lock up.
    #[inline]
    pub fn end(&self) {
        compiler_fence(std::sync::atomic::Ordering::SeqCst);
        self.owner.store(0, Relaxed);
    }
}

/// One lock of a table: its line, its allocation, and the table itself, which it keeps open and mapped.
pub struct Slot {
    hot: Pinned<Table, Hot>,
    generation: Pinned<Table, AtomicU64>,
    id: LockId,
}

impl Slot {
    pub(super) fn new(hot: Pinned<Table, Hot>, generation: Pinned<Table, AtomicU64>, id: LockId) -> Self {
        Self { hot, generation, id }
    }

    /// The id.
    pub fn id(&self) -> LockId {
        self.id
    }

    /// The table.
    pub fn table(&self) -> &Arc<Table> {
        Pinned::keeper(&self.hot)
    }

    /// The line.
    #[inline]
    pub fn hot(&self) -> &Hot {
        &self.hot
    }

    /// The present allocation of the id.
    pub fn generation(&self) -> Generation {
        Record::generation_of(&self.generation)
    }

    /// Who is written down as the owner, where that is somebody who lives.
    pub fn holder(&self) -> Option<Holder> {
        let owner = self.hot.owner();
        (!owner.is_none() && !self.table().is_dead(owner)).then(|| self.table().describe(owner))
    }

    /// The word of a thread of this process, which says what its id is; see [`Table::me`].
    ///
    /// # Errors
    /// Those of [`Table::me`].
    #[inline]
    pub fn me(&self, tid: u32) -> Result<Owner> {
        self.table().owner_word(tid)
    }

    /// The same at once; `None` where [`Slot::me`] would first have to take a seat.
    #[inline]
    pub fn me_at_once(&self, tid: u32) -> Option<Owner> {
        self.table().seated_owner(tid)
    }

    /// What to return from an acquisition, given what [`Hot::begin`] said right after it.
    #[inline]
    pub fn acquired(&self, token: u64, before: Owner) -> Acquired {
        if before.is_none() { Acquired::Held { token } } else { self.recovered(token, before) }
    }

    #[cold]
    fn recovered(&self, token: u64, dead: Owner) -> Acquired {
        let death = Death::of(Some(self.table().describe(dead)));
        Acquired::Recovered(Box::new(Recovery { token, death }))
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("table", &self.table().path()).field("id", &self.id.get()).finish_non_exhaustive()
    }
}
