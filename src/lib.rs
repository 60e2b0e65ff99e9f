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
//! impl Session for Echo {
//!     fn received(
//!         &mut self,
//!         cx: &mut SessionContext<'_>,
//!         input: &mut Buffer,
//!     ) -> Result<(), Reason> {
//!         cx.write(input.take());
//!         Ok(())
//!     }
//! }
//!
//! struct Root;
//!
//! impl Actor for Root {
//!     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
//!         let server = TcpServer::bind("127.0.0.1:7000")?; // a port conflict shows here
//!         cx.spawn_meta(server.serve(|| Echo))?; // a process for each connection
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> Result<(), longshore::Error> {
//!     Node::run("echo@localhost", || Root)?; // until Ctrl-C
//!     Ok(())
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
//! | [`Session`], [`SessionContext`] | a process that serves one connection |
//! | [`TcpServer`], [`TcpConnection`], [`UdpServer`] | the meta-processes that are here |
//! | [`UnixServer`], [`UnixConnection`], [`UnixDatagramServer`] | the same over paths |
//! | [`MetaProcess`], [`MetaContext`] | one of your own |
//! | [`Message`] and the types named `Message…` | what travels |
//! | [`Framing`] | how a stream becomes messages |
//! | [`Buffer`], [`BufferPool`] | bytes that return to their pool when they are dropped |
//! | [`Pid`], [`Alias`], [`Ref`] | identifiers of processes, meta-processes and requests; never used again |
//! | [`Name`] | under which a process can be registered |
//! | [`Reason`], [`DisconnectReason`] | why something ended |
//! | [`Supervisor`], [`Child`] | a process that starts, restarts and ends others |
//! | [`Event`] | a name under which a process publishes to others |
//! | [`Pool`] | one process that spreads what it gets over workers |
//! | [`tls`] | certificates and trust, with the feature `tls` |
//!
//! # Layers
//!
//! For those who read the source. A module may name modules of lower rows only, and the two halves never name each
//! other: they meet in `bridge`. `tests/layers.rs` checks both rules and that this table is the one it checks.
//!
//! | Row | I/O half | shared | actor half |
//! |---|---|---|---|
//! | 12 | | `nats`: processes on several machines; `testing`: simulated nodes | |
//! | 11 | | `node`: both halves put together, start and stop | |
//! | 10 | `poll`: poller, stripes | | `actor`: trait, context, pool |
//! | 9 | `net`: TCP, UDP and Unix sockets, their options | | `process`: table, mailbox, relations |
//! | 8 | | `meta`: the contract of a meta-process | |
//! | 7 | | `bridge`: commands, quotas, wakers, delivery | |
//! | 6 | `proto`: framing, TLS, output, without sockets | | `scheduler`: workers, idle, monitor |
//! | 5 | | `message`, `record` | |
//! | 4 | | `error`, `inspect`, `time` | |
//! | 3 | | `id`, `memory`, `tls` | |
//! | 2 | | `base` | |
//! | 1 | | `simulation`: the machine that a test simulates | |
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

/// Whether one of these faults is planted here, for the test that shows that the seeds find it.
#[cfg(all(planted, feature = "testing"))]
macro_rules! planted {
    ($($fault:ident)|+) => {
        ($($crate::simulation::planted::is($crate::simulation::planted::Planted::$fault))||+)
    };
}

/// Whether a fault is planted here: never, without `--cfg planted`.
#[cfg(not(all(planted, feature = "testing")))]
macro_rules! planted {
    ($($fault:ident)|+) => {
        false
    };
}

mod actor;
mod base;
mod bridge;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(any(doc, doctest))]
pub mod guide;
mod id;
mod inspect;
mod memory;
mod message;
mod meta;
#[cfg(feature = "nats")]
pub mod nats;
mod net;
mod node;
mod poll;
mod process;
mod proto;
mod record;
mod scheduler;
#[cfg(feature = "testing")]
mod simulation;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls/no_tls.rs"]
mod tls;

pub use actor::ChildFailed;
pub use actor::{
    Actor, AutoShutdown, Child, ChildError, ChildInfo, ChildResult, ChildState, Context, Event,
    Pool, PoolCommand, PoolInfo, Restart, Session, SessionContext, Shutdown, SpawnMeta,
    SupervisionTree, Supervisor, SupervisorInfo, Typed, TypedActor,
};
pub use bridge::Timer;
pub use bridge::monitor::Monitor;
pub use bridge::request::{Answer, PendingReply, Reply};
pub use error::Failure;
pub use error::{
    BindError, ConfigError, ConnectError, DisconnectReason, EventError, FrameError, OsError,
    Reason, RequestError, SendErrorKind, SpawnError,
};
pub use id::{Alias, Name, ParseIdError, Pid, Ref, Target};
pub use inspect::Inspection;
pub use memory::buffer::{Buffer, BufferPool, SharedBuffer};
#[cfg(unix)]
pub use message::MessageUnixDatagram;
pub use message::Request;
pub use message::{
    DowncastError, FailedAttempt, Flow, HandOverError, Message, MessageDown, MessageDrained,
    MessageEvent, MessageEventSubscribers, MessageExit, MessageMetaFailed, MessageRelayEnd,
    MessageReply, MessageRoom, MessageTcp, MessageTcpConnect, MessageTcpDisconnect,
    MessageTcpPeerClosed, MessageTcpReconnecting, MessageTcpSecured, MessageTcpWritable,
    MessageUdp, MessageUdpError, Priority, Proxied, RelayError, RelayFailure, RelayedConnection,
    SendError, StartTlsError, UserMessage, WriteData, WriteError, WriteErrorKind,
};
pub use meta::{
    ConnectionInfo, DatagramInfo, ListenerInfo, MetaContext, MetaProcess, Readiness, SocketKind,
};
pub use net::multicast::{Interface, Multicast, MulticastError};
pub use net::options::{
    AtLimit, ConnectionOptions, Host, IpNetwork, Overflow, ProxyProtocol, ReconnectPolicy,
    SocketOptions, TcpConnectionOptions, TcpLimits, TcpServerOptions, UdpServerOptions,
};
#[cfg(unix)]
pub use net::options::{UnixConnectionOptions, UnixDatagramOptions, UnixServerOptions};
pub use net::tcp::{TcpConnection, TcpServer};
pub use net::udp::UdpServer;
#[cfg(unix)]
pub use net::unix_datagram::UnixDatagramServer;
#[cfg(unix)]
pub use net::unix_stream::{UnixConnection, UnixServer};
pub use node::{Error, Metrics, Node, NodeInfo, NodeOptions, Serve, StopOptions, StopReport};
pub use poll::SocketInfo;
pub use process::{
    EventInfo, EventOptions, Lanes, MailboxPolicy, ProcessInfo, ProcessState, Published,
    SlowHandler, SpawnOptions, TimerInfo, TimerKind,
};
pub use proto::framing::{ByteOrder, CustomFraming, Frame, FrameDecoder, Framing, HeaderFraming};
pub use proto::proxy::ProxyHeader;
pub use record::{Level, Logger, ParseLevelError, Record};

/// What most programs need: `use longshore::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Actor, Alias, Buffer, ByteOrder, Child, Context, CustomFraming, DisconnectReason, Flow,
        Frame, FrameDecoder, FrameError, Framing, HeaderFraming, Message, MessageTcp,
        MessageTcpConnect, MessageTcpDisconnect, MessageUdp, MetaContext, MetaProcess, Name, Node,
        NodeOptions, Pid, Pool, Priority, Readiness, Reason, Ref, Reply, Request, Restart,
        SendErrorKind, Session, SessionContext, Shutdown, SpawnOptions, Supervisor, Target,
        TcpConnection, TcpConnectionOptions, TcpLimits, TcpServer, TcpServerOptions, Timer,
        UdpServer, UdpServerOptions,
    };
}

/// The examples of the README are compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
