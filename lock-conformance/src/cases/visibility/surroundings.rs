use crate::fixture::{Fixture, OTHER_USER, USER};
use crate::process::{LockRef, Thread};
use crate::protocol::Refusal;

/// What an owner and a waiter are to each other, and what the waiter sees of the owner.
pub(super) struct Surroundings {
    owner: User,
    dumps: Dumps,
    waiter: User,
    proc: ProcView,
}

/// The user of a process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum User {
    Root,
    /// [`USER`].
    One,
    /// [`OTHER_USER`].
    Other,
    /// The root of a user namespace, without rights outside of it.
    RootOfNamespace,
}

/// Whether the kernel lets other processes inspect the owner (`PR_SET_DUMPABLE`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dumps {
    Allowed,
    Denied,
}

/// What a waiter has mounted on `/proc`.
#[derive(Clone, Copy)]
enum ProcView {
    /// The machine's.
    Machine,
    /// A new one with these options.
    With(&'static str),
    /// An empty directory.
    Absent,
    /// That of another PID namespace, in which the waiter is not.
    OfOtherNamespace(EqualPid),
}

/// Whether a `/proc` of another namespace shows a process that has the owner's pid there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EqualPid {
    Shown,
    NotShown,
}

/// An owner that holds the lock, and a waiter that opened the store meanwhile.
pub(super) struct Parties {
    pub(super) owner: Thread,
    pub(super) waiter: Thread,
    pub(super) lock: LockRef,
}

impl Surroundings {
    const PLAIN: Self = Self { owner: User::Root, dumps: Dumps::Allowed, waiter: User::Root, proc: ProcView::Machine };

    pub(super) const OTHER_USER: Self = Self { waiter: User::One, ..Self::PLAIN };
    pub(super) const HIDEPID_1: Self = Self::of_two_users("hidepid=1");
    /// The owner has all rights, as a system service has.
    pub(super) const HIDEPID_2: Self = Self { owner: User::Root, ..Self::of_two_users("hidepid=2") };
    pub(super) const HIDEPID_4: Self = Self::of_two_users("hidepid=4");
    pub(super) const HIDEPID_1_WITHOUT_DUMPS: Self = Self::of_one_user("hidepid=1");
    pub(super) const HIDEPID_2_WITHOUT_DUMPS: Self = Self::of_one_user("hidepid=2");
    pub(super) const HIDEPID_4_WITHOUT_DUMPS: Self = Self::of_one_user("hidepid=4");
    pub(super) const SUBSET_PID: Self = Self { proc: ProcView::With("subset=pid"), ..Self::PLAIN };
    pub(super) const NO_PROC: Self = Self { proc: ProcView::Absent, ..Self::PLAIN };
    pub(super) const OTHER_PROC: Self = Self { proc: ProcView::OfOtherNamespace(EqualPid::NotShown), ..Self::PLAIN };
    pub(super) const OTHER_PROC_WITH_EQUAL_PID: Self = Self { proc: ProcView::OfOtherNamespace(EqualPid::Shown), ..Self::PLAIN };
    /// The option `gid` names the group that sees everything, which is root's unless another one is named.
    pub(super) const USER_NAMESPACE: Self =
        Self { waiter: User::RootOfNamespace, proc: ProcView::With("hidepid=2,gid=59003"), ..Self::PLAIN };
    pub(super) const USER_NAMESPACE_WITHOUT_DUMPS: Self =
        Self { waiter: User::RootOfNamespace, dumps: Dumps::Denied, ..Self::PLAIN };

    const fn of_two_users(options: &'static str) -> Self {
        Self { owner: User::Other, dumps: Dumps::Allowed, waiter: User::One, proc: ProcView::With(options) }
    }

    const fn of_one_user(options: &'static str) -> Self {
        Self { owner: User::One, dumps: Dumps::Denied, waiter: User::One, proc: ProcView::With(options) }
    }

    pub(super) fn parties(&self, fixture: &Fixture) -> Parties {
        let (url, maker) = self.store(fixture);
        let owner = maker.unwrap_or_else(|| {
            let owner = self.owner(fixture);
            owner.must("open", &["open", &url]);
            owner
        });
        let lock = fixture.a_lock(&owner);
        owner.lock(lock);
        let waiter = self.waiter(fixture, &owner, &url);
        Parties { owner, waiter, lock }
    }

    /// A new store, and the owner where it is the process that makes it.
    fn store(&self, fixture: &Fixture) -> (String, Option<Thread>) {
        if self.owner == self.waiter || self.waiter == User::RootOfNamespace {
            let url = if self.owner == User::One { fixture.url_of_user() } else { fixture.url() };
            let owner = self.owner(fixture);
            owner.must("open", &["create", &url]);
            return (url, Some(owner));
        }
        let url = fixture.url_for_users();
        fixture.blank_peer().must("open", &["create", &url]);
        (url, None)
    }

    /// A process as the owner is, without a store.
    fn owner(&self, fixture: &Fixture) -> Thread {
        let owner = match self.owner {
            User::Root | User::RootOfNamespace => fixture.blank_peer(),
            User::One => fixture.blank_peer_of(USER),
            User::Other => fixture.blank_peer_of(OTHER_USER),
        };
        if self.dumps == Dumps::Denied {
            owner.must("deny_dumps", &[]);
        }
        owner
    }

    /// The waiter. Where a store that cannot be opened in such surroundings is refused, it has opened the store before.
    fn waiter(&self, fixture: &Fixture, owner: &Thread, url: &str) -> Thread {
        let inside = self.hidden(fixture, owner, fixture.blank_peer());
        match inside.ask("open", &["open", url]) {
            Ok(_) => inside,
            Err(refusal) => {
                let is_typed = self.proc.may_be_refused() && REFUSALS.contains(&refusal.kind.as_str());
                assert!(is_typed, "{inside} was refused to open the store: {refusal}");
                let early = fixture.blank_peer();
                early.must("open", &["open", url]);
                self.hidden(fixture, owner, early)
            }
        }
    }

    /// The same process, or a child of it, in the waiter's surroundings.
    fn hidden(&self, fixture: &Fixture, owner: &Thread, waiter: Thread) -> Thread {
        self.proc.mount(fixture, owner, &waiter);
        match self.waiter {
            User::Root => waiter,
            User::One => {
                waiter.must("become", &[USER]);
                waiter
            }
            User::Other => {
                waiter.must("become", &[OTHER_USER]);
                waiter
            }
            User::RootOfNamespace => fixture.fork_into_user_namespace(&waiter),
        }
    }
}

impl ProcView {
    /// Whether a backend may refuse to open a store there.
    fn may_be_refused(self) -> bool {
        !matches!(self, Self::Machine) && !matches!(self, Self::With(options) if options.starts_with("hidepid"))
    }

    /// Mounts it for this thread alone.
    fn mount(self, fixture: &Fixture, owner: &Thread, thread: &Thread) {
        match self {
            Self::Machine => {}
            Self::With(options) => {
                thread.must("own_mounts", &[]);
                thread.must("mount", &["proc", "/proc", options]);
            }
            Self::Absent => {
                thread.must("own_mounts", &[]);
                thread.must("mount", &["tmpfs", "/proc", ""]);
            }
            Self::OfOtherNamespace(equal_pid) => {
                thread.must("own_mounts", &[]);
                // A child shares the mounts. The thread itself must not unshare its PID namespace: it could not start threads then.
                let first = fixture.fork_apart(&fixture.fork(thread));
                first.must("mount", &["proc", "/proc", ""]);
                if equal_pid == EqualPid::Shown {
                    fixture.fork_with_pid(&first, owner.pid());
                }
            }
        }
    }
}

/// The kinds of errors that say which part of the system is missing.
const REFUSALS: [&str; 3] = ["NotOurs", "Unsupported", "System"];

/// Asserts that an error says what a process lacks that has no `/proc` of its PID namespace.
pub(super) fn names_what_is_missing(refusal: &Refusal) {
    assert!(REFUSALS.contains(&refusal.kind.as_str()), "the error has the wrong kind: {refusal}");
    assert!(refusal.text.contains("/proc"), "the error does not name /proc, which is missing: {refusal}");
}

/// A process that sees no `/proc` and has no store open.
pub(super) fn process_without_proc(fixture: &Fixture) -> Thread {
    let process = fixture.blank_peer();
    process.must("own_mounts", &[]);
    process.must("mount", &["tmpfs", "/proc", ""]);
    process
}
