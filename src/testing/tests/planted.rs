//! Each planted fault is found by the seeds. It needs a build of its own:
//!
//! ```text
//! cargo planted -- --nocapture       (prints the first seed that finds each of them)
//! ```
//!
//! | fault | first seed that finds it | what fails then |
//! |---|---|---|
//! | `WritableLost` | 0 | bulk waits for ever |
//! | `DisconnectTwice` | 0 | the order of messages |
//! | `ShortWriteIsWhole` | 0 | what was read is no prefix of what was written |
//! | `ReleaseLost` | 0 | lines of a peer do not arrive |
//! | `ExitOvertakesSpawn` | 1 | a connection that got an exit signal lives |
//! | `ListenerDeaf` | 1 | a client is not accepted |
//! | `AckLost` | 1 | lines of a peer do not arrive |
//! | `DeadlineFirst` | 2 | a connection ends that its peer has kept alive |
//! | `TimerReachesSuccessor` | 5 | a timer of one incarnation fires in the next |
//! | `ChildrenKept` | 38 | a connection outlives its owner |
//! | `WaiterForgotten` | 53 | lines of a peer do not arrive |
//! | `LastCommandLost` | 59 | an orderly end comes before everything that was accepted |
//! | `StopOvertakesSpawn` | 1600 | a stop takes its whole flush timeout |
//!
//! The seeds are those of one revision: each change of scheduling moves them. The test asks for fewer than 10,000 runs.

use super::{chat, deadlines, stops};
use crate::simulation::planted::{Planted, plant};
use crate::testing::{WorldOptions, first_failure};

/// The most seeds that one may take.
const SEEDS: u64 = 10_000;

/// Plants a fault and looks for it twice: the second run replays the seed.
fn find(fault: Planted, options: &WorldOptions, scenario: impl Fn(&crate::testing::World)) {
    plant(Some(fault));
    let found = first_failure(options, 0..SEEDS, &scenario);
    let found = found.unwrap_or_else(|| panic!("{fault:?} is not found"));
    let again = first_failure(options, [found.seed], &scenario);
    plant(None);
    assert_eq!(again.as_ref(), Some(&found), "{fault:?} is not replayed");
    let first = found.message.lines().next().unwrap_or_default();
    eprintln!("{fault:?}: seed {}: {first}", found.seed);
    let healthy = first_failure(options, [found.seed], &scenario);
    assert_eq!(healthy, None, "without {fault:?}");
}

macro_rules! found {
    ($($name:ident: $fault:ident by $module:ident;)*) => {
        $(
            #[test]
            fn $name() {
                find(Planted::$fault, &$module::options(), $module::scenario);
            }
        )*
    };
}

found! {
    planted_lost_writable_is_found: WritableLost by chat;
    planted_deadline_before_its_input_is_found: DeadlineFirst by deadlines;
    planted_forgotten_waiter_is_found: WaiterForgotten by chat;
    planted_exit_that_overtakes_a_spawn_is_found: ExitOvertakesSpawn by chat;
    planted_stop_that_overtakes_a_spawn_is_found: StopOvertakesSpawn by stops;
    planted_lost_last_command_is_found: LastCommandLost by chat;
    planted_timer_that_reaches_a_successor_is_found: TimerReachesSuccessor by chat;
    planted_lost_ack_is_found: AckLost by chat;
    planted_second_disconnect_is_found: DisconnectTwice by chat;
    planted_short_write_that_counts_whole_is_found: ShortWriteIsWhole by chat;
    planted_input_that_stays_aside_is_found: ReleaseLost by chat;
    planted_meta_process_that_outlives_its_process_is_found: ChildrenKept by chat;
    planted_listener_that_is_deaf_behind_an_error_is_found: ListenerDeaf by chat;
}
