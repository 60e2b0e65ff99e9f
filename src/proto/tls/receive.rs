//! Ciphertext in, plaintext out.

use std::io::{self, BufRead, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustls::{Connection, ProtocolVersion};

use super::{Failure, Session, Tls};
use crate::tls::{HANDSHAKE_LIMIT_BYTES, TlsError};

/// More than a client's Finished takes with what may surround it, and less than a certificate with the proof of its
/// key.
pub(super) const FINISHED_LIMIT_BYTES: usize = 256;

/// The most that rustls takes at once.
pub(super) const READ_BYTES: usize = 4096;

/// What a call of [`Tls::feed`] brought about beside plaintext.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FeedOutcome {
    /// The handshake was completed by this call: true once in a session's life.
    pub(crate) handshake_completed: bool,
    /// The peer has said, now or earlier, that it will send no more.
    pub(crate) close_notify: bool,
}

/// What the end of the TCP stream means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// The peer had announced it (close_notify).
    Clean,
    /// The peer had not: an attacker in between may have cut the stream.
    Truncated,
    /// No session had been agreed on.
    DuringHandshake,
}

impl Tls {
    /// Takes all of `ciphertext` and gives the plaintext in it to `plain`, chunk by chunk in order. Nothing readable
    /// stays inside.
    ///
    /// Plaintext that came before an error, or with the peer's close_notify, has been given out when this returns. Work
    /// and memory are bounded by the input: each round takes at least one byte, and rustls ends sessions that send many
    /// empty records, key updates or warnings. After a [`close_notify`](Self::close_notify) during the handshake all
    /// input is ignored.
    ///
    /// # Errors
    ///
    /// The peer's fault or ours, see [`TlsError`]. The session has then failed, and each further call returns the same
    /// error. [`is_handshaking`](Self::is_handshaking) says whether it had been open.
    pub(crate) fn feed(
        &mut self,
        ciphertext: &[u8],
        plain: &mut dyn FnMut(&[u8]),
    ) -> Result<FeedOutcome, TlsError> {
        self.session.check()?;
        let was_handshaking = self.is_handshaking();
        if was_handshaking && self.session.sent_close_notify {
            // Given up. Working on would make rustls send more of a handshake after our close_notify.
            return Ok(FeedOutcome::default());
        }
        let mut rest = ciphertext;
        // rustls takes an empty read for the end of the stream, and takes nothing after the peer's close_notify.
        while !rest.is_empty() && !self.session.peer_closed {
            self.session.take(&mut rest)?;
            let outcome = self.session.process();
            if !(cfg!(mutant) && self.session.peer_closed) {
                self.session.drain(plain);
            }
            outcome?;
        }
        self.session.release_memory();
        if was_handshaking {
            self.session.note_flight();
            let is_closed = self.session.plain_records.find_close_notify(ciphertext);
            self.session.peer_closed |= is_closed && self.is_handshaking();
        }
        let handshake_completed = was_handshaking && !self.is_handshaking();
        if handshake_completed {
            self.session.start_counting_records();
        }
        Ok(FeedOutcome {
            handshake_completed,
            close_notify: self.session.peer_closed,
        })
    }

    /// Says what it means that the TCP stream ends here.
    pub(crate) fn end_of_stream(&self) -> StreamEnd {
        if self.is_handshaking() {
            StreamEnd::DuringHandshake
        } else if self.session.peer_closed {
            StreamEnd::Clean
        } else {
            StreamEnd::Truncated
        }
    }
}

impl Session {
    /// Moves some of `rest` into rustls, at least a byte.
    fn take(&mut self, rest: &mut &[u8]) -> Result<(), TlsError> {
        match self.rustls.read_tls(rest) {
            Ok(taken) if taken > 0 => {
                self.handshake_bytes += if self.is_handshaking { taken } else { 0 };
                Ok(())
            }
            // A handshake message of more than 64 KB after the handshake: tickets, or a client certificate asked for
            // late. `Ok(0)` cannot be; as an error it cannot become a loop either.
            Ok(_) | Err(_) => Err(self.fail(Failure::HandshakeTooLarge)),
        }
    }

    /// Lets rustls work on what it has taken.
    fn process(&mut self) -> Result<(), TlsError> {
        let outcome = if self.sent_close_notify {
            self.process_closing()
        } else {
            Some(self.rustls.process_new_packets())
        };
        self.is_handshaking = self.rustls.is_handshaking();
        match outcome {
            None => Err(self.fail(Failure::BrokenAfterClose)),
            Some(Err(_)) => Err(self.fail(Failure::Rustls)),
            Some(Ok(_)) if self.is_oversized_handshake() => {
                Err(self.fail(Failure::HandshakeTooLarge))
            }
            Some(Ok(state)) => {
                self.peer_closed = state.peer_has_closed();
                Ok(())
            }
        }
    }

    /// Does the same after our close_notify, when a peer's mistake makes rustls assert that it sends no alert after it.
    /// It does so only with debug assertions (rustls issue 959), but then a peer could end the thread.
    pub(super) fn process_closing(&mut self) -> Option<Result<rustls::IoState, rustls::Error>> {
        catch_unwind(AssertUnwindSafe(|| self.rustls.process_new_packets())).ok()
    }

    /// Notes that a server of TLS 1.3 has done its part. It has asked for a new client hello instead as long as there
    /// is no agreed key exchange.
    fn note_flight(&mut self) {
        if self.bytes_before_flight.is_none()
            && matches!(self.rustls, Connection::Server(_))
            && self.rustls.protocol_version() == Some(ProtocolVersion::TLSv1_3)
            && self.rustls.negotiated_key_exchange_group().is_some()
        {
            self.bytes_before_flight = Some(self.handshake_bytes);
        }
    }

    fn is_oversized_handshake(&self) -> bool {
        self.is_handshaking && self.handshake_bytes > HANDSHAKE_LIMIT_BYTES
    }

    /// Gives out every byte of plaintext. Left inside, a one-byte record would cost 35 bytes, and rustls would stop
    /// reading.
    fn drain(&mut self, plain: &mut dyn FnMut(&[u8])) {
        let mut reader = self.rustls.reader();
        while let Ok(chunk) = reader.fill_buf() {
            if chunk.is_empty() {
                return; // close_notify
            }
            plain(chunk);
            let length = chunk.len();
            reader.consume(length);
        }
    }

    /// Makes rustls give back the room of a large record: it does so only when about to read into an empty buffer, and
    /// else keeps 28 KB for an idle connection after a record of 16 KiB. Each time, because only this side knows when
    /// the buffer is empty.
    fn release_memory(&mut self) {
        struct NothingYet;
        impl Read for NothingYet {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        // Always an error, the one above.
        let _ = self.rustls.read_tls(&mut NothingYet);
    }
}
