//! The nodes that a thread has linked, in private memory.
//!
//! The links between lines are in memory that every user of the store can write to. They are for the kernel; the thread itself never
//! follows one, and writes only to nodes that are recorded here.

use std::cell::Cell;
use std::collections::VecDeque;
use std::mem::ManuallyDrop;

/// Nodes in the order in which they were linked.
pub(crate) struct Linked {
    /// The latest node; 0 where there is none.
    top: Cell<usize>,
    /// The number of the others.
    below: Cell<u32>,
    /// The others, the earliest first. Without a destructor, so that locks can be released in those of other thread-local values.
    nodes: Cell<ManuallyDrop<VecDeque<usize>>>,
}

/// The nodes beside a node that was removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Neighbours {
    /// The one that was linked next.
    pub(crate) above: Option<usize>,
    /// The one that was linked before.
    pub(crate) below: Option<usize>,
}

impl Linked {
    pub(crate) const fn new() -> Self {
        Self { top: Cell::new(0), below: Cell::new(0), nodes: Cell::new(ManuallyDrop::new(VecDeque::new())) }
    }

    /// The latest node; 0 where there is none.
    #[inline]
    pub(crate) fn top(&self) -> usize {
        self.top.get()
    }

    /// The number of nodes, less one.
    #[inline]
    pub(crate) fn below(&self) -> u32 {
        self.below.get()
    }

    /// Adds the first node.
    #[inline]
    pub(crate) fn set_only(&self, node: usize) {
        self.top.set(node);
    }

    /// Removes the only node.
    #[inline]
    pub(crate) fn remove_only(&self) {
        self.top.set(0);
    }

    /// Adds a node to others or to none.
    pub(crate) fn push(&self, node: usize) {
        let earlier = self.top.replace(node);
        if earlier != 0 {
            self.change(|nodes| nodes.push_back(earlier));
        }
    }

    /// Removes the latest node.
    pub(crate) fn pop(&self) -> Option<usize> {
        let top = self.top.get();
        (top != 0).then(|| {
            self.change(|nodes| self.top.set(nodes.pop_back().unwrap_or(0)));
            top
        })
    }

    /// Removes a node; `None` when it is not there.
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

    /// Forgets all nodes. In a forked child they are the parent's, and their memory is not freed: another thread of the parent may have
    /// been in the allocator.
    pub(crate) fn forget(&self) {
        self.top.set(0);
        self.below.set(0);
        self.nodes.set(ManuallyDrop::new(VecDeque::new()));
    }

    /// Frees the memory of the record, if there is no node.
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

/// Where the node is. Locks are mostly released in the order in which they were acquired, or in the reverse: it is searched from both ends.
fn position(nodes: &VecDeque<usize>, node: usize) -> Option<usize> {
    let last = nodes.len().checked_sub(1)?;
    (0..=last / 2).flat_map(|at| [at, last - at]).find(|at| nodes[*at] == node)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of the nodes 1, 2, …
    fn record(nodes: usize) -> Linked {
        let linked = Linked::new();
        (1..=nodes).for_each(|node| linked.push(node));
        linked
    }

    #[test]
    fn a_removed_node_had_these_neighbours() {
        for (node, above, below) in [(1, Some(2), None), (2, Some(3), Some(1)), (3, Some(4), Some(2)), (4, None, Some(3))] {
            let linked = record(4);
            assert_eq!(linked.remove(node), Some(Neighbours { above, below }));
            assert_eq!(linked.remove(node), None);
            assert_eq!((linked.below(), linked.top()), (2, if node == 4 { 3 } else { 4 }));
        }
    }

    #[test]
    fn all_nodes_are_removed_in_any_order() {
        for order in [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]] {
            let linked = record(3);
            assert!(order.iter().all(|node| linked.remove(*node).is_some()));
            assert_eq!((linked.top(), linked.below(), linked.pop()), (0, 0, None));
        }
    }

    #[test]
    fn what_was_not_linked_is_not_found() {
        assert_eq!(record(0).remove(0), None);
        assert_eq!(record(3).remove(0), None);
        assert_eq!(record(3).remove(7), None);
        assert_eq!(record(0).remove(7), None);
    }

    #[test]
    fn the_only_node_needs_no_memory() {
        let linked = Linked::new();
        linked.set_only(7);
        assert_eq!((linked.top(), linked.below()), (7, 0));
        linked.remove_only();
        assert_eq!(linked.pop(), None);
    }
}
