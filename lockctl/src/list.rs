//! `list`: lists allocated and held locks. It acquires, delays and changes no lock.

use std::time::{Duration, SystemTime};

use lock_any::{Error, Holder, Numbering, Store};
use serde::Serialize;

use crate::cli::{ListArgs, StoreArgs};
use crate::entries;
use crate::exit::Failure;
use crate::facts::Entry;
use crate::output::{self, Rows};
use crate::target::Key;

#[derive(Serialize)]
struct Listing {
    store: String,
    locks: Vec<Entry>,
}

pub(crate) fn list(store_args: &StoreArgs, args: &ListArgs) -> Result<(), Failure> {
    let store = store_args.open()?;
    let locks = match (args.locks.as_slice(), args.held) {
        ([], true) => held_only(&store)?,
        ([], false) => entries::all(&store)?.into_values().collect(),
        (words, held) => {
            let entries = words.iter().map(|word| entries::of(&store, &Key::parse(word)?.find(&store)?));
            entries
                .filter(|entry| !held || !entry.as_ref().is_ok_and(|entry| entry.held == Some(false)))
                .collect::<Result<_, _>>()?
        }
    };
    if args.format.json {
        return Ok(output::print_json(&Listing { store: store.url().to_owned(), locks })?);
    }
    // Only a store between machines names hosts.
    let hosts = locks.iter().any(|lock| lock.holder.as_ref().is_some_and(|holder| holder.host.is_some()));
    let mut titles = vec!["ID", "LABEL", "ALLOCATED", "PID", "TID", "COMMAND", "WAITERS"];
    if hosts {
        titles.push("HOST");
    }
    let mut rows = Rows::new(&titles).right(&[0, 3, 4, 6]);
    for lock in &locks {
        let host = hosts.then(|| lock.holder.as_ref().and_then(|holder| holder.host.clone()).unwrap_or_default());
        rows.push(cells(lock).into_iter().chain(host));
    }
    Ok(rows.print()?)
}

fn held_only(store: &Store) -> Result<Vec<Entry>, Error> {
    if store.capabilities().numbering != Numbering::Single {
        return Ok(entries::held(store)?.into_values().collect());
    }
    let entry = entries::single(store)?;
    match entry.held {
        Some(true) => Ok(vec![entry]),
        Some(false) => Ok(Vec::new()),
        None => Err(Error::unsupported("it does not know whether its lock is held")),
    }
}

fn cells(lock: &Entry) -> [String; 7] {
    let holder = lock.holder.as_ref();
    let of_holder = |get: fn(&Holder) -> String| holder.map(get).unwrap_or_default();
    let command = match (&lock.doubt, holder, lock.held) {
        // The rest of the text explains it.
        (Some(doubt), ..) => {
            format!("({})", doubt.split("; ").next().and_then(|text| text.split(": ").next()).unwrap_or_default())
        }
        (None, Some(holder), _) => holder.command.clone(),
        (None, None, Some(true)) => "(not recorded)".to_owned(),
        (None, None, Some(false)) => String::new(),
        (None, None, None) => "?".to_owned(),
    };
    [
        lock.id.to_string(),
        lock.label.to_string(),
        if lock.allocated { lock.since.map_or_else(|| "yes".to_owned(), ago) } else { "no".to_owned() },
        of_holder(|holder| known(holder.pid)),
        of_holder(|holder| known(holder.tid)),
        command,
        lock.waiters.map(|count| count.to_string()).unwrap_or_default(),
    ]
}

/// Formats the id of a process or a thread, which is 0 if it is unknown.
fn known(id: u32) -> String {
    if id == 0 { String::new() } else { id.to_string() }
}

/// Formats the age of a time, in its two largest units.
fn ago(since: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    format!("{} ago", span(now.saturating_sub(since)))
}

fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, "0s")]
    #[case(59, "59s")]
    #[case(60, "1m00s")]
    #[case(3_599, "59m59s")]
    #[case(3_600, "1h00m")]
    #[case(90_000, "1d01h")]
    fn a_span_has_its_two_largest_units(#[case] seconds: u64, #[case] text: &str) {
        assert_eq!(span(seconds), text);
    }
}
