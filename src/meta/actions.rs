//! What a callback wants done once it has returned: one typed set, filled through [`MetaContext`](super::MetaContext)
//! and applied by the stripe in one place.
//!
//! | action | requested with | the stripe |
//! |---|---|---|
//! | become | `become_meta` | replaces the meta-process; alias, quota, watchers and timer stay |
//! | again | `call_again`, `call_next` | queues another `ready`, behind the others or before them |
//! | flush | `flush_later` | calls `flush` once, at the end of the activation |
//! | handshake step | `request_handshake_step` | calls `ready` with time to compute one moderate step |
//! | deadline | `set_timer`, `set_deadline` | arms, moves or cancels the timer |
//!
//! A callback returns `Result<(), Reason>`, so that a meta-process that wants nothing writes `Ok(())`. The set travels
//! in the context instead of the result: it is as large as the result, and most callbacks request nothing.
//!
//! After an error or a panic only *become* is applied, because `terminate` belongs to the successor then.

use super::MetaProcess;

/// The requested actions of one callback.
pub(crate) struct Actions {
    pub(crate) again: Again,
    pub(crate) flush: bool,
    pub(crate) handshake_step: bool,
    /// The next time of `handle_timer` in milliseconds of the node's clock, `u64::MAX` for never, or
    /// [`KEEP`](Self::KEEP).
    pub(crate) deadline_ms: u64,
    pub(crate) successor: Option<Box<dyn MetaProcess>>,
}

impl Actions {
    /// The deadline that leaves the timer as it is. No timer is set for it: a deadline that saturates is never.
    pub(crate) const KEEP: u64 = u64::MAX - 1;
}

impl Default for Actions {
    #[inline]
    fn default() -> Self {
        Self {
            again: Again::No,
            flush: false,
            handshake_step: false,
            deadline_ms: Self::KEEP,
            successor: None,
        }
    }
}

/// Whether `ready` is to be called again without an event, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    No,
    /// After the meta-processes that are queued now.
    Behind,
    /// Before them, in the next activation: there is more to read, and what was read should be processed first.
    Next,
}
