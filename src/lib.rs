//! TCP and UDP meta-processes for actors.
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod actor;
mod buffer;
mod chunks;
mod clock;
mod command;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod id;
mod inspect;
mod log;
mod message;
mod meta;
mod node;
mod poll;
mod process;
mod proto;
mod reason;
mod request;
mod scheduler;
mod sync;
mod timer;
mod timers;
#[cfg(feature = "tls")]
pub mod tls;

pub use actor::{Actor, Context, Pool, PoolCommand, Timer};
pub use buffer::{Buffer, BufferPool};
pub use error::{BindError, ConnectError, Error, OptionError, RequestError, SendError, SendErrorKind, SpawnError};
pub use id::{Alias, Name, Pid, Ref, Target};
pub use inspect::Inspection;
pub use log::Level;
pub use message::{
    Message, MessageDown, MessageExit, MessageReply, MessageTcp, MessageTcpConnect, MessageTcpDisconnect,
    MessageTcpPeerClosed, MessageTcpWritable, MessageUdp, MessageUdpError, Priority,
};
pub use meta::options::{AtLimit, SocketOptions, TcpConnectionOptions, TcpLimits, TcpServerOptions, UdpServerOptions};
pub use meta::tcp::{TcpConnection, TcpServer};
pub use meta::udp::UdpServer;
pub use meta::{MetaContext, MetaProcess, Readiness};
pub use node::{Node, NodeOptions, StopOptions, StopReport};
pub use process::SpawnOptions;
pub use proto::framing::{ByteOrder, CustomFraming, Frame, FrameDecoder, FrameError, Framing, HeaderFraming};
pub use reason::{DisconnectReason, Reason};
pub use request::{Promise, Reply};

/// What most programs need: `use longshore::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Actor, Alias, Buffer, Context, DisconnectReason, Framing, Message, MessageTcp, MessageTcpConnect,
        MessageTcpDisconnect, MessageUdp, MetaContext, MetaProcess, Name, Node, NodeOptions, Pid, Pool, Priority,
        Readiness, Reason, Ref, Reply, SpawnOptions, Target, TcpConnection, TcpConnectionOptions, TcpServer,
        TcpServerOptions, Timer, UdpServer, UdpServerOptions,
    };
}
