//! An established connection that is made anew when it is lost: its driver, and what will connect again.
//!
//! Each callback goes to the driver. When one of them ends it, this decides whether the connection is over, or waits
//! for the next attempt; see [`reconnect`](super::reconnect).

use super::TcpConnection;
use super::reconnect::is_retried;
use crate::bridge::{Ack, QuotaOptions, SocketCommand};
use crate::error::{DisconnectReason, Reason};
use crate::id::Pid;
use crate::inspect::Inspection;
use crate::message::Message;
use crate::meta::{MetaContext, MetaProcess, Readiness, SocketKind};
use crate::net::tcp::connection::Driver;

/// See the module.
pub(super) struct Kept {
    driver: Box<Driver>,
    /// `None` once it has taken the place of this.
    attempt: Option<Box<TcpConnection>>,
    /// Bytes of output that have come here, whatever has become of them.
    arrived: u64,
    /// When the connection was established.
    since_ms: Option<u64>,
    /// The owner has not come to the Connect yet that opens the quota again.
    awaits_owner: bool,
}

/// What is left of a connection that was lost.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    pub(super) reason: DisconnectReason,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) unsent: u64,
}

/// Bytes of output that a message carries to a connection.
pub(super) fn carried(message: &Message) -> usize {
    match message.downcast_ref() {
        Some(SocketCommand::Write(data)) => data.len(),
        _ => message.output_bytes(),
    }
}

impl Kept {
    /// `arrived` bytes have been given to the driver already.
    pub(super) fn new(driver: Box<Driver>, attempt: TcpConnection, arrived: u64) -> Box<Self> {
        Box::new(Self {
            driver,
            attempt: Some(Box::new(attempt)),
            arrived,
            since_ms: None,
            awaits_owner: false,
        })
    }

    /// Decides what the end of the driver means, if `outcome` is one.
    pub(super) fn handle_outcome(
        &mut self,
        cx: &mut MetaContext<'_>,
        outcome: Result<(), Reason>,
    ) -> Result<(), Reason> {
        // The connection may have been established by any callback of the driver.
        if self.since_ms.is_none() && cx.quota().is_established() {
            self.since_ms = Some(cx.now_ms);
            self.awaits_owner = cx.quota().is_down();
            if let Some(attempt) = &mut self.attempt {
                attempt.note_established();
            }
        }
        let Err(exit) = outcome else {
            return Ok(());
        };
        let attempt = self.attempt.as_ref();
        let is_over = attempt.is_none_or(|attempt| attempt.is_ending());
        // What this side has ended, or what another attempt cannot mend, is final.
        let Some(reason) = self.driver.loss().filter(|_| !is_over).filter(is_retried) else {
            return Err(exit);
        };
        self.driver.hang_up(cx);
        cx.set_deadline(u64::MAX);
        // The quota is still closed for the last loss, and is opened by the owner: the page has the interleaving.
        if self.awaits_owner {
            return Ok(());
        }
        self.lose(cx, reason, exit)
    }

    fn lose(
        &mut self,
        cx: &mut MetaContext<'_>,
        reason: DisconnectReason,
        exit: Reason,
    ) -> Result<(), Reason> {
        let Some(mut attempt) = self.attempt.take() else {
            return Err(exit);
        };
        let established_ms = self.since_ms.unwrap_or(cx.now_ms);
        let Some(wait_ms) = attempt.plan_after(cx, established_ms) else {
            return Err(exit);
        };
        let (bytes_in, bytes_out) = self.driver.bytes();
        let unsent = cx.quota().lose(cx.alias.generation()) as u64;
        // What has come here is gone with the driver; the rest of what the quota counts is on its way.
        let late = (bytes_out + unsent)
            .saturating_sub(self.arrived)
            .min(unsent);
        let here = (unsent - late) as usize;
        if here > 0 {
            cx.quota().sent(here, 0);
        }
        // The bit belonged to output that is discarded now.
        cx.quota().take_above();
        let loss = Loss {
            reason,
            bytes_in,
            bytes_out,
            unsent,
        };
        let outcome = attempt.wait_after(cx, self.driver.owner(), late as usize, wait_ms, loss);
        cx.become_meta(attempt);
        outcome
    }

    /// Whether the next attempt has taken its place.
    pub(super) fn is_replaced(&self) -> bool {
        self.attempt.is_none()
    }

    /// This side ends the connection: nothing is tried again.
    fn end(&mut self) {
        if let Some(attempt) = &mut self.attempt {
            attempt.end();
        }
    }

    fn note(&mut self, message: &Message) {
        // The bytes are counted before the driver sees them, because it may fail with them.
        self.arrived += carried(message) as u64;
        if let Some(
            SocketCommand::Close
            | SocketCommand::CloseFor(_)
            | SocketCommand::Abort
            | SocketCommand::ShutdownWrite
            | SocketCommand::Overflow,
        ) = message.downcast_ref()
        {
            self.end();
        }
    }
}

impl MetaProcess for Kept {
    fn reports_end(&self) -> bool {
        true
    }

    fn ready(&mut self, cx: &mut MetaContext<'_>, readiness: Readiness) -> Result<(), Reason> {
        let outcome = self.driver.ready(cx, readiness);
        self.handle_outcome(cx, outcome)
    }

    fn handle_message(
        &mut self,
        cx: &mut MetaContext<'_>,
        from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        self.note(&message);
        let outcome = self.driver.handle_message(cx, from, message);
        self.handle_outcome(cx, outcome)
    }

    fn flush(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let outcome = self.driver.flush(cx);
        self.handle_outcome(cx, outcome)
    }

    fn handle_timer(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let before = self.driver.messages_out();
        let outcome = self.driver.handle_timer(cx);
        // The driver has made the keep-alive bytes itself.
        let made = self.driver.messages_out() - before;
        self.arrived += made * self.driver.keep_alive_bytes() as u64;
        self.handle_outcome(cx, outcome)
    }

    fn handle_resume(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let outcome = self.driver.handle_resume(cx);
        self.handle_outcome(cx, outcome)
    }

    fn handle_ack(&mut self, cx: &mut MetaContext<'_>, ack: Ack) -> Result<(), Reason> {
        // The first fence is the one behind the Connect.
        let is_ours = ack == Ack::Fence && std::mem::take(&mut self.awaits_owner);
        let outcome = if is_ours {
            self.driver.drive(cx)
        } else {
            self.driver.handle_ack(cx, ack)
        };
        self.handle_outcome(cx, outcome)
    }

    fn handle_exit(&mut self, cx: &mut MetaContext<'_>, reason: Reason) -> Result<(), Reason> {
        self.end();
        let outcome = self.driver.handle_exit(cx, reason);
        self.handle_outcome(cx, outcome)
    }

    fn handle_stop(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let outcome = self.driver.handle_stop(cx);
        self.handle_outcome(cx, outcome)
    }

    fn handle_finish(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.end();
        let outcome = self.driver.handle_finish(cx);
        self.handle_outcome(cx, outcome)
    }

    fn kind(&self) -> SocketKind {
        self.driver.kind()
    }

    fn handle_inspect(&self) -> Inspection {
        self.driver.handle_inspect()
    }

    fn terminate(&mut self, cx: &mut MetaContext<'_>, reason: &Reason) {
        self.driver.terminate(cx, reason);
    }

    fn quota_options(&self) -> QuotaOptions {
        self.driver.quota_options()
    }

    fn leave_poll(&mut self, cx: &MetaContext<'_>) {
        self.driver.leave_poll(cx);
    }
}
