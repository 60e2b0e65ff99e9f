//! Message passing inside one process, compared.
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml --bin actors -- --rounds 7 --json actors.json
//! cargo run --release --manifest-path benches/Cargo.toml --bin actors -- --scenarios flood,fan-in --subjects tokio,actix
//! ```

use longshore_bench::{actors::contest, arguments::Arguments, table::record};
use serde_json::json;
use std::fs;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::from_env();
    if arguments.word(0) == Some("one") {
        contest::one(&arguments);
    }
    // Asked for once before anything runs, so that a misspelt option is found at once.
    for key in contest::OPTIONS {
        arguments.text(key);
    }
    let (json_file, markdown_file) = (arguments.text("json"), arguments.text("markdown"));
    arguments.refuse_unknown();
    let (mut results, mut markdown) = (Vec::new(), String::new());
    for event in contest::events(&arguments) {
        let result = contest::run(&event, &arguments)?;
        println!("{}", result.markdown());
        markdown.push_str(&result.markdown());
        markdown.push('\n');
        results.push(result.to_json());
    }
    if let Some(file) = json_file {
        let document = json!({ "environment": record::environment(), "events": results });
        fs::write(file, serde_json::to_string_pretty(&document)?)?;
    }
    if let Some(file) = markdown_file {
        fs::write(file, markdown)?;
    }
    Ok(())
}
