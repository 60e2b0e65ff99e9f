//! Requests with types: [`Request`] names the type of the answer, [`MessageReply::answer`] checks it.
//!
//! A request travels as any other message, and its answer too; the types are looked at where a value
//! goes in and where it comes out, so that a pool or a process that forwards needs to know neither.

use super::{Message, MessageReply};
use crate::error::RequestError;

/// A message that asks for an answer of one type.
///
/// ```
/// use longshore::prelude::*;
///
/// /// Asks for the value of a key.
/// struct Get(String);
///
/// impl Request for Get {
///     type Reply = Option<u64>;
/// }
/// ```
pub trait Request: Send + 'static {
    /// What is answered. Errors of the callee need no place in it: [`Reply::fail`](crate::Reply::fail) reports them.
    type Reply: Send + 'static;
}

impl MessageReply {
    /// The answer to a request of type `R`.
    ///
    /// # Errors
    ///
    /// Why there is none; [`RequestError::WrongType`] if the callee answered with another type.
    ///
    /// ```
    /// use longshore::prelude::*;
    ///
    /// struct Get(&'static str);
    /// impl Request for Get {
    ///     type Reply = u64;
    /// }
    ///
    /// const HITS: u64 = 1;
    ///
    /// struct Page(u64);
    /// impl Actor for Page {
    ///     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
    ///         cx.ask("counters", Get("hits"), std::time::Duration::from_secs(5), HITS)?;
    ///         Ok(())
    ///     }
    ///     fn handle_message(
    ///         &mut self,
    ///         _: &mut Context<'_>,
    ///         _: Pid,
    ///         message: Message,
    ///     ) -> Result<(), Reason> {
    ///         if let Message::Reply(reply) = message {
    ///             match reply.label {
    ///                 HITS => self.0 = reply.answer::<Get>()?,
    ///                 other => return Err(Reason::error(format!("no question {other}"))),
    ///             }
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn answer<R: Request>(self) -> Result<R::Reply, RequestError> {
        typed::<R>(self.result)
    }
}

/// The answer to a request of type `R`, taken out of its message.
pub(crate) fn typed<R: Request>(
    result: Result<Message, RequestError>,
) -> Result<R::Reply, RequestError> {
    // An answer may be a message of the runtime, or a `Message` itself.
    let mut message = Some(result?);
    let any: &mut dyn std::any::Any = &mut message;
    // A `Reply` that is a message itself needs no unpacking.
    if let Some(answer) = any.downcast_mut::<Option<R::Reply>>()
        && let Some(answer) = answer.take()
    {
        return Ok(answer);
    }
    let Some(message) = message else {
        return Err(RequestError::Dropped);
    };
    message.downcast().map_err(|other| RequestError::WrongType {
        expected: std::any::type_name::<R::Reply>(),
        found: other.found(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Number;
    impl Request for Number {
        type Reply = u32;
    }

    struct Anything;
    impl Request for Anything {
        type Reply = Message;
    }

    #[test]
    fn answer_of_another_type_is_an_error_that_names_both() {
        assert_eq!(typed::<Number>(Ok(Message::new(7_u32))), Ok(7));
        let error = typed::<Number>(Ok(Message::new("seven"))).unwrap_err();
        assert_eq!(error.to_string(), "the answer is a &str, not a u32");
    }

    #[test]
    fn request_may_ask_for_any_message() {
        let answer = typed::<Anything>(Ok(Message::new("seven"))).expect("any type");
        assert_eq!(answer.downcast_ref::<&str>(), Some(&"seven"));
    }
}
