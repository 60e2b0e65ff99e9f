//! Two machines and the wires between them, for tests and fuzzing.

#[cfg(test)]
use std::io::IoSlice;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use super::Tls;
use super::receive::FeedOutcome;
use crate::tls::TlsError;

/// One machine with everything that came out of it.
#[derive(Debug)]
pub(super) struct End {
    pub(super) tls: Tls,
    /// Ciphertext on its way to the other end.
    pub(super) wire: Vec<u8>,
    pub(super) plain: Vec<u8>,
    pub(super) completed: u32,
    pub(super) close_notify: bool,
    pub(super) error: Option<TlsError>,
}

impl End {
    pub(super) fn new(tls: Tls) -> Self {
        Self {
            tls,
            wire: Vec::new(),
            plain: Vec::new(),
            completed: 0,
            close_notify: false,
            error: None,
        }
    }

    /// Feeds; an error is kept, the first one for good.
    pub(super) fn feed(&mut self, ciphertext: &[u8]) -> Result<FeedOutcome, ()> {
        let plain = &mut self.plain;
        match self
            .tls
            .feed(ciphertext, &mut |chunk| plain.extend_from_slice(chunk))
        {
            Ok(fed) => {
                self.completed += u32::from(fed.handshake_completed);
                self.close_notify = fed.close_notify;
                Ok(fed)
            }
            Err(error) => {
                self.error.get_or_insert(error);
                Err(())
            }
        }
    }

    #[cfg(test)]
    pub(super) fn write(&mut self, plain: &[u8]) -> Result<usize, TlsError> {
        self.tls.write(&[IoSlice::new(plain)])
    }

    /// Puts at most `room` bytes on the wire; returns how many.
    pub(super) fn transmit(&mut self, mut room: usize) -> usize {
        let wire = &mut self.wire;
        let sent = self.tls.transmit(&mut |slices| {
            let mut taken = 0;
            for slice in slices {
                let part = slice.len().min(room);
                wire.extend_from_slice(&slice[..part]);
                taken += part;
                room -= part;
            }
            Ok(taken)
        });
        sent.expect("the wire never fails")
    }
}

/// A client and a server.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) client: End,
    pub(super) server: End,
}

impl Pair {
    pub(super) fn new(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).expect("tests use valid names");
        let client = Tls::client(Arc::clone(client), name).expect("tests use valid configs");
        let server = Tls::server(Arc::clone(server)).expect("tests use valid configs");
        Self {
            client: End::new(client),
            server: End::new(server),
        }
    }

    /// Moves bytes both ways, at most `step` at a time, until both sides are quiet.
    pub(super) fn settle_by(&mut self, step: usize) {
        while carry(&mut self.client, &mut self.server, step)
            | carry(&mut self.server, &mut self.client, step)
        {}
    }

    pub(super) fn run_until_quiet(&mut self) {
        self.settle_by(usize::MAX);
    }
}

/// Moves everything that `from` has to say; returns whether that was anything.
fn carry(from: &mut End, to: &mut End, step: usize) -> bool {
    from.transmit(usize::MAX);
    let wire = std::mem::take(&mut from.wire);
    for piece in wire.chunks(step) {
        let _ = to.feed(piece);
    }
    !wire.is_empty()
}
