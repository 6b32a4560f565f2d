//! The graph in the language of Graphviz. Locks are boxes, threads are ellipses, and the edges of cycles are red.

use std::collections::BTreeMap;

use lock_any::{Dependence, GraphLock, GraphWait, Holder, LockAddress, WaitGraph};

use crate::output;
use crate::why;

pub(super) fn lines(graph: &WaitGraph) -> Vec<String> {
    let mut drawing = Drawing { graph, threads: BTreeMap::new(), lines: vec!["digraph locks {".to_owned()] };
    for wait in &graph.waits {
        drawing.wait(wait);
    }
    for (number, lock) in graph.locks.iter().enumerate() {
        drawing.lock(number, lock);
    }
    drawing.lines.push("}".to_owned());
    drawing.lines
}

struct Drawing<'a> {
    graph: &'a WaitGraph,
    /// The names of the nodes of threads and processes, by their description.
    threads: BTreeMap<String, String>,
    lines: Vec<String>,
}

impl Drawing<'_> {
    /// Returns the node of a thread or a process, which is drawn if it is new.
    fn thread(&mut self, holder: &Holder) -> String {
        let namespace = holder.pid_namespace.map(|inode| inode.to_string()).unwrap_or_default();
        // A process whose first thread waits, and that holds a lock as a process, is one node.
        let tid = if holder.tid == 0 { holder.pid } else { holder.tid };
        let key = format!("{namespace} {} {} {tid}", holder.host.as_deref().unwrap_or_default(), holder.pid);
        if let Some(name) = self.threads.get(&key) {
            return name.clone();
        }
        let name = format!("thread{}", self.threads.len());
        self.lines.push(format!("  {name} [label={}];", quoted(&holder.to_string())));
        self.threads.insert(key, name.clone());
        name
    }

    fn lock_name(&self, lock: &LockAddress) -> String {
        let position = self.graph.locks.iter().position(|other| other.lock == *lock);
        position.map_or_else(|| "unknown".to_owned(), |position| format!("lock{position}"))
    }

    fn wait(&mut self, wait: &GraphWait) {
        let (thread, lock) = (self.thread(&wait.thread), self.lock_name(&wait.waits_for));
        let waited = wait.waited.map(|waited| format!(" for {}", why::span(waited))).unwrap_or_default();
        let steps = self.graph.cycles.iter().flat_map(|cycle| &cycle.steps);
        let is_cyclic = steps.clone().any(|step| (&step.waiter, &step.waits_for) == (&wait.thread, &wait.waits_for));
        self.edge(&thread, &lock, &format!("waits{waited}"), is_cyclic);
        for held in &wait.holds {
            let holder = self.graph.locks.iter().find(|lock| lock.lock == held.lock).and_then(|lock| lock.holder.clone());
            let Some(holder) = holder.filter(|_| held.dependence != Dependence::Thread) else { continue };
            let process = self.thread(&holder);
            let is_step = |step: &lock_any::DeadlockStep| (&step.holds, &step.waiter) == (&held.lock, &wait.thread);
            let is_cyclic = self.graph.cycles.iter().flat_map(|cycle| &cycle.steps).any(is_step);
            let label = if held.dependence == Dependence::Ancestor { "has the descendant" } else { "has the thread" };
            if process != thread {
                self.edge(&process, &thread, label, is_cyclic);
            }
        }
    }

    fn lock(&mut self, number: usize, lock: &GraphLock) {
        let label = format!("lock {}\n{}", lock.lock.id, lock.lock.store);
        self.lines.push(format!("  lock{number} [shape=box, label={}];", quoted(&label)));
        if let Some(holder) = &lock.holder {
            let holder = self.thread(holder);
            let is_cyclic = self.graph.cycles.iter().flat_map(|cycle| &cycle.steps).any(|step| step.holds == lock.lock);
            let label = if lock.is_holder_dead { "held by the dead" } else { "held by" };
            self.edge(&format!("lock{number}"), &holder, label, is_cyclic);
        }
    }

    fn edge(&mut self, from: &str, to: &str, label: &str, is_cyclic: bool) {
        let color = if is_cyclic { ", color=red, fontcolor=red" } else { "" };
        self.lines.push(format!("  {from} -> {to} [label={}{color}];", quoted(label)));
    }
}

/// Quotes a text as a label. Line feeds stay, and other control characters are escaped.
fn quoted(text: &str) -> String {
    let lines = text.split('\n').map(|line| output::escaped(line).replace('\\', "\\\\").replace('"', "\\\""));
    format!("\"{}\"", lines.collect::<Vec<_>>().join("\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_ends_no_string_and_has_no_control_character() {
        assert_eq!(quoted("lock 1\nshm:a"), "\"lock 1\\nshm:a\"");
        assert_eq!(quoted("sh -c \"echo \\n\"\u{1b}"), "\"sh -c \\\"echo \\\\n\\\"\\\\u{1b}\"");
    }
}
