//! What a list shows of a pool.

use super::Pool;
use crate::id::{Name, Pid};

/// A pool as [`Node::pools`](crate::Node::pools) shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolInfo {
    /// The pool.
    pub pid: Pid,
    /// Its registered name.
    pub name: Option<Name>,
    /// A handler of it runs, so that the figures below are not known.
    pub is_busy: bool,
    /// Workers alive.
    pub workers: usize,
    /// Messages that were given to workers.
    pub forwarded: u64,
    /// Messages that wait because the mailboxes of all workers are full.
    pub held_back: usize,
    /// Messages that were dropped.
    pub dropped: u64,
    /// Workers that were started in the place of others.
    pub restarted: u64,
}

impl Pool {
    /// Completes what is shown of it with what it knows itself.
    pub(crate) fn describe(&self, info: &mut PoolInfo) {
        info.is_busy = false;
        info.workers = self.workers.len();
        info.forwarded = self.forwarded;
        info.held_back = self.held_back.len();
        info.dropped = self.dropped;
        info.restarted = self.restarted;
    }
}
