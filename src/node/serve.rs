//! `serve`: a listener or a client connection whose connections have a process each.
//!
//! This is the place that names both: [`SessionBehavior`] of the actors, and the sockets.

use std::fmt;
use std::sync::{Arc, Weak};

use crate::actor::{Awaited, Context, InputRules, Session, SessionBehavior, SpawnMeta};
use crate::base::unwind::{catch_panic, drop_catching};
use crate::bridge::SpawnOwner;
use crate::error::{Reason, SpawnError};
use crate::id::{Alias, Pid};
use crate::message::MessageTcpConnect;
use crate::net::tcp::{TcpConnection, TcpServer};
use crate::process::{Behavior, Processes, SpawnOptions};

/// Bytes of input that a session may leave by default.
const INPUT_LIMIT: usize = 1 << 20;

/// A listener or a client connection with a session for each connection;
/// [`Context::spawn_meta`](crate::Context::spawn_meta) starts it.
#[must_use = "it serves nothing before it is given to `spawn_meta`"]
pub struct Serve<T, F> {
    socket: T,
    factory: F,
    input_limit: usize,
}

impl<T, F> Serve<T, F> {
    /// Sets how many bytes of input `received` may leave. 1 MiB by default. With a framing, its own limit counts.
    pub fn with_input_limit(mut self, bytes: usize) -> Self {
        self.input_limit = bytes;
        self
    }

    /// The listener or connection.
    pub fn socket(&self) -> &T {
        &self.socket
    }
}

impl<T: fmt::Debug, F> fmt::Debug for Serve<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("socket", &self.socket)
            .field("input_limit", &self.input_limit)
            .finish_non_exhaustive()
    }
}

impl TcpServer {
    /// Gives each accepted connection a process of its own: a [`Session`] that `factory` makes when the connection is
    /// established, with TLS after its handshake. The factory runs on a worker, like a callback of the session.
    ///
    /// The sessions end when the process that starts the listener ends; they live on when the listener ends. Together
    /// with `process_pool` this is refused by `spawn_meta`, which names that option. The connections are `half_open`,
    /// whatever that option says.
    ///
    /// ```
    /// use longshore::prelude::*;
    ///
    /// struct Echo;
    ///
    /// impl Session for Echo {
    ///     fn received(
    ///         &mut self,
    ///         cx: &mut SessionContext<'_>,
    ///         input: &mut Buffer,
    ///     ) -> Result<(), Reason> {
    ///         cx.write(input.take());
    ///         Ok(())
    ///     }
    /// }
    ///
    /// struct Root;
    ///
    /// impl Actor for Root {
    ///     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
    ///         cx.spawn_meta(TcpServer::bind("127.0.0.1:0")?.serve(|| Echo))?;
    ///         Ok(())
    ///     }
    /// }
    /// # let node = Node::start("example@localhost").unwrap();
    /// # node.spawn(|| Root).unwrap();
    /// ```
    pub fn serve<S, F>(self, factory: F) -> Serve<Self, impl Fn(&MessageTcpConnect) -> S>
    where
        S: Session,
        F: Fn() -> S + Send + Sync + 'static,
    {
        self.serve_with(move |_: &MessageTcpConnect| factory())
    }

    /// [`TcpServer::serve`] with a factory that sees who has connected.
    pub fn serve_with<S, F>(self, factory: F) -> Serve<Self, F>
    where
        S: Session,
        F: Fn(&MessageTcpConnect) -> S + Send + Sync + 'static,
    {
        Serve {
            socket: self,
            factory,
            input_limit: INPUT_LIMIT,
        }
    }
}

impl TcpConnection {
    /// Gives the connection a process of its own: a [`Session`] that is spawned with it, so that a failed attempt
    /// reaches its `disconnected`. Together with `process` this is refused by `spawn_meta`, which names that option.
    /// The connection is `half_open`, whatever that option says.
    pub fn serve<S, F>(self, factory: F) -> Serve<Self, F>
    where
        S: Session,
        F: FnOnce() -> S + Send + 'static,
    {
        Serve {
            socket: self,
            factory,
            input_limit: INPUT_LIMIT,
        }
    }
}

/// Spawns the sessions of one listener.
struct Sessions<F> {
    // Weak: the node holds the listener, which holds this, so a strong reference would keep the node alive.
    processes: Weak<Processes>,
    /// With what the sessions inherit.
    options: SpawnOptions,
    factory: Arc<F>,
    rules: InputRules,
}

impl<S, F> SpawnOwner for Sessions<F>
where
    S: Session,
    F: Fn(&MessageTcpConnect) -> S + Send + Sync + 'static,
{
    fn spawn_owner(&self, parent: Pid, connect: MessageTcpConnect) -> Result<Pid, SpawnError> {
        // The node is gone, and so is everything that could serve.
        let processes = self.processes.upgrade().ok_or(SpawnError::Stopping)?;
        let (factory, rules) = (Arc::clone(&self.factory), self.rules.clone());
        let make = move || {
            let session = make(|| factory(&connect))?;
            let behavior = SessionBehavior::accepted(session, Box::new(connect), rules);
            Ok(Box::new(behavior) as Box<dyn Behavior>)
        };
        processes.spawn_dependent(parent, &self.options, Box::new(make))
    }
}

/// Calls the user's factory; a panic is the reason why the process does not start.
fn make<S>(factory: impl FnOnce() -> S) -> Result<S, SpawnError> {
    catch_panic(factory).map_err(|payload| {
        let reason = Reason::from_panic(&*payload);
        // The payload is a value of the program, whose drop may panic once more.
        drop_catching(payload);
        SpawnError::Init(reason)
    })
}

/// The options of a session that this process starts.
fn options(cx: &mut Context<'_>) -> SpawnOptions {
    let options = SpawnOptions::default();
    options.inherit(cx.env().control).unwrap_or(options)
}

impl<S, F> SpawnMeta for Serve<TcpServer, F>
where
    S: Session,
    F: Fn(&MessageTcpConnect) -> S + Send + Sync + 'static,
{
    fn spawn_in(self, cx: &mut Context<'_>) -> Result<Alias, SpawnError> {
        let (parent, processes) = (cx.pid(), Arc::clone(cx.env().processes));
        let mut server = self.socket;
        let rules = InputRules::new(server.take_framing()?, self.input_limit);
        // Set before the listener starts, because the first connection may come at once.
        server.set_owners(Arc::new(Sessions {
            processes: Arc::downgrade(&processes),
            options: options(cx),
            factory: Arc::new(self.factory),
            rules,
        }));
        processes.spawn_meta(parent, Box::new(server))
    }
}

impl<S, F> SpawnMeta for Serve<TcpConnection, F>
where
    S: Session,
    F: FnOnce() -> S + Send + 'static,
{
    fn spawn_in(self, cx: &mut Context<'_>) -> Result<Alias, SpawnError> {
        let (parent, processes) = (cx.pid(), Arc::clone(cx.env().processes));
        let mut connection = self.socket;
        let rules = InputRules::new(connection.take_framing()?, self.input_limit);
        let factory = self.factory;
        let awaited = Awaited::default();
        let connection_of = Arc::clone(&awaited);
        let make = move || {
            let session = make(factory)?;
            let behavior = SessionBehavior::awaiting(session, connection_of, rules);
            Ok(Box::new(behavior) as Box<dyn Behavior>)
        };
        let options = options(cx);
        // Locked until the alias is there: a session that is sent a message of its connection before that waits here.
        let mut alias = awaited.lock();
        // The session first, because a failed attempt is reported to it.
        let session = processes.spawn_dependent(parent, &options, Box::new(make))?;
        let spawned = processes
            .spawn_meta(session, Box::new(connection))
            .inspect_err(|_| {
                // Without its connection the session has nothing to do. It may have ended by itself.
                let _ = processes.send_exit(parent, session.into(), Reason::Shutdown);
            });
        *alias = spawned.as_ref().ok().copied();
        spawned
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The payload of a panic.
    struct PanicsInDrop;

    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("once more");
        }
    }

    #[test]
    fn payload_whose_drop_panics_is_a_session_that_does_not_start() {
        let made = make::<()>(|| std::panic::panic_any(PanicsInDrop));
        assert!(matches!(made, Err(SpawnError::Init(_))));
    }
}
