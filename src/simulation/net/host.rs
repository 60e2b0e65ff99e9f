//! A host: its addresses, ports and descriptors; and names.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::Net;
use crate::simulation::arena::Key;

/// A host of the simulated network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostId(pub(crate) u16);

/// A port is taken for one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// What has an address of the internet or a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// A listener, or a datagram socket.
    Socket(Key),
    /// A port of a connection.
    Connection,
}

/// A port of an address that is taken, and whether it may be shared.
type Taken = (IpAddr, Bound, bool);

/// How an address behaves that no host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// A router answers that it cannot be reached.
    Unreachable,
    /// Nothing answers.
    Silent,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Host {
    addresses: Vec<IpAddr>,
    /// What each port of each address belongs to. Several share one with `SO_REUSEPORT`.
    pub(super) ports: BTreeMap<(Protocol, u16), Vec<Taken>>,
    pub(super) paths: BTreeMap<PathBuf, Bound>,
    /// The host answers nothing: it is switched off.
    pub(super) is_silent: bool,
    descriptors: usize,
    /// How many faults last that keep its free descriptors from it.
    withheld: usize,
}

/// EMFILE: the same number on every Unix system.
const OUT_OF_DESCRIPTORS: i32 = 24;

impl Net {
    /// Adds a host with that name, the addresses `10.0.0.n` and `fd00::n`, and loopback addresses of its own.
    pub(crate) fn add_host(&mut self, name: &str) -> HostId {
        let id = HostId(u16::try_from(self.hosts.len()).unwrap_or(u16::MAX));
        let number = id.0 + 1;
        let [high, low] = number.to_be_bytes();
        let addresses = vec![
            IpAddr::V4(Ipv4Addr::new(10, 0, high, low)),
            IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number)),
        ];
        self.names.insert(name.to_owned(), addresses.clone());
        self.hosts.push(Host {
            addresses,
            ports: BTreeMap::new(),
            paths: BTreeMap::new(),
            is_silent: false,
            descriptors: 0,
            withheld: 0,
        });
        id
    }

    pub(super) fn host(&mut self, id: HostId) -> &mut Host {
        &mut self.hosts[usize::from(id.0)]
    }

    /// The address of a host in a family.
    pub(crate) fn address_of(&self, id: HostId, is_ipv6: bool) -> IpAddr {
        self.hosts[usize::from(id.0)].addresses[usize::from(is_ipv6)]
    }

    /// The host that has an address, as seen from `via`, whose loopback addresses are its own.
    pub(super) fn route(&self, via: HostId, ip: IpAddr) -> Result<HostId, Elsewhere> {
        let ip = ip.to_canonical();
        // Loopback addresses are the own host's in every host, so they cannot be looked up among the addresses of all.
        if ip.is_loopback() || ip.is_unspecified() {
            return Ok(via);
        }
        let owner = self
            .hosts
            .iter()
            .position(|host| host.addresses.contains(&ip));
        // The host exists, so a router would deliver: a packet to a machine that is off gets no answer at all.
        if let Some(index) = owner {
            return match self.hosts[index].is_silent {
                true => Err(Elsewhere::Silent),
                false => Ok(HostId(index as u16)),
            };
        }
        match ip {
            // TEST-NET-1 of RFC 5737 and the documentation prefix of RFC 3849.
            IpAddr::V4(v4) if v4.octets()[..3] == [192, 0, 2] => Err(Elsewhere::Silent),
            IpAddr::V6(v6) if v6.segments()[..2] == [0x2001, 0xdb8] => Err(Elsewhere::Silent),
            _ => Err(Elsewhere::Unreachable),
        }
    }

    /// The address that a socket of `from` has when it talks to `to`.
    pub(super) fn source_for(&self, from: HostId, to: IpAddr) -> IpAddr {
        // A packet that stays in the host bears the address that it is sent to, so that answers find the way back.
        if to.is_loopback() {
            return to;
        }
        if to.is_unspecified() {
            return match to {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
        }
        self.address_of(from, to.is_ipv6())
    }

    /// Lets a host answer nothing, or answer again.
    pub(crate) fn set_silent(&mut self, id: HostId, is_silent: bool) {
        self.host(id).is_silent = is_silent;
    }

    // ---- Names ----

    /// Gives a name these addresses.
    pub(crate) fn set_name(&mut self, name: &str, addresses: Vec<IpAddr>) {
        self.names.insert(name.to_owned(), addresses);
    }

    /// The addresses of a name.
    pub(crate) fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(ip) = name.parse() {
            return Ok(vec![ip]);
        }
        if name == "localhost" {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        self.names.get(name).cloned().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("{name}: name or service not known"),
            )
        })
    }

    // ---- Descriptors ----

    /// Takes a descriptor of a host.
    pub(super) fn take_descriptor(&mut self, id: HostId) -> io::Result<()> {
        let limit = self.options.descriptors;
        let host = self.host(id);
        if host.withheld > 0 || host.descriptors >= limit {
            return Err(io::Error::from_raw_os_error(OUT_OF_DESCRIPTORS));
        }
        host.descriptors += 1;
        Ok(())
    }

    pub(super) fn free_descriptor(&mut self, id: HostId) {
        self.host(id).descriptors -= 1;
    }

    /// Descriptors that a host uses.
    pub(crate) fn descriptors(&self, id: HostId) -> usize {
        self.hosts[usize::from(id.0)].descriptors
    }

    /// Keeps the free descriptors of a host from it; those in use stay.
    pub(crate) fn withhold_descriptors(&mut self, id: HostId) {
        self.host(id).withheld += 1;
    }

    /// Ends one [`Net::withhold_descriptors`].
    pub(crate) fn release_descriptors(&mut self, id: HostId) {
        self.host(id).withheld -= 1;
    }

    // ---- Ports ----

    /// Takes an address for a socket; port 0 draws one.
    pub(super) fn take_port(
        &mut self,
        id: HostId,
        protocol: Protocol,
        addr: SocketAddr,
        bound: Bound,
        shares: bool,
    ) -> io::Result<SocketAddr> {
        let is_own = |host: &Host, ip: IpAddr| {
            let ip = ip.to_canonical();
            ip.is_unspecified() || ip.is_loopback() || host.addresses.contains(&ip)
        };
        if !is_own(self.host(id), addr.ip()) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let port = match addr.port() {
            0 => self.draw_port(id, protocol)?,
            // An ephemeral port needs no such check: the search takes only ports that nothing uses.
            _ if self.host(id).has_conflict(protocol, addr, shares) => {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            port => port,
        };
        let taken = self.host(id).ports.entry((protocol, port)).or_default();
        taken.push((addr.ip(), bound, shares));
        Ok(SocketAddr::new(addr.ip(), port))
    }

    /// A free ephemeral port: the search begins at a drawn one.
    fn draw_port(&mut self, id: HostId, protocol: Protocol) -> io::Result<u16> {
        let (first, last) = (
            *self.options.ephemeral_ports.start(),
            *self.options.ephemeral_ports.end(),
        );
        let count = u64::from(last.saturating_sub(first)) + 1;
        // A drawn start, as in Linux: a test that relies on the order of ephemeral ports fails here instead of in
        // production.
        let start = self.random.below(count);
        let host = &self.hosts[usize::from(id.0)];
        (0..count)
            .map(|step| first + ((start + step) % count) as u16)
            .find(|port| !host.ports.contains_key(&(protocol, *port)))
            .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    pub(super) fn free_port(
        &mut self,
        id: HostId,
        protocol: Protocol,
        addr: SocketAddr,
        bound: Bound,
    ) {
        let ports = &mut self.host(id).ports;
        let Some(taken) = ports.get_mut(&(protocol, addr.port())) else {
            return;
        };
        if let Some(index) = taken
            .iter()
            .position(|(ip, other, _)| *ip == addr.ip() && *other == bound)
        {
            taken.remove(index);
        }
        if taken.is_empty() {
            ports.remove(&(protocol, addr.port()));
        }
    }

    /// The socket that an arriving packet is for: one bound to the address before one bound to all, several that share
    /// it in a drawn order.
    pub(super) fn find_bound(
        &mut self,
        id: HostId,
        protocol: Protocol,
        addr: SocketAddr,
    ) -> Option<Key> {
        let host = &self.hosts[usize::from(id.0)];
        let taken = host.ports.get(&(protocol, addr.port()))?;
        let with = |wanted: &dyn Fn(IpAddr) -> bool| -> Vec<Key> {
            taken
                .iter()
                .filter_map(|(ip, bound, _)| match bound {
                    Bound::Socket(key) if wanted(*ip) => Some(*key),
                    _ => None,
                })
                .collect()
        };
        let meant = addr.ip().to_canonical();
        // The most specific binding wins, as in the lookup of the kernel: a socket bound to one address takes its
        // packets from one that is bound to all.
        let mut found = with(&|ip| ip.to_canonical() == meant);
        if found.is_empty() {
            found = with(&|ip| ip.is_unspecified() && (ip.is_ipv4() == addr.is_ipv4()));
        }
        if found.is_empty() {
            // A dual-stack socket.
            found = with(&|ip| ip.is_unspecified() && ip.is_ipv6());
        }
        match found.len() {
            0 | 1 => found.first().copied(),
            // The kernel spreads by a hash of the addresses; a draw does the same, and a run with that seed repeats it.
            several => Some(found[self.random.below(several as u64) as usize]),
        }
    }
}

impl Host {
    fn has_conflict(&self, protocol: Protocol, addr: SocketAddr, shares: bool) -> bool {
        let Some(taken) = self.ports.get(&(protocol, addr.port())) else {
            return false;
        };
        taken.iter().any(|(ip, bound, other_shares)| {
            let overlaps = ip.to_canonical() == addr.ip().to_canonical()
                || ip.is_unspecified() && (ip.is_ipv6() || addr.is_ipv4())
                || addr.ip().is_unspecified() && (addr.is_ipv6() || ip.is_ipv4());
            // SO_REUSEADDR: connections of a former listener do not keep its port.
            overlaps && *bound != Bound::Connection && !(shares && *other_shares)
        })
    }
}
