//! Processes: the table, their lives, their mailboxes and relations.
//!
//! ```text
//!  spawn ─▶ cell: mailbox opened ─▶ name taken ─▶ init (on the spawner's thread) ─▶ runs when it has mail
//!                                                   │ error, panic                      │ error, panic, exit
//!                                                   ▼                                   ▼
//!                                             nothing is left                          end
//! ```
//!
//! The end, in this order: out of the table (sends fail from here on), name freed, links and monitors told,
//! meta-processes ended, `terminate` called, mail dropped (requests in it are answered with an error), cell recycled. The
//! name is free before anybody is told, so that whoever gets a `Down` can register it again.
//!
//! What a process does with a message is behind [`Behavior`]; the actor half of the crate implements it. Sockets are
//! reached through `command` only.

mod life;
mod mailbox;
mod relations;
mod table;

pub(crate) use life::{Behavior, Env};
pub(crate) use mailbox::Bounds;
pub(crate) use table::Processes;
pub use table::SpawnOptions;

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};

/// Runs user code; a panic becomes its payload.
pub(crate) fn guarded<R>(code: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    panic::catch_unwind(AssertUnwindSafe(code))
}

/// Drops a value of the user, whose `drop` may panic, and so may the payload's.
pub(crate) fn drop_guarded<T>(value: T) {
    if let Err(payload) = guarded(|| drop(value))
        && let Err(again) = guarded(|| drop(payload))
    {
        // A payload whose drop panics with a payload: there is nobody left to tell.
        Box::leak(again);
    }
}
