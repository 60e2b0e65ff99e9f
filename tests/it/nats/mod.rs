//! Processes on several machines, against a real nats-server, and against servers that a test makes up.

mod access;
mod failover;
mod flow;
mod hostile;
mod names;
mod server;
mod subjects;
#[cfg(feature = "tls")]
mod tls;

use std::time::Duration;

use longshore::nats::{
    MessageNats, MessageNatsEnd, MessageNatsFlushed, MessageNatsReply, MessageNatsStatus, Nats,
    NatsError, NatsOptions,
};
use longshore::prelude::*;

pub use crate::support::*;
pub use server::{NatsServer, free_port, is_installed, start_cluster};

/// Options that try again soon.
pub fn options(server: &NatsServer) -> NatsOptions {
    NatsOptions::from(server.url())
        .with_reconnect_first(Duration::from_millis(10))
        .with_reconnect_max(Duration::from_millis(100))
}

/// A client on a node, and the pid of its process.
#[derive(Debug)]
pub struct Started {
    pub nats: Nats,
    pub pid: Pid,
    /// It gets the client's status.
    pub observer: Probe,
}

/// Starts a client, connected or not.
#[track_caller]
pub fn start(node: &Node, options: impl Into<NatsOptions>) -> Started {
    let nats = Nats::new(options).expect("valid options");
    let observer = Probe::spawn(node);
    nats.observe(observer.pid);
    let handle = nats.clone();
    let pid = node.spawn(move || handle.client()).expect("a client");
    Started {
        nats,
        pid,
        observer,
    }
}

/// Starts a client and waits until it is connected.
#[track_caller]
pub fn connected(node: &Node, options: impl Into<NatsOptions>) -> Started {
    let started = start(node, options);
    started.wait_connected();
    started
}

impl Started {
    /// Waits for a status that the test looks for; others are passed over.
    #[track_caller]
    pub fn wait_status<R>(&self, mut find: impl FnMut(MessageNatsStatus) -> Option<R>) -> R {
        loop {
            let (_, message) = self.observer.next();
            let status = message.downcast::<MessageNatsStatus>();
            if let Some(found) = find(status.expect("a status")) {
                return found;
            }
        }
    }

    /// Waits for a connection; returns the address of its server.
    #[track_caller]
    pub fn wait_connected(&self) -> String {
        self.wait_status(|status| match status {
            MessageNatsStatus::Connected { server, .. } => Some(server.to_string()),
            _ => None,
        })
    }

    /// Waits for a loss or a failed attempt; returns the reason and how many publishes are uncertain.
    #[track_caller]
    pub fn wait_disconnected(&self) -> (String, u64) {
        self.wait_status(|status| match status {
            MessageNatsStatus::Disconnected {
                reason, uncertain, ..
            } => Some((reason.to_string(), uncertain)),
            _ => None,
        })
    }

    /// Waits until the server has everything that was published before.
    #[track_caller]
    pub fn flush(&self, probe: &Probe) -> Result<(), NatsError> {
        self.nats.flush(probe.pid, 77).expect("the client runs");
        loop {
            let (_, message) = probe.next();
            if let Ok(flushed) = message.downcast::<MessageNatsFlushed>() {
                assert_eq!(flushed.label, 77);
                return flushed.result;
            }
        }
    }
}

/// The next message, which must be one of a subscription.
#[track_caller]
pub fn message(probe: &Probe) -> MessageNats {
    let (_, message) = probe.next();
    message
        .downcast::<MessageNats>()
        .unwrap_or_else(|other| panic!("{other:?}"))
}

/// The next message, which must be the answer to a request.
#[track_caller]
pub fn reply(probe: &Probe) -> MessageNatsReply {
    let (_, message) = probe.next();
    message
        .downcast::<MessageNatsReply>()
        .unwrap_or_else(|other| panic!("{other:?}"))
}

/// The next message, which must be the end of a subscription.
#[track_caller]
pub fn end(probe: &Probe) -> MessageNatsEnd {
    let (_, message) = probe.next();
    message
        .downcast::<MessageNatsEnd>()
        .unwrap_or_else(|other| panic!("{other:?}"))
}
