//! Changes of a UDP socket that is in use: groups that it joins and leaves, and how it sends to groups.
//!
//! A change is a request to the socket, so that its answer says whether it was made, and so that it keeps its place
//! among the datagrams sent before and after it. The groups of
//! [`UdpServerOptions::multicast`](crate::UdpServerOptions::multicast) are joined by `bind` already.
//!
//! What it does not do: nothing is remembered here. The operating system knows the groups of a socket and forgets them
//! with it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mio::net::UdpSocket;
use socket2::{InterfaceIndexOrAddress, SockRef};

use super::datagram_io::DatagramIo;
use super::options::host::interface_number;
use crate::error::OsError;
use crate::message::Request;

/// A change of how a running UDP socket takes part in multicast: a request to its alias.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
/// use longshore::Multicast;
/// # fn main() { inside(|cx| {
/// const JOINED: u64 = 1;
///
/// let socket = cx.spawn_meta(UdpServer::bind("0.0.0.0:0")?)?;
/// let group = std::net::Ipv4Addr::new(239, 1, 2, 3);
/// // The answer, a `Message::Reply` with that label, says whether it has joined.
/// cx.ask(socket, Multicast::join(group), Duration::from_secs(5), JOINED)?;
/// # Ok(()) }) }
/// ```
///
/// From outside of the node, [`Node::ask`](crate::Node::ask) asks and waits. Several sockets of one server are all
/// changed, as far as they have the family; the first error is the answer.
#[derive(Clone, Debug)]
pub struct Multicast {
    change: Change,
}

#[derive(Clone, Debug)]
enum Change {
    Join(IpAddr, Option<Interface>),
    Leave(IpAddr, Option<Interface>),
    SendOn(Interface),
    Ttl(u8),
    Loop(bool),
}

/// A network interface: by number, by name (on Linux), or by an IPv4 address that it has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Interface {
    /// Its number, as `ip link` shows it.
    Number(u32),
    /// Its name, as in `eth0`.
    Name(Box<str>),
    /// An address that it has. For IPv4 only.
    Address(Ipv4Addr),
}

impl From<u32> for Interface {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Interface {
    fn from(name: &str) -> Self {
        Self::Name(name.into())
    }
}

impl From<Ipv4Addr> for Interface {
    fn from(address: Ipv4Addr) -> Self {
        Self::Address(address)
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Why a [`Multicast`] change was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MulticastError {
    /// The address is no multicast group.
    #[error("{0} is not a multicast group")]
    NotAGroup(IpAddr),
    /// No socket of the server has the family of the group or interface.
    #[error("the socket has another family than {0}")]
    OtherFamily(String),
    /// There is no such interface.
    #[error("no interface {interface}: {error}")]
    NoInterface {
        /// The name.
        interface: Box<str>,
        /// The error of looking it up.
        error: OsError,
    },
    /// The operating system refused: `AddrInUse` for a group that was joined before, `AddrNotAvailable` for one that
    /// was not.
    #[error("cannot {change}: {error}")]
    Refused {
        /// What was to be done, as in `join 239.1.2.3`.
        change: String,
        /// What the operating system said.
        error: OsError,
    },
}

impl Request for Multicast {
    type Reply = Result<(), MulticastError>;
}

impl Multicast {
    fn new(change: Change) -> Self {
        Self { change }
    }

    /// Receive what is sent to a group, on the interface that the system chooses, or that [`Multicast::on`] names. The
    /// socket has to be bound to the port, and to all addresses or to the group.
    ///
    /// ```
    /// use longshore::Multicast;
    /// use std::net::Ipv6Addr;
    ///
    /// let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    /// let join = Multicast::join(all_nodes).on("eth0");
    /// assert_eq!(join.to_string(), "join ff02::1 on eth0");
    /// ```
    #[must_use = "it is a request to a socket"]
    pub fn join(group: impl Into<IpAddr>) -> Self {
        Self::new(Change::Join(group.into(), None))
    }

    /// Receive no more of a group, with the interface with which it was joined.
    ///
    /// ```
    /// use longshore::Multicast;
    ///
    /// let leave = Multicast::leave([239, 1, 2, 3]);
    /// assert_eq!(leave.to_string(), "leave 239.1.2.3");
    /// ```
    #[must_use = "it is a request to a socket"]
    pub fn leave(group: impl Into<IpAddr>) -> Self {
        Self::new(Change::Leave(group.into(), None))
    }

    /// Names the interface of a [`join`](Self::join) or [`leave`](Self::leave).
    ///
    /// ```
    /// use longshore::Multicast;
    ///
    /// let join = Multicast::join([239, 1, 2, 3]).on(2);
    /// assert_eq!(join.to_string(), "join 239.1.2.3 on 2");
    /// ```
    #[must_use = "it is a request to a socket"]
    pub fn on(mut self, interface: impl Into<Interface>) -> Self {
        if let Change::Join(_, on) | Change::Leave(_, on) = &mut self.change {
            *on = Some(interface.into());
        }
        self
    }

    /// Send to groups by that interface: for IPv4 by an address of it, for IPv6 by its number or name.
    ///
    /// ```
    /// use longshore::Multicast;
    /// use std::net::Ipv4Addr;
    ///
    /// let send_on = Multicast::send_on(Ipv4Addr::LOCALHOST);
    /// assert_eq!(send_on.to_string(), "send on 127.0.0.1");
    /// ```
    #[must_use = "it is a request to a socket"]
    pub fn send_on(interface: impl Into<Interface>) -> Self {
        Self::new(Change::SendOn(interface.into()))
    }

    /// How many routers what is sent to a group may pass: the time to live of IPv4, the hop limit of IPv6. 1, the
    /// default of both, stays on the local network; 0 stays on this machine.
    ///
    /// ```
    /// assert_eq!(longshore::Multicast::ttl(4).to_string(), "set ttl 4");
    /// ```
    #[must_use = "it is a request to a socket"]
    pub fn ttl(routers: u8) -> Self {
        Self::new(Change::Ttl(routers))
    }

    /// Whether sockets of this machine receive what is sent to a group from here, if they have joined. On by default.
    ///
    /// ```
    /// assert_eq!(longshore::Multicast::loopback(false).to_string(), "set loop false");
    /// ```
    #[must_use = "it is a request to a socket"]
    pub fn loopback(is_on: bool) -> Self {
        Self::new(Change::Loop(is_on))
    }

    /// Makes the change on each socket that has the family.
    pub(super) fn apply_to<'a>(
        &self,
        sockets: impl Iterator<Item = &'a DatagramIo>,
    ) -> Result<(), MulticastError> {
        if let Change::Join(group, _) | Change::Leave(group, _) = self.change
            && !group.is_multicast()
        {
            return Err(MulticastError::NotAGroup(group));
        }
        // Both are gathered over all sockets: one that succeeds makes the family known, one that fails is the answer.
        let (mut has_family, mut failed) = (false, None);
        for socket in sockets {
            let made = match socket.system_socket() {
                Some(socket) => self.apply(socket),
                // A simulated socket has no system beneath it.
                None => Err(self.refused(io::ErrorKind::Unsupported.into())),
            };
            match made {
                // A server may have sockets of both families, and a group has one.
                Err(MulticastError::OtherFamily(_)) => {}
                Err(error) => {
                    has_family = true;
                    // The other sockets are still changed, so that a failure of one does not leave the rest behind.
                    failed.get_or_insert(error);
                }
                Ok(()) => has_family = true,
            }
        }
        match failed {
            Some(error) => Err(error),
            None if has_family => Ok(()),
            None => Err(self.other_family()),
        }
    }

    fn apply(&self, socket: &UdpSocket) -> Result<(), MulticastError> {
        let socket = SockRef::from(socket);
        let family = Family::of(&socket).map_err(|error| self.refused(error))?;
        let set = |v4: io::Result<()>, v6: io::Result<()>| match family {
            Family::V4 => v4,
            // On systems that do not let a socket of IPv6 have options of IPv4, those of IPv6 alone count.
            Family::V6 | Family::Both => v6,
        };
        let made = match &self.change {
            Change::Join(group, on) => self.membership(&socket, family, *group, on.as_ref())?,
            Change::Leave(group, on) => self.membership(&socket, family, *group, on.as_ref())?,
            Change::SendOn(Interface::Address(address)) if family != Family::V6 => {
                socket.set_multicast_if_v4(address)
            }
            Change::SendOn(interface) if family != Family::V4 => {
                socket.set_multicast_if_v6(self.number(interface)?)
            }
            Change::SendOn(_) => return Err(self.other_family()),
            Change::Ttl(routers) => {
                // Both are set, because a dual-stack socket sends to groups of both families, each with an option of
                // its own.
                let routers = u32::from(*routers);
                let v4 = socket.set_multicast_ttl_v4(routers);
                set(v4, socket.set_multicast_hops_v6(routers))
            }
            Change::Loop(is_on) => {
                let v4 = socket.set_multicast_loop_v4(*is_on);
                set(v4, socket.set_multicast_loop_v6(*is_on))
            }
        };
        made.map_err(|error| self.refused(error))
    }

    fn membership(
        &self,
        socket: &SockRef<'_>,
        family: Family,
        group: IpAddr,
        on: Option<&Interface>,
    ) -> Result<io::Result<()>, MulticastError> {
        let joins = matches!(self.change, Change::Join(..));
        // A mapped group is one of IPv4, and its membership is an option of IPv4.
        Ok(match group.to_canonical() {
            IpAddr::V4(group) if family != Family::V6 => {
                let on = match on {
                    None => InterfaceIndexOrAddress::Address(Ipv4Addr::UNSPECIFIED),
                    Some(Interface::Address(address)) => InterfaceIndexOrAddress::Address(*address),
                    Some(other) => InterfaceIndexOrAddress::Index(self.number(other)?),
                };
                if joins {
                    socket.join_multicast_v4_n(&group, &on)
                } else {
                    socket.leave_multicast_v4_n(&group, &on)
                }
            }
            IpAddr::V6(group) if family != Family::V4 => {
                let on = on.map_or(Ok(0), |interface| self.number(interface))?;
                if joins {
                    socket.join_multicast_v6(&group, on)
                } else {
                    socket.leave_multicast_v6(&group, on)
                }
            }
            _ => return Err(self.other_family()),
        })
    }

    fn number(&self, interface: &Interface) -> Result<u32, MulticastError> {
        // The kernel takes a number; a name can belong to another interface after it was renamed, so it is looked up
        // now.
        match interface {
            Interface::Number(number) => Ok(*number),
            Interface::Name(name) => {
                interface_number(name).map_err(|error| MulticastError::NoInterface {
                    interface: name.clone(),
                    error: error.into(),
                })
            }
            Interface::Address(_) => Err(self.other_family()),
        }
    }

    fn other_family(&self) -> MulticastError {
        MulticastError::OtherFamily(match &self.change {
            Change::Join(group, None) | Change::Leave(group, None) => group.to_string(),
            Change::Join(group, Some(on)) | Change::Leave(group, Some(on)) => {
                format!("{group} on {on}")
            }
            Change::SendOn(interface) => format!("interface {interface}"),
            other => format!("{other:?}"),
        })
    }

    fn refused(&self, error: io::Error) -> MulticastError {
        MulticastError::Refused {
            change: self.to_string(),
            error: error.into(),
        }
    }
}

/// The families of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
    Both,
}

impl Family {
    fn of(socket: &SockRef<'_>) -> io::Result<Self> {
        let local = socket.local_addr()?.as_socket();
        Ok(match local.map(|local| local.ip()) {
            // A socket of IPv6 that is bound to all addresses serves IPv4 groups too.
            Some(IpAddr::V6(ip)) if ip == Ipv6Addr::UNSPECIFIED && !socket.only_v6()? => Self::Both,
            Some(IpAddr::V6(_)) => Self::V6,
            _ => Self::V4,
        })
    }
}

impl fmt::Display for Multicast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, group, on) = match &self.change {
            Change::Join(group, on) => ("join", group, on),
            Change::Leave(group, on) => ("leave", group, on),
            Change::SendOn(interface) => return write!(f, "send on {interface}"),
            Change::Ttl(routers) => return write!(f, "set ttl {routers}"),
            Change::Loop(is_on) => return write!(f, "set loop {is_on}"),
        };
        match on {
            None => write!(f, "{verb} {group}"),
            Some(on) => write!(f, "{verb} {group} on {on}"),
        }
    }
}
