//! What a listener shares with its connections: settings, counters, and the seats that are limited.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::bridge::{Command, Commands};
use crate::error::DisconnectReason;
use crate::id::Alias;
use crate::inspect::Inspection;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ConnectionLimiter {
    /// The address that all its connections have on this side, if it is known.
    local_addr: Option<SocketAddr>,
    open: AtomicUsize,
    /// Those of them that the owner has not been told of: with TLS, whose handshakes are not done.
    handshaking: AtomicUsize,
    /// The listener waits for a seat.
    wants_seat: AtomicBool,
    pub(super) handshakes_failed: AtomicU64,
    ended: [AtomicU64; DisconnectReason::COUNTED.len()],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    unsent: AtomicU64,
    mailbox_pauses: AtomicU64,
    high_water: AtomicU64,
    refused_sends: AtomicU64,
    by_ip: Mutex<HashMap<IpAddr, usize>>,
    /// The listener, once it is started, and the way to it.
    listener: OnceLock<(Alias, Arc<Commands>)>,
}

/// The place of one connection; dropping it frees the place, and wakes the listener if it waits for one.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    hall: Arc<ConnectionLimiter>,
    /// Counted for a limit by address; boxed, because most listeners have none and each connection has a seat.
    ip: Option<Box<IpAddr>>,
    announced: bool,
}

/// What a connection leaves to the counters of its listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct FinalCounters {
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) unsent: u64,
    pub(super) mailbox_pauses: u32,
    pub(super) high_water: u32,
    pub(super) refused_sends: u32,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSeat {
    PerIp,
}

impl ConnectionLimiter {
    pub(super) fn at(local_addr: SocketAddr) -> Self {
        Self {
            local_addr: Some(local_addr),
            ..Self::default()
        }
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Whether one more would be within `max`, and one more handshake within `max_handshakes`. If not, the next seat that is
    /// freed, or handshake that is done, wakes the listener.
    ///
    /// Only the listener takes seats, so what it finds free stays free until it takes it. Bad interleaving: it finds none
    /// free, the last connection leaves and finds nobody waiting, it begins to wait. Excluded by looking again after the
    /// wish is published.
    pub(super) fn has_room(&self, max: Option<usize>, max_handshakes: Option<usize>) -> bool {
        let within = |count: &AtomicUsize, max: Option<usize>| {
            max.is_none_or(|max| count.load(std::sync::atomic::Ordering::SeqCst) < max)
        };
        let fits = || within(&self.open, max) && within(&self.handshaking, max_handshakes);
        if fits() {
            return true;
        }
        self.wants_seat
            .swap(true, std::sync::atomic::Ordering::SeqCst);
        fits()
    }

    pub(super) fn handshaking(&self) -> usize {
        self.handshaking.load(Relaxed)
    }

    /// The next seat that is freed wakes the listener: its descriptor may be what is missing.
    pub(super) fn wish(&self) {
        self.wants_seat
            .store(true, std::sync::atomic::Ordering::SeqCst);
    }

    pub(super) fn sit(
        self: &Arc<Self>,
        listener: Alias,
        commands: &Arc<Commands>,
        ip: IpAddr,
        max_per_ip: Option<usize>,
    ) -> Result<ConnectionPermit, NoSeat> {
        if let Some(max) = max_per_ip {
            let mut by_ip = self.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
            let count = by_ip.entry(ip).or_insert(0);
            if *count >= max {
                return Err(NoSeat::PerIp);
            }
            *count += 1;
        }
        self.listener
            .get_or_init(|| (listener, Arc::clone(commands)));
        self.open.fetch_add(1, Relaxed);
        self.handshaking.fetch_add(1, Relaxed);
        let ip = max_per_ip.map(|_| Box::new(ip));
        Ok(ConnectionPermit {
            hall: Arc::clone(self),
            ip,
            announced: false,
        })
    }
}

impl ConnectionLimiter {
    /// What the connections that have ended leave.
    pub(super) fn describe(&self, inspection: &mut Inspection) {
        inspection.add("handshakes_failed", self.handshakes_failed.load(Relaxed));
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
    /// Counts the end of the connection.
    pub(super) fn ended(&self, reason: &DisconnectReason, legacy: FinalCounters) {
        let hall = &*self.hall;
        hall.ended[reason.counted_at()].fetch_add(1, Relaxed);
        for (sum, value) in [
            (&hall.bytes_in, legacy.bytes_in),
            (&hall.bytes_out, legacy.bytes_out),
            (&hall.unsent, legacy.unsent),
            (&hall.mailbox_pauses, u64::from(legacy.mailbox_pauses)),
            (&hall.high_water, u64::from(legacy.high_water)),
            (&hall.refused_sends, u64::from(legacy.refused_sends)),
        ] {
            if value > 0 {
                sum.fetch_add(value, Relaxed);
            }
        }
    }

    pub(super) fn handshake_failed(&self) {
        self.hall.handshakes_failed.fetch_add(1, Relaxed);
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if let Some(ip) = self.ip.take() {
            let mut by_ip = self
                .hall
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
        if !self.announced {
            self.hall
                .handshaking
                .fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        }
        self.hall
            .open
            .fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        self.wake_listener();
    }
}

impl ConnectionPermit {
    /// The owner is told of the connection.
    pub(super) fn announce(&mut self) {
        if !std::mem::replace(&mut self.announced, true) {
            self.hall
                .handshaking
                .fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            self.wake_listener();
        }
    }

    /// The address that all connections of the listener have on this side, if it is known.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.hall.local_addr
    }

    /// Whether the owner has been told of the connection.
    pub(super) fn is_announced(&self) -> bool {
        self.announced
    }

    /// If it waits for what has just become free.
    fn wake_listener(&self) {
        if self
            .hall
            .wants_seat
            .swap(false, std::sync::atomic::Ordering::SeqCst)
            && let Some((listener, commands)) = self.hall.listener.get()
        {
            commands.push(listener.stripe(), Command::Wake { to: *listener });
        }
    }
}
