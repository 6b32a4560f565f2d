//! Cycles of threads that wait for each other.

use std::collections::BTreeMap;

use lock_any::LockId;

/// The largest number of cycles that are returned.
const MOST: usize = 100;

/// A process or a thread of a PID namespace of a host.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Agent {
    pub(crate) host: Option<String>,
    pub(crate) pid_namespace: Option<u64>,
    pub(crate) pid: u32,
    /// 0 for a process.
    pub(crate) tid: u32,
}

impl Agent {
    /// Returns whether the waiting thread is the holder, or a thread of the holder.
    pub(crate) fn is_waiter(&self, waiter: &Self) -> bool {
        let process = |agent: &Self| (agent.host.clone(), agent.pid_namespace, agent.pid);
        process(self) == process(waiter) && [0, waiter.tid].contains(&self.tid)
    }
}

/// A step of a cycle: the holder of `holds` waits for `waits_for`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Step {
    pub(crate) holds: LockId,
    pub(crate) waits_for: LockId,
    /// The position of the waiter in the list that [`cycles`] got.
    pub(crate) waiter: usize,
}

/// Returns the cycles, each as its steps from the lowest id on. Each lock is in a cycle at most once.
pub(crate) fn cycles(holders: &BTreeMap<LockId, Agent>, waits: &[(Agent, LockId)]) -> Vec<Vec<Step>> {
    let steps_of = |(holds, holder): (&LockId, &Agent)| {
        let waits = waits.iter().enumerate().filter(|(_, (waiter, _))| holder.is_waiter(waiter));
        let steps: Vec<_> = waits.map(|(at, (_, id))| Step { holds: *holds, waits_for: *id, waiter: at }).collect();
        (*holds, steps)
    };
    let steps: BTreeMap<LockId, Vec<Step>> = holders.iter().map(steps_of).collect();
    let mut found = Vec::new();
    for &first in steps.keys() {
        extend(&steps, first, &mut Vec::new(), &mut found);
    }
    found
}

/// Extends a path that begins at its lowest id.
fn extend(steps: &BTreeMap<LockId, Vec<Step>>, first: LockId, path: &mut Vec<Step>, found: &mut Vec<Vec<Step>>) {
    let last = path.last().map_or(first, |step| step.waits_for);
    for step in steps.get(&last).into_iter().flatten() {
        let next = step.waits_for;
        if next < first || path.iter().any(|earlier| earlier.holds == next && next != first) || found.len() == MOST {
            continue;
        }
        path.push(*step);
        if next == first {
            found.push(path.clone());
        } else if next != last {
            extend(steps, first, path, found);
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(pid: u32, tid: u32) -> Agent {
        Agent { host: None, pid_namespace: Some(1), pid, tid }
    }

    /// The locks of each cycle, of holders `(id, pid, tid)` and waiters `(pid, tid, id)`.
    fn locks(holders: &[(u32, u32, u32)], waits: &[(u32, u32, u32)]) -> Vec<Vec<u32>> {
        let holders = holders.iter().map(|(id, pid, tid)| (LockId::new(*id), thread(*pid, *tid))).collect();
        let waits: Vec<_> = waits.iter().map(|(pid, tid, id)| (thread(*pid, *tid), LockId::new(*id))).collect();
        let cycles = cycles(&holders, &waits);
        cycles.iter().map(|cycle| cycle.iter().map(|step| step.holds.get()).collect()).collect()
    }

    #[test]
    fn a_chain_is_no_cycle() {
        assert!(locks(&[], &[]).is_empty());
        assert!(locks(&[(1, 10, 10)], &[(11, 11, 1)]).is_empty());
        assert!(locks(&[(1, 10, 10), (2, 11, 11), (3, 12, 12)], &[(10, 10, 2), (11, 11, 3), (13, 13, 1)]).is_empty());
    }

    #[test]
    fn cycles_of_one_two_and_three_are_found() {
        assert_eq!(locks(&[(1, 10, 11)], &[(10, 11, 1)]), [[1]]);
        assert_eq!(locks(&[(1, 10, 10), (2, 11, 11)], &[(10, 10, 2), (11, 11, 1)]), [[1, 2]]);
        let holders = [(4, 10, 10), (7, 11, 11), (5, 12, 12)];
        assert_eq!(locks(&holders, &[(10, 10, 7), (11, 11, 5), (12, 12, 4)]), [[4, 7, 5]]);
    }

    #[test]
    fn two_cycles_are_found_also_if_they_share_a_lock() {
        let holders = [(1, 10, 10), (2, 11, 11), (3, 12, 12), (4, 13, 13)];
        let apart = [(10, 10, 2), (11, 11, 1), (12, 12, 4), (13, 13, 3)];
        assert_eq!(locks(&holders, &apart), [[1, 2], [3, 4]]);
        // Two threads of the process that holds lock 1 wait.
        let shared = [(1, 10, 0), (2, 11, 11), (3, 12, 12)];
        assert_eq!(locks(&shared, &[(10, 10, 2), (10, 14, 3), (11, 11, 1), (12, 12, 1)]), [[1, 2], [1, 3]]);
    }

    #[test]
    fn another_thread_or_process_closes_no_cycle() {
        assert!(locks(&[(1, 10, 10), (2, 11, 11)], &[(10, 99, 2), (11, 11, 1)]).is_empty());
        assert!(locks(&[(1, 10, 10), (2, 11, 11)], &[(9, 10, 2), (11, 11, 1)]).is_empty());
        assert_eq!(locks(&[(1, 10, 0), (2, 11, 11)], &[(10, 99, 2), (11, 11, 1)]), [[1, 2]]);
        let holders = BTreeMap::from([(LockId::new(1), thread(10, 10))]);
        let elsewhere = Agent { pid_namespace: Some(2), ..thread(10, 10) };
        assert!(cycles(&holders, &[(elsewhere, LockId::new(1))]).is_empty());
    }

    #[test]
    fn a_tail_before_a_cycle_is_not_part_of_it() {
        let holders = [(1, 10, 10), (2, 11, 11), (3, 12, 12)];
        assert_eq!(locks(&holders, &[(10, 10, 2), (11, 11, 3), (12, 12, 2)]), [[2, 3]]);
    }
}
