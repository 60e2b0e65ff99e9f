//! The ways to name the address in options.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use super::host::Host;
use super::{TcpConnectionOptions, TcpServerOptions, UdpServerOptions};

macro_rules! from_addresses {
    ($options:ty) => {
        impl From<&str> for $options {
            /// `host:port`, `[v6]:port`, `:port`, or a host alone; see [`Host`].
            fn from(address: &str) -> Self {
                let (host, port) = Host::split(address);
                Self::from((host, port))
            }
        }

        impl From<String> for $options {
            fn from(address: String) -> Self {
                Self::from(address.as_str())
            }
        }

        impl From<&String> for $options {
            fn from(address: &String) -> Self {
                Self::from(address.as_str())
            }
        }

        impl From<SocketAddr> for $options {
            fn from(address: SocketAddr) -> Self {
                Self::from((Host::from(address), address.port()))
            }
        }

        impl From<SocketAddrV4> for $options {
            fn from(address: SocketAddrV4) -> Self {
                Self::from(SocketAddr::V4(address))
            }
        }

        impl From<SocketAddrV6> for $options {
            fn from(address: SocketAddrV6) -> Self {
                Self::from(SocketAddr::V6(address))
            }
        }

        impl<H: Into<Host>> From<(H, u16)> for $options {
            fn from((host, port): (H, u16)) -> Self {
                Self {
                    host: host.into(),
                    port,
                    ..Self::default()
                }
            }
        }
    };
}

from_addresses!(TcpServerOptions);
from_addresses!(TcpConnectionOptions);
from_addresses!(UdpServerOptions);
