use crate::fixture::{Fixture, OTHER_USER, USER};
use crate::process::{LockRef, Thread};
use crate::protocol::Refusal;

/// The relation of an owner and a waiter, and the visibility of the owner for the waiter.
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

/// Whether other processes can inspect the owner (`PR_SET_DUMPABLE`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dumps {
    Allowed,
    Denied,
}

/// The file system that a waiter has mounted on `/proc`.
#[derive(Clone, Copy)]
enum ProcView {
    /// The one of the machine.
    Machine,
    /// A new `proc` file system with these options.
    With(&'static str),
    /// An empty directory.
    Absent,
    /// The one of another PID namespace, to which the waiter does not belong.
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
    /// The option `gid` names the group that sees all processes, by default that of root.
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

    /// Creates a store. Returns the owner if that is the process that creates it.
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

    /// Starts a process with the owner's rights that has no store open.
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

    /// Starts the waiter.
    ///
    /// If the backend refuses to open a store in these surroundings, the waiter opens it before it enters them.
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

    /// Moves the process into the waiter's surroundings. Returns it or a child of it.
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
    /// Returns whether a backend may refuse to open a store in these surroundings.
    fn may_be_refused(self) -> bool {
        !matches!(self, Self::Machine) && !matches!(self, Self::With(options) if options.starts_with("hidepid"))
    }

    /// Mounts the file system for this thread only.
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
                // A child shares the mounts. A thread that unshares its PID namespace could not start threads afterwards.
                let first = fixture.fork_apart(&fixture.fork(thread));
                first.must("mount", &["proc", "/proc", ""]);
                if equal_pid == EqualPid::Shown {
                    fixture.fork_with_pid(&first, owner.pid());
                }
            }
        }
    }
}

/// Kinds of errors for a missing part of the system.
const REFUSALS: [&str; 3] = ["Untrusted", "Unsupported", "System"];

/// Asserts that the error of a process without the `/proc` of its PID namespace names `/proc`.
pub(super) fn names_what_is_missing(refusal: &Refusal) {
    assert!(REFUSALS.contains(&refusal.kind.as_str()), "the error has the wrong kind: {refusal}");
    assert!(refusal.text.contains("/proc"), "the error does not name /proc, which is missing: {refusal}");
}

/// Starts a process that has no `/proc` and no store open.
pub(super) fn process_without_proc(fixture: &Fixture) -> Thread {
    let process = fixture.blank_peer();
    process.must("own_mounts", &[]);
    process.must("mount", &["tmpfs", "/proc", ""]);
    process
}
