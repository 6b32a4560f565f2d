//! A record, in private memory, of the list entries that a thread has linked.
//!
//! The links between locks are in shared memory, which every user of the store can write to. Only the kernel follows them. The thread
//! itself follows none, and writes only to entries that are recorded here.

use std::cell::Cell;
use std::collections::VecDeque;
use std::mem::ManuallyDrop;

/// The addresses of list entries, in the order in which they were linked.
pub(crate) struct Linked {
    /// The latest entry, or 0.
    top: Cell<usize>,
    /// The number of earlier entries.
    below: Cell<u32>,
    /// The earlier entries, oldest first. `ManuallyDrop`, because destructors of other thread-local values may release locks.
    nodes: Cell<ManuallyDrop<VecDeque<usize>>>,
}

/// The neighbours of a removed entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Neighbours {
    /// The entry that was linked after it.
    pub(crate) above: Option<usize>,
    /// The entry that was linked before it.
    pub(crate) below: Option<usize>,
}

impl Linked {
    pub(crate) const fn new() -> Self {
        Self { top: Cell::new(0), below: Cell::new(0), nodes: Cell::new(ManuallyDrop::new(VecDeque::new())) }
    }

    /// Returns the latest entry, or 0.
    #[inline]
    pub(crate) fn top(&self) -> usize {
        self.top.get()
    }

    /// Returns the number of entries before the latest one.
    #[inline]
    pub(crate) fn below(&self) -> u32 {
        self.below.get()
    }

    /// Adds an entry to an empty record.
    #[inline]
    pub(crate) fn set_only(&self, node: usize) {
        self.top.set(node);
    }

    /// Removes the only entry.
    #[inline]
    pub(crate) fn remove_only(&self) {
        self.top.set(0);
    }

    /// Adds an entry.
    pub(crate) fn push(&self, node: usize) {
        let earlier = self.top.replace(node);
        if earlier != 0 {
            self.change(|nodes| nodes.push_back(earlier));
        }
    }

    /// Removes the latest entry and returns it.
    pub(crate) fn pop(&self) -> Option<usize> {
        let top = self.top.get();
        (top != 0).then(|| {
            self.change(|nodes| self.top.set(nodes.pop_back().unwrap_or(0)));
            top
        })
    }

    /// Removes an entry and returns its neighbours. Returns `None` if the record does not have it.
    pub(crate) fn remove(&self, node: usize) -> Option<Neighbours> {
        let top = self.top.get();
        if node == 0 || top == 0 {
            return None;
        }
        if node == top {
            self.pop();
            return Some(Neighbours { above: None, below: Some(self.top.get()).filter(|node| *node != 0) });
        }
        self.change(|nodes| {
            let at = position(nodes, node)?;
            nodes.remove(at);
            let below = at.checked_sub(1).map(|below| nodes[below]);
            Some(Neighbours { above: Some(nodes.get(at).copied().unwrap_or(top)), below })
        })
    }

    /// Forgets all entries in a forked child, where they are the parent's.
    ///
    /// Leaks their memory: another thread of the parent may have held the allocator's lock at the fork.
    pub(crate) fn forget(&self) {
        self.top.set(0);
        self.below.set(0);
        self.nodes.set(ManuallyDrop::new(VecDeque::new()));
    }

    /// Frees the memory of the record if it is empty.
    pub(crate) fn free(&self) {
        if self.top.get() == 0 {
            drop(ManuallyDrop::into_inner(self.nodes.replace(ManuallyDrop::new(VecDeque::new()))));
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut VecDeque<usize>) -> T) -> T {
        let mut nodes = self.nodes.replace(ManuallyDrop::new(VecDeque::new()));
        let result = change(&mut nodes);
        self.below.set(nodes.len() as u32);
        self.nodes.set(nodes);
        result
    }
}

/// Returns the index of an entry. Searches from both ends, because most locks are released in the order of acquisition or its reverse.
fn position(nodes: &VecDeque<usize>, node: usize) -> Option<usize> {
    let last = nodes.len().checked_sub(1)?;
    (0..=last / 2).flat_map(|at| [at, last - at]).find(|at| nodes[*at] == node)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a record of the entries 1, 2, …
    fn record(nodes: usize) -> Linked {
        let linked = Linked::new();
        (1..=nodes).for_each(|node| linked.push(node));
        linked
    }

    #[test]
    fn remove_returns_the_neighbours_once() {
        for (node, above, below) in [(1, Some(2), None), (2, Some(3), Some(1)), (3, Some(4), Some(2)), (4, None, Some(3))] {
            let linked = record(4);
            assert_eq!(linked.remove(node), Some(Neighbours { above, below }));
            assert_eq!(linked.remove(node), None);
            assert_eq!((linked.below(), linked.top()), (2, if node == 4 { 3 } else { 4 }));
        }
    }

    #[test]
    fn entries_can_be_removed_in_any_order() {
        for order in [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]] {
            let linked = record(3);
            assert!(order.iter().all(|node| linked.remove(*node).is_some()));
            assert_eq!((linked.top(), linked.below(), linked.pop()), (0, 0, None));
        }
    }

    #[test]
    fn remove_returns_none_for_an_entry_that_was_not_linked() {
        assert_eq!(record(0).remove(0), None);
        assert_eq!(record(3).remove(0), None);
        assert_eq!(record(3).remove(7), None);
        assert_eq!(record(0).remove(7), None);
    }

    #[test]
    fn a_single_entry_allocates_nothing() {
        let linked = Linked::new();
        linked.set_only(7);
        assert_eq!((linked.top(), linked.below()), (7, 0));
        linked.remove_only();
        assert_eq!(linked.pop(), None);
    }
}
