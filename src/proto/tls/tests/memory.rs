use super::super::Tls;
use super::{Site, VERSIONS, data, send};

#[test]
fn a_plain_connection_pays_a_pointer() {
    assert_eq!(size_of::<Option<Tls>>(), size_of::<usize>());
}

/// Prints and bounds what one idle session costs: `cargo test --release --lib idle -- --ignored --nocapture`.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "measures the whole process, so it wants to run alone and optimized"]
fn an_idle_server_session_holds_less_than_8_kib() {
    const SESSIONS: usize = 5_000;
    let site = Site::new();
    let server = site.server();
    // All are kept to the end: freed ones would be room for the next.
    let mut idle = Vec::with_capacity(SESSIONS * 6);
    let mut worst = 0;
    for version in VERSIONS {
        for record in [1, 100, 16 * 1024] {
            let client = site.client(version).into();
            let before = resident_bytes();
            for _ in 0..SESSIONS {
                let mut pair = super::Pair::new(&client, &server, super::NAME);
                pair.run_until_quiet();
                send(&mut pair.client, &data(record));
                pair.run_until_quiet();
                send(&mut pair.server, &data(record));
                pair.run_until_quiet();
                assert_eq!(pair.server.plain.len(), record);
                idle.push(pair.server.tls);
            }
            let each = (resident_bytes() - before) / SESSIONS;
            println!("{version:?}, echoed {record} bytes once: {each} bytes for an idle session");
            worst = worst.max(each);
        }
    }
    assert!(worst < 8 * 1024);
}

#[cfg(target_os = "linux")]
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
