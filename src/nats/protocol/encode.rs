//! What a client sends but CONNECT. The caller has checked subjects and sizes: nothing here can fail.

use crate::memory::buffer::Buffer;

/// PING.
pub(crate) const PING: &[u8] = b"PING\r\n";
/// PONG.
pub(crate) const PONG: &[u8] = b"PONG\r\n";

/// One message to publish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publish<'a> {
    /// Where it goes.
    pub(crate) subject: &'a str,
    /// Where an answer goes; empty for none.
    pub(crate) reply: &'a str,
    /// The header block with its version line and its empty line; empty for none.
    pub(crate) headers: &'a [u8],
    /// The payload.
    pub(crate) payload: &'a [u8],
}

impl Publish<'_> {
    /// Upper bound of the bytes that [`Self::encode`] appends.
    pub(crate) fn size(&self) -> usize {
        // The verb, three spaces, two numbers of at most ten digits and two ends of lines are 32 bytes.
        32 + self.subject.len() + self.reply.len() + self.body()
    }

    /// Size of headers and payload, which the server's `max_payload` limits.
    pub(crate) fn body(&self) -> usize {
        self.headers.len() + self.payload.len()
    }

    /// Appends PUB, or HPUB if there are headers.
    pub(crate) fn encode(&self, out: &mut Buffer) {
        // Once for the whole operation: its parts are copied into room that is known to be there.
        out.reserve(self.size());
        let mut line = Cursor {
            room: out.spare_mut(),
            at: 0,
        };
        line.put(if self.headers.is_empty() {
            b"PUB "
        } else {
            b"HPUB "
        });
        line.put(self.subject.as_bytes());
        line.put(b" ");
        if !self.reply.is_empty() {
            line.put(self.reply.as_bytes());
            line.put(b" ");
        }
        if !self.headers.is_empty() {
            line.put_number(self.headers.len() as u64);
            line.put(b" ");
        }
        line.put_number(self.body() as u64);
        line.put(b"\r\n");
        line.put(self.headers);
        line.put(self.payload);
        line.put(b"\r\n");
        let written = line.at;
        out.grow(written);
    }
}

/// Writes into bytes that have room for all of it.
struct Cursor<'a> {
    room: &'a mut [u8],
    at: usize,
}

impl Cursor<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.room[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn put_number(&mut self, number: u64) {
        let (digits, start) = digits(number);
        self.put(&digits[start..]);
    }
}

/// The decimal digits of a number, at the end of the array.
fn digits(mut number: u64) -> ([u8; 20], usize) {
    let mut digits = [b'0'; 20];
    let mut start = 20;
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return (digits, start);
        }
    }
}

/// Appends SUB; an empty queue group is none.
pub(crate) fn subscribe(out: &mut Buffer, subject: &str, queue: &str, sid: u64) {
    out.extend_from_slice(b"SUB ");
    out.extend_from_slice(subject.as_bytes());
    if !queue.is_empty() {
        out.extend_from_slice(b" ");
        out.extend_from_slice(queue.as_bytes());
    }
    let (digits, start) = digits(sid);
    out.extend_from_slice(b" ");
    out.extend_from_slice(&digits[start..]);
    out.extend_from_slice(b"\r\n");
}

/// Appends UNSUB.
pub(crate) fn unsubscribe(out: &mut Buffer, sid: u64) {
    let (digits, start) = digits(sid);
    out.extend_from_slice(b"UNSUB ");
    out.extend_from_slice(&digits[start..]);
    out.extend_from_slice(b"\r\n");
}
