//! The meta-processes of a node, listed.
//!
//! A stripe is locked for [`BATCH`] of them at a time, which holds up its sockets as long as the
//! inspection of that many takes: a few hundred microseconds.

use std::time::Duration;

use super::Io;
use super::stripe::Stripe;
use crate::base::unwind::{catch_panic, drop_catching};
use crate::id::{Alias, Pid};
use crate::inspect::Inspection;
use crate::meta::{Services, SocketKind};

/// Meta-processes that are inspected under one lock.
const BATCH: usize = 64;

/// A meta-process as [`Node::sockets`](crate::Node::sockets) shows it: a listener, a connection, a
/// UDP socket, or one of the program's own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketInfo {
    /// The meta-process.
    pub alias: Alias,
    /// The process that it belongs to.
    pub parent: Pid,
    /// Its type.
    pub type_name: &'static str,
    /// How long it has lived.
    pub age: Duration,
    /// What it is, with its figures.
    pub kind: SocketKind,
    /// Bytes accepted for it that it has not sent.
    pub queued_bytes: usize,
    /// Sends to it that were refused.
    pub refused_sends: u64,
    /// What it says of itself, as [`Node::inspect`](crate::Node::inspect) shows it: addresses,
    /// owner, state, bytes and messages in each direction.
    pub details: Inspection,
}

impl Io {
    /// A meta-process, if it is alive.
    pub(crate) fn info(&self, alias: Alias) -> Option<SocketInfo> {
        let mut list = Vec::new();
        let stripe = self.stripes.get(alias.stripe())?;
        stripe.list(&[alias], &self.services, &mut list);
        list.pop()
    }

    /// The meta-processes that are alive, stripe by stripe.
    pub(crate) fn list(&self) -> Vec<SocketInfo> {
        let mut list = Vec::new();
        for stripe in &self.stripes {
            for batch in stripe.aliases().chunks(BATCH) {
                stripe.list(batch, &self.services, &mut list);
            }
        }
        list
    }
}

impl Stripe {
    /// Adds those of the meta-processes that are still alive.
    fn list(&self, aliases: &[Alias], services: &Services, list: &mut Vec<SocketInfo>) {
        let now_ms = services.timers.clock().now_ms();
        let mut entries = self.lock_entries();
        for alias in aliases {
            let Some(entry) = entries.get_mut(*alias) else {
                continue;
            };
            let quota = services.commands.quota(*alias);
            let (queued, refused) = quota.map_or((0, 0), |quota| (quota.queued(), quota.refused()));
            // The callback is code of the user, and its panic must not end the list of the caller.
            let details = catch_panic(|| entry.meta.handle_inspect());
            list.push(SocketInfo {
                alias: *alias,
                parent: entry.parent,
                type_name: entry.meta.type_name(),
                kind: entry.meta.kind(),
                age: Duration::from_millis(entry.age_ms(now_ms)),
                queued_bytes: queued,
                refused_sends: u64::from(refused),
                details: details.unwrap_or_else(|payload| {
                    drop_catching(payload);
                    Inspection::default()
                }),
            });
        }
    }
}
