//! Longshore's client of NATS beside async-nats, against a nats-server that this starts.
//!
//! ```text
//! cargo run --release --features nats --bin nats -- --json results/nats.json
//! cargo run --release --features nats --bin nats -- --rounds 3 --messages 200000
//! ```

use longshore_bench::{arguments::Arguments, nats, table::record};
use serde_json::json;
use std::fs;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::from_env();
    if arguments.word(0) == Some("one") {
        nats::one(&arguments);
    }
    // Reads every option before anything runs, so that a misspelled one is found at once.
    for key in nats::OPTIONS {
        arguments.text(key);
    }
    let json_file = arguments.text("json");
    arguments.refuse_unknown();
    let results = nats::run(&arguments)?;
    if let Some(file) = json_file {
        let document = json!({ "environment": record::environment(), "nats": results });
        fs::write(file, document.to_string())?;
    }
    Ok(())
}
