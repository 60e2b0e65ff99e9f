//! `peer NAME [--addr IP:PORT] [--mode echo|sink|udp|tls] [--workers N] …`: one echo server of one library.
//!
//! The first line on standard output is the bound address. It runs until it is killed.

mod sessions;

use longshore_bench::affinity;
use longshore_bench::arguments::{Arguments, refuse};
use longshore_bench::peers::{Options, PEERS, Serve, Served};

/// The one that is not in the library; its page says why.
const SESSIONS: (&str, Serve) = ("longshore-sessions", sessions::serve);

fn main() -> Served {
    let arguments = Arguments::from_env();
    let peers = || PEERS.iter().chain([&SESSIONS]);
    let names = || {
        let names: Vec<_> = peers().map(|(name, _)| *name).collect();
        names.join("|")
    };
    let name = arguments
        .word(0)
        .unwrap_or_else(|| refuse(&format!("peer {}", names())));
    let Some((_, serve)) = peers().find(|(known, _)| *known == name) else {
        refuse(&format!("unknown peer {name:?}, one of {}", names()));
    };
    let cores = arguments.list("core");
    // Pins before the handlers are calibrated, because the calibration must run on the core that serves.
    affinity::pin_to_list(&cores)?;
    let options = Options::from_arguments(&arguments, name);
    arguments.refuse_unknown();
    affinity::allow_descriptors(20_000);
    serve(options)
}
