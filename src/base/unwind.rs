//! Keeps panics of user code where they belong.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};

/// Runs user code; a panic becomes its payload.
pub(crate) fn catch_panic<R>(code: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    panic::catch_unwind(AssertUnwindSafe(code))
}

/// Drops a value of the user, whose `drop` may panic, and so may the payload's.
pub(crate) fn drop_catching<T>(value: T) {
    if let Err(payload) = catch_panic(|| drop(value))
        && let Err(again) = catch_panic(|| drop(payload))
    {
        // A payload whose drop panics with a payload: nothing is left to report it to.
        Box::leak(again);
    }
}
