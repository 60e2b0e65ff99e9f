//! The error of a send, which carries the refused message back to its sender.

use super::Message;
use crate::error::SendErrorKind;
use crate::id::Target;

/// A message that was not accepted. It comes back with [`SendError::into_message`].
#[derive(thiserror::Error)]
#[error("cannot send to {to}: {}", kind.text())]
pub struct SendError {
    kind: SendErrorKind,
    to: Target,
    // A `Message` is `Send`, not `Sync`; behind a lock that is never contended the error is both, as `?` into a boxed
    // error of the embedding program asks.
    message: Box<std::sync::Mutex<Message>>,
}

impl SendError {
    #[cold]
    pub(crate) fn new(kind: SendErrorKind, to: impl Into<Target>, message: Message) -> Self {
        Self {
            kind,
            to: to.into(),
            message: Box::new(std::sync::Mutex::new(message)),
        }
    }

    /// Why.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// let refused = cx.send("absent", "hello").unwrap_err();
    /// assert_eq!(refused.kind(), longshore::SendErrorKind::NoName);
    /// # Ok(()) }) }
    /// ```
    pub fn kind(&self) -> SendErrorKind {
        self.kind
    }

    /// Where it was to go.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// let refused = cx.send("absent", "hello").unwrap_err();
    /// assert_eq!(refused.target(), &Target::from("absent"));
    /// # Ok(()) }) }
    /// ```
    pub fn target(&self) -> &Target {
        &self.to
    }

    /// The message, unharmed.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// let refused = cx.send("absent", 7_u8).unwrap_err();
    /// assert_eq!(refused.into_message().downcast::<u8>().unwrap(), 7);
    /// # Ok(()) }) }
    /// ```
    pub fn into_message(self) -> Message {
        self.message
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendError")
            .field("kind", &self.kind)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}
