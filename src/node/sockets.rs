//! The verbs of [`Node`] for meta-processes.

use std::net::SocketAddr;

use super::Node;
use crate::actor::{finish, push};
use crate::bridge::{Framing, SocketCommand};
use crate::error::{Reason, SendErrorKind};
use crate::id::{Alias, Pid};
use crate::memory::buffer::{Buffer, SharedBuffer};
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

    /// [`Node::write`], under the name that every context has for it.
    pub fn write_to(&self, connection: Alias, data: impl Into<WriteData>) {
        self.write(connection, data);
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

    /// Writes the same bytes to several connections; see [`Context::broadcast`](crate::Context::broadcast).
    pub fn broadcast(
        &self,
        connections: impl IntoIterator<Item = Alias>,
        data: impl Into<SharedBuffer>,
    ) {
        let data = data.into();
        for connection in connections {
            self.write(connection, &data);
        }
    }

    /// Bytes that wait to be sent, for display; see [`Context::queued_bytes`](crate::Context::queued_bytes).
    pub fn queued_bytes(&self, connection: Alias) -> usize {
        self.table().commands.queued_bytes(connection)
    }

    /// Ends the sending side of a connection; see [`Context::shutdown_write`](crate::Context::shutdown_write).
    ///
    /// # Errors
    ///
    /// It has ended already.
    pub fn shutdown_write(&self, connection: Alias) -> Result<(), SendErrorKind> {
        let command = SocketCommand::ShutdownWrite;
        finish(self.table(), Pid::NODE, connection, command)
    }

    /// Stops reading from a connection; see [`Context::pause_reading`](crate::Context::pause_reading).
    ///
    /// # Errors
    ///
    /// It has ended already.
    pub fn pause_reading(&self, connection: Alias) -> Result<(), SendErrorKind> {
        self.command(connection, SocketCommand::PauseReading)
    }

    /// Reads again; see [`Context::resume_reading`](crate::Context::resume_reading).
    ///
    /// # Errors
    ///
    /// It has ended already.
    pub fn resume_reading(&self, connection: Alias) -> Result<(), SendErrorKind> {
        self.command(connection, SocketCommand::ResumeReading)
    }

    /// Changes how bytes become messages; see [`Context::set_framing`](crate::Context::set_framing).
    ///
    /// # Errors
    ///
    /// The framing names a wrong option, or the connection has ended.
    pub fn set_framing(&self, connection: Alias, framing: Framing) -> Result<(), Reason> {
        framing.validate()?;
        Ok(self.command(connection, SocketCommand::SetFraming(framing))?)
    }

    /// Stops accepting; see [`Context::pause_accepting`](crate::Context::pause_accepting).
    ///
    /// # Errors
    ///
    /// The listener has ended.
    pub fn pause_accepting(&self, listener: Alias) -> Result<(), SendErrorKind> {
        self.command(listener, SocketCommand::PauseAccepting)
    }

    /// Accepts again; see [`Context::resume_accepting`](crate::Context::resume_accepting).
    ///
    /// # Errors
    ///
    /// The listener has ended.
    pub fn resume_accepting(&self, listener: Alias) -> Result<(), SendErrorKind> {
        self.command(listener, SocketCommand::ResumeAccepting)
    }

    fn command(&self, to: Alias, command: SocketCommand) -> Result<(), SendErrorKind> {
        push(self.table(), Pid::NODE, to, command)
    }
}

#[cfg(all(test, unix, not(loom)))]
mod tests {
    use std::sync::mpsc;

    use mio::net::UnixDatagram;

    use super::*;
    use crate::actor::{Actor, Context};
    use crate::meta::{MetaContext, MetaProcess, Readiness};

    /// Fills its socket, and watches it for room until there is some for the first time.
    struct Full(UnixDatagram, mpsc::Sender<Readiness>);

    impl Full {
        fn fill(&self) {
            while self.0.send(&[0; 1024]).is_ok() {}
        }
    }

    impl MetaProcess for Full {
        fn init(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
            cx.register_datagrams(&mut self.0)?;
            self.fill();
            cx.watch_for_room(&mut self.0, true)?;
            self.1.send(Readiness::default()).expect("the test listens");
            Ok(())
        }

        fn ready(&mut self, cx: &mut MetaContext<'_>, readiness: Readiness) -> Result<(), Reason> {
            if readiness.is_writable() {
                cx.watch_for_room(&mut self.0, false)?;
            }
            if readiness.is_readable() && self.0.recv(&mut [0]).is_ok() {
                self.fill();
            }
            self.1.send(readiness).expect("the test listens");
            Ok(())
        }
    }

    struct Parent(Option<Full>);

    impl Actor for Parent {
        fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
            cx.spawn_meta(self.0.take().expect("started once"))?;
            Ok(())
        }
    }

    #[test]
    fn room_of_a_datagram_socket_is_reported_while_it_is_watched_for() {
        let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().expect("a pair");
        ours.set_nonblocking(true).expect("nonblocking");
        theirs.set_nonblocking(true).expect("nonblocking");
        let (sender, seen) = mpsc::channel();
        let node = Node::start("room@localhost").expect("a node starts");
        let mut full = Some(Full(UnixDatagram::from_std(ours), sender));
        node.spawn(move || Parent(full.take())).expect("spawned");
        let next = || seen.recv().expect("the meta-process lives");
        let make_room = || while theirs.recv(&mut [0; 1024]).is_ok() {};

        next(); // It is full.
        make_room();
        assert!(next().is_writable());
        // It is watched no longer, and what the poll had found before that comes with this at the latest.
        theirs.send(b"a").expect("sent");
        while !next().is_readable() {}
        // It is full again.
        make_room();
        theirs.send(b"b").expect("sent");
        let ready = next();
        assert!(ready.is_readable() && !ready.is_writable());
    }
}
