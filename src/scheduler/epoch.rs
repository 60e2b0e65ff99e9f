//! What a worker is in: one word that the worker writes and the monitor compares with its last reading.

use super::Task;

/// What a worker is in, and how many tasks it has begun: a value that stays the same means the same task.
///
/// ```text
///  63            34 33      2 1      0
///  ┌───────────────┬─────────┬────────┐
///  │ tasks so far  │  task   │ inside │
///  └───────────────┴─────────┴────────┘
/// ```
///
/// `inside` is the kind of the task, and 0 between tasks; then `task` is 0 too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Epoch(pub(super) u64);

impl Epoch {
    const PROCESS: u64 = 1;
    const STRIPE: u64 = 2;
    const TASK: u32 = 2;
    const NEXT: u64 = 1 << 34;

    #[inline]
    pub(super) fn enter(self, task: Task) -> Self {
        let inside = if task.is_stripe() {
            Self::STRIPE
        } else {
            Self::PROCESS
        };
        Self(self.0 | u64::from(task.0) << Self::TASK | inside)
    }

    #[inline]
    pub(super) fn leave(self) -> Self {
        Self((self.0 & !(Self::NEXT - 1)).wrapping_add(Self::NEXT))
    }

    pub(super) fn is_in_task(self) -> bool {
        self.0 & (Self::PROCESS | Self::STRIPE) != 0
    }

    /// The index of the process whose handler it is in.
    pub(super) fn process(self) -> Option<u32> {
        self.is_in_process()
            .then_some((self.0 >> Self::TASK) as u32)
    }

    /// Whether the worker runs a process, and so code of the user.
    pub(super) fn is_in_process(self) -> bool {
        self.0 & Self::PROCESS != 0
    }
}
