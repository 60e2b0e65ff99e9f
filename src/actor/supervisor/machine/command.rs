//! What is requested for one child, and why a request is refused.

/// What can be requested for one child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Starts it if it is down. Answered when it runs.
    Start,
    /// Takes it down. A group restart brings it up again; a child that a supervisor does not keep
    /// when it ends is forgotten. Answered when it is down.
    Stop,
    /// Takes it down if it runs, and starts it without waiting. Answered when it runs.
    Restart,
    /// Ends what `Disable` began, and starts it. Answered when it runs.
    Enable,
    /// Takes it down, and keeps it down until `Enable`. Answered when it is down.
    Disable,
    /// Takes it down and forgets it. Answered when it is down.
    Remove,
}

/// Why a request was refused, or did not lead to what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no such child.
    Unknown,
    /// It runs.
    Running,
    /// It is disabled.
    Disabled,
    /// It did not start.
    Failed,
    /// It was taken down before it ran.
    Superseded,
    /// The supervisor is ending.
    Ending,
}
