use super::*;
use crate::proto::script::run_random;

/// `LONGSHORE_CONNECTION_SCRIPTS` sets how many.
#[test]
fn random_scripts_keep_every_promise() {
    let scripts = std::env::var("LONGSHORE_CONNECTION_SCRIPTS").ok().and_then(|count| count.parse().ok());
    run_random(scripts.unwrap_or(20_000), 200, script::fuzz_connection);
}
