//! Cycles in a directed graph: its strongly connected components with more than one node (Tarjan 1972).

use std::collections::BTreeSet;

/// Finds the cycles of a graph, each in ascending order. `graph[a]` lists the successors of `a`.
pub(super) fn find(graph: &[BTreeSet<usize>]) -> Vec<Vec<usize>> {
    let mut search = Search { graph, reached: vec![None; graph.len()], on_stack: Vec::new(), count: 0, found: Vec::new() };
    for node in 0..graph.len() {
        if search.reached[node].is_none() {
            search.visit(node);
        }
    }
    search.found
}

struct Search<'a> {
    graph: &'a [BTreeSet<usize>],
    /// The number of each node in the order of visits.
    reached: Vec<Option<usize>>,
    on_stack: Vec<usize>,
    count: usize,
    found: Vec<Vec<usize>>,
}

impl Search<'_> {
    /// Visits a new node. Returns the earliest node on the stack that it reaches.
    fn visit(&mut self, node: usize) -> usize {
        let order = self.count;
        self.count += 1;
        self.reached[node] = Some(order);
        self.on_stack.push(node);
        let mut earliest = order;
        for &next in &self.graph[node] {
            match self.reached[next] {
                None => earliest = earliest.min(self.visit(next)),
                Some(at) if self.on_stack.contains(&next) => earliest = earliest.min(at),
                Some(_) => {}
            }
        }
        if earliest == order {
            let at = self.on_stack.iter().position(|other| *other == node).expect("the node was pushed");
            let mut component = self.on_stack.split_off(at);
            component.sort_unstable();
            if component.len() > 1 {
                self.found.push(component);
            }
        }
        earliest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found_and_trees_are_none() {
        let graph = |edges: &[&[usize]]| edges.iter().map(|to| to.iter().copied().collect()).collect::<Vec<BTreeSet<_>>>();
        assert!(find(&graph(&[&[1, 2], &[2], &[]])).is_empty());
        assert_eq!(find(&graph(&[&[1], &[2], &[0], &[0]])), [[0, 1, 2]]);
        assert_eq!(find(&graph(&[&[1], &[0], &[3], &[2]])).len(), 2);
    }
}
