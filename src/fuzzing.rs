//! What the fuzzers in `fuzz/` reach of the inside. It exists with `cfg(fuzzing)` only and promises nothing.
#![allow(
    missing_docs,
    reason = "for the fuzzers only; the wrapped items are documented"
)]

use std::sync::Arc;

use crate::proto::framing;
use crate::{Buffer, BufferPool, FrameError, Framing};

/// The framing of one connection.
#[derive(Debug)]
pub struct Decoder(framing::Decoder);

impl Decoder {
    #[must_use]
    pub fn new(framing: Arc<Framing>) -> Self {
        Self(framing::Decoder::new(framing))
    }

    #[allow(clippy::missing_errors_doc, reason = "as the wrapped one")]
    pub fn decode(
        &mut self,
        input: &mut Buffer,
        pool: &BufferPool,
    ) -> Result<Option<Buffer>, FrameError> {
        self.0.decode(input, pool)
    }

    pub fn finish(&mut self) -> usize {
        self.0.finish()
    }

    #[must_use]
    pub fn buffered(&self) -> usize {
        self.0.buffered()
    }

    pub fn set_framing(&mut self, framing: Arc<Framing>) {
        self.0.set_framing(framing);
    }
}

/// Cuts all bytes at once: the frames, and then the bytes left over or the error.
#[must_use]
pub fn one_shot(framing: &Framing, bytes: &[u8]) -> (Vec<Vec<u8>>, Result<usize, FrameError>) {
    framing::reference::one_shot(framing, bytes)
}

/// Runs a script on one plain connection; see the module `proto::tcp::script`.
pub fn connection(script: &[u8]) {
    crate::proto::tcp::script::fuzz_connection(script);
}

/// Runs a script on one datagram socket; see the module `proto::datagram::script`.
pub fn udp(script: &[u8]) {
    crate::proto::datagram::script::fuzz_datagrams(script);
}

/// Lets the machine survive what it survives elsewhere: rustls asserts, in debug builds, that it sends no second fatal
/// alert, and the machine catches that. libFuzzer would end the process at any panic.
#[cfg(feature = "tls")]
pub fn ignore_rustls_debug_asserts() {
    let end = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_rustls = panic
            .location()
            .is_some_and(|place| place.file().contains("/rustls-"));
        if !is_rustls {
            end(panic);
        }
    }));
}

/// Runs a script on two connections, plain or TLS; see the module `proto::connection::pair`.
pub fn connection_pair(script: &[u8]) {
    crate::proto::tcp::pair::fuzz_pair(script);
}

/// Runs a script on TLS sessions; see the module `proto::tls::fuzz`.
#[cfg(feature = "tls")]
pub fn tls(script: &[u8]) {
    crate::proto::tls::fuzz_tls(script);
}

/// Runs a script on the parser of PROXY headers; see the module `proto::proxy::claims`.
pub fn proxy(script: &[u8]) {
    crate::proto::proxy::claims::fuzz_proxy(script);
}

/// Runs a script on the parser of a NATS client; see the module `nats::protocol::reference`.
#[cfg(feature = "nats")]
pub fn nats(script: &[u8]) {
    crate::nats::protocol::reference::fuzz_parser(script);
}
