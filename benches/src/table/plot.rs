//! Ratios to the best tokio flavour as horizontal bars with their range: an SVG written by hand.

use super::contender::Family;
use super::outcome::{Cell, Outcome};
use std::fmt::Write;

const LEFT: f64 = 150.0;
const UNIT: f64 = 300.0;
const WIDTH: f64 = 800.0;
const BAR: f64 = 14.0;
const GAP: f64 = 5.0;
const HEAD: f64 = 34.0;
const MOST: f64 = (WIDTH - LEFT - 20.0) / UNIT;

/// Draws all rows below each other.
pub fn render(outcomes: &[Outcome]) -> String {
    let mut body = String::new();
    let mut y = 20.0;
    for outcome in outcomes {
        y = group(&mut body, outcome, y);
    }
    let one = LEFT + UNIT;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{one}\" y=\"14\" text-anchor=\"middle\" fill=\"#555\">best tokio flavour = 1; more is better</text>\n\
         <line x1=\"{one}\" y1=\"20\" x2=\"{one}\" y2=\"{y}\" stroke=\"#999\" stroke-dasharray=\"3 3\"/>\n{body}</svg>\n",
        height = y + 10.0,
    )
}

fn group(body: &mut String, outcome: &Outcome, top: f64) -> f64 {
    let title = escape(&outcome.row.name);
    writeln!(body, "<text x=\"8\" y=\"{}\" font-weight=\"bold\">{title}</text>", top + 20.0)
        .expect("writing to a string");
    let mut y = top + HEAD;
    let Some(base) = outcome.best_of(Family::Tokio) else { return y };
    for cell in &outcome.cells {
        bar(body, outcome, cell, base, y);
        y += BAR + GAP;
    }
    y
}

fn bar(body: &mut String, outcome: &Outcome, cell: &Cell, base: &Cell, y: f64) {
    let Some(ratio) = outcome.ratio(cell, base) else { return };
    let x = |ratio: f64| LEFT + UNIT * ratio.min(MOST);
    let color = match cell.contender.family {
        Family::Longshore => "#d9480f",
        Family::Epoll => "#495057",
        Family::Tokio => "#1971c2",
        Family::Other => "#adb5bd",
    };
    // A figure that says nothing about the server is drawn pale.
    let opacity = if cell.generator_limited() { 0.45 } else { 1.0 };
    let (middle, baseline) = (y + BAR / 2.0, y + BAR - 3.0);
    writeln!(
        body,
        "<text x=\"{label}\" y=\"{baseline}\" text-anchor=\"end\">{name}</text>\
         <rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{color}\" fill-opacity=\"{opacity}\"/>\
         <line x1=\"{min:.1}\" y1=\"{middle}\" x2=\"{max:.1}\" y2=\"{middle}\" stroke=\"#000\"/>\
         <text x=\"{inside}\" y=\"{baseline}\" fill=\"#fff\">{median:.2}</text>",
        label = LEFT - 6.0,
        name = cell.contender.label,
        width = x(ratio.median) - LEFT,
        min = x(ratio.min),
        max = x(ratio.max),
        inside = LEFT + 4.0,
        median = ratio.median,
    )
    .expect("writing to a string");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
