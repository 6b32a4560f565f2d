use super::{Report, TITLES, cells, plot};
use crate::row::Row;

/// The style, without external resources, for light and dark screens.
const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d2430; --paper: #fff; --faint: #8a94a3; --rule: #e3e7ec; --ours: #0b6bcb; --peer: #c2571a;
        --good: #1a7f37; --bad: #cf222e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ee; --paper: #12161c; --faint: #8a94a3; --rule: #2b323c; --ours: #6cb6ff; --peer: #f0a068; --good: #57ab5a;
          --bad: #ff7b72; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; font-size: 1.15rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--faint); }
td, th { padding: .25rem .6rem; border-bottom: 1px solid var(--rule); white-space: nowrap; }
td:first-child { white-space: normal; min-width: 14rem; }
.right { text-align: right; }
.yes { color: var(--good); } .NO { color: var(--bad); font-weight: 700; }
.summary { white-space: pre-line; font-weight: 600; }
.notes { color: var(--faint); font-size: .9em; }
figure { margin: 1.5rem 0; } figcaption { color: var(--faint); }
";

pub(super) fn page(report: &Report) -> String {
    let mut body = format!("<p>{}</p>\n<p class=summary>{}</p>\n", escape(&report.machine.sentence()), escape(&report.summary()));
    body += "<p class=notes>In the column of plots, the dot is the median of our figure divided by the peer's, the line through it \
             reaches from quartile to quartile, the tall stroke is the promise, and the middle is 1. The scale is logarithmic, \
             from a hundredth to a hundredfold.</p>\n";
    for (group, rows) in report.groups() {
        body += &format!("<h2>{}{}</h2>\n", group[..1].to_uppercase(), escape(&group[1..]));
        if group == crate::allocation::GROUP {
            body += &format!("<figure>{}<figcaption>Cost against the number of locks.</figcaption></figure>\n", report.growth());
        }
        body += &table(&rows);
    }
    format!(
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<meta name=viewport content=\"width=device-width\">\n\
         <title>What locks cost</title>\n<style>{STYLE}</style>\n<h1>What locks cost</h1>\n{body}</html>\n"
    )
}

fn table(rows: &[&Row]) -> String {
    let titles = TITLES.map(|title| format!("<th>{title}")).concat().replace("<th>promise", "<th><th>promise");
    let mut table = format!("<div class=scroll><table>\n<tr>{titles}\n");
    for row in rows {
        let [what, ours, peer, theirs, ratio, promise, met] = cells(row).map(|cell| escape(&cell));
        let plot = row.ratio.map_or_else(String::new, |ratio| plot::ratio(ratio, row.promise));
        table += &format!(
            "<tr><td>{what}<td class=right>{ours}<td>{peer}<td class=right>{theirs}<td>{ratio}<td>{plot}<td>{promise}\
             <td class={}>{met}\n",
            if met.is_empty() { "none" } else { &met }
        );
    }
    table += "</table></div>\n";
    let notes = rows.iter().filter_map(|row| Some(format!("<li>{}: {}", escape(&row.name), escape(row.note.as_ref()?))));
    let notes = notes.collect::<String>();
    if notes.is_empty() { table } else { format!("{table}<ul class=notes>{notes}</ul>\n") }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
