//! Actors: the trait that users implement, and the [`Context`] its callbacks get.

mod blocking;
mod context;
mod drain;
mod events;
mod hand_over;
mod pool;
mod processes;
mod records;
mod relay;
mod requests;
mod session;
mod sockets;
mod start_tls;
mod supervisor;
mod timers;
mod typed;

pub use context::Context;
pub use events::Event;
pub use pool::{Pool, PoolCommand, PoolInfo};
pub(crate) use session::{Awaited, InputRules, SessionBehavior};
pub use session::{Session, SessionContext};
pub use sockets::SpawnMeta;
pub(crate) use sockets::{finish, push};
pub use supervisor::{
    AutoShutdown, Child, ChildError, ChildFailed, ChildInfo, ChildResult, ChildState, Restart,
    Shutdown, SupervisionTree, Supervisor, SupervisorInfo,
};
pub(crate) use supervisor::{ChildCommand, ChildVerb};

pub(crate) use timers::every;
pub use typed::{Typed, TypedActor};

use std::any::Any;

use crate::base::unwind::{catch_panic, drop_catching};
use crate::bridge::request::Reply;
use crate::error::Reason;
use crate::error::SpawnError;
use crate::id::Pid;
use crate::inspect::Inspection;
use crate::message::message_type::number_of;
use crate::message::{Message, MessageType};
use crate::process::{Behavior, ProcessContext};

/// A process: state, and what it does with messages.
///
/// All callbacks of one process run one at a time, on any worker. A callback that returns `Err` or panics ends the
/// process; nothing else is affected. Every callback has a default, so implement what you need.
///
/// Callbacks should be short: while one runs it occupies a worker. The runtime keeps serving sockets and timers when a
/// callback blocks, but other processes share the workers that are left.
///
/// ```
/// use longshore::prelude::*;
///
/// struct Counter(u64);
///
/// impl Actor for Counter {
///     fn handle_call(
///         &mut self,
///         _: &mut Context<'_>,
///         _: Pid,
///         _: Message,
///         reply: Reply,
///     ) -> Result<(), Reason> {
///         self.0 += 1;
///         reply.send(self.0);
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), longshore::Error> {
/// let node = Node::start("counter@localhost")?;
/// let pid = node.spawn(|| Counter(0))?;
/// let answer = node.call(pid, (), std::time::Duration::from_secs(5))?;
/// assert_eq!(answer.downcast::<u64>().unwrap(), 1);
/// # Ok(()) }
/// ```
#[doc(alias = "ActorBehavior")]
pub trait Actor: Send + 'static {
    /// Called first, on the thread that spawns, before `spawn` returns. May spawn, spawn meta-processes, send and set
    /// timers.
    ///
    /// # Errors
    ///
    /// An error is returned to the spawner, and nothing of the process is left; `terminate` is not called.
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let _ = cx;
        Ok(())
    }

    /// Called for each message that is not a request.
    ///
    /// # Errors
    ///
    /// An error ends the process with that reason.
    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        let _ = (cx, from, message);
        Ok(())
    }

    /// Called for each request. Answer with `reply`, now or later, or hand it on; dropping it, as the default does,
    /// answers the requester at once that there is no answer.
    ///
    /// # Errors
    ///
    /// An error ends the process with that reason.
    fn handle_call(
        &mut self,
        cx: &mut Context<'_>,
        from: Pid,
        message: Message,
        reply: Reply,
    ) -> Result<(), Reason> {
        let _ = (cx, from, message, reply);
        Ok(())
    }

    /// What an inspection shows of the process, besides what the runtime knows.
    fn handle_inspect(&mut self, cx: &mut Context<'_>) -> Inspection {
        let _ = cx;
        Inspection::default()
    }

    /// Called last, whatever ended the process, a panic included. The pid is no longer valid, its name is free.
    fn terminate(&mut self, cx: &mut Context<'_>, reason: &Reason) {
        let _ = (cx, reason);
    }

    /// Whether messages are spread over workers; such a process cannot own connections.
    #[doc(hidden)]
    fn is_pool(&self) -> bool {
        false
    }
}

/// Makes a process of an actor. A panic of the factory is reported like one of `init`.
pub(crate) fn make<A: Actor>(factory: impl FnOnce() -> A) -> Result<Box<dyn Behavior>, SpawnError> {
    match catch_panic(factory) {
        Ok(actor) => Ok(Box::new(ActorBehavior(actor))),
        Err(payload) => {
            let reason = Reason::from_panic(&*payload);
            // The payload is a value of the program, whose drop may panic once more.
            drop_catching(payload);
            Err(SpawnError::Init(reason))
        }
    }
}

/// Makes an [`Actor`] the behavior of a process.
struct ActorBehavior<A>(A);

impl<A: Actor> Behavior for ActorBehavior<A> {
    fn init(&mut self, env: &mut ProcessContext<'_>) -> Result<(), Reason> {
        self.0.init(&mut Context::new(env))
    }

    fn handle_message(
        &mut self,
        env: &mut ProcessContext<'_>,
        from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        self.0.handle_message(&mut Context::new(env), from, message)
    }

    fn handle_call(
        &mut self,
        env: &mut ProcessContext<'_>,
        from: Pid,
        message: Message,
        reply: Reply,
    ) -> Result<(), Reason> {
        self.0
            .handle_call(&mut Context::new(env), from, message, reply)
    }

    fn inspect(&mut self, env: &mut ProcessContext<'_>) -> Inspection {
        self.0.handle_inspect(&mut Context::new(env))
    }

    fn terminate(&mut self, env: &mut ProcessContext<'_>, reason: &Reason) {
        self.0.terminate(&mut Context::new(env), reason);
    }

    fn is_pool(&self) -> bool {
        self.0.is_pool()
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<A>()
    }

    fn as_any(&self) -> &dyn Any {
        &self.0
    }

    fn type_number(&self) -> MessageType {
        number_of::<A>()
    }
}
