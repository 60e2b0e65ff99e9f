//! [`ChildFailed`]: why a supervisor gave up.

use std::error::Error;

use crate::error::Reason;
use crate::id::Name;

/// A child failed in a way that its supervisor does not mend: it did not start, or was restarted too
/// often. The supervisor ends with a [`Reason`] that keeps this; see [`Reason::downcast_ref`].
///
/// Its source is the error that the child ended with, if there was one. Under nested supervisors that
/// is the `ChildFailed` of the inner one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildFailed {
    /// The name of the child in its supervisor.
    pub child: Name,
    /// Why its last process ended.
    pub reason: Reason,
    /// Whether it had been restarted as often as the supervisor allows. Otherwise it did not start.
    pub too_often: bool,
}

impl std::fmt::Display for ChildFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { child, reason, .. } = self;
        let what = if self.too_often {
            "was restarted too often, and ended"
        } else {
            "did not start"
        };
        write!(f, "child {child} {what}: {reason}")
    }
}

impl Error for ChildFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.reason.source().map(|error| error as _)
    }
}
