//! `list`: lists allocated and held locks. It acquires, delays and changes no lock.
//!
//! The list is written while it is read, so that a store of a million locks needs no memory to speak of.

mod row;
mod rows;
mod span;
mod table;

use std::io::{self, BufWriter, Write};

use lock_any::Numbering;

pub(crate) use self::row::{Row, State};
pub(crate) use self::rows::Rows;
use self::table::Table;
use crate::cli::{ListArgs, StoreArgs};
use crate::entries;
use crate::exit::Failure;
use crate::output;
use crate::target::Key;

pub(crate) fn list(store_args: &StoreArgs, args: &ListArgs) -> Result<(), Failure> {
    let store = store_args.open()?;
    if !args.locks.is_empty() {
        let rows = args.locks.iter().map(|word| Row::of(&store, &Key::parse(word)?.find(&store)?));
        let rows = rows.filter(|row| !args.held || !row.as_ref().is_ok_and(|row| row.held == Some(false)));
        return write(store.url(), args, rows.collect::<Result<Vec<_>, _>>()?.into_iter().map(Ok));
    }
    if store.capabilities().numbering == Numbering::Single {
        let entry = entries::single(&store)?;
        if args.held && entry.held.is_none() {
            return Err(lock_any::Error::unsupported("it does not know whether its lock is held").into());
        }
        let row = (!args.held || entry.held == Some(true)).then(|| Row::from(entry));
        return write(store.url(), args, row.map(Ok));
    }
    let rows = Rows::of(&store, args.held)?;
    write(store.url(), args, rows)
}

fn write(url: &str, args: &ListArgs, rows: impl IntoIterator<Item = lock_any::Result<Row>>) -> Result<(), Failure> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    match args.format.json {
        true => write_json(&mut out, url, rows)?,
        false => write_table(&mut out, args.wide, rows)?,
    }
    Ok(out.flush()?)
}

/// Writes one document, with a line for each lock.
fn write_json(out: &mut impl Write, url: &str, rows: impl IntoIterator<Item = lock_any::Result<Row>>) -> Result<(), Failure> {
    write!(out, "{{\"store\":{},\"locks\":[", serde_json::Value::from(url))?;
    let mut separator = "\n";
    for row in rows {
        out.write_all(separator.as_bytes())?;
        serde_json::to_writer(&mut *out, &row?).map_err(io::Error::from)?;
        separator = ",\n";
    }
    Ok(out.write_all(b"\n]}\n")?)
}

fn write_table(
    out: &mut impl Write,
    is_wide: bool,
    rows: impl IntoIterator<Item = lock_any::Result<Row>>,
) -> Result<(), Failure> {
    let width = if is_wide { None } else { output::terminal_width() };
    let mut table = Table::new(out, width);
    for row in rows {
        table.push(&row?)?;
    }
    Ok(table.finish()?)
}
