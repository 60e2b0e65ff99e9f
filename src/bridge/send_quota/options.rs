//! The options of a send quota.

/// What a meta-process lets others send to it.
#[derive(Clone, Copy, Debug)]
pub struct QuotaOptions {
    /// Bytes that may be queued.
    pub(crate) limit: u32,
    /// Above this many queued bytes the owner gets no more input.
    pub(crate) high: u32,
    /// A write that finds the limit reached closes the connection; otherwise it is dropped and counted.
    pub(crate) closes_on_overflow: bool,
    /// The owner gets input whatever is queued.
    pub(crate) reads_above_high: bool,
}

impl QuotaOptions {
    /// A limit without a high mark, for datagrams and for meta-processes of users: what does not fit is dropped.
    pub(crate) fn plain(limit: u32) -> Self {
        Self {
            limit,
            high: u32::MAX,
            closes_on_overflow: false,
            reads_above_high: true,
        }
    }
}
