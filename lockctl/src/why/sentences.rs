//! The report in sentences, one a line.

use std::time::{Duration, SystemTime};

use lock_any::{Holder, Waiter};

use super::report::{LockReport, Process, Report, StepReport};

/// The number of waiters of a lock that the explanation of a store names.
const FEW: usize = 3;

/// The shortest time that is worth a word. The sleeps of a waiter with a deadline are shorter.
const SHORT: Duration = Duration::from_secs(1);

/// Returns the sentences about one lock.
pub(crate) fn about_lock(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for lock in &report.locks {
        lines.push(headline(lock));
        lines.extend(holder(lock, report));
        lines.push(allocation(lock));
        lines.extend(objects(lock));
        lines.extend(waiters(lock, report, usize::MAX));
    }
    lines.extend(report.cycles.iter().flat_map(|cycle| about_cycle(cycle)));
    lines.extend(report.unseen.iter().map(|unseen| format!("not everything could be seen: {unseen}")));
    lines
}

/// Returns the sentences about a store.
pub(crate) fn about_store(report: &Report) -> Vec<String> {
    let mut lines = vec![format!("store {}", report.store)];
    lines.extend(report.details.iter().map(|(title, value)| format!("  {title}: {value}")));
    lines.push(match report.held {
        Some(1) => "1 lock is held".to_owned(),
        Some(count) => format!("{count} locks are held"),
        None => "the backend does not list held locks; name the id of one".to_owned(),
    });
    for lock in &report.locks {
        lines.push(headline(lock));
        lines.extend(holder(lock, report));
        lines.extend(objects(lock));
        lines.extend(waiters(lock, report, FEW));
    }
    lines.extend(report.cycles.iter().flat_map(|cycle| about_cycle(cycle)));
    let waits = report.locks.iter().any(|lock| lock.entry.waiters.is_some_and(|count| count > 0));
    // A backend that counts waiters has counted those of each held lock.
    let counts = report.names_waiters || report.counts_waiters;
    let is_mutex_free = report.details.get("segment mutex").is_none_or(|state| state.starts_with("free"));
    // The threads that wait for the segment mutex of podman are in the details.
    if !waits && is_mutex_free {
        lines.push(if counts { "no thread waits" } else { "the backend does not know whether threads wait" }.to_owned());
    }
    lines.extend(report.unseen.iter().map(|unseen| format!("not everything could be seen: {unseen}")));
    lines
}

fn headline(lock: &LockReport) -> String {
    let (id, entry) = (lock.entry.id, &lock.entry);
    match (entry.held, &entry.holder) {
        (Some(true), Some(holder)) if lock.is_holder_dead => format!("lock {id} is held by {holder}, which is dead"),
        (Some(true), Some(holder)) => format!("lock {id} is held by {holder}{}", at_least(entry.held_for_at_least)),
        (Some(true), None) => format!("lock {id} is held, and its holder is not known"),
        (Some(false), _) => format!("lock {id} is free"),
        (None, _) => format!("it is not known whether lock {id} is held"),
    }
}

fn at_least(duration: Option<Duration>) -> String {
    let long = duration.filter(|duration| *duration >= SHORT);
    long.map(|duration| format!(", for at least {}", span(duration))).unwrap_or_default()
}

/// Returns the facts about the holder: how certain it is, what its process does, and for which locks it waits.
fn holder(lock: &LockReport, report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    // A dead holder needs no doubt that only says so.
    if let Some(doubt) = lock.entry.doubt.as_ref().filter(|doubt| *doubt != crate::entries::DEAD) {
        lines.push(match lock.entry.holder {
            Some(_) => format!("  this is not certain: {doubt}"),
            None => format!("  {doubt}"),
        });
    } else if lock.is_holder_dead {
        let id = lock.entry.id;
        lines.push(match report.is_breakable {
            true => format!("  the lock stays held; release it by `lockctl --store '{}' break --yes {id}`", report.store),
            false => "  the next acquisition takes it over".to_owned(),
        });
    }
    lines.extend(lock.process.as_ref().map(process));
    for wanted in &lock.waits_for {
        let state = match &wanted.holder {
            Some(holder) if Some(holder) == lock.entry.holder.as_ref() => "which it holds itself".to_owned(),
            Some(holder) => format!("which is held by {holder}"),
            None => "whose holder is not known".to_owned(),
        };
        lines.push(format!("  the holder waits for lock {}, {state}", wanted.id));
    }
    lines
}

fn process(process: &Process) -> String {
    let started = process.age.map(|age| format!("pid {} started {} ago; ", process.pid, span(age))).unwrap_or_default();
    let activity = process.activity.strip_prefix("it ").unwrap_or(&process.activity);
    let advice = if process.is_stopped { format!("; `kill -CONT {}` continues it", process.pid) } else { String::new() };
    let thread = if process.tid == process.pid { "its first thread".to_owned() } else { format!("its thread {}", process.tid) };
    format!("  {started}{thread} {activity}{advice}")
}

fn allocation(lock: &LockReport) -> String {
    let entry = &lock.entry;
    if !entry.allocated {
        return format!("  id {} is not allocated", entry.id);
    }
    let mut line = "  allocated".to_owned();
    if !entry.label.as_str().is_empty() {
        line += &format!(" as {:?}", entry.label.as_str());
    }
    if let Some(since) = entry.since {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        line += &format!(" {} ago", span(now.saturating_sub(Duration::from_secs(since))));
    }
    if let Some(allocator) = &entry.allocator {
        line += &format!(" by {allocator}");
    }
    line
}

fn objects(lock: &LockReport) -> impl Iterator<Item = String> {
    lock.objects.iter().map(|object| {
        let id = object.id.as_ref().map(|id| format!(" ({})", id.chars().take(12).collect::<String>())).unwrap_or_default();
        format!("  podman's {} {}{id} has this lock", object.kind, object.name)
    })
}

fn waiters(lock: &LockReport, report: &Report, most: usize) -> Vec<String> {
    let mut lines: Vec<_> = lock.waiting.iter().take(most).map(|waiter| waiting(waiter, report)).collect();
    let more = lock.waiting.len().saturating_sub(most);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    if lines.is_empty() {
        lines.push(match lock.entry.waiters {
            Some(0) => "no thread waits for it".to_owned(),
            Some(1) => "1 thread waits for it".to_owned(),
            Some(count) => format!("{count} threads wait for it"),
            // About a store, it is said once.
            None if lock.entry.held == Some(false) || most != usize::MAX => return lines,
            None => "the backend does not know whether threads wait for it".to_owned(),
        });
    }
    lines
}

fn waiting(waiter: &Waiter, report: &Report) -> String {
    let line = format!("{} waits for it{}", waiter.thread, at_least(waiter.waited));
    if !waiter.is_lost {
        return line;
    }
    let wake = format!("`lockctl --store '{}' run {} -- true` wakes it", report.store, waiter.id);
    format!("{line}; its wake-up was lost, and no release will wake it: {wake}")
}

/// Returns the sentences about a cycle.
fn about_cycle(cycle: &[StepReport]) -> Vec<String> {
    let mut lines: Vec<_> = cycle
        .iter()
        .map(|step| format!("{} holds lock {} and waits for lock {}", step.waiter, step.id, step.waits_for))
        .collect();
    // A lock that belongs to a process may be released by a thread that does not wait.
    let of_process = |step: &&StepReport| step.holder.as_ref().is_some_and(|holder: &Holder| holder.tid == 0);
    let unless = cycle
        .iter()
        .find(of_process)
        .map(|step| format!(", unless another thread of pid {} releases lock {}", step.waiter.pid, step.id));
    let these = if cycle.len() == 1 { "it waits for itself" } else { "each waits for another one" };
    let pid = cycle.first().map_or(0, |step| step.waiter.pid);
    lines.push(format!("this is a deadlock: {these}{}; end one process, such as by `kill {pid}`", unless.unwrap_or_default()));
    lines
}

/// Formats a duration in its largest unit of which there are two.
fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "days"), (3_600, "h"), (60, "min")];
    let unit = units.iter().find(|(length, _)| seconds >= 2 * length);
    if seconds == 0 {
        return "less than 1 s".to_owned();
    }
    unit.map_or_else(|| format!("{seconds} s"), |(length, name)| format!("{} {name}", seconds / length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, "less than 1 s")]
    #[case(1, "1 s")]
    #[case(119, "119 s")]
    #[case(120, "2 min")]
    #[case(7_199, "119 min")]
    #[case(7_200, "2 h")]
    #[case(172_799, "47 h")]
    #[case(172_800, "2 days")]
    fn a_span_has_its_largest_unit(#[case] seconds: u64, #[case] text: &str) {
        assert_eq!(span(Duration::from_secs(seconds)), text);
    }

    fn step(pid: u32, holder: Holder, id: u32, waits_for: u32) -> StepReport {
        let waiter = Holder::of_process(pid).with_thread(pid).with_command("prog");
        StepReport { id: id.into(), holder: Some(holder), waiter, waits_for: waits_for.into() }
    }

    #[test]
    fn a_cycle_has_a_sentence_for_each_step_and_a_last_one() {
        let thread = |pid| Holder::of_process(pid).with_thread(pid);
        let lines = about_cycle(&[step(10, thread(10), 1, 2), step(11, thread(11), 2, 1)]);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], "pid 10 (prog) holds lock 1 and waits for lock 2");
        assert_eq!(lines[2], "this is a deadlock: each waits for another one; end one process, such as by `kill 10`");
    }

    #[test]
    fn a_holder_that_is_a_process_makes_a_cycle_uncertain() {
        let lines = about_cycle(&[step(10, Holder::of_process(10), 1, 1)]);
        assert!(lines[1].contains("waits for itself") && lines[1].contains("unless another thread of pid 10"), "{lines:?}");
    }
}
