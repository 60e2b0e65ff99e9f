//! [`Failure`]: the text of an error, and the error itself.
//!
//! A reason is cloned to every link and monitor, compared by tests, and used as a key; an error can
//! do none of that. So the text is made once, is what counts for equality and hash, and the error
//! stays beside it behind one shared pointer.
//!
//! What it does not do: it keeps no backtrace, and it is not an [`Error`] itself, so that
//! `?` does not wrap it anew.

use std::error::Error;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// The text of an error, and the error itself if there was one. Equality and hash are those of the text.
///
/// ```
/// use longshore::{Failure, Reason};
///
/// let Reason::Error(failure) = Reason::error("out of paper") else { unreachable!() };
/// assert_eq!(&*failure, "out of paper");
/// assert_eq!(failure, Failure::from("out of paper"));
/// ```
#[derive(Clone)]
// Shared, because a reason is cloned for each link and each monitor.
pub struct Failure(Arc<Kept>);

struct Kept {
    text: Box<str>,
    error: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    pub(super) fn boxed(error: Box<dyn Error + Send + Sync>) -> Self {
        Self(Arc::new(Kept {
            text: text_of(&*error).into(),
            error: Some(error),
        }))
    }

    /// The text: that of the error, and of its sources.
    ///
    /// ```
    /// assert_eq!(longshore::Failure::from("out of paper").text(), "out of paper");
    /// ```
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The error, if this was made of one.
    ///
    /// ```
    /// assert!(longshore::Failure::from("out of paper").error().is_none());
    /// ```
    pub fn error(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.0.error.as_deref()
    }
}

/// The texts of the error and of its sources.
fn text_of(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Transparent wrappers, and errors that show their source, repeat its text; once is enough.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self(Arc::new(Kept {
            text: text.into(),
            error: None,
        }))
    }
}

impl Deref for Failure {
    type Target = str;

    fn deref(&self) -> &str {
        self.text()
    }
}

impl PartialEq for Failure {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Failure {}

impl Hash for Failure {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text().hash(state);
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use std::collections::HashSet;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot print")]
    struct Print(#[source] io::Error);

    #[test]
    fn reason_keeps_the_error_and_its_sources() {
        let reason = Reason::from(Print(io::Error::other("no paper")));
        assert_eq!(reason.to_string(), "cannot print: no paper");
        let kept = reason.downcast_ref::<Print>().expect("the error");
        assert_eq!(kept.0.to_string(), "no paper");
        let source = reason.source().and_then(Error::source).expect("its source");
        assert!(source.downcast_ref::<io::Error>().is_some());
        assert!(reason.clone().downcast_ref::<Print>().is_some());
    }

    #[test]
    fn reasons_of_equal_text_are_equal_whatever_they_keep() {
        let kept = Reason::from(Print(io::Error::other("no paper")));
        let text = Reason::error("cannot print: no paper");
        assert_eq!(kept, text);
        assert!(text.source().is_none());
        assert_eq!(HashSet::from([kept, text]).len(), 1);
    }

    #[test]
    fn boxed_error_is_unwrapped_and_not_wrapped_anew() {
        let boxed: Box<dyn Error + Send + Sync> = Box::new(Print(io::Error::other("no paper")));
        assert!(Reason::boxed(boxed).downcast_ref::<Print>().is_some());
        assert_eq!(Reason::boxed("a text").to_string(), "a text");
    }
}
