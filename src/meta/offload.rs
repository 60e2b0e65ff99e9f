//! Work of a meta-process on another thread: its result comes back as a message to the alias.
//!
//! The meta-process may have ended meanwhile; the message is dropped then.

use std::sync::Arc;

use super::MetaContext;
use crate::base::unwind::{catch_panic, drop_catching};
use crate::bridge::{Command, Commands};
use crate::error::{Reason, RequestError};
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
    /// On a thread of its own. Enough others wait already; moving the step to a thread costs a quarter of it.
    Spawn,
}

impl MetaContext<'_> {
    /// Runs `work` on a thread that may block: a file, a query, a long computation. This meta-process goes on; the
    /// result comes to [`MetaProcess::handle_message`](super::MetaProcess::handle_message) as a message of the type
    /// `Result<T, Reason>`, and is [`Reason::Panic`] if `work` panicked. The sender is the parent.
    ///
    /// Work that waits for a thread is dropped when the meta-process has ended; work that runs is left to return, and
    /// then its result is dropped. There is no timeout. The threads are those of
    /// [`Context::blocking`](crate::Context::blocking), with the same limits, and a stop of the node names the parent
    /// for work that it leaves behind.
    ///
    /// # Errors
    ///
    /// [`RequestError::TooMuchWork`]: the queue is full ([`NodeOptions::blocking_queue`](crate::NodeOptions::blocking_queue)), or the node stops.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// use std::io;
    ///
    /// struct Motd(Vec<String>);
    ///
    /// impl MetaProcess for Motd {
    ///     fn init(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
    ///         cx.blocking(|| std::fs::read_to_string("/etc/motd"))?;
    ///         Ok(())
    ///     }
    ///
    ///     fn handle_message(
    ///         &mut self,
    ///         _: &mut MetaContext<'_>,
    ///         _: Pid,
    ///         message: Message,
    ///     ) -> Result<(), Reason> {
    ///         let read = message.downcast::<Result<io::Result<String>, Reason>>()?;
    ///         self.0.extend(read?.ok());
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(), RequestError> {
        let (handle, parent) = (self.self_handle(), self.parent);
        let job = move || {
            // The meta-process has ended while the work waited for a thread, and nothing takes the result.
            if !handle.commands.is_live(handle.alias) {
                return;
            }
            let result = catch_panic(work).map_err(|payload| {
                let reason = Reason::from_panic(&*payload);
                drop_catching(payload);
                reason
            });
            handle.send_from(parent, result);
        };
        let outcome = self.services.deliver.run_blocking(parent, Box::new(job));
        // The job owns the closure of the user, whose drop may panic.
        outcome.map_err(|job| {
            drop_catching(job);
            RequestError::TooMuchWork
        })
    }

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
            // A panic in the cryptography ends the connection, and leaves the thread to the other handshakes.
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
        self.send_from(Pid::NODE, message);
    }

    fn send_from<T: Send + 'static>(&self, from: Pid, message: T) {
        let message = Message::new(message).into();
        if let Err(refused) = self.commands.send(self.alias, from, message) {
            // The meta-process has ended meanwhile. The drop is code of the user.
            drop_catching(refused);
        }
    }
}
