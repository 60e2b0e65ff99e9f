//! Faults that tests plant in the machine, each of which the comparison with the reference must
//! find. In any other build there is none, and the questions cost nothing.

/// A planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A restart beyond the intensity does not end the supervisor.
    AllowsOneMore,
    /// The end takes the first child down first.
    EndsForward,
    /// A child that was killed because its start took too long is started again uncounted.
    ForgetsLateStart,
    /// A significant child that waits for its restart does not keep the supervisor.
    ForgetsWaiting,
    /// A request for a start is not answered when a later one takes the child down.
    LosesRequests,
    /// A group restart starts temporary children again.
    RestartsTemporary,
    /// A group restart starts children while others are still being taken down.
    StartsGroupEarly,
    /// A group restart takes the first child down first.
    StopsGroupForward,
    /// A report about a replaced process is taken for one about its successor.
    TakesStaleReports,
    /// A child that does not end when it is killed is waited for.
    WaitsForKilled,
}

/// The fault that a machine has.
#[derive(Debug, Default)]
pub(crate) struct Mutation(#[cfg(test)] pub(crate) Option<Planted>);

impl Mutation {
    #[cfg(test)]
    pub(crate) fn is(&self, fault: Planted) -> bool {
        self.0 == Some(fault)
    }

    #[cfg(not(test))]
    #[inline]
    #[expect(clippy::unused_self, reason = "the same call in both builds")]
    pub(crate) const fn is(&self, _: Planted) -> bool {
        false
    }
}
