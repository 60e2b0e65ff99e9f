//! The tests that run on both networks: on loopback under their own name, and on simulated nodes in a module
//! `simulated` beside them. See [`on_both`](crate::support::on_both).

use std::time::Instant;

use longshore::prelude::*;

use crate::support::*;

/// Tests of this binary that run on both.
const NAMES: &[&[&str]] = &[
    crate::asks::simulated::NAMES,
    crate::blocking::simulated::NAMES,
    crate::calls::simulated::NAMES,
    crate::clients::simulated::NAMES,
    crate::close::simulated::NAMES,
    crate::connections::simulated::NAMES,
    crate::datagrams::simulated::NAMES,
    crate::events::simulated::NAMES,
    crate::flow::simulated::NAMES,
    crate::framing::simulated::NAMES,
    crate::hand_over::simulated::NAMES,
    crate::listener::simulated::NAMES,
    crate::messages::simulated::NAMES,
    crate::meta::simulated::NAMES,
    crate::meta_ends::simulated::NAMES,
    crate::pool::simulated::NAMES,
    crate::processes::simulated::NAMES,
    crate::relations::simulated::NAMES,
    crate::relay_edges::simulated::NAMES,
    crate::relay_to::simulated::NAMES,
    crate::relays::simulated::NAMES,
    crate::renewed::simulated::NAMES,
    crate::requests::simulated::NAMES,
    crate::sessions::simulated::NAMES,
    crate::stories::simulated::NAMES,
    crate::supervisors::simulated::NAMES,
    crate::timers::simulated::NAMES,
    #[cfg(feature = "tls")]
    crate::tls::start_tls::simulated::NAMES,
    crate::writing::simulated::NAMES,
];

/// Whether a test of that name runs on both.
pub fn has(test: &str) -> bool {
    NAMES.iter().any(|names| names.contains(&test))
}

#[test]
fn at_least_sixty_tests_run_on_both_networks() {
    let count: usize = NAMES.iter().map(|names| names.len()).sum();
    assert!(count >= 60, "{count} tests");
    println!("{count} tests");
}

/// Among them those whose timeouts take seconds on loopback.
#[test]
fn hours_of_virtual_time_pass_at_once() {
    let began = Instant::now();
    simulation::run(|| {
        let node = node();
        let moment = Moment::now();
        let probe = Probe::spawn(&node);
        pass(std::time::Duration::from_secs(3_600));
        assert!(moment.elapsed() >= std::time::Duration::from_secs(3_600));
        probe.saw_nothing();
    });
    assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
}

/// Handlers run on threads of the world.
#[cfg(target_os = "linux")]
#[test]
fn no_thread_is_left_behind_a_world() {
    alone("simulated::no_thread_is_left_behind_a_world", || {
        let before = threads();
        simulation::run(|| {
            let node = node();
            let (asked, asking) = (Probe::spawn(&node), [(); 5].map(|()| Probe::spawn(&node)));
            let to = asked.pid;
            for probe in &asking {
                probe.start(move |cx| Ok(cx.call(to, Ask, LIMIT)?));
            }
            let _replies = [(); 5].map(|()| asked.call().2);
            assert!(threads() >= before + 5);
        });
        assert_eq!(threads(), before);
    });
}

/// Any question.
struct Ask;

impl Request for Ask {
    type Reply = ();
}
