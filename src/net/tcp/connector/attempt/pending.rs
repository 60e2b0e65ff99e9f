//! What a connection does while it is not established: messages, timers, and giving up.

use super::{AttemptState, Resolved, TcpConnection};
use crate::bridge::SocketCommand;
use crate::error::{DisconnectReason, Reason};
use crate::message::Message;
use crate::meta::{MetaContext, MetaProcess, Readiness};

impl TcpConnection {
    /// Handles what was sent to the connection.
    pub(super) fn take_message(
        &mut self,
        cx: &mut MetaContext<'_>,
        message: Message,
    ) -> Result<(), Reason> {
        let Some(message) = self.sort_late(cx, message)? else {
            return Ok(());
        };
        match message.take::<Resolved>() {
            Ok(Resolved(found)) => return self.resolved(cx, found),
            // An empty write means nothing and would only wait.
            Err(Message::Tcp(packet)) if packet.data.is_empty() => {}
            Err(message) => match message.downcast_ref() {
                Some(SocketCommand::Abort) => {
                    self.end();
                    // An abort discards what waits, so that nothing is left to send before the end.
                    self.then_close = None;
                    return self.fail(DisconnectReason::Abort);
                }
                Some(SocketCommand::Close) => return self.finish(cx, DisconnectReason::LocalClose),
                Some(SocketCommand::CloseFor(reason)) => {
                    let reason = reason.clone();
                    return self.finish(cx, reason);
                }
                Some(_) => self.early.push(message),
                // Data, or what the connection will ignore: it counts against the output limit until then.
                None if message.output_bytes() > 0 => self.early.push(message),
                // Other messages mean nothing to a connection.
                None => {}
            },
        }
        Ok(())
    }

    pub(super) fn timer_fired(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        if self.is_waiting() {
            return self.begin_again(cx);
        }
        if cx.now_ms < self.deadline_ms {
            if cx.now_ms >= self.next_attempt_ms {
                return self.start_next(cx);
            }
            self.arm(cx);
            #[cfg(unix)]
            self.try_again(cx)?;
            return Ok(());
        }
        self.attempt_timed_out(cx)
    }

    /// Begins with the state that the options have led to.
    pub(super) fn begin_first(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        match self.state {
            AttemptState::Named => self.resolve(cx),
            #[cfg(unix)]
            AttemptState::Busy(_) => self.try_again(cx),
            _ => {
                self.watch(cx)?;
                self.finish_connect(cx, Readiness::default())
            }
        }
    }

    /// Lets the time count that an attempt has.
    pub(in crate::net::tcp::connector) fn count_connect_timeout(
        &mut self,
        cx: &mut MetaContext<'_>,
    ) {
        if let Some(timeout) = self.options.connect_timeout {
            // The activation may have begun long before.
            self.deadline_ms = cx.services.timers.clock().deadline_ms(timeout);
            cx.set_deadline(self.deadline_ms);
        }
    }

    /// Gives up the place among those that wait for the name.
    pub(in crate::net::tcp::connector) fn give_up_lookup(&mut self, cx: &MetaContext<'_>) {
        if let Some(ticket) = self.lookup.take() {
            let name = self.options.host.to_string();
            cx.services.lookups.give_up(&name, ticket);
        }
    }

    /// Closes the sockets of attempts that are under way.
    pub(in crate::net::tcp::connector) fn close_attempts(&mut self, cx: &MetaContext<'_>) {
        self.leave_poll(cx);
        self.state = AttemptState::Over;
    }

    pub(super) fn state_name(&self) -> &'static str {
        match self.state {
            AttemptState::Named | AttemptState::Resolving => "resolving",
            AttemptState::Waiting => "reconnecting",
            _ => "connecting",
        }
    }
}
