//! Draws the live view.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Flex, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Clear, Paragraph, Row as Cells, Table, Wrap};

use super::keys;
use super::model::{Model, Sort};
use super::row::{self, Condition, Row};
use crate::output::escaped;

/// The largest part of the width that labels have, as a divisor.
const LABEL_SHARE: u16 = 4;

/// The height from which there is space for an explanation.
const TALL: u16 = 10;

/// Whether the terminal shows colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Palette {
    Colours,
    Plain,
}

/// Draws the whole screen.
pub(crate) fn draw(frame: &mut Frame<'_>, model: &mut Model, palette: Palette) {
    let area = frame.area();
    let details = if model.has_details && area.height >= TALL { area.height / 3 } else { 0 };
    let parts = Layout::vertical([Constraint::Length(2), Constraint::Min(0), Constraint::Length(details), Constraint::Length(1)]);
    let [head, body, below, foot] = parts.areas(area);
    frame.render_widget(Paragraph::new(headline(model, palette)), head);
    table(frame, model, body, palette);
    if details > 0 {
        explanation(frame, model, below);
    }
    frame.render_widget(Paragraph::new(footer(model)), foot);
    if model.has_help {
        help(frame, area);
    }
}

fn headline(model: &Model, palette: Palette) -> Vec<Line<'static>> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let seconds = model.interval.as_secs_f64();
    let mut first = vec![Span::styled(escaped(&model.store).into_owned(), bold), Span::raw(format!("  every {seconds} s"))];
    if model.is_paused {
        first.push(Span::styled("  PAUSED", bold));
    }
    let second = match &model.lost {
        Some(reason) => {
            let reason = escaped(reason).into_owned();
            Line::styled(format!("{reason}; still trying, and the locks below are those read last"), alarm(palette))
        }
        None => summary(model, palette),
    };
    vec![Line::from(first), second]
}

/// Counts the locks: held ones, waiting threads, and locks in trouble by their conditions.
fn summary(model: &Model, palette: Palette) -> Line<'static> {
    let rows = &model.sample.rows;
    let held = rows.iter().filter(|row| row.condition != Condition::Free).count();
    let waiting: u64 = rows.iter().filter_map(|row| row.waiters).map(u64::from).sum();
    let is_counted = rows.is_empty() || rows.iter().any(|row| row.waiters.is_some());
    let waiting = if is_counted { format!("{waiting} waiting") } else { "waiters not known".to_owned() };
    let mut spans = vec![Span::raw(format!("{held} held, {waiting}, "))];
    let mut troubles: Vec<_> = rows.iter().map(|row| row.condition).filter(|condition| condition.is_trouble()).collect();
    troubles.sort();
    if troubles.is_empty() {
        spans.push(Span::raw("no trouble"));
    } else {
        let kinds: Vec<_> =
            troubles.chunk_by(|one, other| one == other).map(|kind| format!("{} {}", kind.len(), kind[0])).collect();
        spans.push(Span::styled(format!("{} in trouble: {}", troubles.len(), kinds.join(", ")), alarm(palette)));
    }
    if let Some(unseen) = &model.sample.unseen {
        spans.push(Span::raw(format!("; not everything could be seen: {}", escaped(unseen))));
    }
    Line::from(spans)
}

fn table(frame: &mut Frame<'_>, model: &mut Model, area: Rect, palette: Palette) {
    if area.height == 0 {
        return;
    }
    let sort = model.sort;
    let is_filtered = !model.filter.is_empty();
    let (rows, selected) = model.window(usize::from(area.height - 1));
    if rows.is_empty() {
        let text = if is_filtered { "no lock matches the filter" } else { "no lock is held" };
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let columns = Columns::of(&rows, area.width);
    let cells = rows.iter().enumerate().map(|(position, row)| {
        let style = if selected == Some(position) { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        columns.cells(row, palette).style(style)
    });
    let table = Table::new(cells, columns.widths()).header(columns.titles(sort)).column_spacing(1);
    frame.render_widget(table, area);
}

/// The columns that the terminal has space for.
struct Columns {
    id: u16,
    /// Whether a holder is a thread other than the first one of its process.
    has_threads: bool,
    label: u16,
}

impl Columns {
    fn of(rows: &[&Row], width: u16) -> Self {
        let widest = |text: fn(&Row) -> usize| rows.iter().map(|row| text(row)).max().unwrap_or(0);
        let label = widest(|row| Span::raw(escaped(&row.label)).width()).min(usize::from(width / LABEL_SHARE)) as u16;
        let holders = rows.iter().filter_map(|row| row.holder.as_ref());
        Self {
            id: widest(|row| row.id.to_string().len()).max(3) as u16,
            has_threads: holders.into_iter().any(|holder| ![0, holder.pid].contains(&holder.tid)),
            label: if label == 0 { 0 } else { label.max(5) },
        }
    }

    fn widths(&self) -> Vec<Constraint> {
        let mut widths = vec![Constraint::Length(self.id), Constraint::Length(9), Constraint::Length(7)];
        widths.extend(self.has_threads.then_some(Constraint::Length(7)));
        widths.extend([Constraint::Min(7), Constraint::Length(7), Constraint::Length(7), Constraint::Length(7)]);
        widths.extend((self.label > 0).then_some(Constraint::Length(self.label)));
        widths
    }

    /// Returns the titles. The one of the order is underlined.
    fn titles(&self, sort: Sort) -> Cells<'static> {
        let title = |name: &'static str, of: Option<Sort>| match of == Some(sort) {
            true => Span::styled(name, Style::new().add_modifier(Modifier::UNDERLINED)),
            false => Span::raw(name),
        };
        let right = |name, of| Cell::new(Line::from(title(name, of)).alignment(Alignment::Right));
        let mut cells = vec![right("ID", Some(Sort::Id)), Cell::new(title("STATE", Some(Sort::Trouble))), right("PID", None)];
        cells.extend(self.has_threads.then(|| right("TID", None)));
        cells.push(Cell::new("COMMAND"));
        cells.push(right("HELD", Some(Sort::HeldFor)));
        cells.push(right("WAITERS", Some(Sort::Waiters)));
        cells.push(right("LONGEST", Some(Sort::LongestWait)));
        cells.extend((self.label > 0).then(|| Cell::new(title("LABEL", Some(Sort::Label)))));
        Cells::new(cells).style(Style::new().add_modifier(Modifier::BOLD))
    }

    fn cells(&self, row: &Row, palette: Palette) -> Cells<'static> {
        let right = |text: String| Cell::new(Line::from(text).alignment(Alignment::Right));
        let bound = |time: Option<Duration>| right(time.map(row::at_least).unwrap_or_default());
        let known = |id: u32| if id == 0 { String::new() } else { id.to_string() };
        let (pid, tid) = row.holder.as_ref().map_or((0, 0), |holder| (holder.pid, holder.tid));
        let mut cells = vec![right(row.id.to_string()), Cell::new(row.condition.name()).style(style(row.condition, palette))];
        cells.push(right(known(pid)));
        cells.extend(self.has_threads.then(|| right(known(tid))));
        cells.push(Cell::new(command(row)));
        cells.push(bound(row.held_for));
        cells.push(right(row.waiters.map(|count| count.to_string()).unwrap_or_default()));
        cells.push(bound(row.longest_wait));
        cells.extend((self.label > 0).then(|| Cell::new(escaped(&row.label).into_owned())));
        Cells::new(cells)
    }
}

/// Returns the command of the holder with its host, or why there is none.
fn command(row: &Row) -> String {
    let text = match (&row.holder, &row.doubt) {
        (Some(holder), _) => match &holder.host {
            Some(host) => format!("{} on {host}", holder.command),
            None => holder.command.clone(),
        },
        (None, Some(doubt)) => format!("({doubt})"),
        (None, None) if row.condition == Condition::Free => String::new(),
        (None, None) => "(not recorded)".to_owned(),
    };
    escaped(&text).into_owned()
}

fn style(condition: Condition, palette: Palette) -> Style {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let colour = match condition {
        _ if palette == Palette::Plain => return if condition.is_trouble() { bold } else { Style::new() },
        Condition::Deadlock | Condition::Dead | Condition::LostWakeUp | Condition::Stopped => return bold.fg(Color::Red),
        Condition::Doubtful | Condition::LongWait | Condition::LongHold => Color::Yellow,
        Condition::Suspended => Color::Magenta,
        Condition::Contended => Color::Cyan,
        Condition::Held | Condition::Free => return Style::new(),
    };
    Style::new().fg(colour)
}

fn alarm(palette: Palette) -> Style {
    style(Condition::Stopped, palette)
}

fn explanation(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let title = model.selected_row().map(|row| format!(" lock {} ", row.id)).unwrap_or_default();
    let lines: Vec<_> = match &model.explanation {
        Some(explanation) => explanation.lines.iter().map(|line| Line::raw(escaped(line))).collect(),
        None => Vec::new(),
    };
    let block = Block::new().borders(Borders::TOP).title(title);
    frame.render_widget(Paragraph::new(lines).block(block).wrap(Wrap { trim: false }), area);
}

fn footer(model: &Model) -> Line<'static> {
    let filter = escaped(&model.filter).into_owned();
    if model.is_typing {
        return Line::raw(format!("/{filter}_   Enter keeps the filter, Esc clears it"));
    }
    let order = if model.is_reversed { ", reversed" } else { "" };
    let mut text = format!("q quit  ? help  s sort: {}{order}  r reverse  / filter", model.sort.name());
    if !filter.is_empty() {
        text += &format!(": {filter} ({} of {})", model.admitted(), model.sample.rows.len());
    }
    Line::raw(text + "  d details  p pause")
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let lines: Vec<_> = keys::HELP.iter().map(|(keys, about)| Line::raw(format!(" {keys:<24} {about}"))).collect();
    let bounds = "≥ marks a lower bound: the time may be longer. An empty time is not known.";
    let lines: Vec<_> = lines.into_iter().chain([Line::raw(""), Line::raw(format!(" {bounds}"))]).collect();
    let width = lines.iter().map(Line::width).max().unwrap_or(0) as u16 + 3;
    let height = lines.len() as u16 + 2;
    let [across] = Layout::horizontal([Constraint::Length(width)]).flex(Flex::Center).areas(area);
    let [place] = Layout::vertical([Constraint::Length(height)]).flex(Flex::Center).areas(across);
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" keys ")), place);
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
