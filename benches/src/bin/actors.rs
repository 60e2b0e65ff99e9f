//! Message passing inside one process, compared.
//!
//! ```text
//! cargo run --release --bin actors -- --json results/actors.json
//! cargo run --release --bin actors -- --scenarios flood,fan-in --subjects tokio,actix
//! ```

use longshore_bench::{actors::contest, arguments::Arguments, table::record};
use serde_json::json;
use std::fs;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::from_env();
    if arguments.word(0) == Some("one") {
        contest::one(&arguments);
    }
    // Reads every option before anything runs, so that a misspelled one is found at once.
    for key in contest::OPTIONS {
        arguments.text(key);
    }
    let json_file = arguments.text("json");
    arguments.refuse_unknown();
    let mut results = Vec::new();
    let events = contest::events(&arguments);
    eprintln!(
        "{} events, about {:.0} minutes",
        events.len(),
        contest::minutes(&events, &arguments)
    );
    for event in events {
        let result = contest::run(&event, &arguments)?;
        println!("{}", result.markdown());
        results.push(result.to_json());
    }
    if let Some(file) = json_file {
        let document = json!({ "environment": record::environment(), "events": results });
        fs::write(file, document.to_string())?;
    }
    Ok(())
}
