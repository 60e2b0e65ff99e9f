//! The owner of a UDP server's sockets, and how datagrams and reports reach it.

use std::net::SocketAddr;

use crate::bridge::Undelivered;
use crate::error::OsError;
use crate::id::Pid;
use crate::message::{Message, MessageUdp, MessageUdpError};
use crate::meta::MetaContext;
use crate::net::options::UdpServerOptions;

/// Longer than any datagram.
const LARGEST: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) options: UdpServerOptions,
    pub(super) pid: Pid,
}

impl Owner {
    /// Looks the owner's name up; a process that was restarted under its name is found again.
    pub(super) fn find(&mut self, cx: &MetaContext<'_>) {
        self.pid = match &self.options.process {
            None => cx.parent,
            Some(name) => cx.services.deliver.resolve(name).unwrap_or(Pid::NODE),
        };
    }

    /// The longest datagram taken whole.
    pub(super) fn longest(options: &UdpServerOptions) -> usize {
        match options.buffer_pool {
            Some(_) => LARGEST,
            None => options.buffer_size,
        }
    }

    /// Delivers a datagram. Returns whether it was taken.
    #[inline]
    pub(super) fn deliver(&mut self, cx: &MetaContext<'_>, packet: MessageUdp) -> bool {
        match cx.deliver_data(self.pid, packet.into()) {
            Ok(()) => true,
            // The network would drop it too, and a queue here would only make the next ones late.
            Err(Undelivered::Full(message)) => {
                message.discard();
                false
            }
            Err(Undelivered::Gone(message)) => {
                message.discard();
                // The name may belong to a successor by now.
                self.find(cx);
                false
            }
        }
    }

    /// Reports an error of the socket, if the owner has asked for reports.
    pub(super) fn report(
        &self,
        cx: &MetaContext<'_>,
        addr: Option<SocketAddr>,
        length: usize,
        error: OsError,
    ) {
        if self.options.report_errors {
            let report = MessageUdpError {
                id: cx.alias,
                addr,
                length,
                error,
            };
            // An owner that is gone is found out by the next datagram.
            let _ = cx.deliver_control(self.pid, Message::UdpError(Box::new(report)));
        }
    }
}
