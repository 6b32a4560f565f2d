//! Requirements of cases on the backend, the suite and the machine.

use std::fmt;
use std::fs::File;
use std::sync::OnceLock;

use lock_core::{
    Breaking, Capabilities, Capacity, Deadlines, DeathReports, Exclusion, Fairness, Generations, Growth, GuardChecks, Holders,
    Labels, Names, Numbering, OwnerDeath, Persistence, Reconcile, Reentry, Removal, SendGuards, Sharing, Temporary, ThreadDeath,
    Tokens, Waiters,
};

use nix::sched::CloneFlags;

use crate::overlay::Layers;
use crate::scratch::Scratch;
use crate::sys::Fork;
use crate::{Suite, peer, sys, trace};

/// A requirement of a case. It is checked before any case runs.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    met: fn(&Suite) -> bool,
    /// The reason to skip the case if the requirement is not met.
    pub(crate) lack: Lack,
}

impl Need {
    pub(crate) fn is_met(&self, suite: &Suite) -> bool {
        (self.met)(suite)
    }
}

/// A missing requirement, by its source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Lack {
    /// A claim that the backend does not make.
    Claim(&'static str),
    /// A setting that the [`Suite`] does not have.
    Setting(&'static str),
    /// A feature that the machine does not have or does not allow.
    Machine(&'static str),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(what) => write!(f, "not claimed: {what}"),
            Self::Setting(what) => write!(f, "the suite does not set: {what}"),
            Self::Machine(what) => write!(f, "this machine lacks: {what}"),
        }
    }
}

macro_rules! claims {
    ($($name:ident: $field:ident >= $claim:path, $what:literal;)+) => {
        $(pub(crate) const $name: Need = Need { met: |suite| suite.capabilities().$field >= $claim, lack: Lack::Claim($what) };)+
    };
}

claims! {
    NUMBERED: numbering >= Numbering::Numbered, "numbers";
    PROCESSES: sharing >= Sharing::Processes, "sharing between processes";
    RELEASED: owner_death >= OwnerDeath::Released, "release by death";
    REPORTED: owner_death >= OwnerDeath::Reported, "reports of death";
    LASTING_REPORTS: death_reports >= DeathReports::UntilConsistent, "death reports until consistent";
    THREAD_DEATH: thread_death >= ThreadDeath::Reported, "release by the death of a thread";
    DEADLINES: deadlines >= Deadlines::Monotonic, "deadlines";
    FAIRNESS: fairness >= Fairness::Eventual, "an order of waiting threads";
    QUEUED: fairness >= Fairness::Queued, "a queue of waiting threads";
    REENTRY: reentry >= Reentry::Refused, "detection of reentry";
    GUARD_CHECKS: guard_checks >= GuardChecks::Supported, "guard checks";
    SEND: send_guards >= SendGuards::Supported, "send guards";
    HOLDERS: holders >= Holders::Named, "holders";
    WAITERS: waiters >= Waiters::Counted, "counts of waiters";
    NAMED_WAITERS: waiters >= Waiters::Named, "names of waiters";
    LABELS: labels >= Labels::Kept, "labels";
    NAMES: names >= Names::Supported, "names";
    GENERATIONS: generations >= Generations::Counted, "generations";
    TOKENS: tokens >= Tokens::Fencing, "tokens";
    RECONCILE: reconcile >= Reconcile::Supported, "reconcile";
    CHOSEN: capacity >= Capacity::Chosen, "a choice of capacity";
    GROWTH: growth >= Growth::Supported, "growth";
    TEMPORARY: temporary >= Temporary::Reclaimed, "temporary ids";
    LASTING: persistence >= Persistence::Boot, "persistence";
    BREAKING: breaking >= Breaking::Explicit, "break";
    REMOVAL: removal >= Removal::Supported, "destroy";
}

/// A list of waiting threads.
pub(crate) const LISTED_WAITERS: Need = Need {
    met: |suite| matches!(suite.capabilities().waiters, Waiters::Found | Waiters::Named),
    lack: Lack::Claim("lists of waiters"),
};

/// Locks that last only as long as a session of their owner with a server.
pub(crate) const SESSIONS: Need =
    Need { met: |suite| suite.capabilities().exclusion == Exclusion::Fenced, lack: Lack::Claim("sessions with a server") };

/// Locks that last however long their owner is stopped.
pub(crate) const WITHOUT_SESSION: Need =
    Need { met: |suite| suite.capabilities().exclusion > Exclusion::Fenced, lack: Lack::Claim("exclusion without a session") };

/// A store in files or memory of this machine.
pub(crate) const LOCAL: Need = Need { met: |suite| !SESSIONS.is_met(suite), lack: Lack::Claim("a store on this machine") };

/// A store that is opened by its URL.
pub(crate) const STORE: Need = Need { met: |suite| suite.backend().is_some(), lack: Lack::Claim("a store") };

/// The files of a store, which cases damage.
pub(crate) const FILES: Need = Need { met: |suite| suite.files.is_some(), lack: Lack::Setting("the files of a store") };

/// The right to change the owner of files.
pub(crate) const ROOT: Need = Need { met: |_| nix::unistd::geteuid().is_root(), lack: Lack::Machine("root") };

/// The right to create PID namespaces. A child tries to create one.
pub(crate) const PID_NAMESPACES: Need = Need {
    met: |_| {
        static CAN: OnceLock<bool> = OnceLock::new();
        *CAN.get_or_init(|| sys::can_unshare(CloneFlags::CLONE_NEWPID))
    },
    lack: Lack::Machine("pid namespaces"),
};

/// The right to create user namespaces and be root in them.
pub(crate) const USER_NAMESPACES: Need = Need {
    met: |_| {
        static CAN: OnceLock<bool> = OnceLock::new();
        *CAN.get_or_init(sys::can_enter_user_namespace)
    },
    lack: Lack::Machine("user namespaces"),
};

/// The right to choose the pids of children.
pub(crate) const CHOSEN_PIDS: Need = Need {
    met: |suite| {
        let may_write = || File::options().write(true).open(sys::LAST_PID).is_ok();
        ROOT.is_met(suite) && PID_NAMESPACES.is_met(suite) && may_write()
    },
    lack: Lack::Machine("root and pids that can be chosen"),
};

/// The permission to set the machine's clock.
pub(crate) const CLOCK: Need = Need {
    met: |suite| ROOT.is_met(suite) && std::env::var_os("LOCK_CONFORMANCE_SET_CLOCK").is_some(),
    lack: Lack::Machine("root and LOCK_CONFORMANCE_SET_CLOCK"),
};

/// The right to trace the system calls of children, on an architecture whose registers the suite can read.
pub(crate) const TRACED: Need = Need { met: |_| trace::can_trace(), lack: Lack::Machine("ptrace on x86-64") };

/// The space that a store needs.
pub(crate) const ROOM: Need = Need { met: |suite| suite.room.is_some(), lack: Lack::Setting("the space that a store needs") };

/// The right to mount file systems in a private mount namespace.
pub(crate) const MOUNTS: Need = Need {
    met: |_| {
        static CAN: OnceLock<bool> = OnceLock::new();
        *CAN.get_or_init(|| sys::can_unshare(CloneFlags::CLONE_NEWNS))
    },
    lack: Lack::Machine("mount namespaces"),
};

/// A kernel in which a process can deny itself system calls (seccomp).
pub(crate) const DENIALS: Need = Need {
    met: |_| {
        static CAN: OnceLock<bool> = OnceLock::new();
        *CAN.get_or_init(|| sys::can(sys::deny_file_locks))
    },
    lack: Lack::Machine("seccomp filters"),
};

/// The detection of threads that wait for each other.
pub(crate) const DEADLOCKS: Need = Need {
    met: |suite| LISTED_WAITERS.is_met(suite) && HOLDERS.is_met(suite) && DEADLINES.is_met(suite) && STORE.is_met(suite),
    lack: Lack::Claim("names of holders and waiters"),
};

/// A URL option that shares a store between users.
pub(crate) const USERS: Need =
    Need { met: |suite| suite.option_for_users.is_some(), lack: Lack::Setting("an option that shares a store between users") };

/// A URL option that shares a store in a group.
pub(crate) const GROUPS: Need =
    Need { met: |suite| suite.option_for_group.is_some(), lack: Lack::Setting("an option that shares a store in a group") };

/// The right to mount `/proc` with options that hide processes (Linux 5.8).
pub(crate) const PROC_MOUNTS: Need = Need {
    met: |suite| {
        static CAN: OnceLock<bool> = OnceLock::new();
        let mounts = || peer::own_mounts().and_then(|()| peer::mount_new("proc", "/proc", "hidepid=4,subset=pid"));
        ROOT.is_met(suite) && *CAN.get_or_init(|| sys::can(mounts))
    },
    lack: Lack::Machine("root and mounts of /proc"),
};

/// The right to create IPC namespaces.
pub(crate) const IPC_NAMESPACES: Need = Need {
    met: |_| {
        static CAN: OnceLock<bool> = OnceLock::new();
        *CAN.get_or_init(|| sys::can_unshare(CloneFlags::CLONE_NEWIPC))
    },
    lack: Lack::Machine("IPC namespaces"),
};

/// The right to choose the ids of System V semaphore sets.
pub(crate) const CHOSEN_SETS: Need = Need {
    met: |suite| IPC_NAMESPACES.is_met(suite) && File::options().write(true).open(sys::NEXT_SET).is_ok(),
    lack: Lack::Machine("ids of semaphore sets that can be chosen"),
};

/// The right to mount overlays on the file system that the suite works on.
pub(crate) const OVERLAYS: Need = Need {
    met: |suite| {
        static CAN: OnceLock<bool> = OnceLock::new();
        ROOT.is_met(suite) && *CAN.get_or_init(can_mount_overlays)
    },
    lack: Lack::Machine("root and mounts of overlays"),
};

fn can_mount_overlays() -> bool {
    let Ok(scratch) = Scratch::new() else { return false };
    let Ok(layers) = Layers::new(scratch.path()) else { return false };
    let (target, options) = (layers.merged.to_string_lossy(), layers.options());
    sys::can(|| peer::own_mounts().and_then(|()| peer::mount_new("overlay", &target, &options)))
}

/// A kernel with `close_range`.
pub(crate) const CLOSE_RANGE: Need = Need { met: |_| sys::has_close_range(), lack: Lack::Machine("close_range of Linux 5.11") };

/// A libc with `_Fork`, which runs no fork handlers.
pub(crate) const FORK_WITHOUT_HANDLERS: Need =
    Need { met: |_| Fork::WithoutHandlers.is_there(), lack: Lack::Machine("_Fork of glibc 2.34") };

/// An architecture on which the suite can call `clone` directly.
pub(crate) const FORK_BY_SYSTEM_CALL: Need =
    Need { met: |_| Fork::SystemCall.is_there(), lack: Lack::Machine("clone with its flags first") };

/// Returns a description of claims that contradict each other, `None` if there are none.
pub(crate) fn contradiction(claims: &Capabilities) -> Option<&'static str> {
    let single = claims.numbering == Numbering::Single;
    if single && claims.labels == Labels::Kept {
        return Some("it has a single lock, but claims labels");
    }
    if single && claims.reconcile == Reconcile::Supported {
        return Some("it has a single lock, but claims to reconcile");
    }
    if single && claims.names == Names::Supported {
        return Some("it has a single lock, but claims names");
    }
    if claims.owner_death == OwnerDeath::Released && claims.death_reports == DeathReports::UntilConsistent {
        return Some("it reports no death, but claims reports until consistent");
    }
    if claims.breaking == Breaking::Explicit && claims.owner_death != OwnerDeath::Stuck {
        return Some("it recovers by itself, but claims to break");
    }
    None
}
