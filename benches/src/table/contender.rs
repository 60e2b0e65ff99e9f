//! The contenders: a peer with a number of workers, and the family it is compared as.

use super::plan::{Field, Row};
use crate::peers::Mode;

/// What a contender is compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The floor.
    Epoll,
    /// One of the flavors of which the best is the base of the ratios.
    Tokio,
    /// The library itself.
    Longshore,
    /// All others.
    Other,
}

/// One server configuration.
#[derive(Clone, Copy, Debug)]
pub struct Contender {
    /// Its name in tables.
    pub label: &'static str,
    /// The name for the `peer` binary.
    pub peer: &'static str,
    /// How many threads it has.
    pub workers: usize,
    /// What it is compared as.
    pub family: Family,
    modes: &'static [Mode],
}

const ALL: &[Mode] = &[Mode::Echo, Mode::Sink, Mode::Udp];
const TCP: &[Mode] = &[Mode::Echo, Mode::Sink];
const TLS: &[Mode] = &[Mode::Tls];
const OWN: &[Mode] = &[Mode::Echo, Mode::Sink, Mode::Udp, Mode::Tls];

const fn contender(
    label: &'static str,
    peer: &'static str,
    workers: usize,
    family: Family,
    modes: &'static [Mode],
) -> Contender {
    Contender {
        label,
        peer,
        workers,
        family,
        modes,
    }
}

/// Longshore with a process for each connection.
const SESSIONS: &str = "longshore-sessions";

const CONTENDERS: &[Contender] = &[
    contender("epoll", "epoll", 1, Family::Epoll, ALL),
    contender("epoll-2", "epoll", 2, Family::Epoll, TCP),
    contender("mio", "mio", 1, Family::Other, ALL),
    contender("tokio-1", "tokio-mt", 1, Family::Tokio, ALL),
    contender("tokio-2", "tokio-mt", 2, Family::Tokio, ALL),
    contender("tokio-ct", "tokio-ct", 1, Family::Tokio, ALL),
    contender("tokio-rustls-1", "tokio-rustls", 1, Family::Tokio, TLS),
    contender("tokio-rustls-2", "tokio-rustls", 2, Family::Tokio, TLS),
    contender("tokio-rustls-ct", "tokio-rustls-ct", 1, Family::Tokio, TLS),
    contender("message-io", "message-io", 1, Family::Other, ALL),
    contender("actix", "actix", 1, Family::Other, TCP),
    contender("actix-2", "actix", 2, Family::Other, TCP),
    contender("ractor", "ractor", 1, Family::Other, TCP),
    contender("ractor-2", "ractor", 2, Family::Other, TCP),
    contender("kameo", "kameo", 1, Family::Other, TCP),
    contender("kameo-2", "kameo", 2, Family::Other, TCP),
    contender("longshore", "longshore", 1, Family::Longshore, OWN),
    contender("longshore-2", "longshore", 2, Family::Longshore, OWN),
    contender("sessions-2", SESSIONS, 2, Family::Longshore, TCP),
];

/// The names of `--peers`.
pub fn labels() -> impl Iterator<Item = &'static str> {
    CONTENDERS.iter().map(|contender| contender.label)
}

/// The contenders that have the mode and, if a list is given, are on it.
///
/// On one core only tokio and longshore run with a second worker as well; on both cores all have as many workers as
/// cores, if they can.
pub fn entrants(row: &Row, chosen: &[String]) -> Vec<Contender> {
    let takes_part = |contender: &&Contender| {
        contender.modes.contains(&row.mode)
            && (contender.peer != SESSIONS || row.field == Field::Slow)
            && contender.fits(row.server_cores())
            && match row.field {
                Field::All | Field::Slow => true,
                Field::Core => contender.is_core(),
                Field::OpenLoop => {
                    ["longshore", "tokio-mt", "message-io"].contains(&contender.peer)
                }
            }
    };
    let on_list = |contender: &&Contender| {
        chosen.is_empty() || chosen.iter().any(|label| label == contender.label)
    };
    CONTENDERS
        .iter()
        .filter(takes_part)
        .filter(on_list)
        .copied()
        .collect()
}

/// Finds a contender by its label.
pub fn find(label: &str) -> Option<Contender> {
    CONTENDERS
        .iter()
        .find(|contender| contender.label == label)
        .copied()
}

impl Contender {
    fn is_core(&self) -> bool {
        self.family != Family::Other || self.peer == "mio"
    }

    fn fits(&self, cores: usize) -> bool {
        match self.family {
            Family::Tokio | Family::Longshore => true,
            _ if cores == 1 => self.workers == 1,
            _ => {
                self.workers == 2
                    || !CONTENDERS
                        .iter()
                        .any(|other| other.peer == self.peer && other.workers == 2)
            }
        }
    }
}
