//! Shared by the tests.
//!
//! ```text
//!  test thread                                  node
//!    Probe ── run(|cx| …) ───────────────────▶ actor: runs it inside, returns the result
//!    Probe ◀── next(), connect(), data() … ─── actor: forwards everything that it receives
//!    client(addr) ───── std socket ──────────▶ listener under test
//! ```
//!
//! Nodes, clients, waits and the clock are those of the system, or those of a simulated world: see [`on_both`].

#![allow(dead_code, reason = "each theme uses its part")]

#[cfg(feature = "testing")]
pub mod simulation;
mod sockets;

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use longshore::prelude::*;
use longshore::{
    Inspection, MessageDown, MessageExit, MessageRelayEnd, MessageReply, MessageTcpPeerClosed,
    MessageTcpWritable, MessageUdpError, RequestError, SpawnMeta,
};

pub use sockets::{Client, ReceiveFrom, Udp, client, reset, try_client, udp_client};

/// Runs tests of a module on simulated nodes too, each as a test of the same name in a module `simulated`. Such a test
/// takes its nodes from [`node`], its clients from [`client`] and [`udp_client`], and waits and reads the clock by
/// [`value_of`], [`wait_until`], [`Moment`] and [`pass`].
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        #[cfg(feature = "testing")]
        pub mod simulated {
            /// The tests of this module.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            $(
                #[test]
                fn $name() {
                    crate::support::simulation::run(super::$name);
                }
            )*
        }
    };
}
pub(crate) use on_both;

/// Every wait of a test ends after this time, which is far more than any of them takes on a loaded machine.
pub const LIMIT: Duration = Duration::from_secs(30);

/// What a callback of a process or of a meta-process returns.
pub type Handled = Result<(), Reason>;

/// A node of two workers, which stops at the end of the test.
pub fn node() -> Node {
    node_with(NodeOptions::from("test@localhost").with_workers(2))
}

/// The reason without the number of its error, which systems choose as they like.
pub fn without_number(reason: DisconnectReason) -> DisconnectReason {
    match reason {
        DisconnectReason::Connect(error) => DisconnectReason::Connect(error.kind().into()),
        DisconnectReason::Io(error) => DisconnectReason::Io(error.kind().into()),
        other => other,
    }
}

/// A node with options.
pub fn node_with(options: NodeOptions) -> Node {
    #[cfg(feature = "testing")]
    if simulation::is_on() {
        return simulation::node(options);
    }
    Node::start(options).expect("the node starts")
}

/// A moment of the system, or of virtual time.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    System(Instant),
    #[cfg(feature = "testing")]
    Simulated(Duration),
}

impl Moment {
    pub fn now() -> Self {
        #[cfg(feature = "testing")]
        if simulation::is_on() {
            return Self::Simulated(simulation::now());
        }
        Self::System(Instant::now())
    }

    pub fn elapsed(self) -> Duration {
        match self {
            Self::System(moment) => moment.elapsed(),
            #[cfg(feature = "testing")]
            Self::Simulated(moment) => simulation::now() - moment,
        }
    }
}

/// Makes sockets where the newest node is.
pub fn at_node<R>(make: impl FnOnce() -> R) -> R {
    #[cfg(feature = "testing")]
    if simulation::is_on() {
        return simulation::at_node(make);
    }
    make()
}

/// Lets time pass, for a test that nothing happens in it.
pub fn pass(time: Duration) {
    #[cfg(feature = "testing")]
    if simulation::is_on() {
        return simulation::pass(time);
    }
    thread::sleep(time);
}

/// The next value of a channel, within the limit.
pub fn value_of<T>(channel: &Receiver<T>) -> Result<T, RecvTimeoutError> {
    #[cfg(feature = "testing")]
    if simulation::is_on() {
        return simulation::value(channel);
    }
    channel.recv_timeout(LIMIT)
}

/// Stops a node and checks that nothing was cut off and no resource remains.
pub fn stop_clean(node: &Node) {
    let report = node.stop();
    assert!(report.is_clean(), "{report}");
    assert_eq!(count(node, "processes"), 0);
    assert_eq!(count(node, "meta_processes"), 0);
}

/// Reads one of [`Node::metrics`].
pub fn count(node: &Node, what: &str) -> u64 {
    let metrics = node.metrics();
    let value = metrics.get(&format!("longshore_{what}"));
    value
        .or_else(|| metrics.get(&format!("longshore_{what}_total")))
        .expect(what)
}

/// Waits until the count has that value.
#[track_caller]
pub fn wait_for_count(node: &Node, what: &str, value: u64) {
    wait_until(&format!("{what} to be {value}"), || {
        count(node, what) == value
    });
}

/// Waits until the inspection of a target has that value under that name.
#[track_caller]
pub fn wait_for(node: &Node, target: impl Into<Target>, what: &str, value: impl fmt::Display) {
    let (target, value) = (target.into(), value.to_string());
    wait_until(&format!("{what} to be {value}"), || {
        inspect(node, target.clone()).value(what) == Some(value.as_str())
    });
}

/// Inspects a target.
#[track_caller]
pub fn inspect(node: &Node, target: impl Into<Target>) -> Inspection {
    node.inspect(target, LIMIT).expect("an inspection")
}

/// Waits until a condition holds that no message reports.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    #[cfg(feature = "testing")]
    if simulation::is_on() {
        assert!(simulation::run_until(holds), "waited in vain for {what}");
        return;
    }
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::park_timeout(Duration::from_micros(200));
    }
}

/// Runs code that could hang on a thread of its own and checks that it returns in time.
#[track_caller]
pub fn within_limit<R: Send + 'static>(what: &str, code: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, result) = mpsc::channel();
    let runner = thread::spawn(move || drop(done.send(code())));
    match result.recv_timeout(LIMIT) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("{what} hangs"),
        Err(RecvTimeoutError::Disconnected) => match runner.join() {
            Err(payload) => std::panic::resume_unwind(payload),
            Ok(()) => unreachable!("it ended without a result"),
        },
    }
}

/// Runs the body in a process of its own, for tests that count the threads or descriptors of the whole process or
/// change its limits. `test` is the path of the calling test in this binary, without the name of the crate.
pub fn alone(test: &str, body: impl FnOnce()) {
    alone_under(&[&[]], test, body);
}

/// Runs the body once for each command, in a process that is the argument of the command. A command that is not
/// installed is skipped.
pub fn alone_under(commands: &[&[&str]], test: &str, body: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some_and(|name| name == test) {
        return body();
    }
    for command in commands {
        let is_there = |program: &&str| {
            std::process::Command::new(program)
                .arg("-V")
                .output()
                .is_ok()
        };
        match command.first() {
            Some(program) if !is_there(program) => println!("skipped: this needs {program}"),
            _ => run_alone(command, test),
        }
    }
}

const ALONE: &str = "LONGSHORE_ALONE";

fn run_alone(command: &[&str], test: &str) {
    let program = std::env::current_exe().expect("the test binary");
    let mut words = command
        .iter()
        .map(std::ffi::OsStr::new)
        .chain([program.as_os_str()]);
    let output = std::process::Command::new(words.next().expect("at least the program"))
        .args(words)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, test)
        .output()
        .expect("the test binary runs");
    let (output_text, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{output_text}\n{errors}");
    assert!(
        output_text.contains("1 passed"),
        "no test has the name {test}:\n{output_text}"
    );
    // The output says why a test was skipped.
    for line in output_text
        .lines()
        .chain(errors.lines())
        .filter(|line| line.contains("skipped"))
    {
        println!("{line}");
    }
}

/// Threads of this process.
pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task")
        .expect("procfs")
        .count()
}

/// Open descriptors of this process.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

// ---- Clients ----

/// Sets the timeouts of reads and writes to the limit.
pub fn bounded(stream: &TcpStream) {
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    stream.set_write_timeout(Some(LIMIT)).expect("a timeout");
    stream.set_nodelay(true).expect("nodelay");
}

/// Sends a datagram and returns the answer.
#[track_caller]
pub fn ask(socket: &Udp, addr: SocketAddr, data: &[u8]) -> Vec<u8> {
    socket.send_to(data, addr).expect("sent");
    receive(socket)
}

/// The next datagram.
#[track_caller]
pub fn receive(socket: &impl ReceiveFrom) -> Vec<u8> {
    let mut bytes = vec![0; 70_000];
    let (length, _) = socket.receive_from(&mut bytes).expect("a datagram");
    bytes.truncate(length);
    bytes
}

/// Reads exactly this many bytes.
#[track_caller]
pub fn read(stream: &mut impl Read, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).expect("bytes");
    bytes
}

/// Writes bytes and checks the answer.
#[track_caller]
pub fn exchange(stream: &mut (impl Read + Write), bytes: &[u8], answer: &[u8]) {
    stream.write_all(bytes).expect("written");
    let got = read(stream, answer.len());
    assert_eq!(
        String::from_utf8_lossy(&got),
        String::from_utf8_lossy(answer)
    );
}

/// Reads up to the orderly end.
#[track_caller]
pub fn read_to_end(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an orderly end");
    bytes
}

/// Reads to the end of the connection; `Ok` if it was orderly.
#[track_caller]
pub fn read_out(stream: &mut impl Read) -> Result<Vec<u8>, ErrorKind> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("the connection is still open")
        }
        Err(error) => Err(error.kind()),
    }
}

/// A listener that accepts nothing and whose backlog is full, so that connects to it wait.
#[derive(Debug)]
pub struct Unaccepting {
    pub addr: SocketAddr,
    listener: socket2::Socket,
    /// They retry for as long as they live.
    _fillers: Vec<socket2::Socket>,
}

impl Unaccepting {
    pub fn new() -> Self {
        Self::try_at((Ipv4Addr::LOCALHOST, 0).into()).expect("bound")
    }

    /// At this address of IPv4, if it is free.
    pub fn try_at(addr: SocketAddr) -> Option<Self> {
        use socket2::{Domain, Socket, Type};
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let listener = socket();
        listener.bind(&addr.into()).ok()?;
        listener.listen(0).expect("listening");
        let address = listener.local_addr().expect("an address");
        let mut fillers = Vec::new();
        loop {
            assert!(fillers.len() < 100, "the backlog takes everything");
            let filler = socket();
            let filled = filler
                .connect_timeout(&address, Duration::from_millis(100))
                .is_err();
            fillers.push(filler);
            if filled {
                return Some(Self {
                    addr: address.as_socket().expect("an internet address"),
                    listener,
                    _fillers: fillers,
                });
            }
        }
    }

    /// Accepts from now on and keeps what it accepts, until the process of the test ends.
    pub fn accept_all(self) -> thread::JoinHandle<()> {
        thread::spawn(move || {
            let mut accepted = Vec::new();
            while let Ok(connection) = self.listener.accept() {
                accepted.push(connection);
            }
        })
    }
}

// ---- Probe ----

/// What a probe's actor reports.
#[derive(Debug)]
pub enum Seen {
    /// A message.
    Message(Pid, Message),
    /// A request.
    Call(Pid, Message, Reply),
    /// The process terminates.
    End(Reason),
}

/// A process that does what the test asks and forwards what it receives.
#[derive(Debug)]
pub struct Probe {
    pub pid: Pid,
    node: Node,
    seen: Receiver<Seen>,
}

type Deed = Box<dyn FnOnce(&mut Context<'_>) -> Handled + Send>;

/// A closure to run inside the process.
struct Do(Deed);

/// The actor of a [`Probe`].
struct ProbeActor {
    init: Option<Deed>,
    seen: Sender<Seen>,
}

impl Actor for ProbeActor {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        match self.init.take() {
            Some(deed) => deed(cx),
            None => Ok(()),
        }
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, from: Pid, message: Message) -> Handled {
        match message.downcast::<Do>().map_err(Message::from) {
            Ok(Do(deed)) => deed(cx),
            Err(message) => {
                // It may trap exits, and the node's stop must end it nevertheless.
                let is_stop = matches!(&message, Message::Exit(exit)
                    if exit.from == Target::Pid(Pid::NODE) && exit.reason == Reason::Shutdown);
                // The test may have dropped the receiver.
                let _ = self.seen.send(Seen::Message(from, message));
                if is_stop {
                    Err(Reason::Shutdown)
                } else {
                    Ok(())
                }
            }
        }
    }

    fn handle_call(
        &mut self,
        _: &mut Context<'_>,
        from: Pid,
        message: Message,
        reply: Reply,
    ) -> Handled {
        let _ = self.seen.send(Seen::Call(from, message, reply));
        Ok(())
    }

    fn handle_inspect(&mut self, _: &mut Context<'_>) -> Inspection {
        let mut inspection = Inspection::default();
        inspection.add("kind", "probe");
        inspection
    }

    fn terminate(&mut self, _: &mut Context<'_>, reason: &Reason) {
        let _ = self.seen.send(Seen::End(reason.clone()));
    }
}

impl Probe {
    pub fn spawn(node: &Node) -> Self {
        Self::spawn_with(node, SpawnOptions::default())
    }

    pub fn named(node: &Node, name: &str) -> Self {
        Self::spawn_with(node, SpawnOptions::default().with_name(name))
    }

    pub fn spawn_with(node: &Node, options: SpawnOptions) -> Self {
        Self::try_spawn(node, options, |_| Ok(())).expect("a probe")
    }

    /// Spawns a probe whose `init` runs a closure.
    pub fn try_spawn(
        node: &Node,
        options: SpawnOptions,
        init: impl FnOnce(&mut Context<'_>) -> Handled + Send + 'static,
    ) -> Result<Self, longshore::SpawnError> {
        let (sender, seen) = mpsc::channel();
        let actor = ProbeActor {
            init: Some(Box::new(init)),
            seen: sender,
        };
        let pid = node.spawn_with(options, || actor)?;
        Ok(Self {
            pid,
            node: node.clone(),
            seen,
        })
    }

    /// Runs a closure inside the process and returns its result.
    #[track_caller]
    pub fn run<R: Send + 'static>(
        &self,
        deed: impl FnOnce(&mut Context<'_>) -> R + Send + 'static,
    ) -> R {
        let (done, result) = mpsc::channel();
        self.start(move |cx| {
            let _ = done.send(deed(cx));
            Ok(())
        });
        value_of(&result).expect("the deed is done")
    }

    /// Runs a closure inside the process, without waiting; an error terminates the process.
    #[track_caller]
    pub fn start(&self, deed: impl FnOnce(&mut Context<'_>) -> Handled + Send + 'static) {
        self.node
            .send(self.pid, Do(Box::new(deed)))
            .expect("the probe lives");
    }

    /// The same, of a process that may have ended, or whose mailbox is full for now.
    #[track_caller]
    pub fn try_start(&self, deed: impl FnOnce(&mut Context<'_>) -> Handled + Send + 'static) {
        let mut message = Some(Message::new(Do(Box::new(deed))));
        wait_until("room in the mailbox", || {
            let Some(deed) = message.take() else {
                return true;
            };
            match self.node.send(self.pid, deed) {
                Err(error) if error.kind() == SendErrorKind::MailboxFull => {
                    message = Some(error.into_message());
                    false
                }
                // The deed is dropped if the process has ended.
                _ => true,
            }
        });
    }

    /// Blocks the process until the returned gate is dropped; returns once it is blocked.
    #[track_caller]
    pub fn block(&self) -> Gate {
        #[cfg(feature = "testing")]
        if simulation::is_on() {
            simulation::hold(&self.node, self.pid, true);
            return Gate::Held(self.node.clone(), self.pid);
        }
        let (gate, opened) = mpsc::channel();
        let (blocked, is_blocked) = mpsc::channel();
        self.start(move |_| {
            let _ = blocked.send(());
            // An error means that the gate was dropped. Both open it, and the limit ends a test that forgot it.
            let _ = opened.recv_timeout(LIMIT);
            Ok(())
        });
        is_blocked.recv_timeout(LIMIT).expect("the probe runs");
        Gate::Blocked(gate)
    }

    /// Starts a meta-process.
    #[track_caller]
    pub fn spawn_meta(&self, meta: impl SpawnMeta + Send + 'static) -> Alias {
        self.run(|cx| cx.spawn_meta(meta)).expect("spawned")
    }

    /// Starts a listener on a port of its own.
    #[track_caller]
    pub fn listen(&self, options: TcpServerOptions) -> (SocketAddr, Alias) {
        let server = at_node(|| TcpServer::bind(options.with_host("127.0.0.1"))).expect("bound");
        (server.local_addr(), self.spawn_meta(server))
    }

    /// Starts a UDP server on a port of its own.
    #[track_caller]
    pub fn listen_udp(&self, options: UdpServerOptions) -> (SocketAddr, Alias) {
        let server = at_node(|| UdpServer::bind(options.with_host("127.0.0.1"))).expect("bound");
        (server.local_addr(), self.spawn_meta(server))
    }

    /// Starts a client connection.
    #[track_caller]
    pub fn connect_to(&self, options: impl Into<TcpConnectionOptions>) -> Alias {
        self.spawn_meta(at_node(|| TcpConnection::connect(options)).expect("an attempt"))
    }

    /// Sends bytes on a connection.
    #[track_caller]
    pub fn write(&self, to: Alias, bytes: impl Into<Buffer>) {
        let bytes = bytes.into();
        self.run(move |cx| cx.send_alias(to, MessageTcp::new(to, bytes)))
            .expect("accepted");
    }

    /// The next thing that the actor saw.
    #[track_caller]
    pub fn seen(&self) -> Seen {
        value_of(&self.seen).expect("something is seen")
    }

    /// What the actor has seen by now, if anything. Everything sent to the probe before this call is handled by then.
    #[track_caller]
    pub fn seen_by_now(&self) -> Option<Seen> {
        self.run(|_| ());
        self.seen.try_recv().ok()
    }

    /// What the actor saw of a node that has stopped.
    pub fn seen_after_stop(&self) -> Option<Seen> {
        self.seen.try_recv().ok()
    }

    /// Checks that the actor has not run since.
    #[track_caller]
    pub fn saw_nothing_yet(&self) {
        if let Ok(seen) = self.seen.try_recv() {
            panic!("{seen:?}");
        }
    }

    /// Checks that no message arrived that was sent before this call.
    #[track_caller]
    pub fn saw_nothing(&self) {
        if let Some(seen) = self.seen_by_now() {
            panic!("{seen:?}");
        }
    }

    /// The next message, with its sender.
    #[track_caller]
    pub fn next(&self) -> (Pid, Message) {
        match self.seen() {
            Seen::Message(from, message) => (from, message),
            other => panic!("no message but {other:?}"),
        }
    }

    /// The next message, of a user type.
    #[track_caller]
    pub fn value<T: 'static>(&self) -> T {
        self.next()
            .1
            .downcast()
            .unwrap_or_else(|message| panic!("{message:?}"))
    }

    /// The next request.
    #[track_caller]
    pub fn call(&self) -> (Pid, Message, Reply) {
        match self.seen() {
            Seen::Call(from, message, reply) => (from, message, reply),
            other => panic!("no request but {other:?}"),
        }
    }

    /// Why the process terminated.
    #[track_caller]
    pub fn end(&self) -> Reason {
        match self.seen() {
            Seen::End(reason) => reason,
            other => panic!("no end but {other:?}"),
        }
    }
}

macro_rules! expectations {
    ($($(#[$doc:meta])* $name:ident: $variant:ident($type:ty);)*) => {
        impl Probe {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name(&self) -> $type {
                    match self.next().1 {
                        Message::$variant(message) => message.into(),
                        other => panic!("another message: {other:?}"),
                    }
                }
            )*
        }
    };
}

expectations! {
    /// The next message is bytes of a connection.
    tcp: Tcp(MessageTcp);
    /// The next message is a Connect.
    connect: TcpConnect(Box<MessageTcpConnect>);
    /// The next message is a Disconnect.
    disconnect: TcpDisconnect(Box<MessageTcpDisconnect>);
    /// The next message ends a relay.
    relay_end: RelayEnd(Box<MessageRelayEnd>);
    /// The next message reports that the peer has shut down its side.
    peer_closed: TcpPeerClosed(MessageTcpPeerClosed);
    /// The next message is a Writable event.
    writable: TcpWritable(MessageTcpWritable);
    /// The next message is a datagram.
    udp: Udp(MessageUdp);
    /// The next message reports a datagram that was not sent.
    udp_error: UdpError(Box<MessageUdpError>);
    /// The next message is a trapped exit.
    exit: Exit(Box<MessageExit>);
    /// The next message is the Down of a monitor.
    down: Down(Box<MessageDown>);
    /// The next message is an answer.
    reply: Reply(Box<MessageReply>);
}

impl Probe {
    /// The next data of connections, joined until it has that length.
    #[track_caller]
    pub fn bytes(&self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            bytes.extend_from_slice(&self.tcp().data);
        }
        assert_eq!(bytes.len(), length, "more than expected");
        bytes
    }

    /// The data up to the Disconnect, joined.
    #[track_caller]
    pub fn bytes_to_disconnect(&self) -> (Vec<u8>, Box<MessageTcpDisconnect>) {
        let mut bytes = Vec::new();
        loop {
            match self.next().1 {
                Message::Tcp(packet) => bytes.extend_from_slice(&packet.data),
                Message::TcpDisconnect(disconnect) => return (bytes, disconnect),
                other => panic!("another message: {other:?}"),
            }
        }
    }

    /// Why a request was not answered.
    #[track_caller]
    pub fn unanswered(&self, request: Ref) -> RequestError {
        let reply = self.reply();
        assert_eq!(reply.request, request);
        reply.result.expect_err("no answer")
    }
}

/// Keeps a process blocked; dropping it lets the process continue.
#[derive(Debug)]
pub enum Gate {
    /// The handler waits for the other end.
    Blocked(#[expect(dead_code, reason = "dropping it is what counts")] Sender<()>),
    /// The process of a simulated node does not run.
    #[cfg(feature = "testing")]
    Held(Node, Pid),
}

#[cfg(feature = "testing")]
impl Drop for Gate {
    fn drop(&mut self) {
        if let Self::Held(node, pid) = self {
            simulation::hold(node, *pid, false);
        }
    }
}

/// An actor that is a closure.
pub struct Script<F>(pub F);

impl<F> Actor for Script<F>
where
    F: FnMut(&mut Context<'_>, Pid, Message) -> Handled + Send + 'static,
{
    fn handle_message(&mut self, cx: &mut Context<'_>, from: Pid, message: Message) -> Handled {
        (self.0)(cx, from, message)
    }
}

/// A payload, and a value, whose drop panics.
#[derive(Debug)]
pub struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("a bomb");
        }
    }
}

/// Panics like a failing test, without a report on standard error.
pub fn silence_expected_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let is_worker = thread::current()
                .name()
                .is_some_and(|name| name.starts_with("longshore"));
            if !is_worker {
                report(info);
            }
        }));
    });
}
