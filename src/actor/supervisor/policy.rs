//! The options of a supervisor and of each of its children.

use std::time::Duration;

/// When a supervisor starts a child again that ended without being asked to.
///
/// An end is *orderly* if its reason is [`Reason::Normal`](crate::Reason::Normal) or
/// [`Reason::Shutdown`](crate::Reason::Shutdown).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Restart {
    /// After every end. The default.
    #[default]
    Permanent,
    /// After an end that was not orderly.
    Transient,
    /// Never. The supervisor forgets the child when it has ended, also when the end of another
    /// child takes it down.
    Temporary,
}

/// How a supervisor ends a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shutdown {
    /// By [`Reason::Kill`](crate::Reason::Kill), at once.
    Kill,
    /// By [`Reason::Shutdown`](crate::Reason::Shutdown), and by a kill if the child has not ended
    /// after this long.
    Within(Duration),
    /// By [`Reason::Shutdown`](crate::Reason::Shutdown), without a deadline. For supervisors,
    /// whose own children have deadlines.
    Wait,
}

impl Default for Shutdown {
    /// [`Shutdown::Within`] 5 seconds.
    fn default() -> Self {
        Self::Within(Duration::from_secs(5))
    }
}

/// Whether a supervisor ends, with [`Reason::Shutdown`](crate::Reason::Shutdown), when children
/// that are *significant* have ended by themselves and are not restarted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AutoShutdown {
    /// It does not. The default.
    #[default]
    Never,
    /// When one significant child has ended.
    AnySignificant,
    /// When the last significant child has ended.
    AllSignificant,
}

/// Which children the end of one takes down with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RestartScope {
    /// None.
    OneForOne,
    /// All others.
    AllForOne,
    /// Those that were added after it.
    RestForOne,
    /// None. Children are added at run time, and forgotten when they end.
    Dynamic,
}

/// What holds for all children of a supervisor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) kind: RestartScope,
    pub(crate) auto_shutdown: AutoShutdown,
    /// Restarts within `period` that the supervisor survives; one more ends it.
    pub(crate) intensity: u32,
    pub(crate) period: Duration,
    pub(crate) back_off: BackOff,
    /// The time from a kill until a child that has not ended is given up.
    pub(crate) kill_timeout: Duration,
}

/// The wait before a restart: `first`, doubled with every restart of the same child up to `max`.
/// A child that has run for `max` begins with `first` again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BackOff {
    pub(crate) first: Duration,
    pub(crate) max: Duration,
}

impl BackOff {
    /// The wait before restart number `restart` in a row, counted from 1.
    pub(crate) fn delay(self, restart: u32) -> Duration {
        // A shift beyond the width is longer than every maximum.
        let factor = 1_u32.checked_shl(restart.saturating_sub(1));
        let delay = factor.and_then(|factor| self.first.checked_mul(factor));
        delay.map_or(self.max, |delay| delay.min(self.max))
    }
}

/// What holds for one child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) restart: Restart,
    pub(crate) significant: bool,
    pub(crate) shutdown: Shutdown,
    /// The time from the start of a child until it is killed if it has not reported that it runs.
    pub(crate) start_timeout: Duration,
}
