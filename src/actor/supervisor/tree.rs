//! The supervisors of a node and their children, as a list that knows who is below whom.

use std::fmt;

use super::Supervisor;
use super::child::{ChildInfo, ChildState};
use super::policy::RestartScope;
use crate::id::{Name, Pid};

/// A supervisor as [`SupervisionTree`] shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SupervisorInfo {
    /// The supervisor.
    pub pid: Pid,
    /// Its registered name.
    pub name: Option<Name>,
    /// The process that spawned it: its own supervisor, if it has one.
    pub parent: Pid,
    /// Which constructor made it: `one_for_one`, `all_for_one`, `rest_for_one` or `dynamic`. Empty
    /// if it is busy.
    pub kind: &'static str,
    /// A handler of it runs, so that its children are not known.
    pub is_busy: bool,
    /// Restarts of the children that it has now.
    pub restarts: u64,
    /// Children that it has given up, because they did not end when they were killed.
    pub stuck: u64,
    /// Its children, in the order in which they start.
    pub children: Vec<ChildInfo>,
}

/// The supervisors of a node with their children; from
/// [`Node::supervision_tree`](crate::Node::supervision_tree).
///
/// `Display` writes it as an indented list, for people:
///
/// ```text
/// <0.1> root one_for_one
///   rooms <0.2> running starts=1
///     lobby <0.5> running starts=3
///   door <0.3> running starts=1
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SupervisionTree(Vec<SupervisorInfo>);

impl SupervisionTree {
    pub(crate) fn new(mut supervisors: Vec<SupervisorInfo>) -> Self {
        // Sorted once, because each line of a list asks for a parent.
        // `get` searches for a pid. An index has one process at a time.
        supervisors.sort_by_key(|info| info.pid.index());
        Self(supervisors)
    }

    /// All supervisors, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &SupervisorInfo> {
        self.0.iter()
    }

    /// The supervisors that are not the child of another.
    pub fn roots(&self) -> impl Iterator<Item = &SupervisorInfo> {
        self.0.iter().filter(|info| self.get(info.parent).is_none())
    }

    /// The supervisor with this pid.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// # struct Door;
    /// # impl Actor for Door {}
    /// let node = Node::start("chat@localhost")?;
    /// let root =
    ///     node.spawn(|| Supervisor::one_for_one().with_child(Child::new("door", || Door)))?;
    /// let tree = node.supervision_tree();
    /// let info = tree.get(root).expect("a supervisor");
    /// if !info.is_busy {
    ///     assert_eq!(info.children[0].name, "door");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn get(&self, pid: Pid) -> Option<&SupervisorInfo> {
        let place = self
            .0
            .binary_search_by_key(&pid.index(), |info| info.pid.index());
        // Another process may have that index by now.
        self.0.get(place.ok()?).filter(|info| info.pid == pid)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, of: &SupervisorInfo, depth: usize) -> fmt::Result {
        if of.is_busy {
            return writeln!(f, "{:depth$}busy", "");
        }
        for child in &of.children {
            let state = child.state.as_str();
            write!(f, "{:depth$}{}", "", child.name.as_str().escape_debug())?;
            if let Some(pid) = child.pid {
                write!(f, " {pid}")?;
            }
            writeln!(f, " {state} starts={}", child.starts)?;
            // A supervisor is spawned by its parent, so the depth has an end.
            if let Some(below) = child.pid.and_then(|pid| self.get(pid)) {
                self.write(f, below, depth + 2)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for SupervisionTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for root in self.roots() {
            write!(f, "{}", root.pid)?;
            if let Some(name) = &root.name {
                write!(f, " {}", name.as_str().escape_debug())?;
            }
            writeln!(f, " {}", root.kind)?;
            self.write(f, root, 2)?;
        }
        Ok(())
    }
}

impl Supervisor {
    /// Completes what is shown of it with what it knows itself.
    pub(crate) fn describe(&self, info: &mut SupervisorInfo) {
        info.kind = match self.rules.kind {
            RestartScope::OneForOne => "one_for_one",
            RestartScope::AllForOne => "all_for_one",
            RestartScope::RestForOne => "rest_for_one",
            RestartScope::Dynamic => "dynamic",
        };
        info.is_busy = false;
        if let Some(adapter) = &self.adapter {
            info.stuck = adapter.stuck;
            info.children = adapter.list();
            let restarts = |child: &ChildInfo| child.starts.saturating_sub(1);
            info.restarts = info.children.iter().map(restarts).sum();
        }
    }
}

impl ChildState {
    /// The state as a word: `down`, `disabled`, `waiting`, `starting`, `running`, `stopping` or
    /// `killed`.
    ///
    /// ```
    /// assert_eq!(longshore::ChildState::Running.as_str(), "running");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Disabled => "disabled",
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Killed => "killed",
        }
    }
}
