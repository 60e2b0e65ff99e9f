//! `gate-scenario NAME N`: does one operation N times and prints how often the allocator was called and for how many bytes.
//!
//! Run by `gate`, under callgrind; useful by hand with `perf stat` too.

use longshore_bench::{arguments::Arguments, arguments::refuse, gate::scenario};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static ALLOCATED_BYTES: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Relaxed);
    ALLOCATED_BYTES.fetch_add(bytes as u64, Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

fn main() {
    let arguments = Arguments::from_env();
    let name = arguments.word(0).unwrap_or_default();
    let Some(scenario) = scenario::find(name) else { refuse(&format!("unknown scenario {name:?}")) };
    let Some(operations) = arguments.word(1).and_then(|text| text.parse().ok()) else { refuse("gate-scenario NAME N") };
    (scenario.run)(operations);
    println!("{} {}", ALLOCATIONS.load(Relaxed), ALLOCATED_BYTES.load(Relaxed));
    // Servers of a scenario serve for ever.
    std::process::exit(0)
}
