//! Admission: an accepted connection gets a permit and an owner and is started, or it is closed.
//!
//! 0. *Trust*: where a header of the PROXY protocol is required, the peer must be a trusted proxy.
//! 1. *Owner*: the next process of the pool that is alive. Without one the socket is closed.
//! 2. *Permit*: the limits of the listener and of the address. At a limit the socket is closed.
//! 3. *Start*: options are set, the machine is made, the connection is spawned as a child of the
//!    listener's parent. What fails here is counted and recorded.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use socket2::SockRef;

use super::TcpServer;
use super::proxied::ProxiedConnection;
use crate::error::{Reason, SpawnError};
use crate::id::Pid;
use crate::meta::{MetaContext, MetaProcess};
use crate::net::socket::{INHERITED, set_buffer_sizes, set_stream_options};
use crate::net::stream::Stream;
use crate::net::tcp::connection::Driver;
use crate::net::tcp::limits::ConnectionPermit;
use crate::proto::tcp::Connection;
use crate::record::{Kind, Level};

impl TcpServer {
    /// Returns a permit for a connection that the limits allow.
    fn acquire(
        &mut self,
        cx: &MetaContext<'_>,
        remote_addr: SocketAddr,
    ) -> Option<ConnectionPermit> {
        let max = self.options.max_connections;
        // A silent connection gives way to one that is there, but only the next one gains from it.
        if max.is_some_and(|max| self.limiter.open() >= max) {
            self.limiter.ask_silent(&cx.services.commands);
            return None;
        }
        let permit = self.limiter.try_acquire(
            cx.alias,
            &cx.services.commands,
            network(remote_addr.ip(), self.options.per_ip_v6_prefix),
            self.options.max_connections_per_ip,
        );
        self.counters.refused_per_ip += u64::from(permit.is_none());
        permit
    }

    /// Chooses the owner and starts the connection. If that fails the socket is closed, counted and recorded.
    pub(super) fn handle_accepted(
        &mut self,
        cx: &MetaContext<'_>,
        stream: Stream,
        remote_addr: SocketAddr,
    ) {
        // An untrusted peer gets no permit and no owner: it must cost as little as possible.
        if self.listener.is_tcp() && !self.options.proxy_protocol.trusts(remote_addr.ip()) {
            return self.refuse_untrusted(cx, &stream, remote_addr);
        }
        let number = self.counters.accepted;
        // The owner is looked for before the permit, because a permit counts against the limits.
        let Some(owner) = self.owner(cx, number) else {
            self.counters.no_owner += 1;
            self.warn(
                cx,
                Kind::NoOwner,
                format_args!("no process of the pool is alive"),
            );
            return;
        };
        let Some(permit) = self.acquire(cx, remote_addr) else {
            self.counters.refused += 1;
            return;
        };
        self.counters.accepted += 1;
        self.rate.1 += 1;
        let started = self
            .start(cx, stream, owner, remote_addr, permit)
            .and_then(|meta| {
                cx.services
                    .spawn(cx.parent, meta)
                    .map_err(|error: SpawnError| Reason::from(error))
            });
        if let Err(reason) = started {
            self.counters.errors += 1;
            self.warn(
                cx,
                Kind::ConnectionNotStarted,
                format_args!("connection not started: {reason}"),
            );
        }
    }

    /// Sets the options of the connection on a socket that was accepted.
    fn set_options(&self, stream: &Stream) -> std::io::Result<()> {
        #[cfg(unix)]
        if let Stream::Unix(stream) = stream {
            set_buffer_sizes(&SockRef::from(stream), &self.options.connection.socket)?;
        }
        #[cfg(feature = "testing")]
        if let Stream::Simulated(stream) = stream
            && self.options.connection.socket.reset_on_close
        {
            stream.reset_on_close();
        }
        // Where accepted sockets inherit the options of their listener, a system call for each connection is saved.
        if !INHERITED && let Stream::Tcp(stream) = stream {
            set_stream_options(
                &SockRef::from(stream),
                &self.options.connection.socket,
                self.options.connection.keep_alive_period,
            )?;
        }
        Ok(())
    }

    fn start(
        &mut self,
        cx: &MetaContext<'_>,
        stream: Stream,
        owner: Pid,
        remote_addr: SocketAddr,
        permit: ConnectionPermit,
    ) -> Result<Box<dyn MetaProcess>, Reason> {
        self.set_options(&stream)?;
        let settings = self
            .settings
            .get_or_insert_with(|| self.options.connection.settings(&cx.services.pool));
        let settings = Arc::clone(settings);
        let tls = match &self.tls {
            Some(tls) => Some(tls.accept()?),
            None => None,
        };
        if let Some(timeout) = self.options.proxy_protocol.timeout() {
            return Ok(Box::new(ProxiedConnection {
                stream,
                settings,
                tls,
                owner,
                proxy_addr: remote_addr,
                timeout,
                permit: Some(permit),
                received: Vec::new(),
            }));
        }
        let machine = match tls {
            Some(tls) => Connection::with_tls(settings, tls, cx.now_ms),
            None => Connection::new(settings, cx.now_ms),
        };
        let driver = Driver::new(stream, machine, owner, remote_addr).with_permit(permit);
        Ok(Box::new(driver))
    }

    /// The peer may not say for whom it opens a connection: nothing of it is read.
    #[cold]
    fn refuse_untrusted(&mut self, cx: &MetaContext<'_>, stream: &Stream, peer: SocketAddr) {
        self.counters.untrusted += 1;
        // A reset: an orderly close would leave the kernel a connection in FIN_WAIT or TIME_WAIT for each attempt of
        // the peer.
        stream.reset_on_close();
        cx.record(Level::Info, Kind::NotEstablished, |record| {
            record.set_text(format_args!(
                "connection of {peer} not established: it is no trusted proxy"
            ));
        });
    }

    /// Returns the owner of connection `number`: entry `number % len` of `process_pool`, or the next entry whose
    /// process is alive.
    fn owner(&self, cx: &MetaContext<'_>, number: u64) -> Option<Pid> {
        // The processes of the pool take turns, so that each gets its share of the connections.
        let names = &self.options.process_pool;
        if names.is_empty() {
            return Some(cx.parent);
        }
        let deliver = &cx.services.deliver;
        let first = (number % names.len() as u64) as usize;
        (0..names.len())
            .filter_map(|offset| deliver.resolve(&names[(first + offset) % names.len()]))
            .find(|pid| deliver.is_alive(*pid) && !deliver.is_pool(*pid))
    }
}

/// Returns what connections are counted by: an IPv4 address, or the network of an IPv6 address.
fn network(ip: IpAddr, v6_prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => {
            let host_bits = 128 - u32::from(v6_prefix.min(128));
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_counted_by_network() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        for (address, prefix, expected) in [
            ("10.1.2.3", 64, "10.1.2.3"),
            ("2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::"),
            ("2001:db8:1:2:3:4:5:6", 128, "2001:db8:1:2:3:4:5:6"),
            ("2001:db8:1:2:3:4:5:6", 48, "2001:db8:1::"),
            ("ffff::1", 1, "8000::"),
            ("::1", 64, "::"),
        ] {
            assert_eq!(
                network(ip(address), prefix),
                ip(expected),
                "{address}/{prefix}"
            );
        }
    }
}
