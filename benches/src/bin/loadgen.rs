//! `loadgen WORKLOAD --addr IP:PORT …`: drives one server and prints one JSON line. See `longshore_bench::load`.

use longshore_bench::{affinity, arguments::Arguments, load};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::from_env();
    let settings = load::settings::Settings::from_arguments(&arguments);
    let cores = arguments.list("core");
    arguments.refuse_unknown();
    affinity::pin_to_list(&cores)?;
    println!("{}", load::run(&settings)?);
    Ok(())
}
