//! Requests of a process: asking, canceling, and which answers are still waited for.
//!
//! ```text
//!         ask                    answer, or timeout
//!  none ───────▶ waiting ──────────────────────────────▶ none
//!                   │ cancel                answer          ▲
//!                   └────────▶ canceled ────────────────────┘
//! ```
//!
//! A process keeps its waiting requests, with their labels and timers, to itself. Canceled ones stand
//! among its relations, where the callee can look; each leaves with its answer, which comes because a
//! [`Reply`] is answered exactly once, or with the process.

use std::sync::Arc;
use std::time::Duration;

use super::envelope::Payload;
use super::lifecycle::{ControlBlock, ProcessContext};
use super::relations::Relations;
use super::table::Processes;
use crate::bridge::TimerEvent;
use crate::bridge::request::Reply;
use crate::error::{RequestError, SendErrorKind};
use crate::id::{Ref, Target};
use crate::message::{Message, MessageReply, SendError};
use crate::time::wheel::TimerKey;

/// A request under way.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) label: u64,
    /// Ends the wait, if it has an end.
    pub(super) timer: Option<TimerKey>,
}

impl ProcessContext<'_> {
    /// Asks; the answer, or why there is none, comes as a [`Message::Reply`].
    pub(crate) fn request(
        &mut self,
        to: Target,
        message: Message,
        timeout: Duration,
        label: u64,
    ) -> Result<Ref, SendError> {
        let (request, reply) = self.expect_reply(timeout, label);
        let sent = self.processes.call(self.control.pid, to, message, reply);
        // Not sent, so there is no answer, and the label need not wait for the timeout.
        sent.map(|()| request).inspect_err(|_| {
            self.control.forget_request(request, self.processes);
        })
    }

    /// Asks the target about itself.
    pub(crate) fn inspect(&mut self, to: Target, timeout: Duration) -> Result<Ref, SendErrorKind> {
        let (request, reply) = self.expect_reply(timeout, 0);
        let sent = self.processes.inspect(to, reply);
        sent.map(|()| request).inspect_err(|_| {
            self.control.forget_request(request, self.processes);
        })
    }

    /// Ends the wait for an answer, which is dropped when it comes. Returns whether it was still waited for.
    pub(crate) fn cancel_request(&mut self, request: Ref) -> bool {
        let is_waiting = self
            .control
            .forget_request(request, self.processes)
            .is_some();
        if is_waiting {
            // The callee looks here when it is asked whether its answer is wanted.
            self.processes
                .with_relations(self.control.pid, |relations| {
                    relations.canceled.get_or_insert_default().insert(request)
                });
        }
        is_waiting
    }

    fn expect_reply(&mut self, timeout: Duration, label: u64) -> (Ref, Reply) {
        let request = self.processes.next_ref();
        let pid = self.control.pid;
        let timers = &self.processes.timers;
        // One point in time for both: the timer ends the wait when the callee has no time left.
        let deadline_ms = timers.clock().deadline_ms(timeout);
        let timer = Some(timers.at(deadline_ms, TimerEvent::Request(pid, request)));
        self.control.add_request(request, Waiting { label, timer });
        let processes = Arc::clone(self.processes) as _;
        (
            request,
            Reply::to_process(pid, request, deadline_ms, processes),
        )
    }
}

impl ControlBlock {
    /// Ends the wait for a request. Returns its label, or `None` if it is not waited for.
    pub(super) fn forget_request(&mut self, request: Ref, processes: &Processes) -> Option<u64> {
        let waiting = self.remove_request(request)?;
        // Otherwise a timer for each answered request would stay in the wheel until its deadline.
        if let Some(timer) = waiting.timer {
            processes.timers.cancel(timer);
        }
        Some(waiting.label)
    }

    /// Gives an answer its label. `None`: it is not waited for any more.
    pub(super) fn accept(
        &mut self,
        mut reply: Box<MessageReply>,
        processes: &Processes,
    ) -> Option<Box<MessageReply>> {
        // It was canceled, or the timeout came first.
        let Some(label) = self.forget_request(reply.request, processes) else {
            processes.with_relations(self.pid, |relations| {
                relations.forget_canceled(reply.request);
            });
            return None;
        };
        reply.label = label;
        Some(reply)
    }
}

impl Relations {
    pub(super) fn has_canceled(&self, request: Ref) -> bool {
        let canceled = self.canceled.as_ref();
        canceled.is_some_and(|canceled| canceled.contains(&request))
    }

    fn forget_canceled(&mut self, request: Ref) {
        if let Some(canceled) = &mut self.canceled {
            canceled.remove(&request);
        }
        // An empty set is no set: the relations of a process are freed when they hold nothing.
        self.canceled.take_if(|canceled| canceled.is_empty());
    }
}

/// The answer that a timeout gives.
pub(super) fn timed_out(request: Ref) -> Payload {
    Payload::Answer(Box::new(MessageReply {
        request,
        label: 0,
        result: Err(RequestError::Timeout),
    }))
}
