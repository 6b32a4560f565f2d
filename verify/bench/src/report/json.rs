use serde_json::{Value, json};

use super::Report;
use crate::row::{Row, Spread};

/// Formats the report as JSON. Figures are medians, in the row's unit.
pub(super) fn json(report: &Report) -> String {
    let machine = &report.machine;
    let value = json!({
        "machine": {
            "cpus": machine.cpus, "model": machine.model, "kernel": machine.kernel, "measured": machine.rounds,
        },
        "rows": report.rows.iter().map(row).collect::<Vec<_>>(),
    });
    format!("{value:#}\n")
}

fn row(row: &Row) -> Value {
    let median = |spread: Option<Spread>| spread.map(|spread| spread.median);
    let quartiles = |spread: Option<Spread>| spread.map(|spread| [spread.low, spread.high]);
    json!({
        "group": row.group,
        "name": row.title(),
        "unit": row.unit.name(),
        "ours": median(row.ours),
        "ours_quartiles": quartiles(row.ours),
        "peer": row.peer.as_ref().map(|(_, spread)| spread.median),
        "peer_name": row.peer.as_ref().map(|(name, _)| name),
        "ratio": median(row.ratio),
        "ratio_quartiles": quartiles(row.ratio),
        "promise": row.promise.map(|promise| promise.shown(row.unit)),
        "met": row.is_met(),
        "note": row.note,
    })
}
