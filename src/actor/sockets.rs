//! The verbs of [`Context`] for meta-processes: starting one, and what its owner asks of a socket.

use std::net::SocketAddr;

use super::Context;
use crate::bridge::{Framing, SocketCommand};
use crate::error::Reason;
use crate::error::{SendErrorKind, SpawnError};
use crate::id::{Alias, Pid};
use crate::memory::buffer::{Buffer, SharedBuffer};
use crate::message::{Flow, Message, MessageUdp, WriteData, WriteError};
use crate::meta::MetaProcess;
use crate::process::Processes;

/// What [`Context::spawn_meta`] starts: every [`MetaProcess`], and what
/// [`TcpServer::serve`](crate::TcpServer::serve) returns.
pub trait SpawnMeta {
    /// Starts it as a child of the process of `cx`.
    #[doc(hidden)]
    fn spawn_in(self, cx: &mut Context<'_>) -> Result<Alias, SpawnError>;
}

impl<M: MetaProcess> SpawnMeta for M {
    fn spawn_in(self, cx: &mut Context<'_>) -> Result<Alias, SpawnError> {
        let pid = cx.pid();
        cx.env().processes.spawn_meta(pid, Box::new(self))
    }
}

impl Context<'_> {
    /// Starts a meta-process as a child of this process: it ends when this process ends.
    ///
    /// # Errors
    ///
    /// The node is stopping or has reached its limit, or a process named as the owner of connections is a
    /// [`Pool`](crate::Pool), [`SpawnError::Option`]. The meta-process is dropped, which closes its socket.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// let server = TcpServer::bind("127.0.0.1:0")?;
    /// let address = server.local_addr();
    /// cx.spawn_meta(server)?; // it accepts on that address, and its connections are ours
    /// # let _ = address;
    /// # Ok(()) }) }
    /// ```
    pub fn spawn_meta(&mut self, meta: impl SpawnMeta) -> Result<Alias, SpawnError> {
        meta.spawn_in(self)
    }

    /// Writes to a connection. The bytes leave in the order of the writes, and no piece in the middle is ever lost.
    ///
    /// When `output_limit` bytes wait before it, the connection's [`Overflow`](crate::Overflow) decides: by default the
    /// connection closes with [`DisconnectReason::Overflow`](crate::DisconnectReason::Overflow), and its Disconnect
    /// counts the bytes that were refused. A write to a connection that is closing is refused and counted likewise; one
    /// to a connection that has ended does nothing.
    ///
    /// A process that answers what a connection asks needs nothing else: it gets no more input of a connection while
    /// that connection's output is above its high mark. One that writes unasked paces itself with
    /// [`Context::try_write`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { connected(|cx, connection| {
    /// cx.write(connection, "text, bytes, or a `Buffer`");
    /// # Ok(()) }) }
    /// ```
    pub fn write(&mut self, connection: Alias, data: impl Into<WriteData>) {
        let pid = self.pid();
        self.env()
            .processes
            .commands
            .write(connection, pid, data.into());
        // A write counts as a message: a process that only writes reaches the budget of its activation as well, and
        // others get their turn.
        self.env().control.count_send();
    }

    /// [`Context::write`], under a name that a [`SessionContext`](crate::SessionContext) does not use for its own
    /// connection.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { connected(|cx, connection| {
    /// cx.write_to(connection, "to another one");
    /// # Ok(()) }) }
    /// ```
    pub fn write_to(&mut self, connection: Alias, data: impl Into<WriteData>) {
        self.write(connection, data);
    }

    /// Writes to a connection if there is room, and returns whether more is welcome.
    ///
    /// [`Flow::AboveHigh`] promises a `MessageTcpWritable`, or the Disconnect: it is decided in the same atomic step as
    /// the write. Only the owner of the connection gets it; to another process a connection above its high mark is
    /// [`WriteErrorKind::Full`](crate::WriteErrorKind::Full), and nothing is promised.
    ///
    /// # Errors
    ///
    /// The bytes come back when the output limit is reached, or when the connection is closing or has ended.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// use longshore::Flow;
    /// # fn main() { connected(|cx, connection| {
    /// match cx.try_write(connection, "tick") {
    ///     Ok(Flow::Open) => {}      // go on
    ///     Ok(Flow::AboveHigh) => {} // wait for the Writable
    ///     Err(refused) => drop(refused.into_data()),
    /// }
    /// # Ok(()) }) }
    /// ```
    pub fn try_write(
        &mut self,
        connection: Alias,
        data: impl Into<WriteData>,
    ) -> Result<Flow, WriteError> {
        let pid = self.pid();
        let flow = self
            .env()
            .processes
            .commands
            .try_write(connection, pid, data.into());
        self.env().control.count_send();
        flow
    }

    /// Writes the same bytes to several connections, without a copy for each. Each of them treats them as
    /// [`Context::write`] does.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { connected(|cx, connection| {
    /// cx.broadcast([connection], "to all");
    /// # Ok(()) }) }
    /// ```
    pub fn broadcast(
        &mut self,
        connections: impl IntoIterator<Item = Alias>,
        data: impl Into<SharedBuffer>,
    ) {
        // Shared once, so that each write costs a reference and no copy.
        let data = data.into();
        for connection in connections {
            self.write(connection, &data);
        }
    }

    /// Sends a datagram from a UDP socket. One that does not fit the socket's `output_limit` is dropped and counted, as
    /// the network would do; the socket's inspection has the count.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// let socket = cx.spawn_meta(UdpServer::bind("127.0.0.1:0")?)?;
    /// let to = "127.0.0.1:9".parse::<std::net::SocketAddr>()?;
    /// cx.send_datagram(socket, to, "ping");
    /// # Ok(()) }) }
    /// ```
    pub fn send_datagram(&mut self, socket: Alias, to: SocketAddr, data: impl Into<Buffer>) {
        let pid = self.pid();
        let datagram = MessageUdp::new(socket, to, data);
        self.env()
            .processes
            .commands
            .send_datagram(socket, pid, datagram);
        self.env().control.count_send();
    }

    /// Answers a datagram: to its sender, from the socket and the address that it came to. One that does not fit is
    /// dropped and counted, as with [`Context::send_datagram`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// struct Shout;
    ///
    /// impl Actor for Shout {
    ///     fn handle_message(
    ///         &mut self,
    ///         cx: &mut Context<'_>,
    ///         _: Pid,
    ///         message: Message,
    ///     ) -> Result<(), Reason> {
    ///         if let Message::Udp(packet) = message {
    ///             cx.answer_datagram(&packet, packet.data.to_ascii_uppercase());
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// # fn main() { inside(|_| Ok(())) }
    /// ```
    pub fn answer_datagram(&mut self, packet: &MessageUdp, data: impl Into<Buffer>) {
        let pid = self.pid();
        let answer = packet.answer(data);
        let commands = &self.env().processes.commands;
        commands.send_datagram(packet.id, pid, answer);
        self.env().control.count_send();
    }

    /// Closes a connection in order: what was sent before goes out first, then the peer gets the end. Nothing can
    /// be sent any more. Also ends a listener or a UDP server.
    ///
    /// # Errors
    ///
    /// It has ended already.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { connected(|cx, connection| {
    /// cx.send_alias(connection, MessageTcp::new(connection, "goodbye"))?;
    /// cx.close(connection)?; // "goodbye" is sent first
    /// let more = MessageTcp::new(connection, "and another thing");
    /// assert!(cx.send_alias(connection, more).is_err());
    /// # Ok(()) }) }
    /// ```
    pub fn close(&mut self, connection: Alias) -> Result<(), SendErrorKind> {
        let pid = self.pid();
        finish(self.env().processes, pid, connection, SocketCommand::Close)
    }

    /// Ends a connection at once, by a reset. What has not been sent is lost; the Disconnect counts it.
    ///
    /// # Errors
    ///
    /// It has ended already.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { connected(|cx, connection| {
    /// cx.abort(connection)?;
    /// # Ok(()) }) }
    /// ```
    pub fn abort(&mut self, connection: Alias) -> Result<(), SendErrorKind> {
        let pid = self.pid();
        finish(self.env().processes, pid, connection, SocketCommand::Abort)
    }

    /// Ends the sending side of a connection after what was sent before; receiving goes on.
    ///
    /// # Errors
    ///
    /// It has ended already.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { connected(|cx, connection| {
    /// cx.send_alias(connection, MessageTcp::new(connection, "that was all"))?;
    /// cx.shutdown_write(connection)?; // what the peer still says is received
    /// # Ok(()) }) }
    /// ```
    pub fn shutdown_write(&mut self, connection: Alias) -> Result<(), SendErrorKind> {
        let pid = self.pid();
        finish(
            self.env().processes,
            pid,
            connection,
            SocketCommand::ShutdownWrite,
        )
    }

    /// Stops reading from a connection; the peer notices when the kernel's buffers are full. Data on its way here
    /// still arrives. A reset by the peer ends the connection nevertheless, and what it sent before and was not read is
    /// lost; its orderly end is found when reading resumes.
    ///
    /// # Errors
    ///
    /// It has ended already.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { connected(|cx, connection| {
    /// cx.pause_reading(connection)?;
    /// # Ok(()) }) }
    /// ```
    pub fn pause_reading(&mut self, connection: Alias) -> Result<(), SendErrorKind> {
        self.command(connection, SocketCommand::PauseReading)
    }

    /// Reads again.
    ///
    /// # Errors
    ///
    /// It has ended already.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { connected(|cx, connection| {
    /// cx.pause_reading(connection)?;
    /// cx.resume_reading(connection)?;
    /// # Ok(()) }) }
    /// ```
    pub fn resume_reading(&mut self, connection: Alias) -> Result<(), SendErrorKind> {
        self.command(connection, SocketCommand::ResumeReading)
    }

    /// Changes how bytes of a connection become messages, from the first byte on that has not been delivered.
    ///
    /// # Errors
    ///
    /// The framing names a wrong option, or the connection has ended.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { connected(|cx, connection| {
    /// cx.set_framing(connection, Framing::lines())?;
    /// assert!(cx.set_framing(connection, Framing::fixed(0)).is_err());
    /// # Ok(()) }) }
    /// ```
    pub fn set_framing(&mut self, connection: Alias, framing: Framing) -> Result<(), Reason> {
        // On this thread, where the caller gets the error. The decoder relies on it, and could only end the connection.
        framing.validate()?;
        Ok(self.command(connection, SocketCommand::SetFraming(framing))?)
    }

    /// Stops accepting; connections wait in the backlog.
    ///
    /// # Errors
    ///
    /// The listener has ended.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// let server = cx.spawn_meta(TcpServer::bind("127.0.0.1:0")?)?;
    /// cx.pause_accepting(server)?;
    /// # Ok(()) }) }
    /// ```
    pub fn pause_accepting(&mut self, listener: Alias) -> Result<(), SendErrorKind> {
        self.command(listener, SocketCommand::PauseAccepting)
    }

    /// Accepts again.
    ///
    /// # Errors
    ///
    /// The listener has ended.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// let server = cx.spawn_meta(TcpServer::bind("127.0.0.1:0")?)?;
    /// cx.pause_accepting(server)?;
    /// cx.resume_accepting(server)?;
    /// # Ok(()) }) }
    /// ```
    pub fn resume_accepting(&mut self, listener: Alias) -> Result<(), SendErrorKind> {
        self.command(listener, SocketCommand::ResumeAccepting)
    }

    /// Bytes that wait to be sent on a connection, or on a UDP socket. For display: by the time it returns, some of
    /// them may have left. A writer that paces itself uses [`Context::try_write`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { connected(|cx, connection| {
    /// assert_eq!(cx.queued_bytes(connection), 0);
    /// # Ok(()) }) }
    /// ```
    pub fn queued_bytes(&self, connection: Alias) -> usize {
        self.env_ref().processes.commands.queued_bytes(connection)
    }

    pub(super) fn command(
        &mut self,
        to: Alias,
        command: SocketCommand,
    ) -> Result<(), SendErrorKind> {
        let pid = self.pid();
        push(self.env().processes, pid, to, command)
    }

    /// Stops the node, by a thread of its own, with the default deadlines; this process gets its exit signal in turn.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// cx.stop_node(); // returns at once
    /// # Ok(()) }) }
    /// ```
    pub fn stop_node(&mut self) {
        self.env().processes.stop_node();
    }
}

/// Refuses every later send, then sends the command to the connection.
pub(crate) fn finish(
    processes: &Processes,
    from: Pid,
    to: Alias,
    command: SocketCommand,
) -> Result<(), SendErrorKind> {
    let quota = processes.commands.quota(to).ok_or(SendErrorKind::NoMeta)?;
    // Before the push, so that no other process can write behind this command.
    if !quota.close(to.generation()) {
        return Err(SendErrorKind::NoMeta);
    }
    push(processes, from, to, command)
}

/// Sends the command to the connection.
pub(crate) fn push(
    processes: &Processes,
    from: Pid,
    to: Alias,
    command: SocketCommand,
) -> Result<(), SendErrorKind> {
    processes
        .commands
        .send(to, from, Message::new(command).into())
        .map_err(|error| error.kind())
}
