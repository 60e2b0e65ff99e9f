//! The permit of one accepted connection: how far its handshake has come, and what it adds to the counters of its
//! listener.
//!
//! Dropping it makes room for another connection, and wakes the listener if that waits for room.
//!
//! What it does not do: it decides nothing. Who gives way to whom is the [limiter](super::ConnectionLimiter)'s.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, PoisonError};

use super::ConnectionLimiter;
use crate::bridge::{Command, Commands, SpawnOwner};
use crate::error::DisconnectReason;
use crate::id::Alias;
use crate::message::Proxied;
use crate::net::tcp::handshakes::{Waiting, WaitsFor};

/// The permission to have one connection; dropping it makes room for another one.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    pub(super) limiter: Arc<ConnectionLimiter>,
    /// State that only some listeners need.
    pub(super) rare: Option<Box<Rare>>,
    pub(super) stage: Stage,
}

#[derive(Debug, Default)]
pub(super) struct Rare {
    /// The address that is counted for `max_connections_per_ip`.
    pub(super) ip: Option<IpAddr>,
    /// What the header of a proxy says, and the address that its client connected to.
    pub(super) proxied: Option<(Proxied, SocketAddr)>,
}

/// How far an accepted connection has come; see [`handshakes`](crate::net::tcp::handshakes).
///
/// The place of a handshake is boxed, because connections spend their lives established.
#[derive(Debug)]
pub(super) enum Stage {
    /// Its first callback has not looked at the socket.
    Accepted,
    Silent(Box<Waiting>),
    /// The handshake has begun: it waits for the peer's answer, or is computed.
    Begun(Box<Begun>),
    Established,
}

#[derive(Debug)]
pub(super) struct Begun {
    place: Waiting,
    is_computed: bool,
}

/// What a connection adds to the counters of its listener when it ends.
#[derive(Clone, Copy, Debug)]
pub(in crate::net::tcp) struct FinalCounters {
    pub(in crate::net::tcp) bytes_in: u64,
    pub(in crate::net::tcp) bytes_out: u64,
    pub(in crate::net::tcp) unsent: u64,
    pub(in crate::net::tcp) mailbox_pauses: u32,
    pub(in crate::net::tcp) high_water: u32,
    pub(in crate::net::tcp) refused_sends: u32,
}

impl ConnectionPermit {
    /// What spawns the owner of the connection, if it is to have a process of its own.
    pub(in crate::net::tcp) fn owners(&self) -> Option<Arc<dyn SpawnOwner>> {
        self.limiter.owners.get().map(Arc::clone)
    }

    /// Whether the listener of the connection is `alias`.
    pub(in crate::net::tcp) fn is_of(&self, alias: Alias) -> bool {
        let listener = self.limiter.listener.get();
        listener.is_some_and(|(listener, _)| *listener == alias)
    }

    /// Whether the listener is drained.
    pub(in crate::net::tcp) fn is_draining(&self) -> bool {
        self.limiter.is_draining.load(SeqCst)
    }

    /// Counts the end of the connection.
    pub(in crate::net::tcp) fn ended(&self, reason: &DisconnectReason, counters: FinalCounters) {
        let limiter = &*self.limiter;
        limiter.ended[reason.counted_at()].fetch_add(1, Relaxed);
        for (sum, value) in [
            (&limiter.bytes_in, counters.bytes_in),
            (&limiter.bytes_out, counters.bytes_out),
            (&limiter.unsent, counters.unsent),
            (&limiter.mailbox_pauses, u64::from(counters.mailbox_pauses)),
            (&limiter.high_water, u64::from(counters.high_water)),
            (&limiter.refused_sends, u64::from(counters.refused_sends)),
        ] {
            // Most counters of a connection are zero, and an addition takes the cache line from other workers.
            if value > 0 {
                sum.fetch_add(value, Relaxed);
            }
        }
    }

    pub(in crate::net::tcp) fn handshake_failed(&self) {
        self.limiter.handshakes_failed.fetch_add(1, Relaxed);
    }

    /// The owner gets its Connect: the handshake is done.
    pub(in crate::net::tcp) fn handshake_done(&mut self) {
        if self.leave_handshake() {
            self.wake_listener();
        }
        self.stage = Stage::Established;
    }

    /// Leaves the places of handshakes. Returns whether it had one that is limited.
    fn leave_handshake(&mut self) -> bool {
        match std::mem::replace(&mut self.stage, Stage::Accepted) {
            Stage::Silent(place) => {
                self.limiter.waiting.leave(*place);
                false
            }
            Stage::Begun(begun) => {
                self.limiter.waiting.leave(begun.place);
                // The count is reduced before `awaits_permit` is read; see the page of `limits`.
                self.limiter.handshaking.fetch_sub(1, SeqCst);
                true
            }
            Stage::Accepted | Stage::Established => false,
        }
    }

    /// The handshake waits for the peer's first byte, if the first look at the socket found none. Returns until when.
    pub(in crate::net::tcp) fn await_first_byte(
        &mut self,
        commands: &Commands,
        alias: Alias,
        now_ms: u64,
    ) -> Option<u64> {
        if !matches!(self.stage, Stage::Accepted) {
            return None;
        }
        let place = self
            .limiter
            .waiting
            .enter(WaitsFor::FirstByte, alias, now_ms);
        self.stage = Stage::Silent(Box::new(place));
        let max = self.limiter.max_silent;
        // The one that has waited longest gives way, which may be this one.
        if max.is_some_and(|max| self.limiter.silent() > max) {
            self.limiter.ask_silent(commands);
        }
        // A listener that is full did not know of this one when it looked.
        self.wake_listener();
        Some(now_ms.saturating_add(self.limiter.first_byte_ms?))
    }

    /// Bytes of the handshake were read. With the first of them it takes a place. Returns since when the peer had been
    /// silent.
    pub(in crate::net::tcp) fn begin_handshake(
        &mut self,
        alias: Alias,
        now_ms: u64,
    ) -> Option<u64> {
        let silent_ms = match &self.stage {
            Stage::Accepted => None,
            Stage::Silent(place) => {
                self.limiter.waiting.leave(**place);
                Some(place.since_ms)
            }
            Stage::Begun(_) | Stage::Established => return None,
        };
        self.limiter.handshaking.fetch_add(1, SeqCst);
        let place = self.limiter.waiting.enter(WaitsFor::Answer, alias, now_ms);
        self.stage = Stage::Begun(Box::new(Begun {
            place,
            is_computed: false,
        }));
        silent_ms
    }

    /// A step of the handshake is computed elsewhere: the peer is not waited for.
    pub(in crate::net::tcp) fn compute_handshake(&mut self) {
        if let Stage::Begun(begun) = &mut self.stage {
            self.limiter.waiting.leave(begun.place);
            begun.is_computed = true;
        }
    }

    /// The peer of the handshake is waited for again: from now on if a flight has left, else as long as it has been
    /// before.
    pub(in crate::net::tcp) fn await_answer(&mut self, alias: Alias, flight_ms: Option<u64>) {
        let Stage::Begun(begun) = &mut self.stage else {
            return;
        };
        let waiting = &self.limiter.waiting;
        if let Some(now_ms) = flight_ms {
            waiting.leave(begun.place);
            begun.place = waiting.enter(WaitsFor::Answer, alias, now_ms);
        // The step was no progress, so the peer's time goes on.
        } else if begun.is_computed {
            waiting.return_to(begun.place, alias);
        }
        begun.is_computed = false;
    }

    /// Whether the handshake waits for bytes of its peer.
    pub(in crate::net::tcp) fn awaits_peer(&self) -> bool {
        match &self.stage {
            Stage::Silent(_) => true,
            Stage::Begun(begun) => !begun.is_computed,
            Stage::Accepted | Stage::Established => false,
        }
    }

    pub(in crate::net::tcp) fn count_giving_way(&self) {
        self.limiter.gave_way.fetch_add(1, Relaxed);
    }

    /// The address on this side, if it is known: that of a proxy's header, or the one that all connections of the
    /// listener have.
    pub(in crate::net::tcp) fn local_addr(&self) -> Option<SocketAddr> {
        let proxied = self.rare.as_ref().and_then(|rare| rare.proxied.as_ref());
        proxied.map(|(_, addr)| *addr).or(self.limiter.local_addr)
    }

    /// The connection did not begin with a header of a proxy.
    pub(in crate::net::tcp) fn proxy_header_failed(&self) {
        self.limiter.proxy_headers_failed.fetch_add(1, Relaxed);
    }

    /// Keeps what the header of a proxy says, and the address that its client connected to.
    pub(in crate::net::tcp) fn set_proxied(&mut self, proxied: Proxied, local_addr: SocketAddr) {
        self.rare.get_or_insert_default().proxied = Some((proxied, local_addr));
    }

    /// What the header of a proxy says.
    pub(in crate::net::tcp) fn proxied(&self) -> Option<&Proxied> {
        let proxied = self.rare.as_ref()?.proxied.as_ref();
        proxied.map(|(proxied, _)| proxied)
    }

    /// Returns whether the owner has got its Connect.
    pub(in crate::net::tcp) fn is_established(&self) -> bool {
        matches!(self.stage, Stage::Established)
    }

    /// Wakes the listener if it waits for the room that has just been made.
    fn wake_listener(&self) {
        // The flag is cleared by one of the connections that end at once, so that the listener is woken once.
        if self.limiter.awaits_permit.swap(false, SeqCst)
            && let Some((listener, commands)) = self.limiter.listener.get()
        {
            commands.push(listener.stripe(), Command::Wake { to: *listener });
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if let Some(ip) = self.rare.as_ref().and_then(|rare| rare.ip) {
            let mut by_ip = self
                .limiter
                .by_ip
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = by_ip.get_mut(&ip) {
                *count -= 1;
                // An address that is gone must not stay in the map, or a peer with many addresses would fill it.
                if *count == 0 {
                    by_ip.remove(&ip);
                }
            }
        }
        self.leave_handshake();
        // The place is given back before the listener is woken, which looks at once.
        self.limiter.open.fetch_sub(1, SeqCst);
        self.wake_listener();
    }
}
