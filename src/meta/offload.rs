//! Work of a meta-process on another thread: its result comes back as a message to the alias.
//!
//! The meta-process may have ended meanwhile; the message is dropped then.

use std::sync::Arc;

use super::MetaContext;
use crate::bridge::{Command, Commands};
use crate::error::Reason;
use crate::id::{Alias, Pid};
use crate::message::Message;
use crate::proto::tcp::Handshake;
use crate::record::{Kind, Level};

/// Where a moderate handshake step, about a tenth of a millisecond of computation, is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offload {
    /// In this callback, which is the last one of the activation.
    Inline,
    /// In this way in one of the next activations: the callback requests that and does not read.
    Defer,
    /// On a thread of its own. Enough others wait already, and the journey costs a quarter of the step.
    Spawn,
}

impl MetaContext<'_> {
    /// Lets a command come to this meta-process from another thread.
    pub(crate) fn self_handle(&self) -> SelfHandle {
        SelfHandle {
            commands: Arc::clone(&self.services.commands),
            alias: self.alias,
        }
    }

    /// Has `ready` called once more as the last callback of an activation, with time for a moderate handshake step.
    pub(crate) fn request_handshake_step(&mut self) {
        self.actions.handshake_step = true;
    }

    /// Computes a handshake step on a thread of the handshake pool; it returns as a message.
    pub(crate) fn offload(&self, mut handshake: Handshake) {
        let (remote, log) = (self.self_handle(), self.services.log.clone());
        let outcome = self.services.handshakes.run(move || {
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handshake.run())) {
                Ok(()) => remote.send(handshake),
                Err(payload) => {
                    let reason = Reason::from_panic(&*payload);
                    log.record(Level::Error, Kind::MetaEnded, None, |record| {
                        record.set_text("meta-process ended in a handshake");
                        record.alias = Some(remote.alias);
                        record.reason = Some(reason.clone());
                    });
                    remote.commands.push(
                        remote.alias.stripe(),
                        Command::Exit {
                            to: remote.alias,
                            reason,
                        },
                    );
                }
            }
        });
        if let Err(job) = outcome {
            // The pool has stopped or cannot start a thread. A late step is better than a connection that hangs.
            job();
        }
    }
}

/// Sends a message to one meta-process from a thread of the blocking pool, or from a job that was lent.
pub(crate) struct SelfHandle {
    commands: Arc<Commands>,
    alias: Alias,
}

impl SelfHandle {
    pub(crate) fn send<T: Send + 'static>(&self, message: T) {
        // The sender of the request may have ended meanwhile.
        let _ = self
            .commands
            .send(self.alias, Pid::NODE, Message::new(message).into());
    }
}
