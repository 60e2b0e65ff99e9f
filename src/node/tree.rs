//! The supervisors and the pools of a node, as they know themselves.

use std::any::{Any, type_name};

use super::Node;
use crate::actor::{Pool, PoolInfo, SupervisionTree, Supervisor, SupervisorInfo};
use crate::id::Pid;
use crate::process::ProcessInfo;

/// How often a process that is in a handler is looked at again before it counts as busy.
const LOOKS: usize = 100;

impl Node {
    /// The supervisors with their children, as they are now.
    ///
    /// It asks none of them by a message, so it also works from inside a process, and beside a
    /// supervisor that is stuck, which is then shown as
    /// [busy](crate::SupervisorInfo::is_busy). A supervisor waits while its own list is copied; no
    /// other process does.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// # struct Door;
    /// # impl Actor for Door {}
    /// let node = Node::start("chat@localhost")?;
    /// node.spawn(|| Supervisor::one_for_one().with_child(Child::new("door", || Door)))?;
    /// print!("{}", node.supervision_tree());
    /// # assert_eq!(node.supervision_tree().roots().count(), 1);
    /// # Ok(()) }
    /// ```
    pub fn supervision_tree(&self) -> SupervisionTree {
        let supervisors = self.of_type::<Supervisor>().map(|process| {
            let mut info = SupervisorInfo {
                pid: process.pid,
                name: process.name,
                parent: process.parent,
                kind: "",
                is_busy: true,
                restarts: 0,
                stuck: 0,
                children: Vec::new(),
            };
            self.look_at(process.pid, |supervisor: &Supervisor| {
                supervisor.describe(&mut info);
            });
            info
        });
        SupervisionTree::new(supervisors.collect())
    }

    /// The pools, as they are now; none of them is asked by a message.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let node = Node::start("example@localhost")?;
    /// node.spawn(|| Pool::new(4, || Worker))?;
    /// assert_eq!(node.pools().count(), 1);
    /// # Ok(()) }
    /// ```
    pub fn pools(&self) -> impl Iterator<Item = PoolInfo> {
        self.of_type::<Pool>().map(|process| {
            let mut info = PoolInfo {
                pid: process.pid,
                name: process.name,
                is_busy: true,
                workers: 0,
                forwarded: 0,
                held_back: 0,
                dropped: 0,
                restarted: 0,
            };
            self.look_at(process.pid, |pool: &Pool| pool.describe(&mut info));
            info
        })
    }

    fn of_type<A>(&self) -> impl Iterator<Item = ProcessInfo> + use<A> {
        self.processes()
            .filter(|process| process.actor == type_name::<A>())
    }

    /// Lets `look` see the actor of a process, unless a handler of it runs and goes on running.
    fn look_at<A: Any>(&self, pid: Pid, mut look: impl FnMut(&A)) {
        // A handler is short as a rule, so a busy process is free again after a few looks.
        for _ in 0..LOOKS {
            let seen = self.table().look_at(pid, |behavior| {
                behavior.as_any().downcast_ref().map(&mut look)
            });
            if seen.is_some() {
                return;
            }
            std::thread::yield_now();
        }
    }
}
