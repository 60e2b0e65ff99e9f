//! The bytes that a hand-written loop could not write yet. While there are any, the loop does not read that connection.

use std::io::{self, ErrorKind, Write};

/// Bytes waiting for a writable socket.
#[derive(Debug, Default)]
pub struct Unsent {
    bytes: Vec<u8>,
    written: usize,
}

impl Unsent {
    /// True if no byte waits.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes what fits and keeps the rest; call it only when no byte waits.
    pub fn write(&mut self, socket: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        match write_some(socket, bytes)? {
            count if count == bytes.len() => Ok(()),
            count => {
                self.bytes.extend_from_slice(&bytes[count..]);
                Ok(())
            }
        }
    }

    /// Writes the waiting bytes, as far as they fit.
    pub fn flush(&mut self, socket: &mut impl Write) -> io::Result<()> {
        self.written += write_some(socket, &self.bytes[self.written..])?;
        if self.written == self.bytes.len() {
            // The buffer is freed, because an idle connection of a hand-written loop holds none.
            *self = Self::default();
        }
        Ok(())
    }
}

fn write_some(socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
