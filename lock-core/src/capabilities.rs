//! What a backend claims. Each claim is proved, and each absent claim's refusal too, by `lock-conformance`.

macro_rules! claims {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[non_exhaustive]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// The claim in a word or two, as tables print it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    )+};
}

claims! {
    /// Whether a store has many locks, each with a number.
    Numbering {
        /// One lock, without a number; nothing to allocate.
        Single = "single",
        /// Numbered locks that are allocated and freed.
        Numbered = "numbered",
    }
    /// Who can share a lock.
    Sharing {
        /// The threads of one process.
        Threads = "threads",
        /// All threads of all processes that open the store.
        Processes = "processes",
    }
    /// What becomes of a lock whose owning *process* dies.
    OwnerDeath {
        /// It stays locked until somebody breaks it.
        Stuck = "stuck",
        /// It becomes free; the next owner is not told.
        Released = "released",
        /// It becomes free, and the next owner's guard says who died.
        Reported = "reported",
    }
    /// What becomes of a lock whose owning *thread* ends without releasing it, in a process that lives on.
    ThreadDeath {
        /// It stays locked while the process lives.
        Kept = "kept",
        /// As [`OwnerDeath::Reported`].
        Reported = "reported",
    }
    /// How long the death of an owner is reported.
    DeathReports {
        /// To the next owner, once; or never.
        Once = "once",
        /// To each next owner until one calls [`Guard::mark_consistent`](crate::Guard::mark_consistent). A panic is reported, too.
        UntilConsistent = "until consistent",
    }
    /// Waiting with a deadline.
    Deadlines {
        /// Refused.
        Unsupported = "no",
        /// On the monotonic clock, never early.
        Monotonic = "monotonic",
    }
    /// A thread that locks what it holds already.
    Reentry {
        /// Hangs, or is granted.
        Undetected = "undetected",
        /// Is refused with an error.
        Refused = "refused",
    }
    /// Whether the holder of a lock can be named without touching the lock.
    Holders {
        /// Not known.
        Unknown = "no",
        /// Process, thread and command.
        Named = "named",
    }
    /// Whether the number of waiters is known.
    Waiters {
        /// Not known.
        Unknown = "no",
        /// Counted.
        Counted = "counted",
    }
    /// Whether an allocation keeps the label that it was given.
    Labels {
        /// Refused, unless empty.
        Unsupported = "no",
        /// Kept, readable by every process, whatever kills its writer.
        Kept = "kept",
    }
    /// Whether a handle can tell that its id was handed to somebody else.
    Generations {
        /// No: a handle is never called stale.
        Unknown = "no",
        /// Each allocation is counted.
        Counted = "counted",
    }
    /// Whether each acquisition has a number greater than all before it (a fencing token).
    Tokens {
        /// No: the token is always 0.
        Unsupported = "no",
        /// Grows with every acquisition of the lock, across processes and deaths.
        Fencing = "fencing",
    }
    /// Whether the set of allocated ids can be put right in one call.
    Reconcile {
        /// Refused.
        Unsupported = "no",
        /// Supported.
        Supported = "yes",
    }
    /// Whether the creator can set how many locks there are at most.
    Capacity {
        /// The backend decides; the option `capacity` is unknown.
        Fixed = "fixed",
        /// The option `capacity=N` or `capacity=unbounded`; what is paid for grows with use.
        Chosen = "chosen",
    }
    /// Whether a lock can be taken from an owner by force.
    Breaking {
        /// Refused: the backend recovers by itself.
        Refused = "refused",
        /// By an explicit call, which is dangerous while the owner lives.
        Explicit = "explicit",
    }
    /// Whether a store can be removed.
    Removal {
        /// Refused: others than this project's programs may be using it, and would no longer exclude each other.
        Refused = "refused",
        /// Removed, with its locks.
        Supported = "yes",
    }
    /// How long a store lasts.
    Persistence {
        /// No longer than the process.
        Process = "process",
        /// Until the machine restarts.
        Boot = "boot",
        /// Allocated ids survive a restart of the machine.
        Disk = "disk",
    }
}

macro_rules! capabilities {
    ($($(#[$doc:meta])* $field:ident: $claim:ident = $least:ident, $title:literal;)+) => {
        /// The claims of a backend, starting from the smallest: [`Capabilities::least`].
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[non_exhaustive]
        pub struct Capabilities { $($(#[$doc])* pub $field: $claim,)+ }

        impl Capabilities {
            /// The smallest claim: numbered locks, shared between processes, and nothing else.
            pub const fn least() -> Self {
                Self { $($field: $claim::$least,)+ }
            }

            $(
                #[doc = concat!("The same, with this claim: ", $title, ".")]
                #[must_use]
                pub const fn $field(mut self, claim: $claim) -> Self {
                    self.$field = claim;
                    self
                }
            )+

            /// Each claim as its title and its value in words, in a fixed order.
            pub fn rows(&self) -> Vec<(&'static str, &'static str)> {
                vec![$(($title, self.$field.as_str()),)+]
            }
        }
    };
}

capabilities! {
    /// Many locks or one.
    numbering: Numbering = Numbered, "locks";
    /// Who shares them.
    sharing: Sharing = Processes, "shared between";
    /// What a process's death does.
    owner_death: OwnerDeath = Stuck, "owner death";
    /// What a thread's death does.
    thread_death: ThreadDeath = Kept, "thread death";
    /// How long deaths are reported.
    death_reports: DeathReports = Once, "death reports";
    /// Timed waiting.
    deadlines: Deadlines = Unsupported, "deadlines";
    /// Locking twice.
    reentry: Reentry = Undetected, "relock by the owner";
    /// Naming the holder.
    holders: Holders = Unknown, "holders";
    /// Counting waiters.
    waiters: Waiters = Unknown, "waiters";
    /// Labels of allocations.
    labels: Labels = Unsupported, "labels";
    /// Stale handles.
    generations: Generations = Unknown, "generations";
    /// Fencing tokens.
    tokens: Tokens = Unsupported, "tokens";
    /// Reconciling.
    reconcile: Reconcile = Unsupported, "reconcile";
    /// Choosing the bound.
    capacity: Capacity = Fixed, "capacity";
    /// Breaking locks.
    breaking: Breaking = Refused, "break";
    /// Removing the store.
    removal: Removal = Refused, "destroy";
    /// How long it lasts.
    persistence: Persistence = Boot, "lasts";
}
