//! The verbs of [`Context`] for meta-processes: starting one, and what its owner asks of a socket.

use super::Context;
use crate::bridge::{Framing, SocketCommand};
use crate::error::Reason;
use crate::error::{SendErrorKind, SpawnError};
use crate::id::{Alias, Pid};
use crate::message::Message;
use crate::meta::MetaProcess;
use crate::process::Processes;

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
    pub fn spawn_meta(&mut self, meta: impl MetaProcess) -> Result<Alias, SpawnError> {
        let pid = self.pid();
        self.env().processes.spawn_meta(pid, Box::new(meta))
    }

    /// Closes a connection in order: what was sent before goes out first, then the end is told to the peer. Nothing can
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
    /// assert!(cx.send_alias(connection, MessageTcp::new(connection, "and another thing")).is_err());
    /// # Ok(()) }) }
    /// ```
    pub fn close(&mut self, connection: Alias) -> Result<(), SendErrorKind> {
        let pid = self.pid();
        finish(self.env().processes, pid, connection, SocketCommand::Close)
    }

    /// Ends a connection at once, by a reset. What has not been sent is lost; its Disconnect tells how much.
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

    /// Stops reading from a connection; the peer feels it when the kernel's buffers are full. Data on its way here still
    /// arrives. A reset by the peer ends the connection nevertheless, and what it sent before and was not read is lost; its
    /// orderly end is found when reading resumes.
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

    /// Bytes that wait to be sent on a connection, or on a UDP socket.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { connected(|cx, connection| {
    /// assert_eq!(cx.queued_bytes(connection), 0);
    /// # Ok(()) }) }
    /// ```
    pub fn queued_bytes(&mut self, connection: Alias) -> usize {
        let quota = self.env().processes.commands.quota(connection);
        quota
            .filter(|quota| quota.is_current(connection.generation()))
            .map_or(0, |quota| quota.queued())
    }

    fn command(&mut self, to: Alias, command: SocketCommand) -> Result<(), SendErrorKind> {
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

/// Refuses every later send, then tells the connection.
pub(crate) fn finish(
    processes: &Processes,
    from: Pid,
    to: Alias,
    command: SocketCommand,
) -> Result<(), SendErrorKind> {
    let quota = processes.commands.quota(to).ok_or(SendErrorKind::NoMeta)?;
    if !quota.close(to.generation()) {
        return Err(SendErrorKind::NoMeta);
    }
    push(processes, from, to, command)
}

fn push(
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
