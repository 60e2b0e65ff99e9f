//! [`Node::run`]: a node that lives as long as its root process, or until a signal.
//!
//! ```text
//!  start ─▶ spawn the root, monitored ─▶ wait ──┬─ the root ended ────┬─▶ stop in phases ─▶ report, or Error::Root
//!                                               └─ SIGINT or SIGTERM ─┘
//! ```
//!
//! The monitor is placed with the spawn, so that no end of the root is missed. What it does not
//! do: it restarts nothing; a supervisor as the root does.

use std::sync::mpsc::{self, Sender};

use super::{Error, Node, NodeOptions, StopReport};
use crate::actor::{Actor, ChildFailed, make};
use crate::base::inside::RuntimeId;
use crate::bridge::Watcher;
use crate::bridge::monitor::{EndNotice, Monitor};
use crate::error::RequestError;
use crate::error::reason::Reason;
use crate::id::{Name, Pid};
use crate::process::SpawnOptions;

/// Why the wait is over.
enum Event {
    RootEnded(Reason),
    #[cfg(all(feature = "signals", unix))]
    Notify,
}

impl Node {
    /// Starts a node, spawns its root process, and waits until that ends or, with the feature
    /// `signals`, until SIGINT or SIGTERM comes. Then it stops the node in its phases, with the
    /// default deadlines of [`StopOptions`](crate::StopOptions), and returns the report.
    ///
    /// A second signal has its default action, which kills the program. SIGUSR1 writes
    /// [`Node::dump`] to standard error. When `run` returns, the signals have their default action
    /// again.
    ///
    /// ```
    /// use longshore::prelude::*;
    ///
    /// struct Hello;
    ///
    /// impl Actor for Hello {
    ///     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
    ///         println!("hello");
    ///         cx.send_exit(cx.pid(), Reason::Shutdown)?; // a server would bind here, and stay
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), longshore::Error> {
    /// let report = Node::run("hello@localhost", || Hello)?;
    /// assert!(report.is_clean());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Node::start`] and [`Node::spawn`]. [`Error::Root`] if the root ended with another
    /// reason than `Normal` and `Shutdown`. On a thread of a node's runtime, which it would
    /// block, [`RequestError::WouldBlockRuntime`].
    pub fn run<A: Actor>(
        options: impl Into<NodeOptions>,
        root: impl FnOnce() -> A,
    ) -> Result<StopReport, Error> {
        Self::run_with(options, SpawnOptions::default(), root)
    }

    /// As [`Node::run`], with options for the root.
    ///
    /// ```
    /// use longshore::prelude::*;
    ///
    /// # struct Root;
    /// # impl Actor for Root {
    /// #     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
    /// #         assert_eq!(cx.name().map(Name::as_str), Some("root"));
    /// #         Ok(cx.send_exit(cx.pid(), Reason::Normal)?)
    /// #     }
    /// # }
    /// # fn main() -> Result<(), longshore::Error> {
    /// Node::run_with("example@localhost", SpawnOptions::default().with_name("root"), || Root)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Node::run`].
    pub fn run_with<A: Actor>(
        options: impl Into<NodeOptions>,
        root: SpawnOptions,
        factory: impl FnOnce() -> A,
    ) -> Result<StopReport, Error> {
        // It would wait on a thread that the node needs.
        if RuntimeId::is_inside_any() {
            return Err(RequestError::WouldBlockRuntime.into());
        }
        let (sender, events) = mpsc::channel();
        #[cfg(all(feature = "signals", unix))]
        let signals = {
            // Installed before the node starts: a signal during the start must not end the program without a stop.
            let sender = sender.clone();
            let forward = move || drop(sender.send(Event::Notify));
            super::signals::Stop::install(forward).map_err(Error::Start)?
        };
        let node = Self::start(options)?;
        #[cfg(all(feature = "signals", unix))]
        let dump = super::signals::Dump::install(node.dumper()).map_err(Error::Start)?;
        let name = root.name.clone();
        let pid = node.spawn_root(&root, factory, sender)?;
        // The sender lives until the root has ended.
        let event = events.recv();
        // A dump from here on would look at a node that stops.
        #[cfg(all(feature = "signals", unix))]
        drop(dump);
        let report = node.stop();
        // After the stop: until then a second signal kills the program.
        #[cfg(all(feature = "signals", unix))]
        drop(signals);
        match event {
            Ok(Event::RootEnded(reason)) => ended::<A>(pid, name, reason).map(|()| report),
            // A signal, or a stop from inside, which has ended the root itself.
            _ => Ok(report),
        }
    }

    /// Spawns the root and has its end sent to `events`.
    fn spawn_root<A: Actor>(
        &self,
        options: &SpawnOptions,
        factory: impl FnOnce() -> A,
        events: Sender<Event>,
    ) -> Result<Pid, Error> {
        let notice =
            EndNotice::call(move |reason| drop(events.send(Event::RootEnded(reason.clone()))));
        let watcher = Watcher::Outside(notice);
        let behavior = make(factory)?;
        let pid = self
            .table()
            .spawn_watched(Pid::NODE, options, behavior, Some(watcher), None)?;
        Ok(pid)
    }

    /// Waits for the end of a process or meta-process, from outside of the node. A name is
    /// resolved now.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// assert_eq!(node.monitor("absent").wait()?, Reason::NoProcess);
    /// # Ok(()) }
    /// ```
    pub fn monitor(&self, target: impl Into<crate::id::Target>) -> Monitor {
        let (notice, monitor) = Monitor::new(self.runtime());
        self.table().watch_from_outside(target.into(), notice);
        monitor
    }
}

/// What the end of the root means for the program.
fn ended<A>(pid: Pid, name: Option<Name>, reason: Reason) -> Result<(), Error> {
    match reason {
        Reason::Normal | Reason::Shutdown => Ok(()),
        reason => Err(Error::Root {
            pid,
            name,
            actor: std::any::type_name::<A>(),
            child: reason.downcast_ref::<ChildFailed>().cloned(),
            reason,
        }),
    }
}
