//! Plaintext in, ciphertext out.

use std::io::{self, IoSlice, Write};

use rustls::SupportedCipherSuite;

use super::{Failure, Session, Tls};
use crate::tls::TlsError;

/// How much ciphertext waits at most before `write` takes no more; rustls' own default, relied on here.
const BUFFER_BYTES: usize = 64 * 1024;
// RFC 8446 section 5.1: a record has at most 2^14 bytes of payload.
const RECORD_BYTES: usize = 16 * 1024;
// Type, version and length: 1, 2 and 2 bytes (RFC 8446 section 5.1).
const RECORD_HEADER_BYTES: usize = 5;
/// Records kept back for what is not data: Finished, alerts, close_notify.
const RESERVED_RECORDS: u64 = 32;

/// Returns how much payload a record has, given the config's fragment size, which counts the header.
pub(super) fn record_bytes(fragment: Option<usize>) -> usize {
    fragment
        .map_or(RECORD_BYTES, |size| {
            size.saturating_sub(RECORD_HEADER_BYTES)
        })
        .clamp(1, RECORD_BYTES)
}

impl Tls {
    /// Encrypts as much of `plain` as there is room for and returns how many bytes that was. Zero means: nothing given,
    /// the handshake is not done, or [`transmit`](Self::transmit) first. Give many small pieces in one call: they share
    /// records of 16 KiB.
    ///
    /// # Errors
    ///
    /// [`TlsError::WriteAfterClose`] after [`close_notify`](Self::close_notify); [`TlsError::KeyExhausted`] just before
    /// a TLS 1.2 session reaches the record limit of its key, where rustls would say yes and send nothing; or the error
    /// that ended the session.
    pub(crate) fn write(&mut self, plain: &[IoSlice<'_>]) -> Result<usize, TlsError> {
        let session = &mut *self.session;
        session.check()?;
        if session.sent_close_notify {
            return Err(TlsError::WriteAfterClose);
        }
        // Earlier, rustls would keep the plaintext in a second buffer.
        if session.is_handshaking {
            return Ok(0);
        }
        let offered: usize = plain.iter().map(|slice| slice.len()).sum();
        if offered == 0 {
            return Ok(0);
        }
        // rustls takes no more than its buffer has room for, so an offer beyond that does not exhaust the key earlier.
        let needed = session.records_for(offered.min(BUFFER_BYTES));
        if needed > session.records_left {
            return Err(session.fail(Failure::KeyExhausted));
        }
        let Ok(written) = session.rustls.writer().write_vectored(plain) else {
            return Err(session.fail(Failure::Rustls));
        };
        session.records_left -= session.records_for(written);
        Ok(written)
    }

    /// Returns whether [`transmit`](Self::transmit) has something to send.
    #[inline]
    pub(crate) fn wants_transmit(&self) -> bool {
        self.session.rustls.wants_write()
    }

    /// Gives queued ciphertext to `write`, a `writev` of a socket, until nothing is left, or it takes less than
    /// offered, or it returns `WouldBlock`; returns how many bytes it took. Also works, and is needed for the alert,
    /// after the session has failed.
    ///
    /// # Errors
    ///
    /// What `write` returns, beside `WouldBlock`; `Interrupted` is tried again. Bytes taken before the error have been
    /// taken.
    pub(crate) fn transmit(
        &mut self,
        write: &mut dyn FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut socket = Socket {
            write,
            is_full: false,
        };
        let mut sent = 0;
        while self.session.rustls.wants_write() && !socket.is_full {
            match self.session.rustls.write_tls(&mut socket) {
                Ok(taken) => sent += taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // A signal came before anything was written, and the loop calls again.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    /// Returns how many bytes of ciphertext wait to be transmitted: exact, except that on a failed session it is what
    /// one `writev` would carry, 64 records at most. Not free: rustls adds up the records. Not counted is the answer to
    /// a key update, which rustls makes with the next write.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn buffered_ciphertext(&mut self) -> usize {
        if !self.wants_transmit() {
            return 0;
        }
        let session = &mut *self.session;
        if session.failure.is_none() {
            // Everything fed has been processed, so this does nothing but count.
            if let Ok(state) = session.rustls.process_new_packets() {
                return state.tls_bytes_to_write();
            }
        }
        let mut offered = 0;
        let mut measure = |slices: &[IoSlice<'_>]| {
            offered = slices.iter().map(|slice| slice.len()).sum();
            Err(io::ErrorKind::WouldBlock.into())
        };
        let _ = session.rustls.write_tls(&mut Socket {
            write: &mut measure,
            is_full: false,
        });
        offered
    }

    /// Queues close_notify behind everything written: this side sends nothing more. Once is enough. During the
    /// handshake it gives the session up.
    /// Does nothing on a failed session: the peer must not take its end for a clean one.
    pub(crate) fn close_notify(&mut self) {
        let session = &mut *self.session;
        if session.failure.is_some() || session.sent_close_notify {
            return;
        }
        session.sent_close_notify = true;
        session.rustls.send_close_notify();
    }
}

impl Session {
    /// Reads the record limit of the key that was agreed on. TLS 1.3 changes keys before it gets there.
    pub(super) fn start_counting_records(&mut self) {
        if let Some(SupportedCipherSuite::Tls12(suite)) = self.rustls.negotiated_cipher_suite() {
            let limit = suite.common.confidentiality_limit;
            self.records_left = if limit == u64::MAX {
                limit
            } else {
                limit.saturating_sub(RESERVED_RECORDS)
            };
        }
    }

    fn records_for(&self, bytes: usize) -> u64 {
        bytes.div_ceil(self.record_bytes) as u64
    }
}

/// The shape of a socket that rustls writes to.
struct Socket<'a> {
    write: &'a mut dyn FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    /// It took less than it was offered.
    is_full: bool,
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let taken = (self.write)(slices)?;
        // A socket that takes less than it is offered is full, see epoll(7). The next call would only report that it
        // would block.
        self.is_full = taken < offered;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
