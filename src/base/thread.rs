//! Threads of the runtime: each has a name, so that a debugger and the system's lists show whose it is.
//!
//! What it does not do: it joins no thread and counts none. Who starts a thread keeps its handle.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Starts a thread. The name must not contain a NUL.
///
/// # Errors
///
/// The system has no thread left.
pub(crate) fn start_thread(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    start_boxed(name, Box::new(body))
}

/// Boxed, so that what std does around the body of a thread is compiled once, and not for each body.
fn start_boxed(name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.into()).spawn(body)
}
