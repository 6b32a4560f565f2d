//! The table of a run.

use comfy_table::Table;

use crate::run::{Report, RunArgs};
use crate::skew;

pub(crate) fn print(args: &RunArgs, report: &Report) {
    let mut table = Table::new();
    table.set_header(["fault", "number"]);
    for (fault, number) in &report.faults {
        table.add_row([fault.to_string(), number.to_string()]);
    }
    table.add_row(["all".to_owned(), report.faults.values().sum::<u64>().to_string()]);
    println!("{:?}, {} clients, {} locks, seed {}: {:.0?}", args.engine, args.clients, args.locks, args.seed, report.took);
    println!("{table}");
    let skew = if skew::library().is_some() { "wrong by an hour and by a day" } else { "right (faketime is not installed)" };
    println!("wall clocks of the clients: {skew}");
    let totals = report.totals;
    println!("acquisitions: {}, of which {} had the report of a death", report.acquisitions, report.reports_of_deaths);
    println!("owners whose session the server ended before its time: {}", report.ended_early);
    println!("updates of the resource: {}", totals.writes);
    println!("updates lost without the check of tokens: {}", totals.lost_unchecked);
    println!("updates lost with the check: {} ({} requests refused)", totals.lost_checked, totals.refused);
    println!("violations in the histories: {}", report.violations.len());
    for (lock, violation) in report.violations.iter().take(20) {
        println!("  lock {lock}: {violation:?}");
    }
    for lock in &report.stuck {
        println!("lock {lock} was not acquired at the end, without faults");
    }
}
