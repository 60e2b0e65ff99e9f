//! The rows, and their rounds: every round meets every contender once, each time with a fresh server.

use super::loads::{self, Load};
use super::report;
use super::servers::{App, Program, build_examples, examples_directory};
use crate::arguments::{Arguments, refuse};
use crate::table::{campaign::order, record, tools};
use serde_json::{Value, json};
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The core of the measured server.
const CORE: usize = 0;

/// Where a proxy connects its clients to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upstream {
    None,
    Http,
    Source,
}

/// One load for several servers.
#[derive(Clone, Copy, Debug)]
struct Row {
    name: &'static str,
    app: &'static str,
    load: Load,
    upstream: Upstream,
}

/// A server, and the ratios that longshore is to reach beside it: at least this rate, at least this part of its
/// processor time for an operation saved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contender {
    pub(super) label: &'static str,
    program: Program,
    pub(super) goals: Option<(f64, f64)>,
}

/// Rate and processor time of an equal.
const EQUAL: Option<(f64, f64)> = Some((0.97, 1.0 / 1.03));

const ROWS: [Row; 9] = [
    Row::new("http, 50 connections", "http", Load::Requests),
    Row::new("kv, GET", "kv", Load::Commands("get", 1)),
    Row::new("kv, GET, 16 in a pipeline", "kv", Load::Commands("get", 16)),
    Row::new("kv, GET, 64 in a pipeline", "kv", Load::Commands("get", 64)),
    Row::new("kv, SET", "kv", Load::Commands("set", 1)),
    Row::new("kv, SET, 16 in a pipeline", "kv", Load::Commands("set", 16)),
    Row::new("kv, SET, 64 in a pipeline", "kv", Load::Commands("set", 64)),
    Row::new("proxy, requests on 50 connections", "proxy", Load::Requests).to(Upstream::Http),
    Row::new("proxy, 1 GiB on one connection", "proxy", Load::Transfer).to(Upstream::Source),
];

/// The applications by name.
pub const APPS: [&str; 3] = ["http", "kv", "proxy"];

impl Row {
    const fn new(name: &'static str, app: &'static str, load: Load) -> Self {
        Self {
            name,
            app,
            load,
            upstream: Upstream::None,
        }
    }

    const fn to(self, upstream: Upstream) -> Self {
        Self { upstream, ..self }
    }
}

/// The servers of an application, longshore's first.
pub(super) fn contenders(app: &str) -> Vec<Contender> {
    let contender = |label, program, goals| Contender {
        label,
        program,
        goals,
    };
    match app {
        "http" => vec![
            contender("longshore", Program::Example("http"), None),
            contender("tokio", Program::Own("tokio-http"), EQUAL),
            contender("axum", Program::Own("axum-http"), Some((0.97, 1.05))),
            contender("nginx", Program::Nginx, EQUAL),
        ],
        "kv" => vec![
            contender("longshore", Program::Example("kv"), None),
            contender("tokio", Program::Own("tokio-kv"), EQUAL),
            contender("redis-server", Program::Redis, EQUAL),
        ],
        _ => vec![
            contender("longshore", Program::Example("proxy"), None),
            contender("tokio", Program::Own("tokio-proxy"), EQUAL),
            contender("haproxy", Program::Haproxy, EQUAL),
        ],
    }
}

/// `runner apps [NAME,…]`: runs the rows, prints their tables and writes the file of `--json`.
///
/// # Errors
///
/// If the tools do not build or the file cannot be written. A contender that fails is reported in its row.
pub fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let chosen = arguments
        .word(1)
        .map(|names| names.split(',').collect::<Vec<_>>());
    let chosen = chosen.unwrap_or_else(|| APPS.to_vec());
    if let Some(unknown) = chosen.iter().find(|name| !APPS.contains(name)) {
        refuse(&format!(
            "no application {unknown:?}; there are {}",
            APPS.join(", ")
        ));
    }
    let rounds = arguments.value("rounds", 9);
    let duration = Duration::from_secs(arguments.value("seconds", 2));
    let examples = examples_directory(arguments.optional("examples"));
    let file: Option<PathBuf> = arguments.optional("json");
    arguments.refuse_unknown();
    tools::build()?;
    build_examples(&chosen)?;
    let mut rows = Vec::new();
    for row in ROWS.iter().filter(|row| chosen.contains(&row.app)) {
        rows.push(play(row, rounds, duration, &examples)?);
        let document = json!({ "environment": record::environment(), "rows": rows });
        println!("{}", report::render_row(rows.last().expect("just added")));
        if let Some(file) = &file {
            std::fs::write(file, document.to_string())?;
        }
    }
    Ok(())
}

fn play(row: &Row, rounds: usize, duration: Duration, examples: &Path) -> io::Result<Value> {
    let contenders = contenders(row.app);
    let mut runs = vec![Vec::new(); contenders.len()];
    let http = match row.upstream {
        Upstream::Http => {
            let program = Program::Own("tokio-http");
            Some(App::start(program, examples, None, loads::CORE)?)
        }
        Upstream::None | Upstream::Source => None,
    };
    let upstream: Option<SocketAddr> = match row.upstream {
        Upstream::None => None,
        Upstream::Http => http.as_ref().map(|app| app.addr),
        Upstream::Source => Some(loads::source()?),
    };
    for round in 1..=rounds {
        for index in order(contenders.len(), round) {
            let contender = &contenders[index];
            let run = App::start(contender.program, examples, upstream, CORE)
                .and_then(|app| row.load.run(&app, duration))
                .unwrap_or_else(|error| json!({ "error": error.to_string() }));
            eprintln!("{} · round {round} · {} · {run}", row.name, contender.label);
            runs[index].push(run);
        }
    }
    let contenders: Vec<Value> = contenders
        .iter()
        .zip(runs)
        .map(|(contender, runs)| json!({ "label": contender.label, "runs": runs }))
        .collect();
    Ok(json!({
        "name": row.name,
        "app": row.app,
        "unit": row.load.unit(),
        "method": format!("{rounds} interleaved rounds, server on core {CORE}, client on core {}", loads::CORE),
        "contenders": contenders,
    }))
}
