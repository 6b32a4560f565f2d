//! Cycles in a graph of locks.

use std::collections::{BTreeMap, BTreeSet};

/// The largest number of cycles that are returned.
const MOST: usize = 100;

/// The largest number of steps that the search tries. A thread waits for one lock, so only processes that hold locks together with many
/// waiting threads need many.
const LONGEST: usize = 1_000_000;

/// A step from a lock to one for which its holder waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Step<L> {
    pub(super) holds: L,
    pub(super) waits_for: L,
    /// The number of the waiter.
    pub(super) waiter: usize,
}

/// Returns the cycles, each as its steps from the lowest lock on. Each lock is in a cycle at most once.
pub(super) fn cycles<L: Ord + Copy>(steps: impl IntoIterator<Item = Step<L>>) -> Vec<Vec<Step<L>>> {
    let mut by_lock: BTreeMap<L, Vec<Step<L>>> = BTreeMap::new();
    for step in steps {
        by_lock.entry(step.holds).or_default().push(step);
    }
    prune(&mut by_lock);
    let mut search = Search { steps: &by_lock, path: Vec::new(), found: Vec::new(), left: LONGEST };
    for &first in by_lock.keys() {
        search.extend(first);
    }
    search.found
}

/// Removes the steps to locks from which no step leads, because they are in no cycle. The search then stays short in a graph of chains.
fn prune<L: Ord + Copy>(steps: &mut BTreeMap<L, Vec<Step<L>>>) {
    loop {
        let targets = steps.values().flatten().map(|step| step.waits_for);
        let ends: BTreeSet<L> = targets.filter(|lock| !steps.contains_key(lock)).collect();
        if ends.is_empty() {
            return;
        }
        steps.retain(|_, steps| {
            steps.retain(|step| !ends.contains(&step.waits_for));
            !steps.is_empty()
        });
    }
}

struct Search<'a, L> {
    steps: &'a BTreeMap<L, Vec<Step<L>>>,
    path: Vec<Step<L>>,
    found: Vec<Vec<Step<L>>>,
    /// The number of steps that the search may still try.
    left: usize,
}

impl<L: Ord + Copy> Search<'_, L> {
    /// Extends a path that begins at its lowest lock.
    fn extend(&mut self, first: L) {
        let last = self.path.last().map_or(first, |step| step.waits_for);
        let steps = self.steps;
        for step in steps.get(&last).into_iter().flatten() {
            let next = step.waits_for;
            if self.found.len() == MOST || self.left == 0 {
                return;
            }
            self.left -= 1;
            if next < first || self.path.iter().any(|earlier| earlier.holds == next && next != first) {
                continue;
            }
            self.path.push(*step);
            if next == first {
                self.found.push(self.path.clone());
            } else if next != last {
                self.extend(first);
            }
            self.path.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The locks of each cycle. Each step is `(holds, waits_for)`.
    fn locks(steps: &[(u32, u32)]) -> Vec<Vec<u32>> {
        let steps =
            steps.iter().enumerate().map(|(waiter, (holds, waits_for))| Step { holds: *holds, waits_for: *waits_for, waiter });
        cycles(steps).iter().map(|cycle| cycle.iter().map(|step| step.holds).collect()).collect()
    }

    #[test]
    fn a_chain_is_no_cycle() {
        assert!(locks(&[]).is_empty());
        assert!(locks(&[(1, 2), (2, 3), (4, 1)]).is_empty());
    }

    #[test]
    fn cycles_of_one_two_and_three_are_found() {
        assert_eq!(locks(&[(1, 1)]), [[1]]);
        assert_eq!(locks(&[(1, 2), (2, 1)]), [[1, 2]]);
        assert_eq!(locks(&[(4, 7), (7, 5), (5, 4)]), [[4, 7, 5]]);
    }

    #[test]
    fn two_cycles_are_found_also_if_they_share_a_lock() {
        assert_eq!(locks(&[(1, 2), (2, 1), (3, 4), (4, 3)]), [[1, 2], [3, 4]]);
        // Two threads of the process that holds lock 1 wait.
        assert_eq!(locks(&[(1, 2), (1, 3), (2, 1), (3, 1)]), [[1, 2], [1, 3]]);
    }

    #[test]
    fn a_tail_before_or_after_a_cycle_is_not_part_of_it() {
        assert_eq!(locks(&[(1, 2), (2, 3), (3, 2)]), [[2, 3]]);
        assert_eq!(locks(&[(2, 3), (3, 2), (3, 4), (4, 5)]), [[2, 3]]);
    }

    #[test]
    fn many_chains_and_many_cycles_end() {
        // Each of these locks has a step to each later one, which are 2^28 paths without a cycle.
        let chains: Vec<_> = (0..30).flat_map(|from| (from + 1..30).map(move |to| (from, to))).collect();
        assert!(locks(&chains).is_empty());
        let all: Vec<_> = (0..30).flat_map(|from| (0..30).map(move |to| (from, to))).collect();
        assert_eq!(locks(&all).len(), MOST);
    }
}
