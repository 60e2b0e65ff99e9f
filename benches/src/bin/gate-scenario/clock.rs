//! The clock that the counted code sees: every read advances it, and nothing else does.
//!
//! Valgrind is some fifty times slower than the processor, by a factor that depends on the machine and its load. Code
//! that reads the wall clock would do another amount of work in every run: a busy worker polls out of turn when half a
//! millisecond has passed, and a monitor that finds a worker in the same task twice runs the poll loop itself. Here
//! every read advances the clock by [`STEP_NS`], so that these polls cost the same in every run. The clock is an hour
//! ahead of the kernel's, and a timed wait goes to the kernel as a deadline, so no such wait ends before the scenario,
//! and the monitor never runs.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How far one read advances the clock: by about the time of eight echoed messages without valgrind, which is what a
/// busy worker handles between two reads.
const STEP_NS: i64 = 50_000;
const SECOND_NS: i64 = 1_000_000_000;
const AHEAD_NS: i64 = 3_600 * SECOND_NS;

static LOOKS: AtomicI64 = AtomicI64::new(0);
static START_NS: OnceLock<i64> = OnceLock::new();

/// Ends the process unless this clock has replaced the C library's. Call it before the first thread starts.
pub fn check() {
    let look = Instant::now();
    assert_eq!(
        look.elapsed(),
        Duration::from_nanos(STEP_NS as u64),
        "the wall clock would move the counts"
    );
}

/// Replaces the C library's function in this binary.
///
/// # Safety
///
/// The same as for the function that it replaces: `time` points to a time that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    time: *mut libc::timespec,
) -> libc::c_int {
    // SAFETY: the caller's promise, passed on to the system call.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    if result != 0 || clock != libc::CLOCK_MONOTONIC {
        return result as libc::c_int;
    }
    // SAFETY: the caller's promise, and the kernel has just written it.
    let time = unsafe { &mut *time };
    let start_ns = *START_NS.get_or_init(|| time.tv_sec * SECOND_NS + time.tv_nsec + AHEAD_NS);
    let now_ns = start_ns + LOOKS.fetch_add(1, Relaxed) * STEP_NS;
    (time.tv_sec, time.tv_nsec) = (now_ns / SECOND_NS, now_ns % SECOND_NS);
    0
}
