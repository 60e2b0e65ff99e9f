//! A peer of the matrix: plain or TLS, on either network. It reads whenever it is asked to and never waits for bytes,
//! so that one test can watch several peers.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::support::*;

/// How a connection has ended, as its peer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEnd {
    /// By a FIN, and with TLS by a close_notify before it.
    Orderly,
    /// By a FIN without a close_notify.
    Truncated,
    Failed(ErrorKind),
}

/// See the module.
#[derive(Debug)]
pub struct Peer {
    /// `None` once it has left.
    client: Option<Client>,
    tls: Option<ClientConnection>,
    pub got: Vec<u8>,
    pub end: Option<PeerEnd>,
    has_finished: bool,
}

impl Peer {
    /// A connection whose handshake is done.
    #[track_caller]
    pub fn connect(addr: SocketAddr, config: Option<&Arc<ClientConfig>>) -> Self {
        let mut client = client(addr);
        let tls = config.map(|config| {
            let name = ServerName::try_from(super::NAME).unwrap();
            let mut tls = ClientConnection::new(Arc::clone(config), name).unwrap();
            tls.set_buffer_limit(None);
            while tls.is_handshaking() {
                tls.complete_io(&mut client).expect("a handshake");
            }
            tls
        });
        client.set_nonblocking(true).unwrap();
        Self {
            client: Some(client),
            tls,
            got: Vec::new(),
            end: None,
            has_finished: false,
        }
    }

    /// Writes bytes, as far as the connection is still there.
    pub fn write(&mut self, bytes: &[u8]) {
        let raw = match &mut self.tls {
            None => bytes.to_vec(),
            Some(tls) => {
                tls.writer().write_all(bytes).unwrap();
                sealed(tls)
            }
        };
        self.write_raw(&raw);
    }

    fn write_raw(&mut self, raw: &[u8]) {
        let Some(client) = &mut self.client else {
            return;
        };
        client.set_nonblocking(false).unwrap();
        // An error means that the connection has ended, which reading finds as well.
        drop(client.write_all(raw));
        client.set_nonblocking(true).unwrap();
    }

    /// Takes what has come by now. Returns whether there was anything, bytes or the end.
    pub fn poll(&mut self) -> bool {
        let Some(client) = &mut self.client else {
            return false;
        };
        let mut had_any = false;
        let mut chunk = [0; 16 << 10];
        while self.end.is_none() {
            let read = match client.read(&mut chunk) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.end = Some(PeerEnd::Failed(error.kind()));
                    return true;
                }
            };
            had_any = true;
            let is_end = read == 0;
            let is_orderly = match &mut self.tls {
                None => {
                    self.got.extend_from_slice(&chunk[..read]);
                    is_end
                }
                Some(tls) => opened(tls, &chunk[..read], &mut self.got),
            };
            if is_end {
                self.end = Some(if is_orderly {
                    PeerEnd::Orderly
                } else {
                    PeerEnd::Truncated
                });
            }
        }
        had_any
    }

    /// Ends the sending side in order, once.
    pub fn finish(&mut self) {
        if std::mem::replace(&mut self.has_finished, true) {
            return;
        }
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let raw = sealed(tls);
            self.write_raw(&raw);
        }
        if let Some(client) = &self.client {
            // It fails if the connection is gone.
            drop(client.shutdown(Shutdown::Write));
        }
    }

    pub fn reset(&mut self) {
        self.poll();
        if let Some(client) = self.client.take() {
            reset(client);
        }
    }

    /// Closes the socket, without a word of TLS.
    pub fn vanish(&mut self) {
        self.poll();
        drop(self.client.take());
    }

    pub fn has_left(&self) -> bool {
        self.client.is_none()
    }
}

/// Reads the peers until each has seen its end, which it answers with its own.
#[track_caller]
pub fn read_out_all(peers: &mut [Peer]) {
    loop {
        for peer in peers.iter_mut().filter(|peer| peer.end.is_some()) {
            peer.finish();
        }
        if peers
            .iter()
            .all(|peer| peer.end.is_some() || peer.has_left())
        {
            return;
        }
        wait_until("bytes of a peer, or its end", || {
            peers.iter_mut().any(Peer::poll)
        });
    }
}

fn sealed(tls: &mut ClientConnection) -> Vec<u8> {
    let mut raw = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut raw).unwrap();
    }
    raw
}

/// Decrypts; returns whether the other side has sent its close_notify.
fn opened(tls: &mut ClientConnection, mut raw: &[u8], got: &mut Vec<u8>) -> bool {
    let mut is_closed = false;
    loop {
        if !raw.is_empty() {
            tls.read_tls(&mut raw).unwrap();
        }
        let state = tls.process_new_packets().expect("right TLS");
        is_closed |= state.peer_has_closed();
        let mut plain = vec![0; state.plaintext_bytes_to_read()];
        tls.reader().read_exact(&mut plain).unwrap();
        got.append(&mut plain);
        if raw.is_empty() {
            return is_closed;
        }
    }
}
