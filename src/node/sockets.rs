//! The verbs of [`Node`] for meta-processes.

use super::Node;
use crate::actor::finish;
use crate::bridge::SocketCommand;
use crate::error::{Reason, SendErrorKind};
use crate::id::{Alias, Pid};
use crate::message::{Message, SendError};

impl Node {
    /// Ends a meta-process; see [`Context::send_exit_meta`](crate::Context::send_exit_meta).
    ///
    /// # Errors
    ///
    /// It has ended already.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Owner(std::sync::mpsc::Sender<Alias>);
    /// # impl Actor for Owner {
    /// #     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
    /// #         let server = cx.spawn_meta(TcpServer::bind("127.0.0.1:0")?)?;
    /// #         self.0.send(server)?;
    /// #         Ok(())
    /// #     }
    /// # }
    /// # let (sender, aliases) = std::sync::mpsc::channel();
    /// # node.spawn(|| Owner(sender))?;
    /// # let alias = aliases.recv().expect("an alias");
    /// node.send_exit_meta(alias, Reason::Shutdown).unwrap();
    /// # Ok(()) }
    /// ```
    pub fn send_exit_meta(&self, to: Alias, reason: Reason) -> Result<(), SendErrorKind> {
        self.processes().send_exit_meta(to, reason)
    }

    /// Sends to a meta-process; see [`Context::send_alias`](crate::Context::send_alias).
    ///
    /// # Errors
    ///
    /// The message comes back when the meta-process has ended, when it is closing, or when the bytes do not fit its
    /// output limit.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Owner(std::sync::mpsc::Sender<Alias>);
    /// # impl Actor for Owner {
    /// #     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
    /// #         let server = cx.spawn_meta(TcpServer::bind("127.0.0.1:0")?)?;
    /// #         self.0.send(server)?;
    /// #         Ok(())
    /// #     }
    /// # }
    /// # let (sender, aliases) = std::sync::mpsc::channel();
    /// # node.spawn(|| Owner(sender))?;
    /// # let alias = aliases.recv().expect("an alias");
    /// node.send_alias(alias, MessageTcp::new(alias, "a listener accepts no bytes")).unwrap_err();
    /// # Ok(()) }
    /// ```
    pub fn send_alias<T: Send + 'static>(&self, to: Alias, message: T) -> Result<(), SendError> {
        self.processes()
            .commands
            .send(to, Pid::NODE, Message::new(message).into())
    }

    /// Closes a connection in order; see [`Context::close`](crate::Context::close).
    ///
    /// # Errors
    ///
    /// It has ended already.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Owner(std::sync::mpsc::Sender<Alias>);
    /// # impl Actor for Owner {
    /// #     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
    /// #         let server = cx.spawn_meta(TcpServer::bind("127.0.0.1:0")?)?;
    /// #         self.0.send(server)?;
    /// #         Ok(())
    /// #     }
    /// # }
    /// # let (sender, aliases) = std::sync::mpsc::channel();
    /// # node.spawn(|| Owner(sender))?;
    /// # let alias = aliases.recv().expect("an alias");
    /// node.close(alias).unwrap(); // a listener: its port is free again
    /// # Ok(()) }
    /// ```
    pub fn close(&self, connection: Alias) -> Result<(), SendErrorKind> {
        finish(
            self.processes(),
            Pid::NODE,
            connection,
            SocketCommand::Close,
        )
    }

    /// Ends a connection at once; see [`Context::abort`](crate::Context::abort).
    ///
    /// # Errors
    ///
    /// It has ended already.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Owner(std::sync::mpsc::Sender<Alias>);
    /// # impl Actor for Owner {
    /// #     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
    /// #         let server = cx.spawn_meta(TcpServer::bind("127.0.0.1:0")?)?;
    /// #         self.0.send(server)?;
    /// #         Ok(())
    /// #     }
    /// # }
    /// # let (sender, aliases) = std::sync::mpsc::channel();
    /// # node.spawn(|| Owner(sender))?;
    /// # let alias = aliases.recv().expect("an alias");
    /// node.abort(alias).unwrap();
    /// # Ok(()) }
    /// ```
    pub fn abort(&self, connection: Alias) -> Result<(), SendErrorKind> {
        finish(
            self.processes(),
            Pid::NODE,
            connection,
            SocketCommand::Abort,
        )
    }
}
