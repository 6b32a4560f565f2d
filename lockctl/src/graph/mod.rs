//! `graph`: prints the threads that wait, their locks and the holders. It acquires, delays and changes no lock.

mod dot;
mod text;

use lock_any::WaitGraph;

use crate::cli::{GraphArgs, StoreArgs};
use crate::exit::Failure;
use crate::output;

pub(crate) fn graph(store_args: &StoreArgs, args: &GraphArgs) -> Result<(), Failure> {
    let stores = store_args.open_all()?;
    let graph = WaitGraph::read(&stores)?;
    if args.format.json {
        return Ok(output::print_json(&graph)?);
    }
    let lines = if args.dot { dot::lines(&graph) } else { text::lines(&graph) };
    Ok(output::print(lines.iter().map(|line| format!("{}\n", output::escaped(line))).collect::<String>())?)
}
