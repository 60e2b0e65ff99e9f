//! Draws the ratios to the best tokio flavor as an SVG: a line for each row and a mark for each peer.
//!
//! The axis is logarithmic, so that twice as good and half as good are equally far from tokio. Of a peer with several
//! flavors the best is drawn; where processor time decides (see [`verdict`]) the mark is hollow. A ratio beyond the
//! axis is drawn at its end with its figure.

use super::contender::Family;
use super::outcome::{Cell, Outcome};
use super::verdict::{self, By};
use crate::spread::Spread;
use std::fmt::Write;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 290.0;
const RIGHT: f64 = 815.0;
const LINE: f64 = 24.0;
const TOP: f64 = 78.0;
const LEAST: f64 = 0.4;
const MOST: f64 = 2.5;
const TICKS: &[f64] = &[0.5, 0.7, 1.0, 1.4, 2.0];

/// The peers that are drawn, the last on top; tokio is the line at 1.
const PEERS: &[(&str, &str)] = &[
    ("kameo", "#f08c00"),
    ("ractor", "#1098ad"),
    ("actix", "#9c36b5"),
    ("message-io", "#2f9e44"),
    ("mio", "#868e96"),
    ("epoll", "#212529"),
    ("longshore", "#e03131"),
];

/// Draws all rows below each other.
pub fn render(outcomes: &[Outcome]) -> String {
    let rows: Vec<&Outcome> = outcomes
        .iter()
        .filter(|outcome| outcome.best_of(Family::Tokio).is_some())
        .collect();
    let bottom = TOP + LINE * rows.len() as f64;
    let mut body = legend();
    for tick in TICKS {
        axis(&mut body, *tick, bottom);
    }
    for (index, outcome) in rows.iter().enumerate() {
        row(&mut body, outcome, TOP + LINE * index as f64, index);
    }
    let height = bottom + 30.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

fn legend() -> String {
    let mut text = format!(
        "<text x=\"{middle}\" y=\"20\" text-anchor=\"middle\" font-size=\"14\" font-weight=\"bold\">\
         Ratio to the best tokio flavor, to the right is better</text>\n\
         <text x=\"14\" y=\"60\" fill=\"#666\" font-size=\"11\">hollow: server CPU per message decides</text>\n",
        middle = WIDTH / 2.0
    );
    for (index, (peer, color)) in PEERS.iter().rev().enumerate() {
        let x = 190.0 + 92.0 * index as f64;
        writeln!(
            text,
            "<circle cx=\"{x}\" cy=\"38\" r=\"{}\" fill=\"{color}\"/><text x=\"{}\" y=\"42\">{peer}</text>",
            radius(peer),
            x + 9.0
        )
        .expect("writing to a string");
    }
    text
}

fn axis(body: &mut String, tick: f64, bottom: f64) {
    let x = place(tick);
    let (color, width) = if tick == 1.0 {
        ("#1971c2", 2.0)
    } else {
        ("#dee2e6", 1.0)
    };
    let label = if tick == 1.0 {
        "tokio = 1".to_owned()
    } else {
        format!("{tick}")
    };
    writeln!(
        body,
        "<line x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"{color}\" stroke-width=\"{width}\"/>\
         <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">{label}</text>\
         <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">{label}</text>",
        TOP - 8.0,
        TOP - 14.0,
        bottom + 16.0
    )
    .expect("writing to a string");
}

fn row(body: &mut String, outcome: &Outcome, top: f64, index: usize) {
    if index.is_multiple_of(2) {
        writeln!(
            body,
            "<rect x=\"8\" y=\"{top}\" width=\"{}\" height=\"{LINE}\" fill=\"#868e96\" fill-opacity=\"0.09\"/>",
            WIDTH - 16.0
        )
        .expect("writing to a string");
    }
    let middle = top + LINE / 2.0;
    writeln!(
        body,
        "<text x=\"14\" y=\"{}\">{}</text>",
        middle + 4.0,
        escape(&outcome.row.name)
    )
    .expect("writing to a string");
    for (peer, color) in PEERS {
        if let Some((by, ratio)) = drawn(outcome, peer) {
            mark(body, peer, color, by, ratio, middle);
        }
    }
}

/// The deciding ratio of a peer's best flavor.
fn drawn(outcome: &Outcome, peer: &str) -> Option<(By, Spread)> {
    let ratio = |cell: &Cell| verdict::ratio(outcome, cell, Family::Tokio);
    if peer == "longshore" {
        return ratio(verdict::champion(outcome)?);
    }
    let flavors = outcome
        .cells
        .iter()
        .filter(|cell| cell.contender.peer == peer);
    flavors
        .filter_map(ratio)
        .max_by(|(_, one), (_, other)| one.median.total_cmp(&other.median))
}

fn mark(body: &mut String, peer: &str, color: &str, by: By, ratio: Spread, y: f64) {
    let x = place(ratio.median);
    if peer == "longshore" {
        writeln!(
            body,
            "<line x1=\"{:.1}\" y1=\"{y}\" x2=\"{:.1}\" y2=\"{y}\" stroke=\"{color}\" stroke-width=\"2\" stroke-opacity=\"0.5\"/>",
            place(ratio.min),
            place(ratio.max)
        )
        .expect("writing to a string");
    }
    let fill = if by == By::Cpu { "#fff" } else { color };
    writeln!(
        body,
        "<circle cx=\"{x:.1}\" cy=\"{y}\" r=\"{}\" fill=\"{fill}\" stroke=\"{color}\" stroke-width=\"1.8\"><title>{peer} {}</title></circle>",
        radius(peer),
        ratio.as_ratio()
    )
    .expect("writing to a string");
    if peer == "longshore" && !(LEAST..=MOST).contains(&ratio.median) {
        let (x, anchor) = if ratio.median > MOST {
            (x - 9.0, "end")
        } else {
            (x + 9.0, "start")
        };
        writeln!(
            body,
            "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"{anchor}\" fill=\"{color}\">{:.1}</text>",
            y + 4.0,
            ratio.median
        )
        .expect("writing to a string");
    }
}

fn radius(peer: &str) -> f64 {
    if peer == "longshore" { 5.5 } else { 4.0 }
}

/// Where a ratio lies; beyond the axis, at its end.
fn place(ratio: f64) -> f64 {
    let share = (ratio.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    LEFT + share * (RIGHT - LEFT)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
