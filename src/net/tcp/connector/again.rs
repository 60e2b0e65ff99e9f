//! The attempts behind the first one: waiting for them, and what still comes for the connection that was lost.

use super::kept::{Loss, carried};
use super::reconnect::{LastMessage, is_retried, random};
use super::{AttemptState, TcpConnection};
use crate::bridge::{Ack, HandOver, RelaySide, SocketCommand};
use crate::error::{DisconnectReason, Reason};
use crate::id::Pid;
use crate::message::{FailedAttempt, Message, MessageTcpReconnecting};
use crate::meta::MetaContext;
use std::time::Duration;

impl TcpConnection {
    /// Whether this side has asked for the end.
    pub(super) fn is_ending(&self) -> bool {
        self.reconnect.as_ref().is_none_or(|again| again.is_ending)
    }

    /// Whether it waits for the next attempt.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state, AttemptState::Waiting)
    }

    /// Nothing is tried again.
    pub(super) fn end(&mut self) {
        if let Some(again) = &mut self.reconnect {
            again.is_ending = true;
        }
    }

    pub(super) fn note_established(&mut self) {
        if let Some(again) = &mut self.reconnect {
            again.note_established();
        }
    }

    /// The wait behind a connection that was lost after `since_ms`.
    pub(super) fn plan_after(&mut self, cx: &MetaContext<'_>, since_ms: u64) -> Option<u64> {
        let again = self.reconnect.as_mut()?;
        again.lost(since_ms, cx.now_ms);
        again.next_wait(cx.now_ms, random(cx))
    }

    /// Takes the place of a connection that was lost, of which `late` bytes are still to come.
    pub(super) fn wait_after(
        &mut self,
        cx: &mut MetaContext<'_>,
        owner: Pid,
        late: usize,
        wait_ms: u64,
        loss: Loss,
    ) -> Result<(), Reason> {
        self.owner = owner;
        if let Some(again) = &mut self.reconnect {
            (again.has_lost, again.is_fenced) = (true, true);
            again.late = late;
            again.loss = Some(loss.clone());
        }
        self.wait(cx, wait_ms, loss, Vec::new())
    }

    /// Waits for the next attempt if the last one has failed, and there is a policy that says so.
    pub(super) fn handle_outcome(
        &mut self,
        cx: &mut MetaContext<'_>,
        outcome: Result<(), Reason>,
    ) -> Result<(), Reason> {
        let Err(exit) = outcome else {
            return Ok(());
        };
        // The end was asked for, so a failure is an end and no loss.
        if self.is_ending() || self.then_close.is_some() {
            return Err(exit);
        }
        let (Some(again), Some(reason)) = (&mut self.reconnect, &self.reason) else {
            return Err(exit);
        };
        if !is_retried(reason) {
            return Err(exit);
        }
        let Some(wait_ms) = again.next_wait(cx.now_ms, random(cx)) else {
            return Err(exit);
        };
        let loss = Loss {
            reason: reason.clone(),
            bytes_in: 0,
            bytes_out: 0,
            unsent: std::mem::take(&mut again.unreported),
        };
        // The reason was that of this attempt, and the next one may succeed.
        self.reason = None;
        self.give_up_lookup(cx);
        self.close_attempts(cx);
        let failed = std::mem::take(&mut self.failed);
        self.wait(cx, wait_ms, loss, failed)
    }

    fn wait(
        &mut self,
        cx: &mut MetaContext<'_>,
        wait_ms: u64,
        loss: Loss,
        failed_attempts: Vec<FailedAttempt>,
    ) -> Result<(), Reason> {
        self.state = AttemptState::Waiting;
        self.addresses.clear();
        // Only an attempt has a deadline. How long the waits may go on is counted by `next_wait`.
        self.deadline_ms = u64::MAX;
        self.next_attempt_ms = cx.now_ms.saturating_add(wait_ms);
        let Some(again) = &self.reconnect else {
            return Ok(());
        };
        let is_fenced = again.is_fenced;
        let message = MessageTcpReconnecting {
            id: cx.alias,
            reason: loss.reason,
            bytes_in: loss.bytes_in,
            bytes_out: loss.bytes_out,
            unsent: loss.unsent,
            failed_attempts,
            attempt: again.attempt(),
            next_attempt: Duration::from_millis(wait_ms),
        };
        let owner = self.owner;
        // The fence goes behind the message: when it is back, nothing that the owner wrote before can follow.
        let is_delivered = cx.deliver_control(owner, Message::TcpReconnecting(Box::new(message)))
            && (!is_fenced || cx.services.deliver.deliver_ack(owner, cx.alias, Ack::Fence));
        // No process is left that would use a connection.
        if !is_delivered {
            self.end();
            return self.fail(DisconnectReason::OwnerGone);
        }
        self.arm(cx);
        Ok(())
    }

    /// Begins the next attempt, if its time has come and nothing of the lost connection is on its way.
    pub(super) fn begin_again(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let (AttemptState::Waiting, Some(again)) = (&self.state, &self.reconnect) else {
            return Ok(());
        };
        // The timer was armed for something else, or fires early.
        if cx.now_ms < self.next_attempt_ms {
            self.arm(cx);
            return Ok(());
        }
        // A byte of the old connection must not reach the new one.
        if again.has_lost && (again.is_fenced || cx.quota().queued() > 0) {
            // The fence, or the bytes, come back here.
            cx.set_deadline(u64::MAX);
            return Ok(());
        }
        cx.quota().set_attempt(again.attempt());
        #[cfg(unix)]
        let path = again.path.clone();
        self.self_connects = 0;
        self.next_attempt_ms = u64::MAX;
        // Each attempt has the whole time for itself.
        self.count_connect_timeout(cx);
        #[cfg(unix)]
        if let Some(path) = path {
            self.state = AttemptState::Busy(path);
            return self.try_again(cx);
        }
        match self.options.host.address(self.options.port) {
            Some(Ok(address)) => {
                self.addresses.push_back(address);
                self.state = AttemptState::Connecting(Vec::new());
                self.start_next(cx)
            }
            // It was one before.
            Some(Err(_)) => self.fail(DisconnectReason::ConnectTimeout),
            None => {
                self.state = AttemptState::Named;
                self.resolve(cx)
            }
        }
    }

    /// Handles what comes for a connection that was lost. Returns what is for the next one.
    pub(super) fn sort_late(
        &mut self,
        cx: &mut MetaContext<'_>,
        message: Message,
    ) -> Result<Option<Message>, Reason> {
        let Some(again) = self.reconnect.as_mut().filter(|again| again.has_lost) else {
            return Ok(Some(message));
        };
        let bytes = carried(&message);
        if bytes > 0 {
            again.discard(bytes);
            cx.quota().sent(bytes, 0);
            // These may have been the last bytes that were on their way.
            self.begin_again(cx)?;
            return Ok(None);
        }
        let is_fenced = again.is_fenced;
        match message.downcast_ref() {
            Some(SocketCommand::Close | SocketCommand::Abort) => return Ok(Some(message)),
            // A close ends whatever there is, also before the fence.
            Some(SocketCommand::CloseFor(reason)) => {
                let reason = reason.clone();
                self.end();
                return self.fail(reason).map(|()| None);
            }
            Some(_) if is_fenced => return Ok(None),
            Some(_) => return Ok(Some(message)),
            None => {}
        }
        // It was given away when it was lost already, so that the one who has it now never had it: that one gets the
        // loss as its end, and the MessageTcpReconnecting is dropped on its way to the last owner.
        if message.is::<HandOver>() || message.is::<RelaySide>() {
            let reason = again.loss.as_ref().map(|loss| loss.reason.clone());
            again.last = if let Some(order) = message.downcast_ref::<HandOver>() {
                self.owner = order.to;
                LastMessage::Loss
            } else {
                LastMessage::Nothing
            };
            self.end();
            let reason = reason.unwrap_or(DisconnectReason::OwnerGone);
            return self.fail(reason).map(|()| None);
        }
        Ok(Some(message))
    }

    /// The owner has come to the `MessageTcpReconnecting`.
    pub(super) fn pass_fence(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        if let Some(again) = &mut self.reconnect {
            again.is_fenced = false;
        }
        self.begin_again(cx)
    }
}
