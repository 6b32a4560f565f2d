use comfy_table::{CellAlignment, Table, presets};

use super::{Report, TITLES, cells};

/// Formats the report as tables for a terminal.
pub(super) fn text(report: &Report) -> String {
    let mut text = format!("{}\n", report.machine.sentence());
    for (group, rows) in report.groups() {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(TITLES.map(str::to_uppercase));
        for row in &rows {
            table.add_row(cells(row));
        }
        for number in [1, 3] {
            table.column_mut(number).expect("there are as many as titles").set_cell_alignment(CellAlignment::Right);
        }
        text += &format!("\n{}\n{table}\n", group.to_uppercase());
        for row in rows {
            if let Some(note) = &row.note {
                text += &format!("   {}: {note}\n", row.name);
            }
        }
    }
    text + "\n" + &report.summary() + "\n"
}
