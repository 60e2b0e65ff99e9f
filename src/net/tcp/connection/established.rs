//! How a driver begins on a socket that is established already: behind the connector, or behind the header of a proxy.

use super::Driver;
use crate::error::Reason;
use crate::id::Pid;
use crate::meta::{MetaContext, Readiness};

impl Driver {
    /// Takes over the readiness with which the connection was established.
    pub(in crate::net::tcp) fn adopt_readiness(&mut self, readiness: Readiness) {
        // The socket may have become readable before it was registered for this meta-process, which the poll does not
        // report again.
        self.readable = true;
        self.update_readiness(readiness);
    }

    /// Goes on behind the header of a proxy, with what was read behind it.
    pub(in crate::net::tcp) fn take_over(
        &mut self,
        cx: &mut MetaContext<'_>,
    ) -> Result<(), Reason> {
        self.readable = true;
        if cx.scratch.is_empty() {
            // The peer has not sent anything of the connection itself.
        } else if self.machine.is_handshaking() {
            self.begin_handshake(cx);
            self.receive_handshake(cx);
        } else {
            self.machine.receive(cx.scratch, cx.now_ms);
        }
        self.drive(cx)?;
        if self.machine.is_handshaking() {
            self.await_first_byte(cx);
        }
        Ok(())
    }
}

/// Makes a process the owner of a connection that begins; the parent of the connection has adopted it already.
pub(in crate::net::tcp) fn begin_with_owner(cx: &MetaContext<'_>, owner: Pid) {
    if owner != cx.parent {
        // An idle connection delivers nothing that would find its owner gone. An owner that is gone now is found by the
        // first delivery.
        let _ = cx.services.deliver.adopt(owner, cx.alias);
    }
    cx.quota().set_owner(owner);
}
