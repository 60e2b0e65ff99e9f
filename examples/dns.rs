//! A DNS forwarder over UDP and TCP: one process with a socket for its clients and several for each upstream.
//!
//! A query goes to the upstreams one after the other, twice, each time under a new random id and from another socket,
//! so that an answer is hard to forge (RFC 5452). An answer has to come from the upstream's address and repeat the
//! question. When none comes, or as many queries wait as may, the client gets SERVFAIL. An answer that is too long for
//! a client's datagram is truncated; over TCP the client gets it whole, because the upstream is then asked over TCP
//! too.
//!
//! With the feature `pktinfo` one socket serves all addresses, and each answer leaves from the address that was asked.
//!
//! ```text
//! cargo run --release --example dns -- :5353 --upstream 9.9.9.9:53 --upstream 1.1.1.1:53 \
//!     [--timeout MS] [--max-waiting N]
//! dig -p 5353 @127.0.0.1 example.com
//! ```

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use longshore::prelude::*;
use longshore::{HeaderFraming, Request, TcpLimits};

/// Sockets for each upstream. The port of each is chosen by the system.
const SOCKETS: usize = 8;
/// How often each upstream is asked.
const ROUNDS: usize = 2;
/// Queries of one TCP connection that may wait.
const PIPELINE: usize = 64;

// ---- Messages of RFC 1035 section 4.1, as far as a forwarder reads them ----

const HEADER: usize = 12;
const FORMAT_ERROR: u8 = 1;
const SERVER_FAILURE: u8 = 2;
const REFUSED: u8 = 5;

fn is_answer(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & 0x80 != 0)
}

fn is_truncated(message: &[u8]) -> bool {
    message[2] & 0x02 != 0
}

fn response_code(message: &[u8]) -> u8 {
    message[3] & 0x0f
}

fn id_of(message: &[u8]) -> u16 {
    u16::from_be_bytes([message[0], message[1]])
}

/// Header, and the question if there is exactly one.
fn split_question(message: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (header, rest) = message.split_at_checked(HEADER)?;
    let mut end = 0;
    loop {
        match rest.get(end)? {
            0 => break,
            label @ 1..=63 => end += 1 + usize::from(*label),
            _ => return None,
        }
    }
    // The root, a type and a class.
    let (question, rest) = rest.split_at_checked(end + 5)?;
    (header[4..6] == [0, 1]).then_some((header, question, rest))
}

/// The longest datagram that the client takes: what EDNS says (RFC 6891 section 6.2.3), or 512 bytes.
fn longest_answer(query: &[u8]) -> usize {
    match split_question(query) {
        // A record of type OPT stands first among the additional ones, and there are no others.
        Some((header, _, [0, 0, 41, high, low, ..])) if header[6..10] == [0; 4] => {
            usize::from(u16::from_be_bytes([*high, *low])).max(512)
        }
        _ => 512,
    }
}

/// An answer with the question and nothing else.
fn empty_answer(query: &[u8], is_truncated: bool, code: u8) -> Buffer {
    let question = split_question(query).map_or(&[][..], |(_, question, _)| question);
    let mut answer = Buffer::from(&query[..HEADER]);
    answer[2] = 0x80 | query[2] & 0x79 | u8::from(is_truncated) << 1;
    answer[3] = 0x80 | code;
    answer[4..].fill(0);
    answer[5] = u8::from(!question.is_empty());
    answer.extend_from_slice(question);
    answer
}

/// As it travels over TCP (RFC 1035 section 4.2.2).
fn framed(message: &[u8]) -> Buffer {
    let mut framed = Buffer::new();
    framed.put_u16(message.len() as u16);
    framed.extend_from_slice(message);
    framed
}

fn framing() -> Framing {
    let header = HeaderFraming::default();
    let header = header.with_header_size(2).with_length_size(2);
    Framing::Header(header.with_max_length(2 + 0xffff).with_strip_header(true))
}

// ---- The forwarder ----

/// Random numbers that a peer cannot predict: a keyed hash of a counter.
#[derive(Default)]
struct Random {
    keys: RandomState,
    count: u64,
}

impl Random {
    fn next(&mut self) -> u64 {
        self.count += 1;
        self.keys.hash_one(self.count)
    }
}

/// A query, from a session.
struct Resolve(Buffer);

impl Request for Resolve {
    type Reply = Buffer;
}

enum Client {
    /// The datagram without its bytes: where the answer goes to, and where it leaves from.
    Udp(MessageUdp),
    Tcp(Reply),
}

struct Query {
    client: Client,
    message: Buffer,
    /// How often it was sent.
    tries: usize,
    timer: Option<Timer>,
}

/// The socket or connection that a query was sent on, and its id there.
type Key = (Alias, u16);

/// No answer came in time.
struct Late(Key);

struct Options {
    address: String,
    upstreams: Vec<SocketAddr>,
    timeout: Duration,
    max_waiting: usize,
}

struct Forwarder {
    options: Options,
    clients: Option<Alias>,
    /// Of each upstream.
    sockets: Vec<Vec<Alias>>,
    /// Connections to upstreams, with the id of the one query on each.
    streams: HashMap<Alias, u16>,
    waiting: HashMap<Key, Query>,
    random: Random,
}

impl Forwarder {
    /// A query of a client.
    fn asked(&mut self, cx: &mut Context<'_>, client: Client, message: Buffer) {
        if message.len() < HEADER || is_answer(&message) {
            return; // answering it could begin a loop
        }
        if split_question(&message).is_none() {
            let answer = empty_answer(&message, false, FORMAT_ERROR);
            return finish(cx, client, &message, answer);
        }
        let query = Query {
            client,
            message,
            tries: 0,
            timer: None,
        };
        if self.waiting.len() < self.options.max_waiting {
            self.send(cx, query);
        } else {
            fail(cx, query);
        }
    }

    /// Sends a query to the next upstream.
    fn send(&mut self, cx: &mut Context<'_>, query: Query) {
        if query.tries == ROUNDS * self.sockets.len() {
            return fail(cx, query);
        }
        let upstream = query.tries % self.sockets.len();
        let random = self.random.next();
        let socket = self.sockets[upstream][(random >> 32) as usize % SOCKETS];
        let Some(id) = self.free_id(socket) else {
            return fail(cx, query);
        };
        let mut message = query.message.clone();
        message[..2].copy_from_slice(&id.to_be_bytes());
        cx.send_datagram(socket, self.options.upstreams[upstream], message);
        self.wait(cx, (socket, id), query);
    }

    /// Asks the upstream that has truncated its answer once more, over TCP.
    fn send_by_stream(&mut self, cx: &mut Context<'_>, query: Query) {
        let upstream = self.options.upstreams[(query.tries - 1) % self.sockets.len()];
        let options = TcpConnectionOptions::from(upstream).with_framing(framing());
        let connection = TcpConnection::connect(options.with_connect_timeout(self.options.timeout));
        let spawned = connection.map_err(Reason::from);
        let Ok(stream) = spawned.and_then(|it| Ok(cx.spawn_meta(it)?)) else {
            return self.send(cx, query);
        };
        let id = self.random.next() as u16;
        let mut message = query.message.clone();
        message[..2].copy_from_slice(&id.to_be_bytes());
        cx.write(stream, framed(&message));
        self.streams.insert(stream, id);
        self.wait(cx, (stream, id), query);
    }

    fn free_id(&mut self, socket: Alias) -> Option<u16> {
        let mut ids = (0..16).map(|_| self.random.next() as u16);
        ids.find(|id| !self.waiting.contains_key(&(socket, *id)))
    }

    fn wait(&mut self, cx: &mut Context<'_>, key: Key, mut query: Query) {
        query.tries += 1;
        query.timer = Some(cx.send_after(cx.pid(), Late(key), self.options.timeout));
        self.waiting.insert(key, query);
    }

    /// Takes the query that waits under that key.
    fn take(&mut self, cx: &mut Context<'_>, key: Key) -> Option<Query> {
        let query = self.waiting.remove(&key)?;
        if let Some(timer) = query.timer {
            cx.cancel_timer(timer);
        }
        if self.streams.remove(&key.0).is_some() {
            cx.close(key.0).ok(); // it may have ended
        }
        Some(query)
    }

    /// An answer of an upstream, or what pretends to be one.
    fn answered(&mut self, cx: &mut Context<'_>, socket: Alias, mut answer: Buffer) {
        let Some((_, question, _)) = split_question(&answer) else {
            return;
        };
        let key = (socket, id_of(&answer));
        let expected = self.waiting.get(&key);
        let expected = expected.and_then(|query| split_question(&query.message));
        if !is_answer(&answer) || expected.is_none_or(|(_, expected, _)| expected != question) {
            return;
        }
        let is_stream = self.streams.contains_key(&socket);
        let Some(query) = self.take(cx, key) else {
            return;
        };
        let is_last = query.tries >= ROUNDS * self.sockets.len();
        if is_truncated(&answer) && !is_stream && matches!(query.client, Client::Tcp(_)) {
            self.send_by_stream(cx, query);
        } else if !is_last && [SERVER_FAILURE, REFUSED].contains(&response_code(&answer)) {
            self.send(cx, query);
        } else {
            answer[..2].copy_from_slice(&query.message[..2]);
            finish(cx, query.client, &query.message, answer);
        }
    }

    fn try_again(&mut self, cx: &mut Context<'_>, key: Key) {
        if let Some(query) = self.take(cx, key) {
            self.send(cx, query);
        }
    }
}

fn fail(cx: &mut Context<'_>, query: Query) {
    let answer = empty_answer(&query.message, false, SERVER_FAILURE);
    finish(cx, query.client, &query.message, answer);
}

fn finish(cx: &mut Context<'_>, client: Client, query: &[u8], answer: Buffer) {
    match client {
        Client::Udp(packet) if answer.len() > longest_answer(query) => {
            let code = response_code(&answer);
            cx.answer_datagram(&packet, empty_answer(query, true, code));
        }
        Client::Udp(packet) => cx.answer_datagram(&packet, answer),
        Client::Tcp(reply) => reply.send(answer),
    }
}

/// A UDP and a TCP socket at one address. A port that the system has chosen for the one may be taken for the other:
/// then it chooses again.
fn bind(address: &str) -> Result<(UdpServer, TcpServer), Reason> {
    let limits = TcpLimits::default().with_idle_timeout(Duration::from_secs(60));
    let mut left = 10;
    loop {
        let udp = UdpServer::bind(address)?;
        let tcp = TcpServerOptions::from(udp.local_addr()).with_framing(framing());
        match TcpServer::bind(tcp.with_limits(limits.clone()).with_max_connections(1_000)) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if error.kind() == Some(ErrorKind::AddrInUse) && left > 0 => left -= 1,
            Err(error) => return Err(error.into()),
        }
    }
}

impl Actor for Forwarder {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let (udp, tcp) = bind(&self.options.address)?;
        println!("{}", udp.local_addr());
        let forwarder = cx.pid();
        cx.spawn_meta(tcp.serve(move || Stream::new(forwarder)))?;
        self.clients = Some(cx.spawn_meta(udp)?);
        for upstream in &self.options.upstreams {
            let any = if upstream.is_ipv4() { "0.0.0.0" } else { "::" };
            // The operating system drops what does not come from the peer.
            let bind = || UdpServer::bind(UdpServerOptions::from((any, 0)).with_peer(*upstream));
            let sockets = (0..SOCKETS).map(|_| Ok(cx.spawn_meta(bind()?)?));
            self.sockets.push(sockets.collect::<Result<_, Reason>>()?);
        }
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message {
            Message::Udp(mut packet) if Some(packet.id) == self.clients => {
                let query = packet.data.take();
                self.asked(cx, Client::Udp(packet), query);
            }
            Message::Udp(packet) => self.answered(cx, packet.id, packet.data),
            Message::Tcp(packet) => self.answered(cx, packet.id, packet.data),
            Message::TcpDisconnect(end) => {
                if let Some(id) = self.streams.get(&end.id) {
                    self.try_again(cx, (end.id, *id));
                }
            }
            message => {
                if let Ok(Late(key)) = message.downcast() {
                    self.try_again(cx, key);
                }
            }
        }
        Ok(())
    }

    fn handle_call(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
        reply: Reply,
    ) -> Result<(), Reason> {
        let Resolve(query) = message.downcast()?;
        self.asked(cx, Client::Tcp(reply), query);
        Ok(())
    }
}

// ---- A connection of a client ----

struct Stream {
    forwarder: Pid,
    waiting: usize,
    is_closing: bool,
}

impl Stream {
    fn new(forwarder: Pid) -> Self {
        Self {
            forwarder,
            waiting: 0,
            is_closing: false,
        }
    }
}

impl Session for Stream {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Result<(), Reason> {
        let limit = Duration::from_secs(300); // the forwarder answers earlier
        cx.ask(self.forwarder, Resolve(input.take()), limit, 0)?;
        self.waiting += 1;
        if self.waiting == PIPELINE {
            cx.pause();
        }
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut SessionContext<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        if let Message::Reply(reply) = message {
            let Ok(answer) = reply.answer::<Resolve>() else {
                cx.close(); // it was not a query, which is no failure of this side
                return Ok(());
            };
            cx.write(framed(&answer));
            if self.waiting == PIPELINE {
                cx.resume();
            }
            self.waiting -= 1;
            if self.is_closing && self.waiting == 0 {
                cx.close();
            }
        }
        Ok(())
    }

    fn peer_closed(&mut self, cx: &mut SessionContext<'_>) -> Result<(), Reason> {
        self.is_closing = true;
        if self.waiting == 0 {
            cx.close();
        }
        Ok(())
    }
}

fn main() -> Result<(), longshore::Error> {
    let mut options = Options {
        address: "127.0.0.1:5353".into(),
        upstreams: Vec::new(),
        timeout: Duration::from_secs(1),
        max_waiting: 10_000,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--upstream" => options.upstreams.extend(value().parse::<SocketAddr>().ok()),
            "--timeout" => {
                options.timeout = Duration::from_millis(value().parse().unwrap_or(1_000))
            }
            "--max-waiting" => options.max_waiting = value().parse().unwrap_or(10_000),
            address => options.address = address.into(),
        }
    }
    if options.upstreams.is_empty() {
        eprintln!("dns ADDRESS --upstream IP:PORT [--timeout MS] [--max-waiting N]");
        std::process::exit(2);
    }
    let report = Node::run("dns@localhost", || Forwarder {
        options,
        clients: None,
        sockets: Vec::new(),
        streams: HashMap::new(),
        waiting: HashMap::new(),
        random: Random::default(),
    })?; // until Ctrl-C
    println!("{report}"); // what was cut off
    Ok(())
}
