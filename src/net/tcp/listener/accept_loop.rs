//! The accept loop: takes connections out of the backlog and starts each one as a child of the listener's parent.
//!
//! ```text
//!   Open ◀──▶ Waiting: for connections, the rate, descriptors, after errors;
//!                      until a timer, or until a connection ends
//! ```
//!
//! No error ends a listener. An accept that fails for the sake of one connection is skipped; after many in a row the
//! listener waits. When descriptors or memory run out, the kernel does not report when they are back (readiness is
//! edge-triggered), so the end of one of its connections lets the listener look again, and so does a timer, slower each
//! time up to a second. A spare descriptor is kept to take one connection out of the backlog and close it, so that
//! clients are refused and not left hanging.

use std::fmt;
use std::fs::File;
use std::io;

use super::{Listener, TcpServer};
use crate::bridge::SocketCommand;
use crate::error::Reason;
use crate::id::{Name, Pid};
use crate::inspect::Inspection;
use crate::message::Message;
use crate::meta::{ListenerInfo, MetaContext, MetaProcess, Readiness, SocketKind};
use crate::net::options::AtLimit;
#[cfg(feature = "testing")]
use crate::net::simulated;
use crate::net::socket::record_resolving;
use crate::net::tcp::handshakes::{STALL_MS, WaitsFor};
use crate::net::tcp::tls::ServerSide;
use crate::record::{Kind, Level};
#[cfg(feature = "testing")]
use crate::simulation::{self, net::Descriptor};

/// Accepts in one activation.
const ACCEPTS: u32 = 64;
/// Errors in a row that are taken for those of single connections; more are the listener's own.
const ERRORS: u32 = 16;
/// When the listener looks again after it has asked a connection to give way, in milliseconds.
const LOOK_AGAIN_MS: u64 = 50;
/// The first and the longest wait after such errors, and for descriptors, in milliseconds.
pub(super) const BACK_OFF_MS: (u64, u64) = (50, 1_000);

/// Whether the listener accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepting {
    Open,
    Waiting(Lack),
}

/// What the listener waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// The end of a connection, or of a handshake.
    Connections,
    /// The next second.
    Rate,
    /// Descriptors, or memory.
    Descriptors,
    /// The end of a series of errors.
    Errors,
}

impl Lack {
    fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Rate => "rate",
            Self::Descriptors => "descriptors",
            Self::Errors => "errors",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct ListenerCounters {
    pub(super) accepted: u64,
    /// Connections that were closed because of a limit.
    pub(super) refused: u64,
    /// Those of them that were closed because of `max_connections_per_ip`.
    pub(super) refused_per_ip: u64,
    /// Connections that were closed because their peer is no trusted proxy.
    pub(super) untrusted: u64,
    pub(super) no_owner: u64,
    pub(super) errors: u64,
    /// Errors for lack of descriptors or memory.
    pub(super) exhausted: u64,
    /// Connections that were closed with the spare descriptor.
    pub(super) shed: u64,
    pub(super) waits_for_permit: u64,
    pub(super) waits_for_rate: u64,
    pub(super) pauses: u64,
}

impl TcpServer {
    pub(super) fn accept_all(&mut self, cx: &mut MetaContext<'_>) {
        for _ in 0..ACCEPTS {
            if !self.readable || self.paused || !self.may_accept(cx) {
                return;
            }
            match self.listener.accept() {
                Ok((stream, remote_addr)) => {
                    // An accept that succeeds shows that the failure is over.
                    self.back_off_ms = BACK_OFF_MS.0;
                    self.errors_in_row = 0;
                    self.handle_accepted(cx, stream, remote_addr);
                }
                Err(error) => self.handle_error(cx, &error),
            }
        }
        // Other meta-processes have their turn; the backlog keeps what is left.
        cx.call_again();
    }

    /// Returns whether the limits allow one more connection. If not, the listener waits until they do.
    fn may_accept(&mut self, cx: &mut MetaContext<'_>) -> bool {
        if let Accepting::Waiting(_) = self.state {
            return false;
        }
        let max_open = self
            // With another policy at the limit connections are accepted and refused, so that their peers know.
            .options
            .max_connections
            .filter(|_| self.options.at_limit == AtLimit::Wait);
        if !self.limiter.has_room(max_open, self.max_handshakes()) {
            self.state = Accepting::Waiting(Lack::Connections);
            self.counters.waits_for_permit += 1;
            self.make_room(cx, max_open);
            return false;
        }
        if let Some(rate) = self.options.accept_rate {
            let second = cx.now_ms / 1_000;
            // The rate counts in whole seconds: it bounds bursts, and needs no history.
            if self.rate.0 != second {
                self.rate = (second, 0);
            }
            if self.rate.1 >= rate {
                self.counters.waits_for_rate += 1;
                self.wait(cx, Lack::Rate, (second + 1) * 1_000);
                return false;
            }
        }
        true
    }

    /// Asks a connection that does nothing to give way, if it has done so for some time: a silent one if there are too
    /// many connections, one whose peer does not answer if there are too many handshakes. Nothing says whether a
    /// connection waits in the backlog. The listener looks again when the next one may have stalled: the one that was
    /// asked may have found bytes of its peer.
    fn make_room(&self, cx: &mut MetaContext<'_>, max_open: Option<usize>) {
        let is_full = max_open.is_some_and(|max| self.limiter.open() >= max);
        let waits_for = if is_full {
            WaitsFor::FirstByte
        } else {
            WaitsFor::Answer
        };
        let asked = self
            .limiter
            .ask_stalled(&cx.services.commands, waits_for, cx.now_ms);
        match asked {
            Ok(()) => cx.set_deadline(cx.now_ms + LOOK_AGAIN_MS),
            Err(Some(stalls_ms)) => cx.set_deadline(stalls_ms),
            // A connection that falls silent wakes the listener.
            Err(None) if is_full => {}
            // All are computed at present.
            Err(None) => cx.set_deadline(cx.now_ms + STALL_MS),
        }
    }

    fn wait(&mut self, cx: &mut MetaContext<'_>, lack: Lack, until_ms: u64) {
        self.state = Accepting::Waiting(lack);
        cx.set_deadline(until_ms);
    }

    fn handle_error(&mut self, cx: &mut MetaContext<'_>, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::WouldBlock => self.readable = false,
            io::ErrorKind::Interrupted => {}
            _ if is_exhaustion(error) => {
                self.counters.errors += 1;
                self.counters.exhausted += 1;
                // The connection stays in the backlog and is readable for ever. With the spare descriptor its peer
                // gets a reset instead of a timeout.
                if is_out_of_descriptors(error) {
                    self.shed();
                }
                // A connection that ends gives its descriptor back; until then one that does nothing is asked to give
                // way.
                self.limiter.request_wakeup();
                self.limiter.ask_silent(&cx.services.commands);
                self.back_off(cx, Lack::Descriptors, error);
            }
            // The connection was reset before it was accepted, or another process that shares this socket has shut it
            // down.
            _ => {
                self.counters.errors += 1;
                self.errors_in_row += 1;
                self.paused |= planted!(ListenerDeaf);
                // Single failures concern one connection each. Many in a row concern the socket, and must not spin
                // the loop.
                if self.errors_in_row > ERRORS {
                    self.back_off(cx, Lack::Errors, error);
                }
            }
        }
    }

    /// Waits, and twice as long the next time.
    fn back_off(&mut self, cx: &mut MetaContext<'_>, lack: Lack, error: &io::Error) {
        // One record for a lasting failure, not one for each attempt.
        if self.back_off_ms == BACK_OFF_MS.0 {
            self.warn(
                cx,
                Kind::AcceptFailed,
                format_args!("cannot accept: {error}"),
            );
        }
        // The timer retries, because the kernel does not report when descriptors are back.
        self.wait(cx, lack, cx.now_ms + self.back_off_ms);
        self.back_off_ms = (self.back_off_ms * 2).min(BACK_OFF_MS.1);
    }

    pub(super) fn warn(&self, cx: &MetaContext<'_>, kind: Kind, text: fmt::Arguments<'_>) {
        cx.record(Level::Warn, kind, |record| {
            record.set_text(format_args!("{}: {text}", self.listener));
        });
    }

    /// Takes one connection with the spare descriptor, and closes it.
    fn shed(&mut self) {
        if self.spare.take().is_some()
            && let Ok((stream, _)) = self.listener.accept()
        {
            self.counters.shed += 1;
            // The peer sees that it was refused, and does not take an end in order for an answer.
            stream.reset_on_close();
        }
        // Another thread may have taken the descriptor meanwhile: then there is none until the next failure.
        self.spare = spare_descriptor();
    }

    fn max_handshakes(&self) -> Option<usize> {
        self.tls.as_ref().and_then(ServerSide::max_handshakes)
    }
}

impl TcpServer {
    fn state_name(&self) -> &'static str {
        match self.state {
            _ if self.is_draining() => "draining",
            _ if self.paused => "paused",
            Accepting::Open => "accepting",
            Accepting::Waiting(lack) => lack.name(),
        }
    }
}

impl MetaProcess for TcpServer {
    fn init(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        match &mut self.listener {
            Listener::Tcp(listener, _) => cx.register_source(listener)?,
            #[cfg(unix)]
            Listener::Unix(listener, _) => cx.register_source(listener)?,
            #[cfg(feature = "testing")]
            Listener::Simulated(listener, _) => simulated::register(cx, listener)?,
            Listener::Closed(_) => {}
        }
        record_resolving(&cx.services.log, &self.options.host, self.resolving_ms);
        // Checked at the spawn too, but a name may have become a pool's since.
        cx.services.refuse_pools(self.owners())?;
        Ok(())
    }

    fn leave_poll(&mut self, cx: &MetaContext<'_>) {
        match &mut self.listener {
            Listener::Tcp(listener, _) => cx.deregister_source(listener),
            #[cfg(unix)]
            Listener::Unix(listener, _) => cx.deregister_source(listener),
            #[cfg(feature = "testing")]
            Listener::Simulated(listener, _) => simulated::deregister(listener),
            Listener::Closed(_) => {}
        }
    }

    fn ready(&mut self, cx: &mut MetaContext<'_>, readiness: Readiness) -> Result<(), Reason> {
        self.readable |= readiness.is_readable();
        self.accept_all(cx);
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        if self.is_draining() {
            return self.advance_drain(cx);
        }
        self.state = Accepting::Open;
        self.accept_all(cx);
        Ok(())
    }

    /// A connection has ended, or a handshake is done.
    fn handle_resume(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        if self.is_draining() {
            return self.advance_drain(cx);
        }
        // A connection that ends changes nothing about the rate, or about errors of the socket: these wait for their
        // time.
        if let Accepting::Waiting(Lack::Connections | Lack::Descriptors) = self.state {
            self.state = Accepting::Open;
        }
        self.accept_all(cx);
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut MetaContext<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message.take::<SocketCommand>() {
            Ok(SocketCommand::PauseAccepting) => {
                self.counters.pauses += u64::from(!self.paused);
                self.paused = true;
            }
            Ok(SocketCommand::ResumeAccepting) => {
                self.paused = false;
                self.accept_all(cx);
            }
            Ok(SocketCommand::Drain(drain)) => return self.begin_drain(cx, drain),
            Ok(SocketCommand::Close | SocketCommand::Abort) => return Err(Reason::Normal),
            // Other messages mean nothing to a listener.
            _ => {}
        }
        Ok(())
    }

    fn handle_stop(&mut self, _cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        Err(Reason::Shutdown)
    }

    fn terminate(&mut self, cx: &mut MetaContext<'_>, _reason: &Reason) {
        self.report_drain(cx);
    }

    fn is_listener(&self) -> bool {
        true
    }

    fn kind(&self) -> SocketKind {
        let counters = &self.counters;
        let mut info = ListenerInfo {
            local_addr: self.listener.is_tcp().then(|| self.local_addr()),
            state: self.state_name(),
            connections: self.limiter.open(),
            handshaking: self.limiter.handshaking(),
            accepted: counters.accepted,
            refused: counters.refused,
            no_owner: counters.no_owner,
            errors: counters.errors,
            pauses: counters.pauses,
            ..ListenerInfo::default()
        };
        self.limiter.count(&mut info);
        SocketKind::Listener(info)
    }

    fn handle_inspect(&self) -> Inspection {
        let mut inspection = Inspection::default();
        inspection.add(
            "kind",
            if self.listener.is_tcp() {
                "tcp server"
            } else {
                "unix server"
            },
        );
        inspection.add("local_addr", &self.listener);
        inspection.add("state", self.state_name());
        inspection.add("connections", self.limiter.open());
        inspection.add("handshaking", self.limiter.handshaking());
        let counters = &self.counters;
        inspection.add("accepted", counters.accepted);
        inspection.add("refused", counters.refused);
        inspection.add("refused_per_ip", counters.refused_per_ip);
        inspection.add("untrusted", counters.untrusted);
        inspection.add("no_owner", counters.no_owner);
        inspection.add("accept_errors", counters.errors);
        inspection.add("exhausted", counters.exhausted);
        inspection.add("shed", counters.shed);
        inspection.add("waits_for_connections", counters.waits_for_permit);
        inspection.add("waits_for_rate", counters.waits_for_rate);
        inspection.add("pauses", counters.pauses);
        self.limiter.describe(&mut inspection);
        inspection
    }

    fn owners(&self) -> (&'static str, &[Name]) {
        ("process_pool", &self.options.process_pool)
    }
}

/// Returns whether the process or the system has run out of descriptors or memory.
fn is_exhaustion(error: &io::Error) -> bool {
    if error.kind() == io::ErrorKind::OutOfMemory {
        return true;
    }
    #[cfg(unix)]
    {
        /// ENOMEM, ENFILE and EMFILE are the same everywhere; ENOBUFS is not.
        const ENOBUFS: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
            105
        } else {
            55
        };
        matches!(error.raw_os_error(), Some(12 | 23 | 24 | ENOBUFS))
    }
    #[cfg(not(unix))]
    {
        // WSAEMFILE and WSAENOBUFS.
        matches!(error.raw_os_error(), Some(10024 | 10055))
    }
}

/// Returns whether a spare descriptor helps, which it does not when memory is missing.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}

/// A descriptor that is kept to be given up.
#[derive(Debug)]
pub(super) enum Spare {
    System(#[expect(dead_code, reason = "its descriptor is what counts")] File),
    #[cfg(feature = "testing")]
    Simulated(#[expect(dead_code, reason = "it counts as a descriptor")] Descriptor),
}

pub(super) fn spare_descriptor() -> Option<Spare> {
    #[cfg(feature = "testing")]
    if let Some(site) = simulation::current() {
        return Descriptor::take(&site).map(Spare::Simulated);
    }
    if cfg!(unix) {
        File::open("/dev/null").ok().map(Spare::System)
    } else {
        None
    }
}
