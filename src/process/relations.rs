//! What a process is related to: its meta-processes, links and monitors. Made when the first relation is, freed with
//! the last.
//!
//! Both directions are kept: who watches this process, and what this process watches, so that the end of either side
//! cleans up the other.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::bridge::Watcher;
use crate::id::{Alias, Name, Pid, Ref, Target};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Relations {
    /// Meta-processes that end with this process: its children, and connections that it owns.
    pub(crate) metas: HashSet<Alias>,
    /// Those of `metas` that hold an address which a successor will bind.
    pub(crate) listeners: Vec<Alias>,
    /// Processes that get an exit signal when this one ends: the sessions of its connections.
    pub(crate) dependents: HashSet<Pid>,
    /// Processes and meta-processes this one is linked to.
    pub(crate) links: HashSet<Target>,
    /// Processes that are notified of the end of this one, apart from links.
    pub(crate) watchers: BTreeSet<Watcher>,
    /// What this process monitors.
    pub(crate) monitors: HashMap<Ref, Monitored>,
}

/// What a monitor is on.
#[derive(Clone, Debug)]
pub(crate) struct Monitored {
    pub(crate) target: Target,
    /// The name that was asked for, which the `Down` repeats.
    pub(crate) name: Option<Name>,
}

impl Relations {
    pub(crate) fn is_empty(&self) -> bool {
        self.metas.is_empty()
            && self.dependents.is_empty()
            && self.links.is_empty()
            && self.watchers.is_empty()
            && self.monitors.is_empty()
    }
}
