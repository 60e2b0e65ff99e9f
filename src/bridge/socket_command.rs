//! What an owner asks of a socket besides sending data.

pub(crate) use crate::proto::framing::Framing;

/// Travels as a message to the alias, so it keeps its place among the bytes sent before and after it.
#[derive(Clone, Debug)]
pub(crate) enum SocketCommand {
    Close,
    Abort,
    ShutdownWrite,
    PauseReading,
    ResumeReading,
    SetFraming(Framing),
    PauseAccepting,
    ResumeAccepting,
}
