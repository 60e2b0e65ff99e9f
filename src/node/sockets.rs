//! The verbs of [`Node`] for meta-processes.

use std::net::SocketAddr;

use super::Node;
use crate::actor::finish;
use crate::bridge::SocketCommand;
use crate::error::{Reason, SendErrorKind};
use crate::id::{Alias, Pid};
use crate::memory::buffer::Buffer;
use crate::message::{Flow, Message, MessageUdp, SendError, WriteData, WriteError};

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
        self.table().send_exit_meta(to, reason)
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
    /// node.send_alias(alias, MessageTcp::new(alias, "a listener accepts no bytes"))
    ///     .unwrap_err();
    /// # Ok(()) }
    /// ```
    pub fn send_alias<T: Send + 'static>(&self, to: Alias, message: T) -> Result<(), SendError> {
        self.table()
            .commands
            .send(to, Pid::NODE, Message::new(message).into())
    }

    /// Writes to a connection; see [`Context::write`](crate::Context::write).
    pub fn write(&self, connection: Alias, data: impl Into<WriteData>) {
        let commands = &self.table().commands;
        commands.write(connection, Pid::NODE, data.into());
    }

    /// Writes to a connection that is not above its high mark; see [`Context::try_write`](crate::Context::try_write).
    ///
    /// # Errors
    ///
    /// The bytes come back when the output is above the high mark, or when the connection is closing or has ended.
    pub fn try_write(
        &self,
        connection: Alias,
        data: impl Into<WriteData>,
    ) -> Result<Flow, WriteError> {
        let commands = &self.table().commands;
        commands.try_write(connection, Pid::NODE, data.into())
    }

    /// Sends a datagram from a UDP socket; see [`Context::send_datagram`](crate::Context::send_datagram).
    pub fn send_datagram(&self, socket: Alias, to: SocketAddr, data: impl Into<Buffer>) {
        let datagram = MessageUdp::new(socket, to, data);
        let commands = &self.table().commands;
        commands.send_datagram(socket, Pid::NODE, datagram);
    }

    /// Answers a datagram; see [`Context::answer_datagram`](crate::Context::answer_datagram).
    pub fn answer_datagram(&self, packet: &MessageUdp, data: impl Into<Buffer>) {
        let commands = &self.table().commands;
        commands.send_datagram(packet.id, Pid::NODE, packet.answer(data));
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
        finish(self.table(), Pid::NODE, connection, SocketCommand::Close)
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
        finish(self.table(), Pid::NODE, connection, SocketCommand::Abort)
    }
}
