//! Errors in options.
//!
//! What it does not do: a connection's end is a reason, not an error, and lives elsewhere.

/// Says which option is wrong, and what is wrong with it.
///
/// ```
/// use longshore::Framing;
///
/// let error = Framing::fixed(0).validate().unwrap_err();
/// assert_eq!(error.field(), "length");
/// assert_eq!(error.to_string(), "length: a frame of no bytes would never end");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct OptionError {
    field: &'static str,
    problem: String,
}

impl OptionError {
    pub(crate) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }

    /// Names the option, as it is spelt in the code.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// Describes what is wrong with its value.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }
}
