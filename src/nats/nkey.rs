//! nkeys: Ed25519 keys as NATS writes them, and the answer to a server's nonce.
//!
//! A seed is `SU…`: base 32 (RFC 4648 section 6, without padding) of two bytes of prefix, 32 of the seed and a CRC-16
//! (XMODEM, little end first). A public key is `U…`: one byte of prefix, 32 of the key and the checksum.

use std::fmt;

use super::error::NatsError;
use crate::tls::Ed25519;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// The first five bits of a seed: the letter S.
const SEED: u8 = 18 << 3;
/// The first five bits of a user's key: the letter U.
const USER: u8 = 20 << 3;

/// A user's nkey: the key pair that a client proves to a server that it has. The seed never leaves the process.
///
/// ```
/// # #[cfg(feature = "tls")] {
/// use longshore::nats::Nkey;
///
/// let seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
/// let nkey = Nkey::from_seed(seed).unwrap();
/// assert!(nkey.public_key().starts_with('U'));
/// assert!(Nkey::from_seed("SUACSSL3").is_err());
/// # }
/// ```
#[derive(Clone)]
pub struct Nkey {
    key: Ed25519,
    public: String,
}

impl Nkey {
    /// Reads a user's seed, `SU…`.
    ///
    /// # Errors
    ///
    /// [`NatsError::Nkey`]: not the seed of a user, a wrong checksum, or a crypto provider without Ed25519.
    /// [`NatsError::Unsupported`]: the feature `tls` is off.
    pub fn from_seed(seed: &str) -> Result<Self, NatsError> {
        if cfg!(not(feature = "tls")) {
            return Err(NatsError::Unsupported);
        }
        let bytes = decode(seed.trim()).ok_or(NatsError::Nkey)?;
        let (body, checksum) = bytes.split_last_chunk::<2>().ok_or(NatsError::Nkey)?;
        // Two bytes of prefix and the 32 of the seed.
        if body.len() != 34 || crc16(body) != u16::from_le_bytes(*checksum) {
            return Err(NatsError::Nkey);
        }
        // The prefix of a seed holds two times five bits: that it is a seed, and the kind of key that it makes.
        let kind = (body[0] & 7) << 5 | body[1] >> 3;
        let seed: &[u8; 32] = body.last_chunk().ok_or(NatsError::Nkey)?;
        if body[0] & 0xf8 != SEED || kind != USER {
            return Err(NatsError::Nkey);
        }
        let key = Ed25519::from_seed(seed).ok_or(NatsError::Nkey)?;
        let public = encode_public(key.public());
        Ok(Self { key, public })
    }

    /// The public key, `U…`, which stands in the server's configuration.
    #[must_use]
    pub fn public_key(&self) -> &str {
        &self.public
    }

    /// The signature of a nonce, in base 64 for URLs without padding (RFC 4648 section 5).
    pub(super) fn sign(&self, nonce: &str) -> Option<String> {
        self.key
            .sign(nonce.as_bytes())
            .map(|signature| base64(&signature))
    }
}

impl fmt::Debug for Nkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nkey({})", self.public)
    }
}

fn encode_public(key: &[u8; 32]) -> String {
    let mut bytes = vec![USER];
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&crc16(&bytes).to_le_bytes());
    let digits = groups(&bytes, 5);
    digits.map(|digit| ALPHABET[digit] as char).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    groups(bytes, 6)
        .map(|digit| DIGITS[digit] as char)
        .collect()
}

/// The bits of the bytes in groups of `width`, the last one filled up with zeros.
fn groups(bytes: &[u8], width: usize) -> impl Iterator<Item = usize> {
    let bit = |at: usize| {
        let byte = bytes.get(at / 8).copied().unwrap_or(0);
        usize::from(byte >> (7 - at % 8) & 1)
    };
    let starts = (0..bytes.len() * 8).step_by(width);
    starts.map(move |start| (start..start + width).fold(0, |group, at| group << 1 | bit(at)))
}

/// Reads base 32 without padding; bits beyond the last whole byte must be zero.
fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut pending, mut bits) = (Vec::new(), 0_u32, 0);
    for character in text.bytes() {
        let digit = ALPHABET.iter().position(|digit| *digit == character)?;
        pending = pending << 5 | digit as u32;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((pending >> bits) as u8);
            pending &= (1 << bits) - 1;
        }
    }
    (pending == 0 && bits < 5).then_some(bytes)
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc: u16, _| {
            let carry = crc & 0x8000 != 0;
            crc << 1 ^ if carry { 0x1021 } else { 0 }
        })
    })
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;

    #[test]
    fn checksum_and_base_64_are_those_of_their_standards() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(base64(b"fo"), "Zm8");
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "-__-");
    }

    #[test]
    fn a_damaged_seed_is_refused() {
        let seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
        let nkey = Nkey::from_seed(seed).expect("a seed");
        // The pair of the documentation of NATS, page "NKeys".
        assert_eq!(
            nkey.public_key(),
            "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
        );
        for at in 0..seed.len() {
            let mut damaged = seed.as_bytes().to_vec();
            damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
            let damaged = String::from_utf8(damaged).expect("ASCII");
            assert_eq!(
                Nkey::from_seed(&damaged).unwrap_err(),
                NatsError::Nkey,
                "{damaged}"
            );
        }
        for wrong in [
            "",
            "SU",
            nkey.public_key(),
            &seed[..57],
            &format!("{seed}A"),
        ] {
            assert_eq!(
                Nkey::from_seed(wrong).unwrap_err(),
                NatsError::Nkey,
                "{wrong}"
            );
        }
    }
}
