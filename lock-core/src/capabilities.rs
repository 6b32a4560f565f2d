//! The claims of a backend.
//!
//! `lock-conformance` tests each claim, and for each absent claim that the backend refuses the operation.

use std::fmt;

macro_rules! claims {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[non_exhaustive]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Returns the claim in one or two words, for tables.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )+};
}

claims! {
    /// The number of locks in a store.
    Numbering {
        /// One lock without a number, which cannot be allocated or freed.
        Single = "single",
        /// Numbered locks, which are allocated and freed.
        Numbered = "numbered",
    }
    /// When the exclusion of a lock holds.
    Exclusion {
        /// Never: the store can only be listed. Acquisitions and allocations are refused, because the locks belong to programs of another
        /// project that cannot share them safely.
        ReadOnly = "lists only",
        /// While the session of the owner's process with a server lasts. A process that the network or a stop cuts off from the server
        /// loses its locks, and learns of it ([`Guard::valid_for`](crate::Guard::valid_for), [`Guard::on_lost`](crate::Guard::on_lost)),
        /// but may be stopped just before it uses the protected data. The exclusion is complete if the protected resource refuses
        /// [tokens](crate::Guard::token) that are not the greatest.
        Fenced = "with token check",
        /// Until the release or the death of the owner.
        Always = "always",
    }
    /// The threads that can share a lock.
    Sharing {
        /// The threads of one process.
        Threads = "threads",
        /// All threads of all processes that open the store.
        Processes = "processes",
    }
    /// The state of a lock after the death of the *process* that owns it.
    OwnerDeath {
        /// The lock stays held until [`Store::break_lock`](crate::Store::break_lock).
        Stuck = "stuck",
        /// The lock becomes free, and the next owner gets no report.
        Released = "released",
        /// The lock becomes free, and the guard of the next owner has a [report](crate::Guard::recovered).
        Reported = "reported",
    }
    /// The state of a lock after the *thread* that owns it exits without a release in a live process.
    ThreadDeath {
        /// The lock stays held until the process ends.
        Kept = "kept",
        /// The lock becomes free, and the guard of the next owner has a [report](crate::Guard::recovered).
        Reported = "reported",
    }
    /// The number of owners that get the report of a death.
    DeathReports {
        /// The next owner, or no owner.
        Once = "once",
        /// Each next owner until one calls [`Guard::mark_consistent`](crate::Guard::mark_consistent). Panics are reported, too.
        UntilConsistent = "until consistent",
    }
    /// Support for acquisitions with a deadline.
    Deadlines {
        /// They are refused.
        Unsupported = "no",
        /// They wait on the monotonic clock, and never end early.
        Monotonic = "monotonic",
    }
    /// The order in which waiting threads acquire a lock.
    Fairness {
        /// Not specified: a thread that releases the lock and acquires it again immediately can overtake a waiting thread for any length
        /// of time.
        Unspecified = "unspecified",
        /// A thread that has waited for longer than a millisecond acquires the lock before threads that come later, so it is overtaken a
        /// bounded number of times. Waiting threads acquire the lock in about the order of their waits.
        Eventual = "eventual",
        /// Waiting threads acquire the lock in the order of their waits, and no thread overtakes them.
        Queued = "queued",
    }
    /// The effect of acquiring a lock that the calling thread already holds.
    Reentry {
        /// The acquisition blocks or succeeds.
        Undetected = "undetected",
        /// The acquisition fails with [`ErrorKind::AlreadyHeld`](crate::ErrorKind::AlreadyHeld).
        Refused = "refused",
    }
    /// Support for guards that move between threads ([`SendGuard`](crate::SendGuard)).
    SendGuards {
        /// [`Lock::lock_send`](crate::Lock::lock_send) is refused.
        Unsupported = "no",
        /// They are supported: the process owns the lock, and any of its threads may release it.
        Supported = "yes",
    }
    /// Support for [`Guard::check`](crate::Guard::check).
    GuardChecks {
        /// It is refused.
        Unsupported = "no",
        /// It returns an error when the lock was lost.
        Supported = "yes",
    }
    /// The information about the holder of a lock.
    Holders {
        /// None.
        Unknown = "no",
        /// Process, thread and command, without a change of the lock.
        Named = "named",
    }
    /// The information about waiting threads.
    Waiters {
        /// None.
        Unknown = "no",
        /// Those that `/proc` shows asleep ([`Store::waiting`](crate::Store::waiting)). The list says if others may be missing.
        Found = "found",
        /// Their number.
        Counted = "counted",
        /// Their number, and the process, thread and command of each ([`Store::waiting`](crate::Store::waiting)), without a change of
        /// the lock.
        Named = "named",
    }
    /// Support for labels of allocations.
    Labels {
        /// A label that is not empty is refused.
        Unsupported = "no",
        /// Every process can read the label. A process that is killed while it allocates leaves no damaged label.
        Kept = "kept",
    }
    /// Support for [`Store::named`](crate::Store::named).
    Names {
        /// It is refused.
        Unsupported = "no",
        /// It is supported. Processes that race for a name get the same lock.
        Supported = "yes",
    }
    /// Detection of handles whose id was freed and allocated again.
    Generations {
        /// None: no handle is ever stale.
        Unknown = "no",
        /// The backend counts the allocations of each id.
        Counted = "counted",
    }
    /// Support for fencing tokens.
    Tokens {
        /// The token is always 0.
        Unsupported = "no",
        /// The token increases with each acquisition of the lock, also across processes and deaths.
        Fencing = "fencing",
    }
    /// Support for [`Store::reconcile`](crate::Store::reconcile).
    Reconcile {
        /// It is refused.
        Unsupported = "no",
        /// It is supported.
        Supported = "yes",
    }
    /// The maximum number of locks in a store.
    Capacity {
        /// The backend determines it. The option `capacity` is unknown.
        Fixed = "fixed",
        /// The creator determines it with the option `capacity=N` or `capacity=unbounded`. Unused locks need no memory.
        Chosen = "chosen",
    }
    /// Support for [`Store::grow`](crate::Store::grow).
    Growth {
        /// It is refused.
        Unsupported = "no",
        /// It is supported, also while the locks are used.
        Supported = "yes",
    }
    /// Support for [`Store::allocate_temporary`](crate::Store::allocate_temporary) and [`Store::reclaim`](crate::Store::reclaim).
    Temporary {
        /// They are refused.
        Unsupported = "no",
        /// They are supported. An id is reclaimed only when its allocator is proven dead.
        Reclaimed = "reclaimed",
    }
    /// Support for [`Store::break_lock`](crate::Store::break_lock).
    Breaking {
        /// It is refused, because the backend recovers from the death of an owner.
        Refused = "refused",
        /// It is supported. It is dangerous while the owner is alive.
        Explicit = "explicit",
    }
    /// Support for [`Store::destroy`](crate::Store::destroy).
    Removal {
        /// It is refused, because programs of other projects may use the locks.
        Refused = "refused",
        /// It is supported.
        Supported = "yes",
    }
    /// The lifetime of a store.
    Persistence {
        /// It ends with the process.
        Process = "process",
        /// It ends when the machine reboots.
        Boot = "boot",
        /// Allocated ids survive a reboot.
        Disk = "disk",
    }
}

macro_rules! capabilities {
    ($($(#[$doc:meta])* $field:ident / $with:ident: $claim:ident = $least:ident, $title:literal;)+) => {
        /// The claims of a backend. [`Capabilities::minimal`] are the weakest; each method sets one claim.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub struct Capabilities { $($(#[$doc])* pub $field: $claim,)+ }

        impl Capabilities {
            /// Returns the weakest claims: numbered locks that processes share, without any other ability.
            pub const fn minimal() -> Self {
                Self { $($field: $claim::$least,)+ }
            }

            $(
                #[doc = concat!("Sets the claim \"", $title, "\".")]
                #[must_use]
                pub const fn $with(mut self, claim: $claim) -> Self {
                    self.$field = claim;
                    self
                }
            )+

            /// Returns the title and the value of each claim, in a fixed order.
            pub fn rows(&self) -> Vec<(&'static str, &'static str)> {
                vec![$(($title, self.$field.as_str()),)+]
            }
        }
    };
}

capabilities! {
    /// The number of locks.
    numbering / with_numbering: Numbering = Numbered, "locks";
    /// When the exclusion holds. The least claim is the contract of [`RawLock`](crate::RawLock); an engine whose owners depend on a
    /// session reduces it.
    exclusion / with_exclusion: Exclusion = Always, "exclusion";
    /// The threads that share a lock.
    sharing / with_sharing: Sharing = Processes, "shared between";
    /// The effect of the death of a process.
    owner_death / with_owner_death: OwnerDeath = Stuck, "owner death";
    /// The effect of the death of a thread.
    thread_death / with_thread_death: ThreadDeath = Kept, "thread death";
    /// The owners that get a report.
    death_reports / with_death_reports: DeathReports = Once, "death reports";
    /// Acquisitions with a deadline.
    deadlines / with_deadlines: Deadlines = Unsupported, "deadlines";
    /// The order of waiting threads.
    fairness / with_fairness: Fairness = Unspecified, "fairness";
    /// Acquisitions by the owner.
    reentry / with_reentry: Reentry = Undetected, "relock by the owner";
    /// Guards that move between threads.
    send_guards / with_send_guards: SendGuards = Unsupported, "send guards";
    /// Checks of guards.
    guard_checks / with_guard_checks: GuardChecks = Unsupported, "guard checks";
    /// Information about holders.
    holders / with_holders: Holders = Unknown, "holders";
    /// Information about waiters.
    waiters / with_waiters: Waiters = Unknown, "waiters";
    /// Labels of allocations.
    labels / with_labels: Labels = Unsupported, "labels";
    /// Locks that are found by name.
    names / with_names: Names = Unsupported, "names";
    /// Detection of stale handles.
    generations / with_generations: Generations = Unknown, "generations";
    /// Fencing tokens.
    tokens / with_tokens: Tokens = Unsupported, "tokens";
    /// Replacing the set of allocated ids.
    reconcile / with_reconcile: Reconcile = Unsupported, "reconcile";
    /// The maximum number of locks.
    capacity / with_capacity: Capacity = Fixed, "capacity";
    /// Raising the maximum number of locks.
    growth / with_growth: Growth = Unsupported, "grow";
    /// Ids for as long as the allocator lives.
    temporary / with_temporary: Temporary = Unsupported, "temporary ids";
    /// Breaking locks.
    breaking / with_breaking: Breaking = Refused, "break";
    /// Removing the store.
    removal / with_removal: Removal = Refused, "destroy";
    /// The lifetime of the store.
    persistence / with_persistence: Persistence = Boot, "lasts";
}
