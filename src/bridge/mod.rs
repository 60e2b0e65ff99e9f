//! The bridge between the halves: everything that the I/O half and the actor half hand each other.
//!
//! ```text
//!  actor ── send_alias ──▶ send quota (accepts bytes) ──▶ command queue of the stripe ──▶ waker ──▶ stripe runs
//!  process table ◀── Deliver ── meta-process
//! ```
//!
//! One file for each noun: [`Command`] and the queues in [`Commands`], the [send quota](send_quota) of a meta-process,
//! the [`StripeWakers`], the way back in [`Deliver`], the means to answer a request in [`request`], what a timer does
//! in [`TimerEvent`] and [`Ticker`], what relayed connections share in [`RelaySide`], and the [`BarrierToken`] of a
//! stop. Neither half names the other; both name this module.

mod barrier;
mod command;
mod commands;
mod deliver;
mod hand_over;
pub(crate) mod monitor;
mod owner;
mod queue;
mod relay;
pub(crate) mod request;
pub(crate) mod send_quota;
mod socket_command;
mod ticker;
mod timer_event;
mod wakers;

pub(crate) use barrier::BarrierToken;
pub(crate) use command::Command;
pub(crate) use commands::Commands;
pub(crate) use deliver::{Ack, Claim, Deliver, Undelivered, Watcher};
pub(crate) use hand_over::{HandOver, InputReturned, SessionDrained, SocketReport};
pub(crate) use owner::SpawnOwner;
pub(crate) use relay::{RelayOutcome, RelaySide};
pub(crate) use send_quota::QuotaOptions;
pub(crate) use socket_command::{Decoder, Drain, Framing, SocketCommand};
pub(crate) use ticker::{Expiry, MakeTick, Tick, Ticker};
pub use timer_event::Timer;
pub(crate) use timer_event::{TimerEvent, TimerId};
pub(crate) use wakers::StripeWakers;

/// The timers of a node.
pub(crate) type Timers = crate::time::timers::Timers<TimerEvent>;
