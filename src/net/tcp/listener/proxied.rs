//! An accepted connection that begins with a header of the PROXY protocol: waits for the header, then becomes the
//! driver.
//!
//! ```text
//!   accepted ─1─▶ Waiting ─2─▶ becomes the driver of the connection
//!                    └────3──▶ reset
//! ```
//!
//! 1. The peer is trusted; the listener has looked at its address.
//! 2. The header is complete. The addresses that it has are those of the connection from now on, and the bytes behind
//!    it are its first ones: a TLS handshake, or the owner's.
//! 3. The bytes are no header, the peer has ended its side, or the time is over. It is counted and recorded, and the
//!    owner learns nothing: there has been no Connect.
//!
//! At most two of the longest headers are kept. What it does not do: it delivers nothing, and takes no part in the
//! limits of handshakes, because its peer is trusted.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::bridge::{QuotaOptions, SocketCommand};
use crate::error::Reason;
use crate::id::{Alias, Pid};
use crate::inspect::Inspection;
use crate::message::{Message, Proxied};
use crate::meta::{MetaContext, MetaProcess, Readiness};
use crate::net::stream::Stream;
use crate::net::tcp::connection::{Driver, begin_with_owner, quota_options};
use crate::net::tcp::limits::ConnectionPermit;
use crate::proto::proxy::{Header, MAX_HEADER, ProxyError, parse};
use crate::proto::tcp::{Connection, Settings};
use crate::proto::tls::Tls;
use crate::record::{Kind, Level};

/// See the module.
pub(super) struct ProxiedConnection {
    pub(super) stream: Stream,
    pub(super) settings: Arc<Settings>,
    pub(super) tls: Option<Tls>,
    pub(super) owner: Pid,
    /// The peer of the socket.
    pub(super) proxy_addr: SocketAddr,
    pub(super) timeout: Duration,
    /// `None` once it has become the driver.
    pub(super) permit: Option<ConnectionPermit>,
    /// What has come of the header.
    pub(super) received: Vec<u8>,
}

/// Why there is no header.
enum Refused {
    Header(ProxyError),
    Ended,
    Late,
    Io(io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(error) => error.fmt(f),
            Self::Ended => f.write_str("the proxy ended it before its header was complete"),
            Self::Late => f.write_str("the proxy's header did not come in time"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl ProxiedConnection {
    /// Reads until the header is complete. `None`: more bytes are needed, and not here.
    fn read_header(
        &mut self,
        cx: &mut MetaContext<'_>,
    ) -> Result<Option<(usize, Header)>, Refused> {
        loop {
            let spare = cx.scratch.spare_mut();
            // Each read takes at most one of the longest headers, so that a peer without a header cannot make this
            // grow.
            let most = spare.len().min(MAX_HEADER);
            match self.stream.read(&mut spare[..most]) {
                Ok(0) => return Err(Refused::Ended),
                Ok(read) => self.received.extend_from_slice(&spare[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(Refused::Io(error)),
            }
            if let Some(found) = parse(&self.received).map_err(Refused::Header)? {
                return Ok(Some(found));
            }
        }
    }

    fn advance(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        match self.read_header(cx) {
            Ok(None) => Ok(()),
            Ok(Some((length, header))) => self.become_driver(cx, length, header),
            Err(refused) => Err(self.refuse(cx, &refused)),
        }
    }

    #[cold]
    fn refuse(&self, cx: &MetaContext<'_>, refused: &Refused) -> Reason {
        // A proxy must not take a refused connection for one that was closed in order.
        self.stream.reset_on_close();
        if let Some(permit) = &self.permit {
            permit.proxy_header_failed();
        }
        let peer = self.proxy_addr;
        cx.record(Level::Info, Kind::NotEstablished, |record| {
            record.set_text(format_args!(
                "connection of {peer} not established: {refused}"
            ));
        });
        Reason::error(refused)
    }

    /// Gives the driver the addresses of the header, and what came behind it.
    fn become_driver(
        &mut self,
        cx: &mut MetaContext<'_>,
        length: usize,
        header: Header,
    ) -> Result<(), Reason> {
        let Some(mut permit) = self.permit.take() else {
            return Ok(());
        };
        let settings = Arc::clone(&self.settings);
        let machine = match self.tls.take() {
            Some(tls) => Connection::with_tls(settings, tls, cx.now_ms),
            None => Connection::new(settings, cx.now_ms),
        };
        let mut remote_addr = self.proxy_addr;
        // The socket goes to the driver. What is dropped with this meta-process must not close it.
        let stream = std::mem::replace(&mut self.stream, Stream::HungUp);
        if let Some((source, destination)) = header.addresses {
            let local_addr = permit.local_addr().unwrap_or_else(|| stream.local_addr());
            let proxied = Proxied::new(self.proxy_addr, local_addr, header.tlvs);
            permit.set_proxied(proxied, destination);
            remote_addr = source;
        }
        let mut driver =
            Box::new(Driver::new(stream, machine, self.owner, remote_addr).with_permit(permit));
        // The time for the header is over; the machine sets the next deadline.
        cx.set_deadline(u64::MAX);
        cx.scratch.extend_from_slice(&self.received[length..]);
        let outcome = driver.take_over(cx);
        cx.become_meta(driver);
        outcome
    }
}

impl MetaProcess for ProxiedConnection {
    /// It is counted and recorded.
    fn reports_end(&self) -> bool {
        true
    }

    fn init(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        begin_with_owner(cx, self.owner);
        cx.set_deadline(cx.services.timers.clock().deadline_ms(self.timeout));
        self.stream.register(cx)?;
        self.advance(cx)
    }

    fn ready(&mut self, cx: &mut MetaContext<'_>, _readiness: Readiness) -> Result<(), Reason> {
        self.advance(cx)
    }

    fn handle_timer(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        // What has come meanwhile is in time.
        self.advance(cx)?;
        if self.permit.is_some() {
            return Err(self.refuse(cx, &Refused::Late));
        }
        Ok(())
    }

    fn handle_message(
        &mut self,
        _cx: &mut MetaContext<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message.downcast_ref() {
            Some(SocketCommand::Abort | SocketCommand::Close) => Err(Reason::Normal),
            // Nothing else can be meant for a connection of which no Connect was sent.
            _ => Ok(()),
        }
    }

    fn handle_inspect(&self) -> Inspection {
        let mut inspection = Inspection::default();
        inspection.add("kind", "tcp connection");
        inspection.add("state", "awaiting PROXY header");
        inspection.add("remote_addr", self.proxy_addr);
        inspection.add("owner", self.owner);
        inspection
    }

    /// A header that has not come by the deadline is not waited for.
    fn handle_drain(
        &mut self,
        _cx: &mut MetaContext<'_>,
        listener: Alias,
        closes: bool,
    ) -> Result<(), Reason> {
        match &self.permit {
            Some(permit) if closes && permit.is_of(listener) => Err(Reason::Shutdown),
            _ => Ok(()),
        }
    }

    fn terminate(&mut self, cx: &mut MetaContext<'_>, _reason: &Reason) {
        if self.owner != cx.parent {
            cx.services.deliver.disown(self.owner, cx.alias);
        }
    }

    fn quota_options(&self) -> QuotaOptions {
        quota_options(&self.settings)
    }

    fn leave_poll(&mut self, cx: &MetaContext<'_>) {
        self.stream.deregister(cx);
    }
}
