//! What a process does with other processes: it spawns, links, monitors, ends and inspects them.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::{Actor, Context, make};
use crate::error::{Reason, SendErrorKind, SpawnError};
use crate::id::{Alias, Name, Pid, Ref, Target};
use crate::process::{Behavior, SpawnOptions};

/// # Other processes
impl Context<'_> {
    /// Sends an exit signal: the receiver ends with that reason, or gets it as a message if it traps exits and the
    /// reason is not [`Reason::Kill`].
    ///
    /// # Errors
    ///
    /// There is no such receiver.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let worker = cx.spawn(|| Worker)?;
    /// cx.send_exit(worker, Reason::Shutdown)?;
    /// # Ok(()) }) }
    /// ```
    pub fn send_exit(
        &mut self,
        to: impl Into<Target>,
        reason: Reason,
    ) -> Result<(), SendErrorKind> {
        self.env
            .processes
            .send_exit(self.env.control.pid, to.into(), reason)
    }

    /// Ends a meta-process. It cannot trap this; a connection sends what it has accepted first, within its close
    /// deadline, unless the reason is [`Reason::Kill`].
    ///
    /// # Errors
    ///
    /// It has ended already.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// let server = cx.spawn_meta(TcpServer::bind("127.0.0.1:0")?)?;
    /// cx.send_exit_meta(server, Reason::Shutdown)?; // the port is free again
    /// # Ok(()) }) }
    /// ```
    pub fn send_exit_meta(&mut self, to: Alias, reason: Reason) -> Result<(), SendErrorKind> {
        self.env.processes.send_exit_meta(to, reason)
    }

    /// Whether exit signals arrive as messages from now on. Returns what it was.
    ///
    /// A process that traps them must end by itself when it gets [`Reason::Shutdown`]: a stop of the node waits for
    /// it until its deadline (5 s by default), and then kills it.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// assert!(!cx.set_trap_exit(true)); // from now on signals are messages, `Message::Exit`
    /// assert!(cx.set_trap_exit(false)); // from now on they are signals again
    /// # Ok(()) }) }
    /// ```
    pub fn set_trap_exit(&mut self, trap: bool) -> bool {
        std::mem::replace(&mut self.env.control.trap_exit, trap)
    }

    /// Spawns a process; its `init` runs now, on this thread.
    ///
    /// # Errors
    ///
    /// `init` failed, or it or the factory panicked, or the node refuses. Nothing is left of the process then; ports
    /// that it had bound are free again.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// struct Worker;
    /// impl Actor for Worker {}
    ///
    /// let worker = cx.spawn(|| Worker)?;
    /// cx.send(worker, "hello")?;
    /// # Ok(()) }) }
    /// ```
    pub fn spawn<A: Actor>(&mut self, factory: impl FnOnce() -> A) -> Result<Pid, SpawnError> {
        self.spawn_with(SpawnOptions::default(), factory)
    }

    /// Spawns a process under a name.
    ///
    /// # Errors
    ///
    /// As [`Context::spawn`], and [`SpawnError::NameTaken`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// cx.spawn_register("worker", || Worker)?;
    /// cx.send("worker", "hello")?;
    /// # Ok(()) }) }
    /// ```
    pub fn spawn_register<A: Actor>(
        &mut self,
        name: impl Into<Name>,
        factory: impl FnOnce() -> A,
    ) -> Result<Pid, SpawnError> {
        self.spawn_with(SpawnOptions::default().with_name(name), factory)
    }

    /// Spawns a process with options.
    ///
    /// # Errors
    ///
    /// As [`Context::spawn`], and a wrong option.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let options = SpawnOptions::default().with_mailbox_bound(100).with_link();
    /// cx.spawn_with(options, || Worker)?;
    /// # Ok(()) }) }
    /// ```
    pub fn spawn_with<A: Actor>(
        &mut self,
        options: SpawnOptions,
        factory: impl FnOnce() -> A,
    ) -> Result<Pid, SpawnError> {
        self.spawn_behavior(&options, make(factory)?)
    }

    /// The value of that name in the environment of this process, if it has the type: from its [spawn
    /// options](SpawnOptions::with_environment), inherited from the process that spawned it, or from the [options of
    /// the node](crate::NodeOptions::with_environment), in this order. A session inherits from the process that started
    /// its listener or connection.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// cx.set_environment("region", "eu-north");
    ///
    /// struct Worker;
    /// impl Actor for Worker {
    ///     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
    ///         assert_eq!(cx.environment::<&str>("region").as_deref(), Some(&"eu-north"));
    ///         Ok(())
    ///     }
    /// }
    /// cx.spawn(|| Worker)?;
    /// # Ok(()) }) }
    /// ```
    pub fn environment<T: Any + Send + Sync>(&self, name: impl AsRef<str>) -> Option<Arc<T>> {
        self.env_ref().environment(name.as_ref())
    }

    /// Sets a value in the environment of this process: for itself, and for those that it spawns from now on. Processes
    /// that it has spawned before keep what they have.
    pub fn set_environment(&mut self, name: impl Into<Name>, value: impl Any + Send + Sync) {
        self.env().set_environment(name.into(), value);
    }

    fn spawn_behavior(
        &mut self,
        options: &SpawnOptions,
        behavior: Box<dyn Behavior>,
    ) -> Result<Pid, SpawnError> {
        self.env().spawn(options, behavior)
    }

    /// Links this process with another, or with a meta-process, both ways: when one ends with a reason that is not
    /// [`Reason::Normal`], the other ends with the same, or gets a [`Message::Exit`](crate::Message::Exit) if it traps
    /// exits. A target that has ended answers with [`Reason::NoProcess`].
    ///
    /// # Errors
    ///
    /// The name is not registered.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let worker = cx.spawn(|| Worker)?;
    /// cx.link(worker)?; // its end is ours, and ours is its
    /// # Ok(()) }) }
    /// ```
    pub fn link(&mut self, target: impl Into<Target>) -> Result<(), SendErrorKind> {
        self.env.link(target.into())
    }

    /// Requests one [`Message::Room`](crate::Message::Room) when the mailbox of `to` has room again, for a sender that
    /// was refused with [`SendErrorKind::MailboxFull`]. It comes when half of the room is free, or when the process has
    /// ended. The senders that wait are notified in the order of their requests, as many at a time as there is room
    /// for. Until the message has come, a further request for the same process adds nothing.
    ///
    /// A name stands for the process that holds it now.
    ///
    /// # Errors
    ///
    /// There is no such process. Connections report room by [`MessageTcpWritable`](crate::MessageTcpWritable).
    ///
    /// ```
    /// use longshore::prelude::*;
    /// use longshore::SendErrorKind;
    ///
    /// struct Reader {
    ///     printer: Pid,
    ///     lines: Vec<String>,
    /// }
    ///
    /// impl Reader {
    ///     fn send_lines(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
    ///         while let Some(line) = self.lines.pop() {
    ///             if let Err(refused) = cx.send(self.printer, line) {
    ///                 if refused.kind() != SendErrorKind::MailboxFull {
    ///                     return Err(refused.into());
    ///                 }
    ///                 self.lines.push(refused.into_message().downcast()?);
    ///                 cx.request_room(self.printer)?;
    ///                 break;
    ///             }
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// impl Actor for Reader {
    ///     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
    ///         self.send_lines(cx)
    ///     }
    ///
    ///     fn handle_message(
    ///         &mut self,
    ///         cx: &mut Context<'_>,
    ///         _: Pid,
    ///         message: Message,
    ///     ) -> Result<(), Reason> {
    ///         match message {
    ///             Message::Room(_) => self.send_lines(cx),
    ///             _ => Ok(()),
    ///         }
    ///     }
    /// }
    /// # fn main() -> Result<(), longshore::Error> {
    /// # struct Printer;
    /// # impl Actor for Printer {}
    /// # let node = Node::start("example@localhost")?;
    /// let options = SpawnOptions::default().with_mailbox_bound(10);
    /// let printer = node.spawn_with(options, || Printer)?;
    /// let lines = vec![String::from("hello"); 100];
    /// node.spawn(|| Reader { printer, lines })?;
    /// # Ok(()) }
    /// ```
    pub fn request_room(&mut self, to: impl Into<Target>) -> Result<(), SendErrorKind> {
        self.env().request_room(to.into())
    }

    /// Takes a link back; nothing comes over it any more.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let worker = cx.spawn(|| Worker)?;
    /// cx.link(worker)?;
    /// cx.unlink(worker);
    /// # Ok(()) }) }
    /// ```
    pub fn unlink(&mut self, target: impl Into<Target>) {
        self.env.unlink(target.into());
    }

    /// Requests one [`Message::Down`](crate::Message::Down) when the target ends; it comes at once if the target has
    /// ended. A name stands for the process that holds it now, and for no process if none does.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let worker = cx.spawn(|| Worker)?;
    /// let monitor = cx.monitor(worker); // a `MessageDown` will carry it
    /// # let _ = monitor;
    /// # Ok(()) }) }
    /// ```
    pub fn monitor(&mut self, target: impl Into<Target>) -> Ref {
        self.env.monitor(target.into())
    }

    /// Takes a monitor back; its `Down` does not come any more.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let worker = cx.spawn(|| Worker)?;
    /// let monitor = cx.monitor(worker);
    /// cx.demonitor(monitor);
    /// # Ok(()) }) }
    /// ```
    pub fn demonitor(&mut self, monitor: Ref) {
        self.env.demonitor(monitor);
    }

    /// Asks any process or meta-process about itself; the answer is a [`Message::Reply`](crate::Message::Reply) with an
    /// [`Inspection`](crate::Inspection).
    ///
    /// # Errors
    ///
    /// There is no such target.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// let server = cx.spawn_meta(TcpServer::bind("127.0.0.1:0")?)?;
    /// cx.inspect(server, Duration::from_secs(5))?; // the reply carries an `Inspection`
    /// # Ok(()) }) }
    /// ```
    pub fn inspect(
        &mut self,
        target: impl Into<Target>,
        timeout: Duration,
    ) -> Result<Ref, SendErrorKind> {
        self.env.inspect(target.into(), timeout)
    }
}
