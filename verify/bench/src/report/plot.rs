//! Plots as SVG. In a page they use the colours of the page, and otherwise default colours.

use crate::allocation::{Filling, Point};
use crate::promise::Promise;
use crate::row::Spread;
use crate::unit::Unit;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 180.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 50.0;

const STYLE: &str = "<style>
svg.growth { --i: var(--ink, #1d2430); --r: var(--rule, #e3e7ec); --o: var(--ours, #0b6bcb); --p: var(--peer, #c2571a);
  font: 12px system-ui, sans-serif; max-width: 100%; height: auto }
@media (prefers-color-scheme: dark) {
  svg.growth { --i: var(--ink, #e4e8ee); --r: var(--rule, #2b323c); --o: var(--ours, #6cb6ff); --p: var(--peer, #f0a068) }
}
.growth text { fill: var(--i) } .growth .grid { stroke: var(--r) }
.growth .ours { stroke: var(--o); fill: none; stroke-width: 2 } .growth .podman { stroke: var(--p); fill: none; stroke-width: 2 }
.growth text.ours { fill: var(--o); stroke: none } .growth text.podman { fill: var(--p); stroke: none }
</style>";

/// Plots the cost of allocation against the number of locks, with logarithmic axes.
pub(super) fn growth(points: &[Point]) -> String {
    let figures = points.iter().flat_map(|point| [point.ours_ns, point.podman_ns]);
    let (least, most) = figures.fold((f64::INFINITY, 1.0), |(least, most), ns| (ns.min(least), ns.max(most)));
    let sizes = points.iter().map(|point| f64::from(point.locks));
    let (small, large) = sizes.fold((f64::INFINITY, 1.0), |(small, large), size| (size.min(small), size.max(large)));
    let (floor, ceiling) = (least.log10().floor(), most.log10().ceil());
    let part = |value: f64, low: f64, high: f64| if high > low { (value - low) / (high - low) } else { 0.5 };
    let x = |locks: f64| LEFT + (WIDTH - LEFT - RIGHT) * part(locks.log2(), small.log2(), large.log2());
    let y = |ns: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part(ns.log10(), floor, ceiling);

    let mut svg = format!(
        "<svg class=\"growth\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"cost of allocate and free against the number of locks\">{STYLE}\n"
    );
    if points.is_empty() {
        return svg + "</svg>";
    }
    for power in floor as i32..=ceiling as i32 {
        let ns = 10_f64.powi(power);
        let (at, label) = (y(ns), Unit::Nanoseconds.show(ns));
        svg += &format!("<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>", WIDTH - RIGHT);
        svg += &format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n", LEFT - 8.0, at + 4.0);
    }
    let mut sizes: Vec<_> = points.iter().map(|point| point.locks).collect();
    sizes.dedup();
    for locks in sizes {
        let at = x(f64::from(locks));
        svg += &format!("<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{}\"/>", HEIGHT - BOTTOM);
        svg += &format!("<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{locks}</text>\n", HEIGHT - BOTTOM + 18.0);
    }
    svg += &format!("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">locks</text>\n", (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0);
    svg += &lines(points, x, y);
    svg + "</svg>"
}

/// Draws a labelled line for ours and podman's, for each filling.
fn lines(points: &[Point], x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) -> String {
    let mut svg = String::new();
    let mut labels = Vec::new();
    for (whose, of) in [("ours", (|point| point.ours_ns) as fn(&Point) -> f64), ("podman", |point| point.podman_ns)] {
        for (filling, dashes) in Filling::ALL.into_iter().zip(["2 4", "8 4", "none"]) {
            let line = points.iter().filter(|point| point.filling == filling);
            let line: Vec<_> = line.map(|point| (x(f64::from(point.locks)), y(of(point)))).collect();
            let path: Vec<_> = line.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            svg += &format!("<polyline class=\"{whose}\" stroke-dasharray=\"{dashes}\" points=\"{}\"/>\n", path.join(" "));
            labels.extend(line.last().map(|(x, y)| (*x, *y, whose, filling.name())));
        }
    }
    // Moves overlapping labels down.
    labels.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut free_from = 0.0_f64;
    for (x, y, whose, filling) in labels {
        let y = y.max(free_from);
        free_from = y + 14.0;
        svg += &format!("<text class=\"{whose}\" x=\"{:.1}\" y=\"{:.1}\">{whose}, {filling}</text>\n", x + 8.0, y + 4.0);
    }
    svg
}

/// Plots a ratio on a logarithmic scale from 0.01 to 100, with the promise if it is a ratio.
pub(super) fn ratio(ratio: Spread, promise: Option<Promise>) -> String {
    let x = |value: f64| 80.0 + 39.0 * value.clamp(0.01, 100.0).log10();
    let mut svg = String::from("<svg width=\"160\" height=\"18\" viewBox=\"0 0 160 18\" role=\"img\" aria-label=\"ratio\">");
    svg += "<line x1=\"2\" x2=\"158\" y1=\"9\" y2=\"9\" stroke=\"var(--rule)\"/>";
    svg += "<line x1=\"80\" x2=\"80\" y1=\"4\" y2=\"14\" stroke=\"var(--faint)\"/>";
    if let Some(bound) = promise.and_then(Promise::on_ratio) {
        svg += &format!(
            "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"1\" y2=\"17\" stroke=\"var(--peer)\" stroke-width=\"2\"/>",
            x(bound)
        );
    }
    let [low, median, high] = [ratio.low, ratio.median, ratio.high].map(x);
    svg += &format!("<line x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"9\" y2=\"9\" stroke=\"var(--ours)\" stroke-width=\"3\"/>");
    svg + &format!("<circle cx=\"{median:.1}\" cy=\"9\" r=\"4\" fill=\"var(--ours)\"/></svg>")
}
