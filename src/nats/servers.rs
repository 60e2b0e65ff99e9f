//! The servers that a client can go to, in the order in which it tries them, and how long it waits between two
//! attempts.
//!
//! ```text
//!  attempt ─ fails ─▶ next server at once ─ … ─ the round failed ─▶ wait, doubled each time
//!          ─ ready ─▶ the first round begins again
//! ```
//!
//! A server that refuses the client's credentials twice in a row is removed. Servers that an INFO names are added, at
//! most [`MAX_SERVERS`]; those that a later INFO no longer names are removed, but for those of the options.

use std::collections::VecDeque;
use std::time::Duration;

use super::options::Address;

/// The most servers.
// Each INFO of a server may name others, and must not make the list grow without limit.
const MAX_SERVERS: usize = 64;

/// One server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) address: Address,
    /// The name that its certificate must be valid for, if its host is a literal address that an INFO gave.
    pub(super) tls_name: Option<String>,
    is_learnt: bool,
    refusals: u8,
}

/// See the module. The current server is the first.
#[derive(Debug)]
pub(super) struct Servers {
    servers: VecDeque<Server>,
    /// Attempts since a server was ready.
    attempts: usize,
}

impl Servers {
    pub(super) fn new(addresses: Vec<Address>) -> Self {
        let server = |address| Server {
            address,
            tls_name: None,
            is_learnt: false,
            refusals: 0,
        };
        Self {
            servers: addresses.into_iter().map(server).collect(),
            attempts: 0,
        }
    }

    pub(super) fn current(&self) -> Option<&Server> {
        self.servers.front()
    }

    pub(super) fn has_others(&self) -> bool {
        self.servers.len() > 1
    }

    /// The current server answered CONNECT.
    pub(super) fn ready(&mut self) {
        self.attempts = 0;
        // A server that accepted the credentials counts from zero again; only two refusals in a row remove it.
        if let Some(server) = self.servers.front_mut() {
            server.refusals = 0;
        }
    }

    /// The current server refused the credentials. `false`: no server is left.
    pub(super) fn refused(&mut self) -> bool {
        if let Some(server) = self.servers.front_mut() {
            server.refusals += 1;
            if server.refusals >= 2 {
                self.servers.pop_front();
                // The next one takes its place; `advance` would pass it over.
                self.servers
                    .rotate_right(usize::from(!self.servers.is_empty()));
            }
        }
        !self.servers.is_empty()
    }

    /// Makes the next server the current one and returns how long to wait before it is tried. `random` is any number.
    pub(super) fn advance(&mut self, first: Duration, max: Duration, random: u64) -> Duration {
        if !self.servers.is_empty() {
            // A rotation keeps all servers and their order: none is tried twice before each was tried once.
            self.servers.rotate_left(1);
        }
        self.attempts += 1;
        let rounds = self.attempts / self.servers.len().max(1);
        let part = (random % 1024) as u32;
        if rounds <= 1 && self.attempts < self.servers.len().max(2) {
            // Another server, or the same one for the first time: all its clients come at once, so each waits a little.
            return first * part / 10_240;
        }
        let doublings = u32::try_from(rounds.saturating_sub(1))
            .unwrap_or(u32::MAX)
            .min(16);
        let wait = first.saturating_mul(1 << doublings).min(max);
        // Up to a quarter less, so that clients do not come together.
        wait - wait * part / 4096
    }

    /// Takes over the servers that an INFO of the current server names.
    pub(super) fn learn(&mut self, urls: &[String]) {
        if urls.is_empty() {
            return;
        }
        // A literal address has no name to check a certificate against, so it takes over the name of the server that
        // named it.
        let tls_name = self.servers.front().and_then(|server| {
            let name = Some(server.address.host.clone()).filter(|_| !server.address.is_literal());
            server.tls_name.clone().or(name)
        });
        let named: Vec<Address> = urls.iter().filter_map(|url| Address::parse(url)).collect();
        let is_same =
            |one: &Address, other: &Address| (&one.host, one.port) == (&other.host, other.port);
        let mut is_current = true;
        self.servers.retain(|server| {
            let is_named = named
                .iter()
                .any(|address| is_same(address, &server.address));
            // The current server stays, though it does not name itself: the connection to it is alive.
            std::mem::take(&mut is_current) || !server.is_learnt || is_named
        });
        for address in named {
            let is_known = self
                .servers
                .iter()
                .any(|server| is_same(&server.address, &address));
            if !is_known && self.servers.len() < MAX_SERVERS {
                self.servers.push_back(Server {
                    tls_name: tls_name.clone().filter(|_| address.is_literal()),
                    address,
                    is_learnt: true,
                    refusals: 0,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(1);

    fn servers(hosts: &[&str]) -> Servers {
        Servers::new(
            hosts
                .iter()
                .filter_map(|host| Address::parse(host))
                .collect(),
        )
    }

    fn hosts(servers: &Servers) -> Vec<&str> {
        servers
            .servers
            .iter()
            .map(|server| server.address.host.as_str())
            .collect()
    }

    #[test]
    fn every_server_is_tried_before_the_client_waits_and_waits_double_up_to_the_longest() {
        let mut servers = servers(&["a", "b", "c"]);
        let mut waits = Vec::new();
        for _ in 0..20 {
            waits.push(servers.advance(FIRST, MAX, 1023));
        }
        assert!(
            waits[..2]
                .iter()
                .all(|wait| *wait < Duration::from_millis(10)),
            "{waits:?}"
        );
        assert!(waits[2] >= FIRST * 3 / 4 && waits[2] <= FIRST, "{waits:?}");
        assert!(waits[5] > FIRST && waits[5] <= FIRST * 2, "{waits:?}");
        assert!(waits[19] > MAX * 7 / 10 && waits[19] <= MAX, "{waits:?}");
        servers.ready();
        assert!(servers.advance(FIRST, MAX, 0) < Duration::from_millis(10));
    }

    #[test]
    fn one_server_is_tried_again_at_once_and_then_with_waits() {
        let mut servers = servers(&["a"]);
        assert!(servers.advance(FIRST, MAX, 1023) < Duration::from_millis(10));
        assert_eq!(servers.advance(FIRST, MAX, 0), FIRST * 2);
        for _ in 0..100 {
            assert!(servers.advance(FIRST, MAX, 0) <= MAX);
        }
    }

    #[test]
    fn a_server_that_refuses_twice_in_a_row_is_removed() {
        let mut servers = servers(&["a", "b"]);
        assert!(servers.refused());
        servers.ready();
        assert!(servers.refused());
        assert_eq!(
            hosts(&servers),
            ["a", "b"],
            "a success between two refusals"
        );
        assert!(servers.refused());
        servers.advance(FIRST, MAX, 0);
        assert_eq!(hosts(&servers), ["b"]);
        assert!(servers.refused());
        assert!(!servers.refused(), "none is left");
        assert!(servers.current().is_none());
    }

    #[test]
    fn servers_of_an_info_come_and_go_and_those_of_the_options_stay() {
        let mut servers = servers(&["a.example", "b"]);
        let urls = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>();
        servers.learn(&urls(&[
            "10.0.0.1:1",
            "a.example:4222",
            "not an address",
            "c",
        ]));
        assert_eq!(hosts(&servers), ["a.example", "b", "10.0.0.1", "c"]);
        assert_eq!(servers.servers[2].tls_name.as_deref(), Some("a.example"));
        assert_eq!(servers.servers[3].tls_name, None);
        servers.learn(&urls(&["d"]));
        assert_eq!(hosts(&servers), ["a.example", "b", "d"]);
        servers.learn(&[]);
        assert_eq!(
            hosts(&servers),
            ["a.example", "b", "d"],
            "an INFO without a list"
        );
        let many: Vec<String> = (0..1000).map(|n| format!("h{n}")).collect();
        servers.learn(&many);
        assert_eq!(servers.servers.len(), MAX_SERVERS);
    }
}
