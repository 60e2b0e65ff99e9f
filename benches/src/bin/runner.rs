//! Runs the whole comparison in one command.
//!
//! ```text
//! cargo run --release -- list
//! cargo run --release -- table tcp64 --rounds 7
//! cargo run --release -- table openloop --rates 60000 --connections 1000
//! cargo run --release -- all --json results/all.json
//! cargo run --release -- table udp --json results/all.json --merge
//! cargo run --release -- profile tcp64,connect --rounds 3
//! cargo run --release -- apps http --rounds 3
//! cargo run --release -- page
//! ```

use longshore_bench::apps;
use longshore_bench::arguments::{Arguments, refuse};
use longshore_bench::table::plan::Row;
use longshore_bench::table::{
    campaign::Campaign, contender, estimate, markdown, outcome::Outcome, page, plan, profile,
    record, tools,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::{fs, io};

const USAGE: &str = "runner list | table NAME[,NAME…] | all | profile [NAME[,NAME…]] | apps [NAME[,NAME…]] | page\n  \
    table, all: [--rounds N] [--duration-ms N] [--warm-up-ms N] [--peers A,B…] [--no-syscalls]\n             \
    [--max-other SHARE] [--retries N] [--json FILE [--merge]]\n  \
    table openloop: [--rates N,N…] [--connections N,N…] [--arrivals poisson|fixed]\n  \
    profile: as table, but for --no-syscalls, --max-other, --retries and --merge\n  \
    apps [http,kv,proxy]: [--rounds N] [--seconds N] [--examples DIRECTORY] [--json FILE]\n  \
    page: [--results DIRECTORY] [--readme FILE]";
const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results");
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::from_env();
    let tables: Vec<&str> = match (arguments.word(0), arguments.word(1)) {
        (Some("list"), None) => return list(),
        (Some("page"), None) => return write_page(&arguments),
        (Some("apps"), _) => return apps::contest::run(&arguments),
        (Some("all" | "profile"), None) => plan::TABLES.to_vec(),
        (Some("table" | "profile"), Some(names)) => names.split(',').collect(),
        _ => refuse(USAGE),
    };
    if let Some(unknown) = tables.iter().find(|table| !plan::TABLES.contains(table)) {
        refuse(&format!(
            "no table {unknown:?}; there are {}",
            plan::TABLES.join(", ")
        ));
    }
    let rows: Vec<Row> = tables
        .iter()
        .flat_map(|table| match *table {
            "openloop" => open_loop(&arguments),
            table => plan::rows(table),
        })
        .collect();
    if arguments.word(0) == Some("profile") {
        profile_rows(&rows, &arguments)
    } else {
        run(&rows, &arguments)
    }
}

/// The rows of the open loop: those of the plan, or those that the options describe.
fn open_loop(arguments: &Arguments) -> Vec<Row> {
    let numbers = |key: &str| -> Vec<u32> {
        let number = |text: &String| match text.parse() {
            Ok(number) if number > 0 => number,
            _ => refuse(&format!("--{key} does not accept {text:?}")),
        };
        arguments.list(key).iter().map(number).collect()
    };
    let or = |given: Vec<u32>, usual: &[u32]| match given.is_empty() {
        true => usual.to_vec(),
        false => given,
    };
    let rates = or(numbers("rates"), &plan::OPEN_LOOP_RATES);
    let connections = or(numbers("connections"), &plan::OPEN_LOOP_CONNECTIONS);
    match arguments.text("arrivals").unwrap_or("poisson") {
        arrivals @ ("poisson" | "fixed") => plan::open_loop(&rates, &connections, arrivals),
        other => refuse(&format!("--arrivals does not accept {other:?}")),
    }
}

fn list() -> Result<(), Box<dyn std::error::Error>> {
    for table in plan::TABLES {
        plan::rows(table)
            .iter()
            .for_each(|row| println!("{table:12} {}", row.name));
    }
    println!(
        "\npeers: {}",
        contender::labels().collect::<Vec<_>>().join(", ")
    );
    Ok(())
}

fn write_page(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let results: PathBuf = arguments.value("results", RESULTS.into());
    let readme: PathBuf = arguments.value("readme", README.into());
    arguments.refuse_unknown();
    Ok(page::write(&results, &readme)?)
}

fn run(rows: &[Row], arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let campaign = Campaign::from_arguments(arguments);
    let file: Option<PathBuf> = arguments.optional("json");
    let earlier = match (&file, arguments.flag("merge")) {
        (Some(file), true) => earlier_rows(file)?,
        _ => Vec::new(),
    };
    arguments.refuse_unknown();
    tools::build()?;
    let minutes = estimate::duration(&campaign, rows).as_secs_f64() / 60.0;
    eprintln!(
        "{} rows, about {minutes:.0} minutes on a quiet machine, longer if runs have to be repeated",
        rows.len()
    );
    let mut outcomes: Vec<Outcome> = Vec::new();
    for row in rows {
        let outcome = campaign.run(row);
        println!("{}", markdown::render(&outcome));
        outcomes.push(outcome);
        // Writes after every row, so that an interrupted campaign keeps what it has.
        if let Some(file) = &file {
            fs::write(
                file,
                record::document(&campaign, &outcomes, &earlier).to_string(),
            )?;
        }
    }
    Ok(())
}

fn profile_rows(rows: &[Row], arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let campaign = Campaign::from_arguments(arguments);
    let file: Option<PathBuf> = arguments.optional("json");
    arguments.refuse_unknown();
    tools::build()?;
    let mut profiles = Vec::new();
    for row in rows.iter().filter(|row| profile::is_profiled(row)) {
        profiles.push(profile::profile(&campaign, row)?);
        let document = json!({ "environment": record::environment(), "rows": profiles });
        if let Some(file) = &file {
            fs::write(file, document.to_string())?;
        }
    }
    println!("{}", profile::render(&json!({ "rows": profiles })));
    Ok(())
}

fn earlier_rows(file: &Path) -> io::Result<Vec<Value>> {
    let document: Value = serde_json::from_slice(&fs::read(file)?)?;
    Ok(document["rows"].as_array().cloned().unwrap_or_default())
}
