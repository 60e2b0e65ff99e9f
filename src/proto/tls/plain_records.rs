//! Finds a close_notify among the records of a handshake that are not encrypted yet.
//!
//! rustls ignores such an alert, because it is not authenticated; but a peer that has sent it sends no more, and an
//! attacker who could forge it could reset the connection as well. Records are only measured here: type, length, and
//! the two bytes of an alert, wherever the reads have cut them. The first record that may be encrypted ends the search.

/// The type of a record; RFC 8446 section 5.1.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// The description of a close_notify; RFC 8446 section 6.
const CLOSE_NOTIFY: u8 = 0;
const HEADER: usize = 5;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct PlainRecords {
    /// The bytes of the header, then those of an alert.
    bytes: [u8; HEADER + 2],
    filled: usize,
    /// Bytes of the record that are skipped.
    left: usize,
    is_over: bool,
}

impl PlainRecords {
    /// Takes the next bytes of the stream. Returns whether a close_notify was among them.
    pub(super) fn find_close_notify(&mut self, mut stream: &[u8]) -> bool {
        while !self.is_over && !stream.is_empty() {
            let skipped = self.left.min(stream.len());
            self.left -= skipped;
            stream = &stream[skipped..];
            if let Some((first, rest)) = stream.split_first() {
                self.bytes[self.filled] = *first;
                self.filled += 1;
                stream = rest;
                if self.take_byte() {
                    return true;
                }
            }
        }
        false
    }

    /// Looks at what there is of the record. Returns whether it is a close_notify.
    fn take_byte(&mut self) -> bool {
        let length = usize::from(u16::from_be_bytes([self.bytes[3], self.bytes[4]]));
        match (self.filled, self.bytes[0], length) {
            (..HEADER, ..) => {}
            // Behind it, records are encrypted.
            (HEADER, CHANGE_CIPHER_SPEC, _) => self.is_over = true,
            // The two bytes of a plain alert follow: its level and its description.
            (HEADER, ALERT, 2) => {}
            (HEADER, HANDSHAKE, length) => {
                self.left = length;
                self.filled = 0;
            }
            // Not a plain record: rustls judges it.
            (HEADER, ..) => self.is_over = true,
            (filled, ..) if filled < self.bytes.len() => {}
            _ => {
                self.filled = 0;
                return self.bytes[HEADER + 1] == CLOSE_NOTIFY;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSE: [u8; 7] = [21, 3, 3, 0, 2, 1, 0];

    #[test]
    fn close_notify_is_found_behind_handshake_records_and_however_it_is_cut() {
        let stream = [
            &[22, 3, 1, 0, 3, 9, 9, 9][..],
            &[21, 3, 3, 0, 2, 1, 90],
            &CLOSE,
        ]
        .concat();
        for size in 1..=stream.len() {
            let mut records = PlainRecords::default();
            let found = stream
                .chunks(size)
                .filter(|part| records.find_close_notify(part));
            assert_eq!(found.count(), 1, "in pieces of {size}");
        }
    }

    #[test]
    fn nothing_is_found_in_payloads_and_behind_the_first_encrypted_record() {
        for first in [
            &[22, 3, 1, 0, 7][..],
            &[20, 3, 3, 0, 1, 1],
            &[23, 3, 3, 0, 0],
            &[0x80, 3, 1, 0, 0],
        ] {
            let mut records = PlainRecords::default();
            assert!(
                !records.find_close_notify(&[first, &CLOSE].concat()),
                "{first:?}"
            );
        }
    }
}
