//! A process that stands still: no deadline ends a connection whose peer did in time what it had to.
//!
//! The server is a process of its own, which SIGSTOP holds up for longer than each of its deadlines. Its peers are here
//! and go on meanwhile: what they do is in the sockets when SIGCONT lets the server look.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use longshore::prelude::*;
use longshore::{IpNetwork, ProxyProtocol, TcpLimits};
use socket2::{Domain, Socket, Type};

use crate::support::*;

/// The deadlines of a server, and how it stands still.
#[derive(Clone, Copy)]
struct Run {
    /// Each deadline. `None`: those of the options, and 30 s where the options have none.
    deadline: Option<Duration>,
    /// How long the server stands still.
    pause: Duration,
    /// Peers to which the server writes more than their sockets hold.
    readers: usize,
}

impl Run {
    /// A deadline that is off by default.
    fn or_on(self) -> Duration {
        self.deadline.unwrap_or(Duration::from_secs(30))
    }

    /// A deadline that is on by default.
    fn or_default(self, default: Option<Duration>) -> Duration {
        self.deadline.or(default).expect("it is on by default")
    }
}

const SHORT: Run = Run {
    deadline: Some(Duration::from_millis(1_500)),
    pause: Duration::from_millis(3_500),
    readers: 1,
};
/// Longer than every deadline that the options have.
const DEFAULTS: Run = Run {
    deadline: None,
    pause: Duration::from_secs(33),
    readers: 20,
};
/// More than the buffers of a socket hold.
const MUCH: usize = 24 << 20;
/// Peers of one listener, who have together sent more than a stripe reads at once.
const CROWD: usize = 100;
const CHUNK: usize = 16 << 10;
/// The address that the server connects to, and `defaults` if its deadlines are those of the options.
const SILENT: &str = "LONGSHORE_PAUSED";
const TEST: &str = "pauses::no_deadline_ends_a_live_connection_after_a_pause_of_the_process";

#[test]
fn no_deadline_ends_a_live_connection_after_a_pause_of_the_process() {
    let Ok(orders) = std::env::var(SILENT) else {
        return pause_a_server(SHORT);
    };
    match orders.strip_suffix(" defaults") {
        Some(silent) => serve(silent.parse().expect("an address"), DEFAULTS),
        None => serve(orders.parse().expect("an address"), SHORT),
    }
}

#[test]
#[ignore = "stands still for 33 seconds; run by `.ci/run long_pauses`"]
fn no_default_deadline_ends_a_live_connection_after_a_pause_of_33_seconds() {
    pause_a_server(DEFAULTS);
}

// ---- The server ----

/// What a connection of the server does when it is established.
#[derive(Clone, Copy)]
enum Then {
    Echo,
    Send,
    SendAndClose,
    Close,
}

/// Serves one listener, and prints its address and how its connections end.
struct Server {
    name: &'static str,
    options: TcpServerOptions,
    then: Then,
}

impl Actor for Server {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        let server = TcpServer::bind(self.options.clone())?;
        println!("@address {} {}", self.name, server.local_addr());
        cx.spawn_meta(server)?;
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message {
            Message::TcpConnect(connect) => {
                let id = connect.id;
                let much = || MessageTcp::new(id, vec![7; MUCH]);
                match self.then {
                    Then::Echo => {}
                    Then::Send => cx.send_alias(id, much())?,
                    Then::SendAndClose => {
                        cx.send_alias(id, much())?;
                        cx.close(id)?;
                    }
                    Then::Close => {
                        cx.send_alias(id, MessageTcp::new(id, b"bye".to_vec()))?;
                        cx.close(id)?;
                    }
                }
            }
            Message::Tcp(packet) => cx.send_alias(packet.id, packet)?,
            Message::TcpDisconnect(end) => println!("@ended {} {}", self.name, end.reason),
            _ => {}
        }
        Ok(())
    }
}

/// A session that echoes whole lines, and waits for the rest of others.
struct Lines;

impl Session for Lines {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        if input.ends_with(b"\n") {
            cx.write(input.take());
        }
        Ok(())
    }

    fn disconnected(&mut self, _: &mut SessionContext<'_>, end: &MessageTcpDisconnect) {
        println!("@ended session {}", end.reason);
    }
}

/// Serves a listener with sessions.
struct Sessions(TcpServerOptions);

impl Actor for Sessions {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        let server = TcpServer::bind(self.0.clone())?;
        println!("@address session {}", server.local_addr());
        cx.spawn_meta(server.serve(|| Lines))?;
        Ok(())
    }
}

/// Connects to an address that accepts late.
struct Client(SocketAddr, Run);

impl Actor for Client {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        let mut options = TcpConnectionOptions::from(self.0);
        options.connect_timeout = Some(self.1.or_default(options.connect_timeout));
        cx.spawn_meta(TcpConnection::connect(options)?)?;
        Ok(())
    }

    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message {
            Message::TcpConnect(_) => println!("@connected"),
            Message::TcpDisconnect(end) => println!("@ended connect {}", end.reason),
            _ => {}
        }
        Ok(())
    }
}

fn serve(silent: SocketAddr, run: Run) {
    let node = node();
    let limits = TcpLimits::default().with_output_limit(64 << 20);
    let listen = |name, limits: TcpLimits, then| {
        let options = TcpServerOptions::from("127.0.0.1:0").with_limits(limits);
        let options = match name {
            "frame" => options.with_framing(Framing::lines()),
            "keep-alive" => options.with_write_keep_alive((run.or_on(), b"alive".to_vec())),
            #[cfg(feature = "tls")]
            "handshake" | "first_byte" => options.with_cert_manager(certificate()),
            "proxy" => options.with_proxy_protocol(ProxyProtocol::Required {
                trusted: vec![IpNetwork::from(IpAddr::from([127, 0, 0, 1]))],
                timeout: run.deadline.unwrap_or(Duration::from_secs(10)),
            }),
            _ => options,
        };
        let server = Server {
            name,
            options,
            then,
        };
        node.spawn(|| server).expect("spawned");
    };
    let idle = limits.clone().with_idle_timeout(run.or_on());
    listen("idle", idle, Then::Echo);
    let framed = limits.clone().with_frame_timeout(run.or_on());
    listen("frame", framed.clone(), Then::Echo);
    let default = limits.clone();
    #[cfg(feature = "tls")]
    {
        let timeout = run.or_default(default.handshake_timeout);
        let handshake = limits.clone().with_handshake_timeout(timeout);
        listen("handshake", handshake, Then::Echo);
        let timeout = run.or_default(default.first_byte_timeout);
        let first_byte = limits.clone().with_first_byte_timeout(timeout);
        listen("first_byte", first_byte, Then::Echo);
    }
    listen("proxy", limits.clone(), Then::Echo);
    let timeout = run.or_default(default.write_timeout);
    let write = limits.clone().with_write_timeout(timeout);
    listen("write", write, Then::Send);
    let timeout = run.or_default(Some(default.close_timeout));
    let close = limits.clone().with_close_timeout(timeout);
    listen("close", close, Then::SendAndClose);
    let timeout = run.or_default(Some(default.linger_timeout));
    let linger = limits
        .clone()
        .with_linger_timeout(timeout)
        .with_close_timeout(run.pause * 4);
    listen("linger", linger, Then::Close);
    listen("keep-alive", limits.clone(), Then::Echo);
    let options = TcpServerOptions::from("127.0.0.1:0").with_limits(framed);
    node.spawn(|| Sessions(options)).expect("spawned");
    node.spawn(|| Client(silent, run)).expect("spawned");
    println!("@ready");
    // Until the other process is done, or gone.
    std::io::stdin()
        .read_to_end(&mut Vec::new())
        .expect("a pipe");
    let _ = node.stop();
}

#[cfg(feature = "tls")]
fn certificate() -> longshore::tls::CertManager {
    use longshore::tls::CertManager;
    let issued = rcgen::generate_simple_self_signed(["server.test".to_owned()]).expect("issued");
    let (chain, key) = (issued.cert.pem(), issued.signing_key.serialize_pem());
    CertManager::from_pem(chain, key).expect("a certificate")
}

// ---- Its peers ----

/// The process of the server.
struct Paused {
    process: Child,
    lines: Receiver<String>,
}

impl Paused {
    fn start(orders: &str) -> Self {
        let program = std::env::current_exe().expect("the test binary");
        let mut process = Command::new(program)
            .args([TEST, "--exact", "--nocapture", "--test-threads=1"])
            .env(SILENT, orders)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test binary runs");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some((_, report)) = line.split_once('@') {
                    // The test may be over.
                    sender.send(report.to_owned()).ok();
                }
            }
        });
        Self { process, lines }
    }

    fn line(&self) -> String {
        value_of(&self.lines).expect("a line of the server")
    }

    fn addresses(&self) -> HashMap<String, SocketAddr> {
        let mut addresses = HashMap::new();
        loop {
            let line = self.line();
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["address", name, addr] => {
                    addresses.insert(name.to_owned(), addr.parse().expect("an address"));
                }
                _ => return addresses,
            }
        }
    }

    fn signal(&self, name: &str) {
        let process = self.process.id().to_string();
        let sent = Command::new("kill").args([name, &process]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// A listener whose backlog is full until it is emptied.
struct Backlog {
    listener: Socket,
    addr: SocketAddr,
    _fillers: Vec<Socket>,
}

impl Backlog {
    fn full() -> Self {
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let listener = socket();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        listener.bind(&any.into()).expect("bound");
        listener.listen(0).expect("listening");
        let address = listener.local_addr().expect("an address");
        let mut fillers = Vec::new();
        loop {
            assert!(fillers.len() < 100, "the backlog takes everything");
            let filler = socket();
            let is_full = filler
                .connect_timeout(&address, Duration::from_millis(100))
                .is_err();
            if is_full {
                break;
            }
            fillers.push(filler);
        }
        let addr = address.as_socket().expect("an internet address");
        Self {
            listener,
            addr,
            _fillers: fillers,
        }
    }

    /// Takes connections out until the test ends.
    fn empty(self) -> JoinHandle<()> {
        thread::spawn(move || while self.listener.accept().is_ok() {})
    }
}

/// Writes a byte at a time, as a peer that is alive.
fn keep_sending(stream: &TcpStream, until: Instant) -> JoinHandle<usize> {
    let mut stream = stream.try_clone().expect("a clone");
    thread::spawn(move || {
        let mut sent = 0;
        while Instant::now() < until {
            stream.write_all(b"x").expect("written");
            sent += 1;
            thread::park_timeout(Duration::from_millis(100));
        }
        sent
    })
}

fn pause_a_server(run: Run) {
    let backlog = Backlog::full();
    let suffix = if run.deadline.is_none() {
        " defaults"
    } else {
        ""
    };
    let server = Paused::start(&format!("{}{suffix}", backlog.addr));
    let addresses = server.addresses();
    let connect = |name: &str| {
        let stream = client(addresses[name]).into_std();
        let patience = Some(run.pause + LIMIT);
        stream.set_read_timeout(patience).expect("a timeout");
        stream
    };
    let mut crowd: Vec<_> = (0..CROWD).map(|_| connect("idle")).collect();
    let (mut idle, mut frame) = (connect("idle"), connect("frame"));
    let mut writes: Vec<_> = (0..run.readers).map(|_| connect("write")).collect();
    let mut close = connect("close");
    let (mut linger, mut alive) = (connect("linger"), connect("keep-alive"));
    #[cfg(feature = "tls")]
    let (handshake, first_byte) = (connect("handshake"), connect("first_byte"));
    let (mut session, mut proxied) = (connect("session"), connect("proxy"));
    session.write_all(b"par").expect("written");
    proxied
        .write_all(b"PROXY TCP4 192.0.2.1 ")
        .expect("written");
    exchange(&mut alive, b"x", b"x");
    frame.write_all(b"par").expect("written");
    for write in &mut writes {
        read(write, 1);
    }
    read(&mut close, 1);
    exchange(&mut idle, b"x", b"x");

    let until = Instant::now() + run.pause;
    server.signal("-STOP");
    let emptied = backlog.empty();
    let sent = keep_sending(&idle, until);
    for peer in &mut crowd {
        peer.write_all(&[1; CHUNK]).expect("written");
    }
    frame.write_all(b"t\n").expect("written");
    session.write_all(b"t\n").expect("written");
    proxied
        .write_all(b"192.0.2.2 1 2\r\nhello")
        .expect("written");
    let lingering = keep_sending(&linger, until);
    let reads_all = |mut stream: TcpStream| {
        thread::spawn(move || {
            let mut bytes = vec![0; MUCH - 1];
            stream.read_exact(&mut bytes).map(|()| stream)
        })
    };
    let written: Vec<_> = writes.into_iter().map(reads_all).collect();
    let closed = reads_all(close);
    #[cfg(feature = "tls")]
    let (other_node, first_secured) = secure(first_byte);
    #[cfg(feature = "tls")]
    let (node, secured) = secure(handshake);
    let sent = sent.join().expect("no panic");
    lingering.join().expect("no panic");
    server.signal("-CONT");

    assert_eq!(read(&mut idle, sent), vec![b'x'; sent], "idle timeout");
    for peer in &mut crowd {
        assert_eq!(read(peer, CHUNK), [1; CHUNK], "idle timeout");
    }
    assert_eq!(read(&mut frame, 4), b"part", "frame timeout");
    assert_eq!(
        read(&mut session, 5),
        b"part\n",
        "a session's frame timeout"
    );
    assert_eq!(read(&mut proxied, 5), b"hello", "a proxy header's timeout");
    let join = |reader: JoinHandle<std::io::Result<TcpStream>>| {
        reader.join().expect("no panic").expect("write timeout")
    };
    let written: Vec<_> = written.into_iter().map(join).collect();
    let mut close = closed.join().expect("no panic").expect("close timeout");
    assert_eq!(read_to_end(&mut close), b"", "an orderly end");
    assert_eq!(read(&mut alive, 5), b"alive");
    alive.write_all(b"y").expect("written");
    while read(&mut alive, 1) != b"y" {}
    linger
        .shutdown(Shutdown::Write)
        .expect("the connection is there");
    assert_eq!(read_out(&mut linger), Ok(b"bye".to_vec()), "linger timeout");
    #[cfg(feature = "tls")]
    {
        let alias = secured.connect().id;
        secured.write(alias, "secret");
        assert_eq!(secured.bytes(6), b"secret", "handshake timeout");
        let alias = first_secured.connect().id;
        first_secured.write(alias, "secret");
        assert_eq!(first_secured.bytes(6), b"secret", "first byte timeout");
        drop((secured, node, first_secured, other_node));
    }
    exchange(&mut idle, b"z", b"z");
    drop((written, close));
    loop {
        let line = server.line();
        if line == "connected" {
            break;
        }
        assert!(
            !line.contains("timeout") && !line.contains("slow"),
            "{line}"
        );
    }
    drop(server);
    drop(emptied);
}

/// Begins a TLS handshake on a connection that is there.
#[cfg(feature = "tls")]
fn secure(stream: TcpStream) -> (Node, Probe) {
    let node = node();
    let probe = Probe::spawn(&node);
    // The server alone stands still.
    let limits = TcpLimits::default().with_handshake_timeout(DEFAULTS.pause * 4);
    let options = TcpConnectionOptions::from(("server.test", 0))
        .with_limits(limits)
        .with_insecure_skip_verify(true);
    probe.spawn_meta(TcpConnection::from_std(stream, options).expect("a connection"));
    (node, probe)
}
