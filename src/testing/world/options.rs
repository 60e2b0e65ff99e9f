//! How a world is made.

use std::time::Duration;

use crate::simulation::net::NetOptions;
use crate::testing::Policy;

/// How a [`World`](super::World) is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorldOptions {
    /// The order of tasks.
    pub policy: Policy,
    /// The network.
    pub net: NetOptions,
    /// The longest that an activation of a task takes in virtual time; 20 µs for `None`.
    pub task_cost: Option<Duration>,
}

impl WorldOptions {
    /// Sets [`policy`](Self::policy).
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets [`net`](Self::net).
    #[must_use]
    pub fn with_net(mut self, net: NetOptions) -> Self {
        self.net = net;
        self
    }

    /// Sets [`task_cost`](Self::task_cost).
    #[must_use]
    pub fn with_task_cost(mut self, longest: impl Into<Option<Duration>>) -> Self {
        self.task_cost = longest.into();
        self
    }
}
