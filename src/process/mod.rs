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

pub(crate) mod envelope;
mod lane;
mod lifecycle;
mod mailbox;
mod options;
mod records;
mod relations;
mod table;

pub(crate) use lifecycle::{Behavior, ProcessContext};
pub(crate) use mailbox::Bounds;
pub use options::SpawnOptions;
pub(crate) use table::Processes;
