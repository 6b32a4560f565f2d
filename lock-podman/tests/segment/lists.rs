//! Guards, mutexes of libc and locks of `lock-shm` in the robust list of one thread.

use lock_core::{ErrorKind, Guard, Lock, OpenMode, Store};
use rstest::rstest;

use super::peer::{OwnMutex, Segment, kill_after};

/// What a thread holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// A lock of the segment.
    Podman(u32),
    /// A mutex of the program.
    Libc,
    /// A lock of `lock-shm`.
    Shm,
}

use Kind::{Libc, Podman, Shm};

struct Locks {
    segment: Segment,
    own: OwnMutex,
    _directory: tempfile::TempDir,
    shm: Lock,
}

impl Locks {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("shm:{}", directory.path().join("store").display());
        let store = Store::with_backend(&lock_shm::BACKEND, &url.parse().unwrap(), OpenMode::Create).unwrap();
        Self { segment: Segment::new(), own: OwnMutex::new(), shm: store.allocate("").unwrap(), _directory: directory }
    }

    fn acquire(&self, kind: Kind) -> Option<Guard<'static>> {
        match kind {
            Podman(id) => Some(self.segment.lock(id).lock_owned().unwrap()),
            Libc => {
                assert_eq!(self.own.mutex.lock(), 0);
                None
            }
            Shm => Some(self.shm.lock_owned().unwrap()),
        }
    }

    fn release(&self, kind: Kind, guard: Option<Guard<'static>>) {
        match kind {
            Libc => assert_eq!(self.own.mutex.unlock(), 0),
            _ => guard.unwrap().unlock().unwrap(),
        }
    }

    /// Acquires and releases, and returns whether a death is reported.
    fn has_died(&self, kind: Kind) -> bool {
        match kind {
            Libc => {
                let locked = self.own.mutex.try_lock();
                if locked == libc::EOWNERDEAD {
                    assert_eq!(self.own.mutex.mark_consistent(), 0);
                } else {
                    assert_eq!(locked, 0, "the mutex is still locked");
                }
                assert_eq!(self.own.mutex.unlock(), 0);
                locked == libc::EOWNERDEAD
            }
            _ => {
                // The kernel does not walk to a lock of `lock-shm` that is beside a libc mutex, and a waiter takes it over.
                let lock = if let Podman(id) = kind { self.segment.lock(id) } else { self.shm.clone() };
                let mut guard = lock.lock_owned().unwrap();
                let has_died = guard.recovered().is_some();
                guard.mark_consistent().unwrap();
                has_died
            }
        }
    }
}

/// All orders of four things.
fn orders() -> Vec<[usize; 4]> {
    let mut orders = Vec::new();
    for code in 0..256 {
        let order = [code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6 & 3];
        if (0..4).all(|thing| order.contains(&thing)) {
            orders.push(order);
        }
    }
    assert_eq!(orders.len(), 24);
    orders
}

const THINGS: [Kind; 4] = [Podman(0), Libc, Shm, Podman(40)];

/// A child acquires all in an order, releases some of them in another order, and is killed.
#[rstest]
#[case(0)]
#[case(1)]
#[case(2)]
#[case(3)]
#[case(4)]
fn the_kernel_recovers_exactly_what_is_held(#[case] released: usize) {
    let locks = Locks::new();
    for acquired in orders() {
        // Each order of release is combined with some orders of acquisition.
        for release in orders().into_iter().filter(|order| order[0] == acquired[(acquired[1] + released) % 4]) {
            kill_after(|| {
                let mut guards = [const { None }; 4];
                acquired.into_iter().for_each(|at| guards[at] = locks.acquire(THINGS[at]));
                for at in &release[..released] {
                    locks.release(THINGS[*at], guards[*at].take());
                }
                std::mem::forget(guards);
            });
            for (at, kind) in THINGS.into_iter().enumerate() {
                let is_held = !release[..released].contains(&at);
                assert_eq!(locks.has_died(kind), is_held, "{kind:?} after {acquired:?} and {released} of {release:?}");
            }
        }
    }
}

#[test]
fn a_thread_holds_a_thousand_locks_and_its_death_frees_all() {
    let segment = Segment::with_locks(1024);
    kill_after(|| {
        let guards: Vec<_> = (0..1000).map(|id| segment.lock(id).lock_owned().unwrap()).collect();
        let error = segment.lock(1000).try_lock().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert_eq!(segment.store.allocate("").unwrap_err().kind(), ErrorKind::Limit);
        std::mem::forget(guards);
    });
    for id in 0..1000 {
        assert!(segment.lock(id).try_lock().unwrap().expect("the kernel has freed it").recovered().is_some());
    }
}
