//! What all stripes of a node share, and the way to start a meta-process.

use std::fmt;
use std::sync::Arc;

use crossbeam_queue::SegQueue;
use mio::Registry;

use super::{MetaProcess, Sources};
use crate::base::blocking::Blocking;
use crate::base::lookups::Lookups;
use crate::bridge::{Commands, Deliver, Timers};
use crate::error::{ConfigError, SpawnError};
use crate::id::{Alias, Name, Pid};
use crate::memory::buffer::BufferPool;
use crate::record::Log;

/// A meta-process on its way to its stripe.
pub(crate) struct PendingSpawn {
    pub(crate) alias: Alias,
    pub(crate) parent: Pid,
    pub(crate) meta: Box<dyn MetaProcess>,
}

/// What all stripes of a node share.
pub(crate) struct Services {
    pub(crate) registry: Registry,
    pub(crate) deliver: Arc<dyn Deliver>,
    pub(crate) commands: Arc<Commands>,
    pub(crate) timers: Arc<Timers>,
    pub(crate) pool: BufferPool,
    pub(crate) lookups: Arc<Lookups>,
    /// Where long handshakes compute.
    pub(crate) handshakes: Blocking,
    pub(crate) log: Log,
    /// Of a simulated node: meta-processes that have registered a source of their own.
    #[cfg(feature = "testing")]
    pub(crate) registered: Option<crate::base::sync::Mutex<std::collections::BTreeSet<u64>>>,
    /// For each stripe, what is to be spawned on it.
    pub(crate) spawn_queues: Box<[SegQueue<PendingSpawn>]>,
    /// What users' meta-processes have put on the poll.
    pub(crate) sources: Sources,
}

impl Services {
    /// An empty spawn queue for each stripe.
    pub(crate) fn spawn_queues(stripes: usize) -> Box<[SegQueue<PendingSpawn>]> {
        std::iter::repeat_with(SegQueue::new)
            .take(stripes)
            .collect()
    }

    /// Starts a meta-process as a child of `parent`.
    pub(crate) fn spawn(
        &self,
        parent: Pid,
        meta: Box<dyn MetaProcess>,
    ) -> Result<Alias, SpawnError> {
        // The alias is allocated last of what can fail without leaving something to undo.
        self.refuse_pools(meta.owners())?;
        let alias = self.commands.allocate(meta.quota_options(), parent)?;
        let adopted = match meta.is_listener() {
            _ if parent == Pid::NODE => true,
            true => self.deliver.adopt_listener(parent, alias),
            false => self.deliver.adopt(parent, alias),
        };
        // The parent has ended since the alias was allocated, and its end has not seen it. The alias was never
        // published.
        if !adopted {
            self.commands.invalidate(alias);
            self.commands.free(alias);
            return Err(SpawnError::NoParent);
        }
        // Queued only now: a meta-process without a parent must not start.
        self.spawn_queues[alias.stripe()].push(PendingSpawn {
            alias,
            parent,
            meta,
        });
        self.commands.wake(alias.stripe());
        Ok(alias)
    }

    /// A pool would spread the bytes of one connection over its workers, so it cannot own one.
    pub(crate) fn refuse_pools(
        &self,
        (field, names): (&'static str, &[Name]),
    ) -> Result<(), ConfigError> {
        let is_pool = |name: &&Name| {
            self.deliver
                .resolve(name)
                .is_some_and(|pid| self.deliver.is_pool(pid))
        };
        match names.iter().find(is_pool) {
            None => Ok(()),
            Some(name) => {
                let problem =
                    "is a pool; it would spread the bytes of one connection over several workers";
                Err(ConfigError::new(field, format!("{name} {problem}")))
            }
        }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}
