//! The limits of a listener: how many connections may be open or in a handshake, in all and from one address; and the
//! counters of the connections that have ended.
//!
//! A [`ConnectionPermit`] is acquired with each accept and lives as long as its connection. Dropping it makes room, and
//! wakes the listener if that waits for room.
//!
//! 1. *The listener looks* (`has_room`): the counts are read. If they are at a limit, `awaits_permit` is set and they are
//!    read again.
//! 2. *A permit is dropped, or its handshake is done*: the count is reduced, then `awaits_permit` is cleared; if it was
//!    set, the listener gets a `Resume`.
//!
//! Only the listener acquires permits, so room that it has seen stays until it takes it. Handshakes begin elsewhere: there may
//! be more of them than the limit, by those that were silent when the listener looked. Bad interleaving: the listener
//! finds no room, the last connection ends and finds no listener waiting, the listener begins to wait and is never woken.
//! Excluded because the listener reads the counts again after it has set `awaits_permit`: both sides write first and read
//! then, in one total order (`SeqCst`), so at least one of them sees the other.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::handshakes::{Waiting, WaitingHandshakes, WaitsFor};
use crate::bridge::{Command, Commands, SocketCommand, SpawnOwner};
use crate::error::DisconnectReason;
use crate::id::{Alias, Pid};
use crate::inspect::Inspection;
use crate::message::{Message, Proxied};
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

/// The permission to have one connection; dropping it makes room for another one.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    /// What most listeners have no use for.
    rare: Option<Box<Rare>>,
    stage: Stage,
}

#[derive(Debug, Default)]
struct Rare {
    /// The address that is counted for `max_connections_per_ip`.
    ip: Option<IpAddr>,
    /// What the header of a proxy says, and the address that its client connected to.
    proxied: Option<(Proxied, SocketAddr)>,
}

/// How far an accepted connection has come; see [`handshakes`](super::handshakes).
///
/// The place of a handshake is boxed, because connections spend their lives established.
#[derive(Debug)]
enum Stage {
    /// Its first callback has not looked at the socket.
    Accepted,
    Silent(Box<Waiting>),
    /// The handshake has begun: it waits for the peer's answer, or is computed.
    Begun(Box<Begun>),
    Established,
}

#[derive(Debug)]
struct Begun {
    place: Waiting,
    is_computed: bool,
}

/// What a connection adds to the counters of its listener when it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct FinalCounters {
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) unsent: u64,
    pub(super) mailbox_pauses: u32,
    pub(super) high_water: u32,
    pub(super) refused_sends: u32,
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

    /// Returns whether one more connection would be within `max`, and its handshake within `max_handshakes`. If not, the
    /// next connection that ends, or handshake that is done, wakes the listener.
    pub(super) fn has_room(&self, max: Option<usize>, max_handshakes: Option<usize>) -> bool {
        let within = |count: &AtomicUsize, max: Option<usize>| {
            max.is_none_or(|max| count.load(SeqCst) < max)
        };
        let fits = || within(&self.open, max) && within(&self.handshaking, max_handshakes);
        if fits() {
            return true;
        }
        self.awaits_permit.swap(true, SeqCst);
        fits()
    }

    /// Has every connection that ends wake the listener, which has none to accept any more. Returns how many there are.
    pub(super) fn drain(&self) -> usize {
        self.is_draining.store(true, SeqCst);
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

impl ConnectionPermit {
    /// What spawns the owner of the connection, if it is to have a process of its own.
    pub(super) fn owners(&self) -> Option<Arc<dyn SpawnOwner>> {
        self.limiter.owners.get().map(Arc::clone)
    }

    /// Whether the listener of the connection is `alias`.
    pub(super) fn is_of(&self, alias: Alias) -> bool {
        let listener = self.limiter.listener.get();
        listener.is_some_and(|(listener, _)| *listener == alias)
    }

    /// Whether the listener is drained.
    pub(super) fn is_draining(&self) -> bool {
        self.limiter.is_draining.load(SeqCst)
    }

    /// Counts the end of the connection.
    pub(super) fn ended(&self, reason: &DisconnectReason, counters: FinalCounters) {
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
            if value > 0 {
                sum.fetch_add(value, Relaxed);
            }
        }
    }

    pub(super) fn handshake_failed(&self) {
        self.limiter.handshakes_failed.fetch_add(1, Relaxed);
    }

    /// The owner gets its Connect: the handshake is done.
    pub(super) fn handshake_done(&mut self) {
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
                self.limiter.handshaking.fetch_sub(1, SeqCst);
                true
            }
            Stage::Accepted | Stage::Established => false,
        }
    }

    /// The handshake waits for the peer's first byte, if the first look at the socket found none. Returns until when.
    pub(super) fn await_first_byte(
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
        if max.is_some_and(|max| self.limiter.silent() > max) {
            self.limiter.ask_silent(commands);
        }
        // A listener that is full did not know of this one when it looked.
        self.wake_listener();
        Some(now_ms.saturating_add(self.limiter.first_byte_ms?))
    }

    /// Bytes of the handshake were read. With the first of them it takes a place. Returns since when the peer had been silent.
    pub(super) fn begin_handshake(&mut self, alias: Alias, now_ms: u64) -> Option<u64> {
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
    pub(super) fn compute_handshake(&mut self) {
        if let Stage::Begun(begun) = &mut self.stage {
            self.limiter.waiting.leave(begun.place);
            begun.is_computed = true;
        }
    }

    /// The peer of the handshake is waited for again: from now on if a flight has left, else as long as it has been before.
    pub(super) fn await_answer(&mut self, alias: Alias, flight_ms: Option<u64>) {
        let Stage::Begun(begun) = &mut self.stage else {
            return;
        };
        let waiting = &self.limiter.waiting;
        if let Some(now_ms) = flight_ms {
            waiting.leave(begun.place);
            begun.place = waiting.enter(WaitsFor::Answer, alias, now_ms);
        } else if begun.is_computed {
            waiting.return_to(begun.place, alias);
        }
        begun.is_computed = false;
    }

    /// Whether the handshake waits for bytes of its peer.
    pub(super) fn awaits_peer(&self) -> bool {
        match &self.stage {
            Stage::Silent(_) => true,
            Stage::Begun(begun) => !begun.is_computed,
            Stage::Accepted | Stage::Established => false,
        }
    }

    pub(super) fn count_giving_way(&self) {
        self.limiter.gave_way.fetch_add(1, Relaxed);
    }

    /// The address on this side, if it is known: that of a proxy's header, or the one that all connections of the listener
    /// have.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        let proxied = self.rare.as_ref().and_then(|rare| rare.proxied.as_ref());
        proxied.map(|(_, addr)| *addr).or(self.limiter.local_addr)
    }

    /// The connection did not begin with a header of a proxy.
    pub(super) fn proxy_header_failed(&self) {
        self.limiter.proxy_headers_failed.fetch_add(1, Relaxed);
    }

    /// Keeps what the header of a proxy says, and the address that its client connected to.
    pub(super) fn set_proxied(&mut self, proxied: Proxied, local_addr: SocketAddr) {
        self.rare.get_or_insert_default().proxied = Some((proxied, local_addr));
    }

    /// What the header of a proxy says.
    pub(super) fn proxied(&self) -> Option<&Proxied> {
        let proxied = self.rare.as_ref()?.proxied.as_ref();
        proxied.map(|(proxied, _)| proxied)
    }

    /// Returns whether the owner has got its Connect.
    pub(super) fn is_established(&self) -> bool {
        matches!(self.stage, Stage::Established)
    }

    /// Wakes the listener if it waits for the room that has just been made.
    fn wake_listener(&self) {
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
                if *count == 0 {
                    by_ip.remove(&ip);
                }
            }
        }
        self.leave_handshake();
        self.limiter.open.fetch_sub(1, SeqCst);
        self.wake_listener();
    }
}

fn ask_to_give_way(commands: &Commands, alias: Alias) {
    let command = Message::new(SocketCommand::GiveWay).into();
    // One that has ended meanwhile has given way.
    let _ = commands.send(alias, Pid::NODE, command);
}
