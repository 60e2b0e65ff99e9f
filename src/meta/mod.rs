//! Meta-processes: what is driven by the poll loop and talks to processes by messages.
//!
//! ```text
//!        spawn_meta           init ok                    Err(reason), exit, parent's end
//!  made ───────────▶ sleep ───────────▶ running ─────────────────────────────────────────▶ terminated
//!   │                                   ▲     │ ready, handle_message, handle_timer …
//!   └─ dropped: socket closed           └─────┘
//! ```
//!
//! Every meta-process is a value of a type that implements [`MetaProcess`]: [`TcpServer`](crate::TcpServer),
//! [`TcpConnection`](crate::TcpConnection) and [`UdpServer`](crate::UdpServer) are three of them, yours is another. It
//! belongs to one stripe of the poll loop, which calls it with `&mut self`, so it needs no lock. Its callbacks run on
//! threads that serve other sockets too: they must not block.
//!
//! A terminated meta-process is never seen again: its alias is stale, commands on their way to it are dropped, requests
//! among them are answered with an error.

mod actions;
mod context;
mod info;
mod offload;
mod readiness;
mod services;
mod sources;
mod waits;

pub(crate) use actions::{Actions, Again};
pub use context::MetaContext;
pub use info::{ConnectionInfo, DatagramInfo, ListenerInfo, SocketKind};
pub(crate) use offload::Offload;
pub use readiness::Readiness;
pub(crate) use services::{PendingSpawn, Services};
pub(crate) use sources::Sources;
pub(crate) use waits::{Standing, Waits};

use crate::bridge::request::Reply;
use crate::bridge::{Ack, QuotaOptions};
use crate::error::Reason;
use crate::id::{Name, Pid};
use crate::inspect::Inspection;
use crate::message::{CompactMessage, Message};

/// A state machine on the poll loop, known by its [`Alias`](crate::Alias).
///
/// All callbacks of one meta-process run one at a time. A callback that returns `Err` or panics ends it.
///
/// The rules, and an example with a socket of its own, are in [the guide](crate::guide::meta_processes). One that only
/// counts:
///
/// ```
/// use longshore::prelude::*;
///
/// struct Counter(u64);
///
/// impl MetaProcess for Counter {
///     fn handle_message(
///         &mut self,
///         cx: &mut MetaContext<'_>,
///         _: Pid,
///         _: Message,
///     ) -> Result<(), Reason> {
///         self.0 += 1;
///         cx.send(cx.parent(), self.0)?; // an error would end it
///         Ok(())
///     }
///
///     fn handle_call(
///         &mut self,
///         _: &mut MetaContext<'_>,
///         _: Pid,
///         _: Message,
///         reply: Reply,
///     ) -> Result<(), Reason> {
///         reply.send(self.0);
///         Ok(())
///     }
/// }
/// ```
#[doc(alias = "MetaBehavior")]
pub trait MetaProcess: Send + 'static {
    /// Called first, on the loop. Register event sources here.
    ///
    /// # Errors
    ///
    /// An error ends the meta-process; `terminate` is called, and the parent gets a
    /// [`MessageMetaFailed`](crate::MessageMetaFailed). It happens on the loop, so `spawn_meta` has returned by then:
    /// do what can fail before the spawn, as `TcpServer::bind` does.
    fn init(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let _ = cx;
        Ok(())
    }

    /// Called when a registered source has become ready. Readiness is reported once for each change (edge-triggered):
    /// read or write until `WouldBlock`, or ask for another call with [`MetaContext::call_again`].
    ///
    /// # Errors
    ///
    /// An error ends the meta-process with that reason.
    fn ready(&mut self, cx: &mut MetaContext<'_>, readiness: Readiness) -> Result<(), Reason> {
        let _ = (cx, readiness);
        Ok(())
    }

    /// Called for each message sent to the alias.
    ///
    /// # Errors
    ///
    /// An error ends the meta-process with that reason.
    fn handle_message(
        &mut self,
        cx: &mut MetaContext<'_>,
        from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        let _ = (cx, from, message);
        Ok(())
    }

    /// Called for each request. Dropping `reply` answers the requester at once that there is no answer.
    ///
    /// # Errors
    ///
    /// An error ends the meta-process with that reason.
    fn handle_call(
        &mut self,
        cx: &mut MetaContext<'_>,
        from: Pid,
        message: Message,
        reply: Reply,
    ) -> Result<(), Reason> {
        let _ = (cx, from, message, reply);
        Ok(())
    }

    /// Called when the time set by [`MetaContext::set_timer`] has come.
    ///
    /// # Errors
    ///
    /// An error ends the meta-process with that reason.
    fn handle_timer(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let _ = cx;
        Ok(())
    }

    /// Called when a mailbox that refused data of this meta-process has room for some of it again. Until then it
    /// refuses everything that comes from here.
    ///
    /// # Errors
    ///
    /// An error ends the meta-process with that reason.
    fn handle_resume(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let _ = cx;
        Ok(())
    }

    /// Called once after a batch of other callbacks, if one of them asked for it with [`MetaContext::flush_later`]: the
    /// place to write what the batch has produced.
    ///
    /// # Errors
    ///
    /// An error ends the meta-process with that reason.
    fn flush(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let _ = cx;
        Ok(())
    }

    /// Called before [`handle_message`](MetaProcess::handle_message), which gets what comes back. What is nothing but
    /// output joins the output here, as most messages to a socket do, and needs no context. Returns whether that asks
    /// for a [`flush`](MetaProcess::flush).
    ///
    /// # Errors
    ///
    /// The message, if it is another one.
    #[doc(hidden)]
    fn queue_output(
        &mut self,
        message: CompactMessage,
        now_ms: u64,
    ) -> Result<bool, CompactMessage> {
        let _ = now_ms;
        Err(message)
    }

    /// The owner has handled everything that was delivered before this ack was requested.
    #[doc(hidden)]
    fn handle_ack(&mut self, cx: &mut MetaContext<'_>, ack: Ack) -> Result<(), Reason> {
        let _ = (cx, ack);
        Ok(())
    }

    /// Called for an exit signal: of [`Context::send_exit_meta`](crate::Context::send_exit_meta), of a linked process,
    /// or of its parent's end. The default ends at once.
    ///
    /// One that has to finish something first, as a connection sends what it has accepted, returns `Ok` and ends by
    /// itself with an error from a later callback. It calls [`MetaContext::end_within`], so that its end does not
    /// depend on its peer. [`Reason::Kill`] is not shown to it.
    ///
    /// # Errors
    ///
    /// An error ends the meta-process with that reason.
    fn handle_exit(&mut self, cx: &mut MetaContext<'_>, reason: Reason) -> Result<(), Reason> {
        let _ = cx;
        Err(reason)
    }

    /// Called when a listener is drained, and again at the deadline of the drain, with `closes`.
    ///
    /// # Errors
    ///
    /// An error ends the meta-process with that reason.
    #[doc(hidden)]
    fn handle_drain(
        &mut self,
        cx: &mut MetaContext<'_>,
        listener: crate::id::Alias,
        closes: bool,
    ) -> Result<(), Reason> {
        let _ = (cx, listener, closes);
        Ok(())
    }

    /// Called when the node begins to stop, or right behind `init` if it has begun: takes in nothing new from here on.
    /// What is there already is still handled, and the parent still runs. A listener closes here.
    ///
    /// # Errors
    ///
    /// An error ends the meta-process with that reason.
    fn handle_stop(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let _ = cx;
        Ok(())
    }

    /// Called when the node stops and processes have handled what they had: finish and end. By default that is
    /// [`handle_exit`](MetaProcess::handle_exit) with [`Reason::Shutdown`]. The node waits until its
    /// [`flush_timeout`](crate::StopOptions::flush_timeout), then kills what is left and reports it.
    ///
    /// # Errors
    ///
    /// An error ends the meta-process with that reason.
    fn handle_finish(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.handle_exit(cx, Reason::Shutdown)
    }

    /// What an inspection shows of it, besides what the runtime knows.
    fn handle_inspect(&self) -> Inspection {
        Inspection::default()
    }

    /// What it is, typed, for lists.
    #[doc(hidden)]
    fn kind(&self) -> SocketKind {
        SocketKind::Other
    }

    /// Called last. The alias is no longer valid.
    fn terminate(&mut self, cx: &mut MetaContext<'_>, reason: &Reason) {
        let _ = (cx, reason);
    }

    /// Whether it holds an address that a successor of its parent will bind. It is then ended, and
    /// its stripe has confirmed that, before the parent's `terminate` is called and before links
    /// and monitors of the parent are notified.
    fn is_listener(&self) -> bool {
        false
    }

    /// The option that names processes to own a connection, and those names.
    #[doc(hidden)]
    fn owners(&self) -> (&'static str, &[Name]) {
        ("", &[])
    }

    /// Takes its sources off the poll. Called behind `terminate`, before it is dropped.
    #[doc(hidden)]
    fn leave_poll(&mut self, cx: &MetaContext<'_>) {
        let _ = cx;
    }

    /// The type, for records.
    #[doc(hidden)]
    fn type_name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }

    /// Whether a message of its own says why it ends. Then its end is no record of level `Error`.
    #[doc(hidden)]
    fn reports_end(&self) -> bool {
        false
    }

    /// Bytes of [`MessageTcp`](crate::MessageTcp) or [`MessageUdp`](crate::MessageUdp) that may wait for this
    /// meta-process before sends to it are refused; it releases them with [`MetaContext::sent`].
    fn output_limit(&self) -> u32 {
        0
    }

    /// What others may send; connections have a high mark besides their limit.
    #[doc(hidden)]
    fn quota_options(&self) -> QuotaOptions {
        QuotaOptions::plain(self.output_limit())
    }
}
