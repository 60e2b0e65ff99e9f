//! Many datagrams in one system call, so that the UDP generator is cheaper than any server that answers one at a time.
//!
//! This is the only unsafe code of the generator: rustix has no `recvmmsg`. The buffers live in the structure whose
//! pointers the kernel gets, and the pointers are written anew before every call.

use std::io;
use std::mem::zeroed;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr::{from_mut, null_mut};

/// Datagrams per call.
pub const BATCH: usize = 32;

/// Room for one received datagram; a longer one is cut and then fails the comparison.
const DATAGRAM_BYTES: usize = 2_048;

/// Buffers for one call.
#[expect(missing_debug_implementations, reason = "64 KiB of bytes say nothing")]
pub struct Batch {
    buffers: Box<[[u8; DATAGRAM_BYTES]; BATCH]>,
    lengths: [usize; BATCH],
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            buffers: Box::new([[0; DATAGRAM_BYTES]; BATCH]),
            lengths: [0; BATCH],
        }
    }
}

impl Batch {
    /// The buffer of the `index`th datagram to send, cut to `length`.
    pub fn outgoing(&mut self, index: usize, length: usize) -> &mut [u8] {
        self.lengths[index] = length;
        &mut self.buffers[index][..length]
    }

    /// The `index`th received datagram.
    pub fn incoming(&self, index: usize) -> &[u8] {
        &self.buffers[index][..self.lengths[index]]
    }

    /// Receives the queued datagrams, at most [`BATCH`]; 0 if there are none.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.lengths = [DATAGRAM_BYTES; BATCH];
        let count = self.call(BATCH, |headers, count| {
            // SAFETY: `headers` points to `count` headers whose one vector each points into `self.buffers`, which
            // outlive the call; the time-out may be null.
            unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    headers,
                    count,
                    libc::MSG_DONTWAIT as _,
                    null_mut(),
                )
            }
        });
        match count {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }

    /// Sends the first `count` datagrams; returns how many the kernel took.
    pub fn send(&mut self, socket: &UdpSocket, count: usize) -> io::Result<usize> {
        self.call(count, |headers, count| {
            // SAFETY: as in `receive`; the socket is connected, so no header needs a name.
            unsafe { libc::sendmmsg(socket.as_raw_fd(), headers, count, 0) }
        })
    }

    fn call(
        &mut self,
        count: usize,
        system_call: impl FnOnce(*mut libc::mmsghdr, libc::c_uint) -> libc::c_int,
    ) -> io::Result<usize> {
        // SAFETY: both are plain C structures for which all zeroes is a valid value.
        let (mut vectors, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { (zeroed(), zeroed()) };
        for index in 0..count {
            vectors[index].iov_base = self.buffers[index].as_mut_ptr().cast();
            vectors[index].iov_len = self.lengths[index];
            headers[index].msg_hdr.msg_iov = from_mut(&mut vectors[index]);
            headers[index].msg_hdr.msg_iovlen = 1;
        }
        let done = system_call(headers.as_mut_ptr(), count as libc::c_uint);
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        for (length, header) in self.lengths.iter_mut().zip(&headers[..done as usize]) {
            *length = header.msg_len as usize;
        }
        Ok(done as usize)
    }
}
