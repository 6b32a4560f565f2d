//! The locks of a store: deaths that are not dealt with, allocations without a purpose, and the numbers of ids and processes.

use lock_any::{Breaking, Error, Numbering, Result, Store};

use super::finding::{Finding, few};
use crate::entries;
use crate::info;
use crate::list::{Row, Rows, State};

/// The number of locks that are named.
const FEW: usize = 10;

/// The maximum number of processes that have a store on a table open.
const PROCESSES: u64 = 16_384;

pub(super) fn examine(store: &Store, findings: &mut Vec<Finding>) -> Result<()> {
    store.check()?;
    let mut found = Found::default();
    if store.capabilities().numbering == Numbering::Single {
        found.add(&Row::from(entries::single(store)?));
    } else {
        for row in Rows::of(store, false)? {
            found.add(&row?);
        }
        findings.extend(exhaustion(store)?);
    }
    let is_stuck = store.capabilities().breaking == Breaking::Explicit;
    findings.extend(found.deaths.iter().map(|row| death(row, store.url(), is_stuck)));
    let more = found.dead - found.deaths.len() as u64;
    if more > 0 {
        let text = format!("{more} more locks have a dead holder, or a death that is not dealt with");
        findings.push(Finding::warning("deaths", text, format!("list them by `lockctl --store '{}' list`", store.url())));
    }
    findings.extend(found.unexplained());
    let processes = store.details().into_iter().find(|(title, _)| *title == "processes");
    findings.extend(processes.and_then(|(_, count)| many_processes(count.parse().ok()?)));
    Ok(())
}

/// Locks that need a sentence: the first ones, and their number.
#[derive(Default)]
struct Found {
    deaths: Vec<Row>,
    dead: u64,
    unexplained: Vec<String>,
    unexplained_count: u64,
}

impl Found {
    fn add(&mut self, row: &Row) {
        if row.death.is_some() || row.state == State::DeadHolder {
            self.dead += 1;
            if self.deaths.len() < FEW {
                self.deaths.push(row.clone());
            }
        }
        if row.allocated && row.label.is_empty() && row.allocator_lives == Some(false) && row.held != Some(true) {
            self.unexplained_count += 1;
            if self.unexplained.len() < FEW {
                self.unexplained.push(row.id.to_string());
            }
        }
    }

    fn unexplained(&self) -> Option<Finding> {
        let ids = few(&self.unexplained, self.unexplained_count);
        let text = match self.unexplained_count {
            0 => return None,
            1 => format!("id {ids} has no label, and the process that allocated it has ended"),
            count => format!("{count} ids have no label, and the processes that allocated them have ended: {ids}"),
        };
        let remedy =
            "free what no program uses (`lockctl free ID`), and allocate with a label (`--label`) that says what the id is for";
        Some(Finding::warning("allocations", text, remedy))
    }
}

fn death(row: &Row, url: &str, is_stuck: bool) -> Finding {
    let id = row.id;
    let holder = row.death.as_ref().and_then(|death| death.holder.as_ref()).or(row.holder.as_ref());
    let holder = holder.map_or_else(|| "an owner that is not recorded".to_owned(), ToString::to_string);
    let cause = row.death.as_ref().map_or_else(|| "died".to_owned(), |death| death.cause.to_string());
    if is_stuck && row.state == State::DeadHolder {
        let text = format!("lock {id} stays held: {holder} {cause} while it held the lock");
        return Finding::problem("deaths", text, format!("release it by `lockctl --store '{url}' break --yes {id}`"));
    }
    let text = format!("{holder} {cause} while it held lock {id}, and no owner has marked the data of the lock consistent");
    let remedy = format!("check the data; `lockctl --store '{url}' run {id} -- true` then says that it is consistent");
    Finding::warning("deaths", text, remedy)
}

fn exhaustion(store: &Store) -> Result<Option<Finding>, Error> {
    let Some((text, advice)) = info::exhaustion(store, store.available()?) else { return Ok(None) };
    let is_full = store.available()? == Some(0);
    Ok(Some(if is_full { Finding::problem("capacity", text, advice) } else { Finding::warning("capacity", text, advice) }))
}

fn many_processes(count: u64) -> Option<Finding> {
    let text = format!("{count} processes have the store open, and at most {PROCESSES} can");
    let remedy = "end processes that do not use the store, or use several stores";
    (count * 10 >= PROCESSES * 9).then(|| Finding::warning("processes", text, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_tenths_of_the_processes_are_many() {
        assert_eq!(many_processes(14_745), None);
        let finding = many_processes(14_746).unwrap();
        assert!(finding.text.contains("14746") && finding.text.contains("16384"), "{finding:?}");
    }
}
