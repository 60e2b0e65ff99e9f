//! Faults that are planted with `--cfg planted`, to show that the seeds find such ones. Without the flag
//! `planted!` is `false`, and nothing of this exists.

use std::cell::Cell;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A Writable is never delivered.
    WritableLost,
    /// A deadline is judged before the input that was there.
    DeadlineFirst,
    /// A meta-process whose turn at a mailbox has come is not resumed.
    WaiterForgotten,
    /// An exit signal that is handled before its target is spawned is dropped.
    ExitOvertakesSpawn,
    /// A meta-process that is spawned in a stop does not get the phase.
    StopOvertakesSpawn,
    /// A closing connection ends before the last commands for it.
    LastCommandLost,
    /// A timer for a process fires at the one that has taken its place.
    TimerReachesSuccessor,
    /// A connection does not learn that its owner has handled its data.
    AckLost,
    /// The Disconnect is delivered twice.
    DisconnectTwice,
    /// A short write counts as a whole one.
    ShortWriteIsWhole,
    /// Input that was set aside above the high mark stays there.
    ReleaseLost,
    /// The meta-processes of a process outlive it.
    ChildrenKept,
    /// A listener does not accept again behind an error.
    ListenerDeaf,
}

thread_local! {
    static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
}

/// Whether this fault is planted on this thread.
pub(crate) fn is(fault: Planted) -> bool {
    PLANTED.get() == Some(fault)
}

/// The fault that is planted on this thread.
pub(crate) fn current() -> Option<Planted> {
    PLANTED.get()
}

/// Plants a fault on this thread.
pub(crate) fn plant(fault: Option<Planted>) {
    PLANTED.set(fault);
}
