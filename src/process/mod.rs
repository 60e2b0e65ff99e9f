//! Processes: the table, their lives, their mailboxes and relations.
//!
//! ```text
//!  spawn ─▶ cell: mailbox opened ─▶ name taken ─▶ init (on the spawner's thread) ─▶ runs when it has messages
//!                                                   │ error, panic                      │ error, panic, exit
//!                                                   ▼                                   ▼
//!                                             nothing is left                          end
//! ```
//!
//! The order of an end is on the page of `end`, the two ways to start on that of `spawn`.
//!
//! What a process does with a message is behind [`Behavior`]; the actor half of the crate implements it. Sockets are
//! reached through `bridge` only.

mod activation;
mod activity;
mod call;
mod calls;
mod class;
mod deliver;
mod end;
pub(crate) mod envelope;
mod environment;
mod events;
mod handle;
mod lane;
mod lifecycle;
mod list;
mod looks;
mod mailbox;
mod options;
mod own_thread;
mod records;
mod relations;
mod requests;
mod returned;
mod room;
mod send;
mod set_aside;
mod slow;
mod spawn;
mod table;
mod timer_list;
mod timers;
mod turns;
mod work;

pub(crate) use environment::Environment;
pub(crate) use events::EventState;
pub use events::{EventInfo, EventOptions, Published};
pub(crate) use lifecycle::{Behavior, ProcessContext};
pub use list::{ProcessInfo, ProcessState};
pub(crate) use mailbox::Bounds;
pub use mailbox::{Lanes, MailboxPolicy};
pub use options::SpawnOptions;
pub use slow::SlowHandler;
pub(crate) use spawn::{StartReport, Started};
pub(crate) use table::Processes;
pub use timer_list::{TimerInfo, TimerKind};
pub(crate) use work::Work;
