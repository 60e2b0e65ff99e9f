//! What an owner asks of a socket besides sending data.

use std::time::Duration;

use super::relay::RelayOutcome;
use crate::error::DisconnectReason;
use crate::id::{Alias, Pid};
use crate::memory::buffer::{Buffer, SharedBuffer};
pub(crate) use crate::proto::framing::{Decoder, Framing};
use crate::tls::StartTls;

/// How long a drain may take, and who gets the message at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    pub(crate) by: Pid,
    pub(crate) deadline: Duration,
}

/// Travels as a message to the alias, so it keeps its place among the bytes sent before and after it.
#[derive(Clone, Debug)]
pub(crate) enum SocketCommand {
    /// Bytes that several connections share; the quota has accepted them.
    Write(SharedBuffer),
    /// A write found the output limit reached: close, with what was accepted before.
    Overflow,
    Close,
    /// Close in order, for a reason that the owner has found in the input.
    CloseFor(DisconnectReason),
    Abort,
    ShutdownWrite,
    PauseReading,
    ResumeReading,
    SetFraming(Framing),
    /// What follows in either direction is TLS.
    StartTls(StartTls),
    /// Input that the owner gives back, in order: it has relayed the connection.
    Returned(Buffer),
    /// The other connection of a relay has ended.
    PartnerEnded(RelayOutcome),
    /// The other connection of a relay closes: pass nothing more on, and answer it.
    StopRelaying(Alias),
    /// The answer, behind the last bytes that were passed on.
    RelayStopped,
    PauseAccepting,
    ResumeAccepting,
    /// Stop listening, let the connections come to their end until the deadline, and report that.
    Drain(Drain),
    /// From the session that owns the connection: answer with a [`SocketReport`](super::SocketReport).
    ReportEmpty(Pid),
    /// From the connection itself: look whether held buffers still stop it.
    LookAtHeld,
    /// From a listener: end a handshake whose peer sends nothing, because its place is wanted.
    GiveWay,
}
