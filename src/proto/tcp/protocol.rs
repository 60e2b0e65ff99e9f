//! The types that a connection and its driver exchange: what the driver is asked for, what it reports, and what it may
//! read.

use std::collections::VecDeque;
use std::sync::Arc;

use super::tls::Handshake;
use crate::error::{DisconnectReason, OsError};
use crate::memory::buffer::{Buffer, BufferPool, SharedBuffer};
use crate::proto::framing::Framing;
use crate::proto::tls::Tls;

/// What all connections of a listener share. Times are in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) framing: Arc<Framing>,
    pub(crate) pool: BufferPool,
    pub(crate) read_buffer_size: usize,
    pub(crate) output_limit: u32,
    /// A write that finds the limit reached closes the connection.
    pub(crate) closes_on_overflow: bool,
    pub(crate) high_water_mark: u32,
    pub(crate) low_water_mark: u32,
    /// Reading goes on above the high mark.
    pub(crate) reads_above_high: bool,
    /// Bytes of input that the owner may have before it.
    pub(crate) input_window: u32,
    /// What is delivered counts until its buffer is dropped.
    pub(crate) window_follows_buffers: bool,
    pub(crate) half_open: bool,
    pub(crate) close_on_full_mailbox: bool,
    pub(crate) handshake_timeout: Option<u64>,
    pub(crate) idle_timeout: Option<u64>,
    pub(crate) write_timeout: Option<u64>,
    pub(crate) frame_timeout: Option<u64>,
    pub(crate) close_timeout: u64,
    pub(crate) linger_timeout: u64,
    pub(crate) write_keep_alive: Option<(u64, Vec<u8>)>,
}

impl Settings {
    /// Returns the keep-alive bytes in a buffer, if they are to be sent at all.
    pub(crate) fn keep_alive_bytes(&self) -> Option<Buffer> {
        let (_, bytes) = self.write_keep_alive.as_ref()?;
        Some(self.pool.copy_from_slice(bytes))
    }
}

/// What the owner gets, in order.
#[derive(Debug)]
pub(crate) enum Event {
    /// The connection (with TLS: its handshake) is established.
    Connected,
    /// Bytes.
    Data(Buffer),
    /// The peer has ended its side, and all its data has been delivered.
    PeerFinished,
    /// The output has drained after it had been above its high mark.
    Writable,
}

/// What the driver could do now; [`super::Connection::poll`] asks for nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Able {
    /// The owner's mailbox takes messages.
    pub(crate) deliver: bool,
    /// The socket may have bytes, and there is time to read them.
    pub(crate) read: bool,
    /// The socket takes bytes.
    pub(crate) write: bool,
}

/// What the driver is to do next.
#[derive(Debug)]
pub(crate) enum Output {
    /// Give this to the owner.
    Deliver(Event),
    /// Close the quota and report what it counts, with [`Input::QuotaClosed`]. Comes once.
    CloseQuota,
    /// Read from the socket, and give the outcome to `receive` or `handle`.
    Read,
    /// The same; the bytes are a step of the handshake, as far as is known a moderate one, which the driver may
    /// offload.
    ReadHandshake { is_moderate: bool },
    /// Call `transmit`, after the other callbacks of this batch.
    Transmit {
        /// Only session tickets are to be sent: they may wait for the owner's first answer.
        only_tickets: bool,
    },
    /// Shut down the write side of the socket. Comes once.
    ShutdownWrite,
    /// Nothing before this time in milliseconds, `u64::MAX` for never; then `handle_timeout`.
    Wait(u64),
    /// The connection has ended; [`super::Connection::status`] has the reason.
    Ended,
}

/// What happens to a connection, besides bytes and time.
#[derive(Debug)]
pub(crate) enum Input {
    /// The peer has ended its side: a read returned zero bytes.
    PeerEnded,
    /// A read failed.
    ReadFailed(OsError),
    /// Queue bytes that the quota has accepted and that others send too.
    Write(SharedBuffer),
    /// Send what is queued, then end for this reason, unless there is an earlier one.
    Close(DisconnectReason),
    /// End now; what was read or queued is dropped.
    Abort,
    /// The same for a reason of this side.
    AbortFor(DisconnectReason),
    /// End writing after what is queued; reading goes on.
    ShutdownWrite,
    /// Stop reading, or resume it.
    SetPaused(bool),
    /// Change the framing, from the first byte on that has not been delivered.
    SetFraming(Arc<Framing>),
    /// The mailbox is full or the owner has too much to handle, or neither is the case any more.
    SetBlocked(bool),
    /// The mailbox refused data, which leaves a gap: discard the rest, and close.
    MailboxFull,
    /// The owner has handled everything the peer sent before its end; its replies are queued.
    PeerEndHandled,
    /// A send was refused, and there is room again.
    Writable,
    /// The quota accepts no more and counts this many bytes.
    QuotaClosed(usize),
    /// Go on after a step of the handshake that was computed elsewhere.
    HandshakeStep(Box<Handshake>),
    /// The handshake must be done at this time in milliseconds.
    HandshakeDeadline(u64),
    /// End a handshake whose peer sends nothing.
    GiveUpHandshake,
    /// Begin a TLS handshake on a plain connection that [can](Status::can_start_tls). A Connected event follows it.
    StartTls(Box<Tls>),
    /// Accept no more output: it was meant to be encrypted, and will not be. What is here leaves.
    RefuseOutput,
    /// The input goes to another connection from now on.
    Relayed,
    /// Put bytes that were delivered back in front of the input.
    Unread(VecDeque<Buffer>),
    /// Repeat the event of the peer's end, if there was one and the connection is open.
    RepeatPeerEnd,
}

/// Bytes and messages, for inspection and for the Disconnect.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StreamCounters {
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    /// How often the output has risen above its high mark.
    pub(crate) high_water: u32,
    /// How often the owner has been notified that there is room again.
    pub(crate) writable: u32,
}

/// Where a connection stands, for inspection and for its end.
#[derive(Debug)]
pub(crate) struct Status<'a> {
    /// The name of the state.
    pub(crate) state: &'static str,
    pub(crate) is_paused: bool,
    /// The peer has ended its side, and this side has not begun to close.
    pub(crate) is_half_closed_by_peer: bool,
    /// The input has no framing.
    pub(crate) is_raw: bool,
    /// Writing ends after what is queued, while the connection is open.
    pub(crate) is_shutting_down: bool,
    /// The connection uses TLS.
    pub(crate) is_encrypted: bool,
    /// There is input that was not delivered.
    pub(crate) has_unread: bool,
    /// Whether a TLS handshake can begin now; `None`: it never can.
    pub(crate) can_start_tls: Option<bool>,
    /// A flight of the handshake is to be sent.
    pub(crate) has_flight: bool,
    /// The version of TLS, once the handshake has agreed on it.
    pub(crate) tls_version: Option<&'static str>,
    /// The next deadline. Before `handle_timeout` judges it, the driver looks at its socket.
    pub(crate) deadline_ms: u64,
    /// The connection has ended for this reason.
    pub(crate) ended: Option<&'a DisconnectReason>,
    /// It has ended with bytes that the peer did not take in time; what the kernel still holds will not be taken
    /// either.
    pub(crate) is_abandoned: bool,
}
