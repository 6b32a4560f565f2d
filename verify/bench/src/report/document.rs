use super::{Report, TITLES, cells};

/// Formats the report as tables in Markdown.
pub(super) fn document(report: &Report) -> String {
    let mut text = format!("Measured on {}.\n\n{}\n", report.machine.sentence(), report.summary());
    for (group, rows) in report.groups() {
        text += &format!("\n### {}{}\n\n", group[..1].to_uppercase(), &group[1..]);
        text += &line(&TITLES.map(str::to_owned));
        text += "|---|--:|---|--:|---|---|---|\n";
        let mut notes = Vec::new();
        for row in rows {
            text += &line(&cells(row));
            notes.extend(row.note.as_ref().map(|note| format!("- {}: {note}.\n", row.name)));
        }
        if !notes.is_empty() {
            text += &format!("\n{}", notes.concat());
        }
    }
    text
}

fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// Replaces the text between the marks of this name.
pub(crate) fn replace(text: &str, name: &str, new: &str) -> Result<String, String> {
    let (begin, end) = (format!("<!-- {name}: "), format!("<!-- /{name} -->"));
    let missing = |mark: &str| format!("the mark {mark:?} is missing");
    let start = text.find(&begin).ok_or_else(|| missing(&begin))?;
    let start = start + text[start..].find('\n').ok_or_else(|| missing(&begin))? + 1;
    let stop = start + text[start..].find(&end).ok_or_else(|| missing(&end))?;
    Ok(format!("{}{new}{}", &text[..start], &text[stop..]))
}
