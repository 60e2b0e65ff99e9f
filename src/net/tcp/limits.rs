//! The limits of a listener: how many connections may be open or in a handshake, in all and from one address; and the
//! counters of the connections that have ended.
//!
//! A [`ConnectionPermit`] is acquired with each accept and lives as long as its connection. Dropping it makes room, and
//! wakes the listener if that waits for room.
//!
//! 1. *The listener looks* (`has_room`): the counts are read. If they are at a limit, `awaits_permit` is set and they
//!    are read again.
//! 2. *A permit is dropped, or its handshake is done*: the count is reduced, then `awaits_permit` is cleared; if it was
//!    set, the listener gets a `Resume`.
//!
//! Only the listener acquires permits, so room that it has seen stays until it takes it. Handshakes begin elsewhere:
//! there may be more of them than the limit, by those that were silent when the listener looked. Bad interleaving: the
//! listener finds no room, the last connection ends and finds no listener waiting, the listener begins to wait and is
//! never woken. Excluded because the listener reads the counts again after it has set `awaits_permit`: both sides write
//! first and read then, in one total order (`SeqCst`), so at least one of them sees the other.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

mod permit;

pub(super) use self::permit::{ConnectionPermit, FinalCounters};
use self::permit::{Rare, Stage};

use super::handshakes::{WaitingHandshakes, WaitsFor};
use crate::bridge::{Commands, SocketCommand, SpawnOwner};
use crate::error::DisconnectReason;
use crate::id::{Alias, Pid};
use crate::inspect::Inspection;
use crate::message::Message;
use crate::meta::ListenerInfo;
use crate::net::options::TcpServerOptions;
use crate::time::clock::millis;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ConnectionLimiter {
    /// The address that all its connections have on this side, if it is known.
    local_addr: Option<SocketAddr>,
    open: AtomicUsize,
    /// Open connections whose TLS handshake has begun and is not done. A silent peer counts as open only.
    handshaking: AtomicUsize,
    waiting: WaitingHandshakes,
    /// Handshakes that have given way to others.
    gave_way: AtomicU64,
    /// How long a peer may be silent after the accept, in milliseconds.
    first_byte_ms: Option<u64>,
    /// Silent peers at once.
    max_silent: Option<usize>,
    /// The listener waits for room.
    awaits_permit: AtomicBool,
    /// The listener is drained: a session that begins now is notified of it.
    is_draining: AtomicBool,
    pub(super) handshakes_failed: AtomicU64,
    proxy_headers_failed: AtomicU64,
    ended: [AtomicU64; DisconnectReason::COUNTED.len()],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    unsent: AtomicU64,
    mailbox_pauses: AtomicU64,
    high_water: AtomicU64,
    refused_sends: AtomicU64,
    by_ip: Mutex<HashMap<IpAddr, usize>>,
    /// What spawns a process for each connection, if that is wanted.
    pub(super) owners: OnceLock<Arc<dyn SpawnOwner>>,
    /// The listener, once it is started, and the way to it.
    listener: OnceLock<(Alias, Arc<Commands>)>,
}

impl ConnectionLimiter {
    pub(super) fn new(local_addr: Option<SocketAddr>, options: &TcpServerOptions) -> Self {
        Self {
            local_addr,
            first_byte_ms: options.connection.limits.first_byte_timeout.map(millis),
            max_silent: options.max_handshakes(),
            ..Self::default()
        }
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Returns whether one more connection would be within `max`, and its handshake within `max_handshakes`. If not,
    /// the next connection that ends, or handshake that is done, wakes the listener.
    pub(super) fn has_room(&self, max: Option<usize>, max_handshakes: Option<usize>) -> bool {
        let within = |count: &AtomicUsize, max: Option<usize>| {
            max.is_none_or(|max| count.load(SeqCst) < max)
        };
        let fits = || within(&self.open, max) && within(&self.handshaking, max_handshakes);
        if fits() {
            return true;
        }
        // A swap, which is a read-modify-write, so that it takes part in the total order of the counts that are read
        // next.
        self.awaits_permit.swap(true, SeqCst);
        // Again, after the flag is set; the page has the interleaving.
        fits()
    }

    /// Has every connection that ends wake the listener, which has none to accept any more. Returns how many there are.
    pub(super) fn drain(&self) -> usize {
        self.is_draining.store(true, SeqCst);
        // The flag is set before the connections are counted, for the same reason as in `has_room`.
        self.awaits_permit.swap(true, SeqCst);
        self.open.load(SeqCst)
    }

    pub(super) fn handshaking(&self) -> usize {
        self.handshaking.load(Relaxed)
    }

    pub(super) fn silent(&self) -> usize {
        self.waiting.silent()
    }

    /// Asks the silent handshake that has waited longest to give way to a connection that is there.
    pub(super) fn ask_silent(&self, commands: &Commands) {
        if let Some(alias) = self.waiting.take_silent() {
            ask_to_give_way(commands, alias);
        }
    }

    /// Asks the handshake whose peer has stalled for longest, of those that wait for this, to give way.
    ///
    /// # Errors
    ///
    /// The time in milliseconds at which one will have stalled, if any.
    pub(super) fn ask_stalled(
        &self,
        commands: &Commands,
        waits_for: WaitsFor,
        now_ms: u64,
    ) -> Result<(), Option<u64>> {
        let alias = self.waiting.take_stalled(waits_for, now_ms)?;
        ask_to_give_way(commands, alias);
        Ok(())
    }

    /// Has the next connection that ends wake the listener: its descriptor may be what is missing.
    pub(super) fn request_wakeup(&self) {
        self.awaits_permit.store(true, SeqCst);
    }

    /// Returns a permit, or `None` if there are `max_per_ip` from this address.
    pub(super) fn try_acquire(
        self: &Arc<Self>,
        listener: Alias,
        commands: &Arc<Commands>,
        ip: IpAddr,
        max_per_ip: Option<usize>,
    ) -> Option<ConnectionPermit> {
        if let Some(max) = max_per_ip {
            let mut by_ip = self.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
            let count = by_ip.entry(ip).or_insert(0);
            if *count >= max {
                return None;
            }
            *count += 1;
        }
        self.listener
            .get_or_init(|| (listener, Arc::clone(commands)));
        // Relaxed: only the listener adds, and it reads its own additions.
        self.open.fetch_add(1, Relaxed);
        let rare = max_per_ip.map(|_| {
            Box::new(Rare {
                ip: Some(ip),
                proxied: None,
            })
        });
        Some(ConnectionPermit {
            limiter: Arc::clone(self),
            rare,
            stage: Stage::Accepted,
        })
    }

    /// Sets the counters of the connections that have ended.
    pub(super) fn count(&self, info: &mut ListenerInfo) {
        info.handshakes_failed = self.handshakes_failed.load(Relaxed);
        info.ended_bytes_in = self.bytes_in.load(Relaxed);
        info.ended_bytes_out = self.bytes_out.load(Relaxed);
        info.ended_unsent = self.unsent.load(Relaxed);
    }

    /// Adds the counters of the connections that have ended.
    pub(super) fn describe(&self, inspection: &mut Inspection) {
        inspection.add("silent", self.silent());
        inspection.add("gave_way", self.gave_way.load(Relaxed));
        inspection.add("handshakes_failed", self.handshakes_failed.load(Relaxed));
        inspection.add(
            "proxy_headers_failed",
            self.proxy_headers_failed.load(Relaxed),
        );
        for (name, count) in DisconnectReason::COUNTED.into_iter().zip(&self.ended) {
            inspection.add(name, count.load(Relaxed));
        }
        inspection.add("ended_bytes_in", self.bytes_in.load(Relaxed));
        inspection.add("ended_bytes_out", self.bytes_out.load(Relaxed));
        inspection.add("ended_unsent", self.unsent.load(Relaxed));
        inspection.add("ended_mailbox_pauses", self.mailbox_pauses.load(Relaxed));
        inspection.add("ended_high_water", self.high_water.load(Relaxed));
        inspection.add("ended_refused_sends", self.refused_sends.load(Relaxed));
    }
}

fn ask_to_give_way(commands: &Commands, alias: Alias) {
    let command = Message::new(SocketCommand::GiveWay).into();
    // One that has ended meanwhile has given way.
    let _ = commands.send(alias, Pid::NODE, command);
}
