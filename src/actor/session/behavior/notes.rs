//! What a session sends to itself, and what the runtime sends it: another turn at its input, the end of its listener,
//! input that was given back, and deadlines.

use std::time::Duration;

use super::{Note, SessionBehavior};
use crate::actor::session::Session;
use crate::actor::session::deadline::Fired;
use crate::bridge::{InputReturned, SocketReport};
use crate::error::{DisconnectReason, Reason};
use crate::message::Message;
use crate::process::ProcessContext;

impl<S: Session> SessionBehavior<S> {
    /// Offers what was left, if a callback has asked for that.
    pub(super) fn offer_again(&mut self, env: &mut ProcessContext<'_>) -> Result<(), Reason> {
        // The callback may have been one of another message, which has resumed the session or changed the framing.
        if self.peer.wants_offer || self.is_returning(env) {
            self.offer(env)?;
        }
        if self.peer.closes_when_idle {
            self.close_if_idle(env);
        }
        if self.peer.cold.is_some() {
            self.note_frame(env);
        }
        Ok(())
    }

    /// The listener is drained, or the node stops.
    #[cold]
    pub(super) fn drained(&mut self, env: &mut ProcessContext<'_>) -> Result<(), Reason> {
        // The listener and the node may both drain.
        if std::mem::replace(&mut self.peer.is_draining, true) {
            return Ok(());
        }
        let (session, mut cx) = self.context(env);
        session.draining(&mut cx)
    }

    /// Asks the connection for more input when none is left here; the report closes the connection or goes on. A relay,
    /// or one whose session has paused, is not idle.
    #[cold]
    pub(super) fn close_if_idle(&mut self, env: &mut ProcessContext<'_>) {
        if self.is_busy(env) {
            // It may have paused since it asked, and then the report can be a long time coming.
            env.await_report(false);
            return;
        }
        if self.peer.is_lost {
            // Without a connection there is no socket that could have more.
            self.context(env).1.close();
            return;
        }
        if !std::mem::replace(&mut self.peer.has_asked, true) {
            self.context(env).1.ask_whether_empty();
        }
        // A stop ends the connection behind its barriers.
        env.await_report(true);
    }

    /// The report. What came before it was handled before it, unless it is still left.
    #[cold]
    pub(super) fn socket_reported(&mut self, env: &mut ProcessContext<'_>, message: Message) {
        self.peer.has_asked = false;
        let is_empty = message
            .take::<SocketReport>()
            .is_ok_and(|report| report.is_empty);
        if is_empty && self.peer.closes_when_idle && !self.is_busy(env) {
            self.context(env).1.close();
        }
        // Behind the close, so that what a barrier lets go comes later than that.
        env.await_report(false);
    }

    /// Whether the session has input, or does not take any.
    fn is_busy(&self, env: &ProcessContext<'_>) -> bool {
        self.input.len() > 0
            || self.peer.is_paused
            || self.peer.is_closing
            || self
                .peer
                .alias
                .is_none_or(|alias| env.has_input_aside(alias) || env.is_relayed(alias))
    }

    /// All input has gone back: the session ends if its connection has another owner now.
    #[cold]
    pub(super) fn input_returned(
        &self,
        env: &ProcessContext<'_>,
        message: Message,
    ) -> Result<(), Reason> {
        match message.take::<InputReturned>() {
            // A message of an earlier hand-over, or of a relay, is no end of this connection.
            Ok(InputReturned(alias)) if self.peer.alias == Some(alias) && !env.owns(alias) => {
                Err(Reason::Normal)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn handle_note(
        &mut self,
        env: &mut ProcessContext<'_>,
        note: Note,
    ) -> Result<(), Reason> {
        match note {
            Note::Offer => {
                self.peer.is_waiting = false;
                self.offer(env)
            }
            Note::FrameTimer => {
                self.frame_timer_fired(env);
                Ok(())
            }
            Note::UpstreamFailed => {
                self.report_failure(env);
                Ok(())
            }
            Note::Deadline(number) => {
                let (_, mut cx) = self.context(env);
                cx.deadline_is_over(number);
                Ok(())
            }
        }
    }

    /// Lets the frame timeout count, or stand still.
    #[cold]
    pub(super) fn note_frame(&mut self, env: &mut ProcessContext<'_>) {
        let peer = &self.peer;
        let takes_input = !peer.is_paused && !peer.is_closing && !peer.is_waiting;
        let counts = takes_input && self.input.len() > 0;
        let has_progress = self.input.take_progress();
        let now_ms = env.processes.timers.clock().now_ms();
        if let Some(cold) = &mut self.peer.cold
            && let Some(deadline) = &mut cold.frame
            && let Some(delay_ms) = deadline.note(has_progress, counts, now_ms)
        {
            set_frame_timer(env, delay_ms);
        }
    }

    #[cold]
    pub(super) fn frame_timer_fired(&mut self, env: &mut ProcessContext<'_>) {
        let now_ms = env.processes.timers.clock().now_ms();
        let cold = self.peer.cold.as_mut();
        let Some(deadline) = cold.and_then(|cold| cold.frame.as_mut()) else {
            return;
        };
        match deadline.fired(now_ms) {
            Fired::Idle => {}
            Fired::Again(delay_ms) => set_frame_timer(env, delay_ms),
            Fired::Expired => {
                self.input.clear();
                let (_, mut cx) = self.context(env);
                cx.close_for(DisconnectReason::FrameTimeout);
            }
        }
    }
}

pub(super) fn set_frame_timer(env: &mut ProcessContext<'_>, delay_ms: u64) {
    let delay = Duration::from_millis(delay_ms);
    env.control_after(Message::new(Note::FrameTimer), delay);
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
