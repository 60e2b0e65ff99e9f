//! The comparison in one command.
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml -- list
//! cargo run --release --manifest-path benches/Cargo.toml -- table tcp64 --rounds 7
//! cargo run --release --manifest-path benches/Cargo.toml -- all --json out.json --svg out.svg --syscalls
//! ```

use longshore_bench::arguments::{Arguments, refuse};
use longshore_bench::table::{campaign::Campaign, contender, markdown, outcome::Outcome, plan, plot, record, tools};
use std::fs;

const USAGE: &str = "runner list | table NAME[,NAME…] | all\n  \
    [--rounds N] [--duration-ms N] [--warm-up-ms N] [--peers A,B…] [--syscalls]\n  \
    [--max-other SHARE] [--retries N] [--json FILE] [--svg FILE] [--markdown FILE]";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::from_env();
    let tables: Vec<&str> = match (arguments.word(0), arguments.word(1)) {
        (Some("list"), None) => return list(),
        (Some("all"), None) => plan::TABLES.to_vec(),
        (Some("table"), Some(names)) => names.split(',').collect(),
        _ => refuse(USAGE),
    };
    if let Some(unknown) = tables.iter().find(|table| !plan::TABLES.contains(table)) {
        refuse(&format!("no table {unknown:?}; there are {}", plan::TABLES.join(", ")));
    }
    run(&tables, &arguments)
}

fn list() -> Result<(), Box<dyn std::error::Error>> {
    for table in plan::TABLES {
        plan::rows(table).iter().for_each(|row| println!("{table:12} {}", row.name));
    }
    println!("\npeers: {}", contender::labels().collect::<Vec<_>>().join(", "));
    Ok(())
}

fn run(tables: &[&str], arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let campaign = Campaign::from_arguments(arguments);
    let files = ["json", "svg", "markdown"].map(|key| arguments.text(key));
    arguments.refuse_unknown();
    tools::build()?;
    let mut outcomes: Vec<Outcome> = Vec::new();
    for row in tables.iter().flat_map(|table| plan::rows(table)) {
        let outcome = campaign.run(&row);
        println!("{}", markdown::render(&outcome, &campaign.describe(row.layout)));
        outcomes.push(outcome);
        // After every row, so that an interrupted campaign keeps what it has.
        write_files(files, &campaign, &outcomes)?;
    }
    Ok(())
}

fn write_files(
    [json, svg, markdown]: [Option<&str>; 3],
    campaign: &Campaign,
    outcomes: &[Outcome],
) -> std::io::Result<()> {
    if let Some(file) = json {
        fs::write(file, serde_json::to_string_pretty(&record::document(campaign, outcomes))?)?;
    }
    if let Some(file) = svg {
        fs::write(file, plot::render(outcomes))?;
    }
    if let Some(file) = markdown {
        let render = |outcome: &Outcome| markdown::render(outcome, &campaign.describe(outcome.row.layout));
        fs::write(file, outcomes.iter().map(render).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(())
}
