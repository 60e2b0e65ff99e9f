//! TLS without the feature `tls`: the types and functions of `proto::tls`, of which no value can be made.
//!
//! There is no session, so `Option<Tls>` takes no memory, and the compiler removes each branch that would need one.
//! With this stub the machine of a connection needs no `cfg` of its own.
#![allow(
    dead_code,
    clippy::needless_pass_by_ref_mut,
    reason = "the signatures are those of the real module, which constructs and changes what is only named here"
)]

use std::io::{self, IoSlice};

pub(crate) use crate::tls::{TlsError, TlsInfo};

/// No value has this type.
#[derive(Clone, Copy, Debug)]
enum Never {}

#[derive(Debug)]
pub(crate) struct Tls(Never);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CryptoCost {
    Cheap,
    Moderate,
    Expensive,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FeedOutcome {
    pub(crate) handshake_completed: bool,
    pub(crate) close_notify: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    Clean,
    Truncated,
    DuringHandshake,
}

impl Tls {
    pub(crate) fn is_handshaking(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn step_cost(&self, _bytes: usize) -> CryptoCost {
        match self.0 {}
    }

    pub(crate) fn is_failed(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn version(&self) -> Option<&'static str> {
        match self.0 {}
    }

    pub(crate) fn info(&self) -> TlsInfo {
        match self.0 {}
    }

    pub(crate) fn feed(
        &mut self,
        _ciphertext: &[u8],
        _plain: &mut dyn FnMut(&[u8]),
    ) -> Result<FeedOutcome, TlsError> {
        match self.0 {}
    }

    pub(crate) fn end_of_stream(&self) -> StreamEnd {
        match self.0 {}
    }

    pub(crate) fn write(&mut self, _plain: &[IoSlice<'_>]) -> Result<usize, TlsError> {
        match self.0 {}
    }

    pub(crate) fn wants_transmit(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn transmit(
        &mut self,
        _write: &mut dyn FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) fn close_notify(&mut self) {
        match self.0 {}
    }
}
