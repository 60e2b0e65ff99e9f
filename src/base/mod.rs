//! What every layer uses: the choice between std and loom, panics of user code, the start of threads, threads for
//! blocking work, and which runtimes a thread is inside of.

pub(crate) mod blocking;
pub(crate) mod inside;
pub(crate) mod lookups;
#[cfg(test)]
pub(crate) mod option_rows;
pub(crate) mod order;
pub(crate) mod small_addr;
pub(crate) mod sync;
pub(crate) mod thread;
pub(crate) mod unwind;
