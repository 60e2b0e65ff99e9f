//! What an owner asks of a socket besides sending data.

use super::relay::RelayOutcome;
use crate::error::DisconnectReason;
use crate::memory::buffer::{Buffer, SharedBuffer};
pub(crate) use crate::proto::framing::{Decoder, Framing};
use crate::tls::StartTls;

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
    PauseAccepting,
    ResumeAccepting,
    /// From a listener: end a handshake whose peer sends nothing, because its place is wanted.
    GiveWay,
}
