//! TCP and UDP for actors: sockets are *meta-processes* on one poll loop, and actors exchange messages with them.
//!
//! ```text
//!                   readiness                    messages
//!     socket ────────────────────▶ meta-process ──────────▶ mailbox
//!       ▲                          (state machine              │
//!       │ one writev                on the poll loop)          ▼
//!       │                                ▲                 scheduler
//!       │                                │                     │ runs
//!       └────────────────────────────────┘                     ▼
//!                       command queue ◀─────────────────────  actor
//! ```
//!
//! An echo server; `nc 127.0.0.1 7000` is a client for it:
//!
//! ```no_run
//! use longshore::prelude::*;
//!
//! struct Echo;
//!
//! impl Actor for Echo {
//!     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
//!         let server = TcpServer::bind("127.0.0.1:7000")?; // a port conflict shows here
//!         cx.spawn_meta(server)?; // this process owns the connections
//!         Ok(())
//!     }
//!
//!     fn handle_message(&mut self, cx: &mut Context<'_>, _from: Pid, message: Message) -> Result<(), Reason> {
//!         if let Message::Tcp(packet) = message {
//!             // The message you got, sent back, is the write. It comes back to you if that client has gone meanwhile.
//!             let _ = cx.send_alias(packet.id, packet);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> Result<(), longshore::Error> {
//!     let node = Node::start("echo@localhost")?;
//!     node.spawn(|| Echo)?; // a factory, so that a supervisor can restart it
//!     node.wait()
//! }
//! ```
//!
//! # Where to begin
//!
//! The [`guide`] explains it in prose, page by page. The nouns:
//!
//! | Noun | Is |
//! |---|---|
//! | [`Node`] | the runtime: threads, the poll loop, the table of processes |
//! | [`Actor`], [`Context`] | a process: state and callbacks, and what they can do |
//! | [`TcpServer`], [`TcpConnection`], [`UdpServer`], [`UnixDatagramServer`] | the meta-processes that are here |
//! | [`MetaProcess`], [`MetaContext`] | one of your own |
//! | [`Message`] and the types named `Message…` | what travels |
//! | [`Framing`] | how a stream becomes messages |
//! | [`Buffer`], [`BufferPool`] | bytes that return to their pool when they are dropped |
//! | [`Pid`], [`Alias`], [`Ref`], [`Name`] | who is who; never used again |
//! | [`Reason`], [`DisconnectReason`] | why something ended |
//! | [`Pool`] | one process that spreads what it gets over workers |
//! | [`tls`] | certificates and trust, with the feature `tls` |
//!
//! # Layers
//!
//! For those who read the source. Rows know only lower rows; the left and the right half never name each other; the
//! modules of row 3 are the vocabulary of both, and name each other. `tests/layers.rs` holds this true.
//!
//! | Row | I/O half | both | actor half |
//! |---|---|---|---|
//! | 7 | | `node` | |
//! | 6 | `poll`: turn, stripes | | `actor`: trait, pool, context |
//! | 5 | `meta`: tcp, udp, options | | `process`: table, mailbox, relations |
//! | 4 | `proto`: framing, tls, output | `timers` | `scheduler`: worker, idle, monitor, blocking |
//! | 3 | | `message`, `packed`, `command`, `request`, `inspect`, `error`, `reason` | |
//! | 2 | | `buffer`, `chunks`, `clock`, `log`, `timer`, `tls`, `user_message` | |
//! | 1 | | `depot`, `guard`, `id`, `shelf`, `sync` | |
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod actor;
mod buffer;
mod chunks;
mod clock;
mod command;
mod depot;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
#[cfg(any(doc, doctest))]
pub mod guide;
mod id;
mod inspect;
mod log;
mod message;
mod meta;
mod node;
mod packed;
mod poll;
mod process;
mod proto;
mod reason;
mod request;
mod scheduler;
mod shelf;
mod sync;
mod timer;
mod timers;
#[cfg(feature = "tls")]
pub mod tls;
mod user_message;

pub use actor::{Actor, Context, Pool, PoolCommand, Timer};
pub use buffer::{Buffer, BufferPool};
pub use error::{
    BindError, ConnectError, Error, OptionError, RequestError, SendError, SendErrorKind, SpawnError,
};
pub use id::{Alias, Name, Pid, Ref, Target};
pub use inspect::Inspection;
pub use log::Level;
#[cfg(unix)]
pub use message::MessageUnixDatagram;
pub use message::{
    Message, MessageDown, MessageExit, MessageReply, MessageTcp, MessageTcpConnect,
    MessageTcpDisconnect, MessageTcpPeerClosed, MessageTcpWritable, MessageUdp, MessageUdpError,
    Priority,
};
pub use meta::options::{
    AtLimit, SocketOptions, TcpConnectionOptions, TcpLimits, TcpServerOptions, UdpServerOptions,
};
pub use meta::tcp::{TcpConnection, TcpServer};
pub use meta::udp::UdpServer;
#[cfg(unix)]
pub use meta::unix_datagram::UnixDatagramServer;
pub use meta::{MetaContext, MetaProcess, Readiness};
pub use node::{Node, NodeOptions, StopOptions, StopReport};
pub use process::SpawnOptions;
pub use proto::framing::{
    ByteOrder, CustomFraming, Frame, FrameDecoder, FrameError, Framing, HeaderFraming,
};
pub use reason::{DisconnectReason, Reason};
pub use request::{Promise, Reply};
pub use user_message::UserMessage;

/// What most programs need: `use longshore::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Actor, Alias, Buffer, Context, DisconnectReason, Framing, Message, MessageTcp,
        MessageTcpConnect, MessageTcpDisconnect, MessageUdp, MetaContext, MetaProcess, Name, Node,
        NodeOptions, Pid, Pool, Priority, Readiness, Reason, Ref, Reply, SpawnOptions, Target,
        TcpConnection, TcpConnectionOptions, TcpServer, TcpServerOptions, Timer, UdpServer,
        UdpServerOptions,
    };
}

/// The examples of the README are compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
