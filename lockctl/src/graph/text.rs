//! The graph in sentences, one a line.

use std::time::Duration;

use lock_any::{Dependence, GraphLock, GraphStore, GraphWait, HeldDuringWait, Holder, LockAddress, WaitGraph};

use crate::why;

/// The shortest time that is worth a word.
const SHORT: Duration = Duration::from_secs(1);

pub(super) fn lines(graph: &WaitGraph) -> Vec<String> {
    let names = Names { is_one_store: graph.stores.len() == 1 };
    let mut lines: Vec<_> = graph.stores.iter().map(|store| format!("store {}", store.store)).collect();
    lines.extend(graph.waits.iter().flat_map(|wait| names.wait(wait, graph)));
    lines.extend(graph.locks.iter().map(|lock| names.lock_and_holder(lock)));
    if graph.waits.is_empty() && graph.stores.iter().any(|store| store.names_waiters) {
        lines.push("no thread waits".to_owned());
    }
    lines.extend(graph.cycles.iter().flat_map(why::about_deadlock));
    lines.extend(graph.stores.iter().filter_map(unseen));
    lines
}

fn unseen(store: &GraphStore) -> Option<String> {
    if !store.names_waiters {
        return Some(format!("the backend of {} does not name the threads that wait", store.store));
    }
    store.incomplete.as_ref().map(|incomplete| format!("not everything of {} could be seen: {incomplete}", store.store))
}

/// The names of locks: with their store if there are several.
struct Names {
    is_one_store: bool,
}

impl Names {
    fn of(&self, lock: &LockAddress) -> String {
        if self.is_one_store { format!("lock {}", lock.id) } else { lock.to_string() }
    }

    fn wait(&self, wait: &GraphWait, graph: &WaitGraph) -> Vec<String> {
        let long = wait.waited.filter(|waited| *waited >= SHORT);
        let long = long.map(|waited| format!(", for at least {}", why::span(waited))).unwrap_or_default();
        let lost = if wait.is_lost { "; its wake-up was lost, and no release will wake it" } else { "" };
        let mut lines = vec![format!("{} waits for {}{long}{lost}", wait.thread, self.of(&wait.waits_for))];
        let holder_of = |lock: &LockAddress| graph.locks.iter().find(|other| other.lock == *lock)?.holder.clone();
        lines.extend(wait.holds.iter().map(|held| self.held(held, holder_of(&held.lock))));
        lines
    }

    fn held(&self, held: &HeldDuringWait, holder: Option<Holder>) -> String {
        let lock = self.of(&held.lock);
        match (held.dependence, holder) {
            (Dependence::Ancestor, Some(holder)) => format!("  its ancestor {holder} holds {lock}"),
            (Dependence::Process, _) => format!("  its process holds {lock}, which another thread may release"),
            _ => format!("  it holds {lock}"),
        }
    }

    fn lock_and_holder(&self, lock: &GraphLock) -> String {
        let name = self.of(&lock.lock);
        match (&lock.holder, &lock.doubt) {
            (Some(holder), _) if lock.is_holder_dead => format!("{name} is held by {holder}, which is dead"),
            (Some(holder), _) => format!("{name} is held by {holder}"),
            (None, Some(doubt)) => format!("the holder of {name} is not known: {doubt}"),
            (None, None) => format!("{name} is free"),
        }
    }
}
