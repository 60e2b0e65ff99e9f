//! The attempt to connect, from the spawn to the established connection.
//!
//! ```text
//!   Named ─1─▶ Resolving ─2─▶ Connecting ──4──▶ becomes the driver
//!                               ▲   │
//!              Busy ──────5─────┘   3 next attempt          6  Disconnect, from any state
//! ```
//!
//! 1. `init`: a name is looked up on another thread; one that needs no resolver skips this.
//! 2. The addresses are there. An attempt begins to one after the other, all within one deadline.
//! 3. An address has failed, or has said nothing for a while: the next attempt begins; see
//!    [`attempts`](super::attempts).
//! 4. The socket is writable and has no error. This meta-process *becomes* the driver of the connection: the stripe
//!    replaces it, and the alias, the quota, the watchers and the timer stay.
//! 5. A Unix domain socket whose backlog was full is tried again, every [`BUSY_MS`].
//! 6. No address is left, the deadline has come, or a signal or command ends the attempt.
//!
//! With a policy an attempt that fails is followed by another; see [`reconnect`](super::reconnect).
//!
//! Neither resolving nor connecting blocks a worker. Data that is sent early waits here; the quota counts it like any
//! other. A close or an exit signal while data waits is carried out when that data has gone out, within the close
//! deadline; without any it ends the attempt at once.

mod pending;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::attempts::interleave;
#[cfg(unix)]
use super::begin_unix;
use super::kept::{Kept, carried};
use super::reconnect::LastMessage;
use super::{Attempt, AttemptState, TcpConnection};
use crate::base::lookups::Found;
use crate::bridge::{Ack, QuotaOptions};
use crate::error::{DisconnectReason, Reason};
use crate::id::{Name, Pid};
use crate::inspect::Inspection;
use crate::message::{FailedAttempt, Message, MessageTcpDisconnect};
use crate::meta::{ConnectionInfo, MetaContext, MetaProcess, Readiness, SocketKind};
use crate::net::options::TcpConnectionOptions;
use crate::net::options::host::HostAndPort;
use crate::net::stream::Stream;
use crate::net::tcp::connection::Driver;
use crate::proto::tcp::{Connection, LATE_MS, Settings, first_reason};
use crate::time::clock::millis;

/// Time between two attempts on a Unix domain socket whose backlog is full, in milliseconds.
#[cfg(unix)]
const BUSY_MS: u64 = 10;

/// What the resolver found.
struct Resolved(Found);

/// Each address that failed with what it said.
struct Failures<'a>(&'a [FailedAttempt]);

impl fmt::Display for Failures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, FailedAttempt { addr, error }) in self.0.iter().enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            write!(f, "{comma}{addr}: {error}")?;
        }
        Ok(())
    }
}

impl TcpConnection {
    pub(super) fn resolve(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        // A literal and `localhost` need no thread.
        if let Some(Ok(known)) = self.options.host.known_addresses(self.options.port) {
            self.addresses = interleave(&known);
            return self.start_next(cx);
        }
        let (host, remote) = (self.options.host.clone(), cx.self_handle());
        self.lookup = cx.services.lookups.look_up(
            &self.options.host.to_string(),
            move || host.resolve(0),
            move |found| remote.send(Resolved(found)),
        );
        if self.lookup.is_none() {
            return self.fail(DisconnectReason::Resolve(Arc::from(
                "no thread can be started",
            )));
        }
        self.state = AttemptState::Resolving;
        Ok(())
    }

    fn resolved(&mut self, cx: &mut MetaContext<'_>, found: Found) -> Result<(), Reason> {
        // The look-up was given up, or the attempt has ended, while the answer was on its way.
        if !matches!(self.state, AttemptState::Resolving) {
            return Ok(());
        }
        self.lookup = None;
        match found {
            Ok(addresses) => self.addresses = interleave(&addresses),
            Err(error) => return self.fail(DisconnectReason::Resolve(error)),
        }
        // The answer is shared by connections to any port.
        for address in &mut self.addresses {
            address.set_port(self.options.port);
        }
        self.start_next(cx)
    }

    /// Ends the attempt. As with a connection, the first reason stays.
    pub(super) fn fail(&mut self, reason: DisconnectReason) -> Result<(), Reason> {
        let reason = match self.then_close.take() {
            Some(first) => first_reason(&first, reason),
            None => reason,
        };
        let exit = match &*self.failed {
            // With one address its error is the reason already.
            [] | [_] => Reason::from(&reason),
            failed => Reason::error(format_args!("{reason} ({})", Failures(failed))),
        };
        self.reason = Some(reason);
        Err(exit)
    }

    /// Goes on with the attempt that is established; the others are closed.
    pub(super) fn establish(
        &mut self,
        cx: &mut MetaContext<'_>,
        winner: Attempt,
        readiness: Readiness,
    ) -> Result<(), Reason> {
        let Attempt {
            mut stream,
            address,
            ..
        } = winner;
        // The losers leave the poll before they are closed, because they share the token of the alias.
        self.leave_poll(cx);
        self.state = AttemptState::Over;
        let prepared = self
            .send_proxy_header(&mut stream)
            .map_err(DisconnectReason::from_io)
            .and_then(|()| self.machine(cx, address));
        let machine = match prepared {
            Ok(machine) => machine,
            Err(reason) => {
                // The winner is no longer among the attempts, so nothing else takes it off the poll.
                stream.deregister(cx);
                return self.fail(reason);
            }
        };
        let mut driver = Box::new(Driver::new(stream, machine, self.owner, address));
        driver.adopt_readiness(readiness);
        self.become_driver(cx, driver)
    }

    /// Sends the header that the peer gets first. It is far shorter than what a socket takes that has sent nothing yet.
    fn send_proxy_header(&self, stream: &mut Stream) -> io::Result<()> {
        let Some(header) = &self.options.proxy_header else {
            return Ok(());
        };
        let bytes = header.to_bytes();
        // A short write here would need a queue before the driver has one. A socket that takes less has failed.
        if stream.write(&[io::IoSlice::new(&bytes)])? < bytes.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }

    fn machine(
        &mut self,
        cx: &MetaContext<'_>,
        address: SocketAddr,
    ) -> Result<Connection, DisconnectReason> {
        let settings = self.settings(cx);
        let Some(tls) = &self.tls else {
            return Ok(Connection::new(settings, cx.now_ms));
        };
        tls.warn(&cx.services.log, address);
        match tls.connect() {
            Ok(tls) => Ok(Connection::with_tls(settings, tls, cx.now_ms)),
            Err(error) => Err(DisconnectReason::Tls(Arc::from(error.to_string()))),
        }
    }

    /// Gives the driver what came before the connection, and the place of this meta-process.
    fn become_driver(
        &mut self,
        cx: &mut MetaContext<'_>,
        mut driver: Box<Driver>,
    ) -> Result<(), Reason> {
        // Cancels the deadline of the attempt.
        cx.set_deadline(u64::MAX);
        let mut arrived = 0;
        // What came early counts as written before anything that comes now.
        for message in std::mem::take(&mut self.early) {
            arrived += carried(&message) as u64;
            driver.replay_early(cx, message);
        }
        let mut outcome = driver.drive(cx);
        if let Some(reason) = self.then_close.take()
            && outcome.is_ok()
        {
            outcome = driver.finish(cx, reason);
        }
        if self.is_ending() {
            // After an error too: the Disconnect is the driver's then.
            cx.become_meta(driver);
            return outcome;
        }
        let nothing = Self::new(TcpConnectionOptions::default(), AttemptState::Over, None);
        let mut kept = Kept::new(driver, std::mem::replace(self, nothing), arrived);
        // It may be lost by now.
        let outcome = kept.handle_outcome(cx, outcome);
        if !kept.is_replaced() {
            cx.become_meta(kept);
        }
        outcome
    }

    /// Ends the attempt from outside: at once, or when the data that waits has gone out.
    fn finish(&mut self, cx: &mut MetaContext<'_>, reason: DisconnectReason) -> Result<(), Reason> {
        cx.quota().close(cx.alias.generation());
        self.end();
        // Without accepted data nothing is worth waiting for.
        if cx.quota().queued() == 0 || self.is_waiting() {
            return self.fail(reason);
        }
        if self.then_close.is_none() {
            self.then_close = Some(reason);
            cx.start_deadlines_now();
            let close_ms = cx
                .now_ms
                .saturating_add(millis(self.options.connection.limits.close_timeout));
            // The close has its own deadline, which does not extend that of the attempt.
            self.deadline_ms = self.deadline_ms.min(close_ms);
            self.arm(cx);
        }
        Ok(())
    }

    /// Tries a Unix domain socket again that had a full backlog.
    #[cfg(unix)]
    pub(super) fn try_again(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let AttemptState::Busy(path) = &self.state else {
            return Ok(());
        };
        match begin_unix(path, &self.options.connection.socket) {
            Ok(AttemptState::Busy(_)) => {
                cx.set_deadline(self.deadline_ms.min(cx.now_ms.saturating_add(BUSY_MS)));
                Ok(())
            }
            Ok(state) => {
                self.state = state;
                // The timer was that of the next look.
                cx.set_deadline(self.deadline_ms);
                self.watch(cx)?;
                self.finish_connect(cx, Readiness::default())
            }
            Err(error) => self.fail(DisconnectReason::Connect(error.into())),
        }
    }

    /// The deadline of the attempt has come. What the socket says now counts, whatever the poll has reported.
    fn attempt_timed_out(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        match (&self.state, self.options.connect_timeout) {
            (AttemptState::Resolving, Some(timeout))
                if self.then_close.is_none()
                    && cx.now_ms >= self.deadline_ms.saturating_add(LATE_MS) =>
            {
                // The process stood still, and the look-up with it.
                self.deadline_ms = cx.now_ms.saturating_add(millis(timeout));
                cx.set_deadline(self.deadline_ms);
                return Ok(());
            }
            (AttemptState::Connecting(_), _) => self.finish_connect(cx, Readiness::default())?,
            #[cfg(unix)]
            (AttemptState::Busy(_), _) => self.try_again(cx)?,
            _ => {}
        }
        self.note_silence();
        match (&self.state, &self.then_close) {
            // A driver has taken over.
            (AttemptState::Over, _) => Ok(()),
            (_, Some(_)) => self.fail(DisconnectReason::CloseTimeout),
            (_, None) => self.fail(DisconnectReason::ConnectTimeout),
        }
    }

    fn settings(&mut self, cx: &MetaContext<'_>) -> Arc<Settings> {
        let options = &self.options;
        Arc::clone(
            self.settings
                .get_or_insert_with(|| options.connection.settings(&cx.services.pool)),
        )
    }
}

impl MetaProcess for TcpConnection {
    /// The owner gets a Disconnect.
    fn reports_end(&self) -> bool {
        true
    }

    fn init(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        // The parent gets the Disconnect if the named process does not exist.
        self.owner = cx.parent;
        // Checked at the spawn too, but the name may have become a pool's since.
        cx.services.refuse_pools(self.owners())?;
        // The look-up of the name is not repeated in later attempts: the owner stays what it was.
        if let Some(name) = &self.options.process {
            match cx.services.deliver.resolve(name) {
                // A process that is gone by now is found by the first delivery.
                Some(pid) => {
                    self.owner = pid;
                    if pid != cx.parent {
                        let _ = cx.services.deliver.adopt(pid, cx.alias);
                    }
                }
                None => return self.fail(DisconnectReason::OwnerGone),
            }
        }
        cx.quota().set_owner(self.owner);
        cx.quota().set_attempt(1);
        self.count_connect_timeout(cx);
        let outcome = self.begin_first(cx);
        self.handle_outcome(cx, outcome)
    }

    fn ready(&mut self, cx: &mut MetaContext<'_>, readiness: Readiness) -> Result<(), Reason> {
        if readiness.is_writable() {
            let outcome = self.finish_connect(cx, readiness);
            return self.handle_outcome(cx, outcome);
        }
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut MetaContext<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        let outcome = self.take_message(cx, message);
        self.handle_outcome(cx, outcome)
    }

    fn handle_ack(&mut self, cx: &mut MetaContext<'_>, ack: Ack) -> Result<(), Reason> {
        if ack != Ack::Fence {
            return Ok(());
        }
        let outcome = self.pass_fence(cx);
        self.handle_outcome(cx, outcome)
    }

    fn handle_timer(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let outcome = self.timer_fired(cx);
        self.handle_outcome(cx, outcome)
    }

    fn handle_exit(&mut self, cx: &mut MetaContext<'_>, reason: Reason) -> Result<(), Reason> {
        self.finish(cx, DisconnectReason::Exit(reason))
    }

    fn handle_finish(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.finish(cx, DisconnectReason::NodeStop)
    }

    fn kind(&self) -> SocketKind {
        SocketKind::Connection(ConnectionInfo::new(self.owner, self.state_name()))
    }

    fn handle_inspect(&self) -> Inspection {
        let mut inspection = Inspection::default();
        inspection.add("kind", "tcp connection");
        inspection.add("state", self.state_name());
        inspection.add(
            "remote_addr",
            HostAndPort(&self.options.host, self.options.port),
        );
        inspection.add("owner", self.owner);
        inspection
    }

    fn terminate(&mut self, cx: &mut MetaContext<'_>, reason: &Reason) {
        if self.owner != cx.parent {
            cx.services.deliver.disown(self.owner, cx.alias);
        }
        self.give_up_lookup(cx);
        let again = self.reconnect.take();
        // Those that are still on their way were reported at the loss.
        let (mut late, mut unreported, mut bytes_in, mut bytes_out) = (0, 0, 0, 0);
        if let Some(again) = again {
            (late, unreported) = (again.late as u64, again.unreported);
            match (again.last, again.loss) {
                // The end of the relay, which the other side reports, takes the place of this message.
                (LastMessage::Nothing, _) => return,
                (LastMessage::Loss, Some(loss)) => {
                    (bytes_in, bytes_out) = (loss.bytes_in, loss.bytes_out);
                    unreported += loss.unsent;
                }
                _ => {}
            }
        }
        let reason = self
            .reason
            .take()
            .unwrap_or_else(|| DisconnectReason::Exit(reason.clone()));
        let message = MessageTcpDisconnect {
            id: cx.alias,
            reason,
            bytes_in,
            bytes_out,
            unsent: cx.unsent.saturating_sub(late) + unreported,
            refused_bytes: cx.quota().refused_bytes(),
            failed_attempts: std::mem::take(&mut self.failed),
        };
        cx.deliver_control(self.owner, Message::TcpDisconnect(Box::new(message)));
    }

    fn leave_poll(&mut self, cx: &MetaContext<'_>) {
        if let AttemptState::Connecting(attempts) = &mut self.state {
            for attempt in attempts {
                attempt.stream.deregister(cx);
            }
        }
    }

    fn owners(&self) -> (&'static str, &[Name]) {
        ("process", self.options.process.as_slice())
    }

    fn quota_options(&self) -> QuotaOptions {
        self.options.connection.limits.quota_options()
    }
}
