//! What can be requested of a supervisor while it runs.

use super::child::Child;
pub(crate) use super::machine::Command as ChildVerb;
use super::machine::Refusal;
use crate::error::Reason;
use crate::error::{ConfigError, RequestError};
use crate::id::{Pid, Target};

/// A request to a supervisor; the verbs of `Context` and `Node` send it.
#[derive(Debug)]
pub(crate) enum ChildCommand {
    Add(Child),
    /// For one child, by its name or its pid.
    One(ChildVerb, Target),
    List,
}

/// What a supervisor answers: the child's process, if it has one then.
pub type ChildResult = Result<Option<Pid>, ChildError>;

/// Why a supervisor did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// It has no such child.
    #[error("no such child")]
    Unknown,
    /// Another child has that name.
    #[error("another child has that name")]
    NameTaken,
    /// The child runs.
    #[error("the child runs")]
    Running,
    /// The child is disabled.
    #[error("the child is disabled")]
    Disabled,
    /// The child did not start.
    #[error("the child did not start: {0}")]
    Start(Reason),
    /// A later request, or the end of another child, has taken it down before it ran.
    #[error("the child was taken down before it ran")]
    Superseded,
    /// The supervisor is ending, or the node is stopping.
    #[error("the supervisor is ending")]
    Ending,
    /// An option of the child is wrong.
    #[error(transparent)]
    Option(#[from] ConfigError),
    /// The supervisor did not answer, or the target is none.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl ChildError {
    /// `failure`: why the child did not start, if that is known.
    pub(super) fn new(refusal: Refusal, failure: Option<Reason>) -> Self {
        match refusal {
            Refusal::Unknown => Self::Unknown,
            Refusal::Running => Self::Running,
            Refusal::Disabled => Self::Disabled,
            Refusal::Failed => Self::Start(failure.unwrap_or(Reason::NoProcess)),
            Refusal::Superseded => Self::Superseded,
            Refusal::Ending => Self::Ending,
        }
    }
}
