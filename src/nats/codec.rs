//! How values become bytes between nodes: the user's part.

use crate::error::Reason;
use crate::memory::buffer::Buffer;

/// Turns values of one type into bytes and back. The program chooses the format; both sides must have the same.
///
/// With serde one implementation does for all types; the example `cluster` has it for postcard. By hand:
///
/// ```
/// use longshore::nats::Codec;
/// use longshore::{Buffer, Reason};
///
/// struct BigEndian;
///
/// impl Codec<u32> for BigEndian {
///     fn encode(&self, value: &u32, out: &mut Buffer) -> Result<(), Reason> {
///         out.extend_from_slice(&value.to_be_bytes());
///         Ok(())
///     }
///
///     fn decode(&self, data: &[u8]) -> Result<u32, Reason> {
///         Ok(u32::from_be_bytes(data.try_into()?))
///     }
/// }
///
/// let mut bytes = Buffer::new();
/// BigEndian.encode(&7, &mut bytes).unwrap();
/// assert_eq!(BigEndian.decode(&bytes).unwrap(), 7);
/// assert!(BigEndian.decode(b"?").is_err());
/// ```
pub trait Codec<T>: Send + Sync + 'static {
    /// Appends the bytes of a value.
    ///
    /// # Errors
    ///
    /// The value has no form in this format; it is not sent.
    fn encode(&self, value: &T, out: &mut Buffer) -> Result<(), Reason>;

    /// Reads a value. The bytes come from the network: any process that may publish to the subject chose them.
    ///
    /// # Errors
    ///
    /// The bytes are none of this format; the message is counted and dropped.
    fn decode(&self, data: &[u8]) -> Result<T, Reason>;
}
