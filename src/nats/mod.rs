//! Processes on several machines, by way of a [NATS](https://nats.io) server; with the feature `nats`.
//!
//! ```text
//!  process ─ Nats::publish ─▶ outbox ─▶ Client ─▶ connection ─▶ nats-server ─▶ other nodes
//!  process ◀──── MessageNats ───────── Client ◀─ connection ◀─ nats-server ◀─ other nodes
//! ```
//!
//! | Noun | Is |
//! |---|---|
//! | [`Nats`] | the handle: publish, subscribe, request, flush, drain; from any process and any thread |
//! | [`Client`] | the actor behind it, which holds the connection; the program spawns it |
//! | [`Registry`], [`Publication`] | processes that other nodes reach by name |
//! | [`Remote`], [`Codec`] | what is published under a name, and how values become bytes |
//!
//! # What happens
//!
//! | Event | Outcome |
//! |---|---|
//! | the server is gone, or restarts | the client tries all servers, with waits between the rounds; subscriptions are made again before anything else is sent; what was published meanwhile leaves then |
//! | … with publishes since the last PONG | they are counted as uncertain, in [`MessageNatsStatus::Disconnected`]: core NATS acknowledges nothing |
//! | … with requests or flushes under way | [`NatsError::Disconnected`] at once; a late answer goes nowhere |
//! | more waits than [`NatsOptions::pending_limit`] | [`NatsError::Full`] with the bytes; later [`MessageNatsStatus::Writable`] |
//! | a publish is larger than the server's `max_payload` | [`NatsError::TooLarge`] with the bytes; one that was accepted before the server was known is removed and counted |
//! | a message is larger than [`NatsOptions::max_payload`] | it is skipped and counted in [`MessageNats::missed`] |
//! | a subscriber is slow | [`SubscribeOptions`]: the newest messages are dropped and counted, or the subscription ends |
//! | the server finds the client slow | it ends the connection, and the client comes back |
//! | the credentials are refused | the server is tried once more and then left out; without another one the client ends with the server's words |
//! | a publish is not permitted | [`MessageNatsStatus::Error`] |
//! | a subscription is not permitted | [`MessageNatsEnd`] with [`NatsError::Denied`] |
//! | the server goes into lame duck mode | the client goes to another server that it knows, with nothing uncertain |
//! | the server breaks the protocol | the connection is aborted, and the client goes on with the next server |
//! | a subscriber ends | its subscriptions end at once |
//! | the client's process ends | requests and flushes get [`NatsError::Closed`]; after an orderly end subscribers get [`MessageNatsEnd`], after an error a client that is spawned again goes on with their subscriptions |
//!
//! The guide's page `more_than_one_machine` says when to use it, what is guaranteed, how to run the server in
//! production, and how to write such an actor for another engine.

mod client;
mod codec;
mod credit;
mod error;
mod handle;
mod headers;
mod message;
mod nkey;
mod options;
mod outbox;
pub(crate) mod protocol;
mod registry;
mod remote;
mod servers;
mod session;
mod shared;
mod subject;

pub use client::{Client, NatsFlush, NatsRequest};
pub use codec::Codec;
pub use error::{NatsError, PublishError};
pub use handle::Nats;
pub use headers::Headers;
pub use message::{
    MessageNats, MessageNatsEnd, MessageNatsFlushed, MessageNatsReply, MessageNatsStatus,
    Subscription,
};
pub use nkey::Nkey;
pub use options::{NatsAuth, NatsOptions};
pub use registry::{Publication, Registry};
pub use remote::{Remote, RemoteError};
pub use shared::{SubscribeOptions, WhenSlow};
