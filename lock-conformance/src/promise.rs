//! The promises of backends. Each group of cases tests one promise.

/// A promise, with the name of its group of cases.
pub(crate) struct Promise {
    pub(crate) group: &'static str,
    pub(crate) words: &'static str,
}

/// All promises, in the order of reports.
pub(crate) const PROMISES: &[Promise] = &[
    Promise {
        group: "opening",
        words: "When several processes create a store, one creates it and the others open it. Capacities and options are checked.",
    },
    Promise {
        group: "exclusion",
        words: "One owner at a time: among threads, handles, processes, and threads of several processes (`mixed`).",
    },
    Promise { group: "deadlines", words: "A timed wait ends at its deadline, not before and not late, and names the owner." },
    Promise { group: "waking", words: "A release wakes a waiter in any process, after short and long waits." },
    Promise {
        group: "fairness",
        words: "A waiter is overtaken a bounded number of times, and waiters are served in about their order. Killed ones delay no other.",
    },
    Promise { group: "costs", words: "An attempt does not sleep, and a wait uses no processor." },
    Promise { group: "reentry", words: "A thread that locks a lock which it already holds gets an error." },
    Promise {
        group: "send",
        words: "A guard for the process moves between its threads. It excludes guards of both kinds, and ends with the process.",
    },
    Promise {
        group: "owner_death",
        words: "The lock of an owner that dies or executes a program is released, and the next owner gets a report of the death.",
    },
    Promise {
        group: "death_reports",
        words: "The report of a death stays until an owner marks the lock consistent. Its cause is right, or unknown.",
    },
    Promise {
        group: "guard_checks",
        words: "A check of a guard confirms a lock that is held, and detects that a lock was lost.",
    },
    Promise {
        group: "sessions",
        words: "An owner that loses its session with a server learns of it, and has an older token than the next owner.",
    },
    Promise { group: "fork", words: "A forked child owns nothing, regardless of how and when it was forked." },
    Promise { group: "descriptors", words: "A program may close the library's descriptors and reuse their numbers." },
    Promise {
        group: "namespaces",
        words: "Processes of several PID, user and IPC namespaces exclude each other, equal process ids included.",
    },
    Promise {
        group: "visibility",
        words: "An owner that a waiter cannot see is alive: hidden or missing `/proc`, other users, user namespaces.",
    },
    Promise { group: "views", words: "A store under two paths of an overlay is one store, or is refused." },
    Promise {
        group: "allocation",
        words: "Ids are unique, can be allocated again once they are freed, and are never lost. Different ids are different locks.",
    },
    Promise { group: "freeing", words: "A lock that is held stays held when its id is freed. A double free is refused." },
    Promise {
        group: "growing",
        words: "A store grows while other processes use it, and while a process that grows it is killed.",
    },
    Promise {
        group: "raising",
        words: "The capacity of a store is raised while processes use it. Owners, waiters, labels and names stay, and kills do no harm.",
    },
    Promise {
        group: "names",
        words: "A name leads to one lock in all processes, which is allocated on first use. Kills leave no incomplete name.",
    },
    Promise { group: "labels", words: "Labels are stored unchanged." },
    Promise {
        group: "listing",
        words: "Lists name the allocated ids, the held locks and their owners. Listing disturbs no process.",
    },
    Promise {
        group: "waiters",
        words: "Lists name the threads that wait, their locks and for how long. The dead and those that stopped waiting are not listed.",
    },
    Promise {
        group: "deadlocks",
        words: "Of threads that wait for each other, exactly one is refused if it wants to be, and the error has the cycle. No other wait is refused.",
    },
    Promise { group: "tokens", words: "Fencing tokens increase." },
    Promise { group: "reconciling", words: "Reconciling leaves exactly the given ids allocated." },
    Promise {
        group: "reclaiming",
        words: "Ids that a process allocated for itself are reclaimed once it is proven dead, and only then.",
    },
    Promise { group: "breaking", words: "A lock that a dead owner left locked can be broken once." },
    Promise { group: "storm", words: "Locks stay exclusive while owners are killed in their critical sections." },
    Promise { group: "copies", words: "A copy of a store is a separate store, or is refused. The original is not affected." },
    Promise { group: "cleaning", words: "Programs that remove unused files do no harm." },
    Promise { group: "damage", words: "A header that is changed, cut or of another version is a typed error." },
    Promise {
        group: "vanishing",
        words: "Processes that have a removed or replaced store open exclude each other, and get a typed error.",
    },
    Promise {
        group: "filesystems",
        words: "On a full file system no process is killed. File locks that are denied are an error, not a busy lock.",
    },
    Promise {
        group: "limits",
        words: "Where descriptors, memory, disk space or a system call are refused, an operation is an error and nothing is lost.",
    },
    Promise { group: "sharing", words: "Users and groups share a store as its options say, under any umask." },
    Promise { group: "links", words: "A symbolic link in place of a file is refused." },
    Promise {
        group: "leaks",
        words: "Operations leave no descriptor, memory, thread or semaphore set behind, and a program inherits none.",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::case::Case;
    use crate::cases;

    #[test]
    fn each_group_of_cases_has_a_promise() {
        let groups: BTreeSet<_> = cases::all().map(Case::group).collect();
        let promised: Vec<_> = PROMISES.iter().map(|promise| promise.group).collect();
        assert_eq!(groups, promised.iter().copied().collect());
        assert_eq!(groups.len(), promised.len());
    }

    #[test]
    fn the_readme_lists_the_promises() {
        let rows: Vec<_> = PROMISES.iter().map(|promise| format!("| `{}` | {} |\n", promise.group, promise.words)).collect();
        assert!(include_str!("../README.md").contains(&rows.concat()), "the table is:\n{}", rows.concat());
    }
}
