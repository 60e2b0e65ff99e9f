//! What a listener shares with its connections: settings, counters, and the seats that are limited.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::command::{Command, Commands};
use crate::id::Alias;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Hall {
    open: AtomicUsize,
    /// The listener waits for a seat.
    wants_seat: AtomicBool,
    pub(super) handshakes_failed: AtomicU64,
    by_ip: Mutex<HashMap<IpAddr, usize>>,
}

/// The place of one connection; dropping it frees the place, and wakes the listener if it waits for one.
#[derive(Debug)]
pub(crate) struct Seat {
    hall: Arc<Hall>,
    listener: Alias,
    commands: Arc<Commands>,
    ip: Option<IpAddr>,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSeat {
    PerIp,
}

impl Hall {
    pub(super) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Whether one more would be within `max`. If not, the next seat that is freed wakes the listener.
    ///
    /// Only the listener takes seats, so what it finds free stays free until it takes it. Bad interleaving: it finds none
    /// free, the last connection leaves and finds nobody waiting, it begins to wait. Excluded by looking again after the
    /// wish is published.
    pub(super) fn has_room(&self, max: Option<usize>) -> bool {
        let Some(max) = max else { return true };
        if self.open.load(Relaxed) < max {
            return true;
        }
        self.wants_seat.swap(true, std::sync::atomic::Ordering::SeqCst);
        self.open.load(std::sync::atomic::Ordering::SeqCst) < max
    }

    pub(super) fn sit(
        self: &Arc<Self>,
        listener: Alias,
        commands: &Arc<Commands>,
        ip: IpAddr,
        max_per_ip: Option<usize>,
    ) -> Result<Seat, NoSeat> {
        if let Some(max) = max_per_ip {
            let mut by_ip = self.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
            let count = by_ip.entry(ip).or_insert(0);
            if *count >= max {
                return Err(NoSeat::PerIp);
            }
            *count += 1;
        }
        self.open.fetch_add(1, Relaxed);
        let ip = max_per_ip.map(|_| ip);
        Ok(Seat { hall: Arc::clone(self), listener, commands: Arc::clone(commands), ip })
    }
}

impl Seat {
    pub(super) fn handshake_failed(&self) {
        self.hall.handshakes_failed.fetch_add(1, Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(ip) = self.ip {
            let mut by_ip = self.hall.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = by_ip.get_mut(&ip) {
                *count -= 1;
                if *count == 0 {
                    by_ip.remove(&ip);
                }
            }
        }
        self.hall.open.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        if self.hall.wants_seat.swap(false, std::sync::atomic::Ordering::SeqCst) {
            self.commands.push(self.listener.stripe(), Command::Resume { to: self.listener });
        }
    }
}
