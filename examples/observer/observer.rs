//! The observer: a page that shows what a node does, served by the node itself.
//!
//! Copy this file and `page.html` beside it into your program, and add the process to your tree:
//!
//! ```text
//! let log = observer::LogTail::default();
//! let options = NodeOptions::from("shop@localhost").with_logger(log.logger());
//! …
//! .with_child(Child::new("observer", move || Observer::new("127.0.0.1:8080", log.clone())))
//! ```
//!
//! It has no password and shows everything: bind it to the loopback interface. Requests that name
//! another host than an address or `localhost` are refused, so that a page elsewhere cannot read
//! it through a name that it controls.
//!
//! | Path | Answers |
//! |---|---|
//! | `/` | the page |
//! | `/metrics` | [`Node::metrics`], the text format of Prometheus |
//! | `/dump` | [`Node::dump`] |
//! | `/events` | server-sent events: figures and new records, twice a second |
//! | `/api/processes`, `/api/sockets` | one page of a table: `sort`, `desc`, `search`, `page` |
//! | `/api/tree` | the supervisors with their children |
//! | `/api/process`, `/api/socket` | one of them, by `id` |

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use longshore::prelude::*;
use longshore::{
    ProcessInfo, Record, SocketInfo, SocketKind, SupervisionTree, SupervisorInfo, TcpLimits,
};

const PAGE: &str = include_str!("page.html");
const MAX_HEAD: usize = 8 << 10;
/// Records that the tail keeps.
const KEPT: usize = 200;
/// Rows of a page of a table.
const ROWS: usize = 50;
const TICK: Duration = Duration::from_millis(500);

// ---- Records ----

/// The latest records. A clone is the same tail.
#[derive(Clone, Default)]
pub(crate) struct LogTail(Arc<Mutex<Tail>>);

#[derive(Default)]
struct Tail {
    /// JSON, oldest first.
    records: VecDeque<String>,
    /// Records so far.
    count: usize,
}

impl LogTail {
    /// A logger that keeps the record and writes it to standard error.
    pub(crate) fn logger(&self) -> impl Fn(&Record) + Send + Sync + 'static {
        let tail = self.clone();
        move |record| {
            tail.add(record);
            eprintln!("{} {record}", record.level);
        }
    }

    fn add(&self, record: &Record) {
        let since = record.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let json = Object::default()
            .number("time", since.as_millis())
            .text("level", record.level)
            .text("kind", record.kind)
            .text("text", record)
            .end();
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tail.records.push_back(json);
        tail.count += 1;
        if tail.records.len() > KEPT {
            tail.records.pop_front();
        }
    }

    /// The records behind the first `seen`, as a JSON array, and how many there were so far.
    fn behind(&self, seen: usize) -> (String, usize) {
        let tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = tail.count - tail.records.len();
        let new = tail.records.iter().skip(seen.saturating_sub(first));
        (array(new), tail.count)
    }
}

// ---- The process ----

/// Listens, and serves the page.
pub(crate) struct Observer {
    address: String,
    log: LogTail,
    bound: fn(SocketAddr),
}

impl Observer {
    pub(crate) fn new(address: impl Into<String>, log: LogTail) -> Self {
        Self {
            address: address.into(),
            log,
            bound: |_| (),
        }
    }

    /// Calls `bound` with the address when it listens.
    #[must_use]
    pub(crate) fn when_bound(mut self, bound: fn(SocketAddr)) -> Self {
        self.bound = bound;
        self
    }
}

impl Actor for Observer {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let limits = TcpLimits::default().with_idle_timeout(Duration::from_secs(60));
        let server = TcpServer::bind(TcpServerOptions::from(&self.address).with_limits(limits))?;
        (self.bound)(server.local_addr());
        let log = self.log.clone();
        let sessions = server.serve(move || Page {
            log: log.clone(),
            seen: None,
        });
        cx.spawn_meta(sessions.with_input_limit(MAX_HEAD))?;
        Ok(())
    }
}

/// One connection of a browser.
struct Page {
    log: LogTail,
    /// Records sent so far, on a connection for events.
    seen: Option<usize>,
}

#[derive(Clone)]
struct Tick;

impl Session for Page {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Result<(), Reason> {
        let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(());
        };
        let head = input.split_to(end + 4);
        let Some(request) = Request::parse(&head) else {
            answer(cx, "400 Bad Request", "text/plain", "not for this server\n");
            cx.close();
            return Ok(());
        };
        let Some(node) = cx.node() else {
            cx.close();
            return Ok(());
        };
        let json = "application/json";
        match request.path {
            "/" => answer(cx, "200 OK", "text/html; charset=utf-8", PAGE),
            "/metrics" => {
                let text = node.metrics().to_string();
                answer(cx, "200 OK", "text/plain; version=0.0.4", &text);
            }
            "/dump" => answer(cx, "200 OK", "text/plain; charset=utf-8", &node.dump()),
            "/api/tree" => answer(cx, "200 OK", json, &tree(&node.supervision_tree())),
            "/api/processes" => answer(cx, "200 OK", json, &processes(&node, &request)),
            "/api/sockets" => answer(cx, "200 OK", json, &sockets(&node, &request)),
            "/api/process" => {
                let found = request.value("id").parse().ok();
                let found = found.and_then(|pid| node.process(pid));
                found_or_gone(cx, found.map(|info| process_detail(&info)));
            }
            "/api/socket" => {
                let found = request.value("id").parse().ok();
                let found = found.and_then(|alias| node.socket(alias));
                found_or_gone(cx, found.map(|info| socket_detail(&info)));
            }
            "/events" if self.seen.is_none() => {
                cx.write(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                     Cache-Control: no-store\r\n\r\n",
                );
                self.seen = Some(0);
                let me = cx.pid();
                cx.send_every(me, Tick, TICK)?;
                self.send_events(cx, &node);
            }
            _ => answer(cx, "404 Not Found", "text/plain", "there is no such page\n"),
        }
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut SessionContext<'_>,
        _: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        if message.is::<Tick>()
            && let Some(node) = cx.node()
        {
            self.send_events(cx, &node);
        }
        Ok(())
    }
}

impl Page {
    fn send_events(&mut self, cx: &mut SessionContext<'_>, node: &Node) {
        let Some(seen) = &mut self.seen else { return };
        let (records, count) = self.log.behind(*seen);
        cx.write(format!("event: figures\ndata: {}\n\n", figures(node)));
        if count > *seen {
            cx.write(format!("event: records\ndata: {records}\n\n"));
            *seen = count;
        }
    }
}

// ---- HTTP ----

struct Request<'a> {
    path: &'a str,
    query: &'a str,
}

impl<'a> Request<'a> {
    fn parse(head: &'a [u8]) -> Option<Self> {
        let head = std::str::from_utf8(head).ok()?;
        let mut lines = head.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let ("GET", target) = (words.next()?, words.next()?) else {
            return None;
        };
        let host = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("host").then(|| value.trim())
        })?;
        let is_ours = host.parse::<SocketAddr>().is_ok()
            || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
            || host.split(':').next() == Some("localhost");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        is_ours.then_some(Self { path, query })
    }

    /// A value of the query, decoded.
    fn value(&self, name: &str) -> String {
        let pairs = self.query.split('&');
        let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
        let value = pairs.find(|(key, _)| *key == name);
        decode(value.map_or("", |(_, value)| value))
    }
}

/// Takes the percent signs out of a value.
fn decode(value: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), value.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let code = behind.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn answer(cx: &mut SessionContext<'_>, status: &str, kind: &str, body: &str) {
    cx.write(format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Security-Policy: default-src 'self'; img-src data:; \
         script-src 'unsafe-inline'; style-src 'unsafe-inline'; frame-ancestors 'none'\r\n\r\n{body}",
        body.len()
    ));
}

fn found_or_gone(cx: &mut SessionContext<'_>, found: Option<String>) {
    let body = found.unwrap_or_else(|| "null".into());
    answer(cx, "200 OK", "application/json", &body);
}

// ---- JSON ----

/// An object, written field by field.
#[derive(Default)]
struct Object(String);

impl Object {
    fn raw(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        // A `String` takes everything; the names need no escape.
        _ = write!(self.0, "\"{name}\":{value}");
        self
    }

    fn number(self, name: &str, value: impl fmt::Display) -> Self {
        self.raw(name, value)
    }

    fn text(self, name: &str, value: impl fmt::Display) -> Self {
        let text = quoted(&value.to_string());
        self.raw(name, text)
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if control < ' ' => _ = write!(quoted, "\\u{:04x}", u32::from(control)),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn array<T: fmt::Display>(items: impl Iterator<Item = T>) -> String {
    let items: Vec<_> = items.map(|item| item.to_string()).collect();
    format!("[{}]", items.join(","))
}

// ---- What is shown ----

fn figures(node: &Node) -> String {
    let (info, metrics) = (node.info(), node.metrics());
    let count = |name: &str| metrics.get(name).unwrap_or(0);
    Object::default()
        .text("name", &info.name)
        .number("uptime", info.uptime.as_secs())
        .number("workers", info.workers)
        .number("stuck", info.workers_stuck)
        .number("processes", info.processes)
        .number("sockets", info.meta_processes)
        .number("timers", info.timers)
        .number("buffers", info.buffers)
        .number("slow", info.slow_handlers)
        .number("ended", count("longshore_processes_ended_total"))
        .end()
}

/// What rows are sorted by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(u128),
    Text(String),
}

/// One page of what was found: sorted, with the rows made for this page only.
fn table<I: Copy + Ord>(
    request: &Request<'_>,
    mut found: Vec<(Key, I)>,
    more: Object,
    begun: Instant,
    row: impl Fn(I) -> Option<String>,
) -> String {
    let total = found.len();
    let pages = total.div_ceil(ROWS).max(1);
    let page = request.value("page").parse().unwrap_or(0).min(pages - 1);
    let is_falling = request.value("desc") == "1";
    found.sort_unstable_by(|one, other| {
        let order = one.0.cmp(&other.0);
        let order = if is_falling { order.reverse() } else { order };
        order.then_with(|| one.1.cmp(&other.1))
    });
    let rows = found.iter().skip(page * ROWS).take(ROWS);
    let rows = array(rows.filter_map(|(_, id)| row(*id)));
    more.number("total", total)
        .number("page", page)
        .number("pages", pages)
        .raw("rows", rows)
        .number("took_ms", begun.elapsed().as_millis())
        .end()
}

fn matches(search: &str, texts: &[&str]) -> bool {
    let has = |text: &&str| text.to_lowercase().contains(search);
    search.is_empty() || texts.iter().any(has)
}

fn processes(node: &Node, request: &Request<'_>) -> String {
    let begun = Instant::now();
    let (sort, search) = (
        request.value("sort"),
        request.value("search").to_lowercase(),
    );
    let mut handled = 0_u64;
    let mut found = Vec::new();
    for info in node.processes() {
        handled += info.messages_in;
        let name = info.name.as_ref().map_or("", Name::as_str);
        let is_found =
            search.is_empty() || matches(&search, &[name, info.actor, &info.pid.to_string()]);
        if is_found {
            let key = match sort.as_str() {
                "name" => Key::Text(name.to_owned()),
                "actor" => Key::Text(info.actor.to_owned()),
                "state" => Key::Text(info.state.as_str().to_owned()),
                "in" => Key::Number(info.messages_in.into()),
                "out" => Key::Number(info.messages_out.into()),
                "queued" => Key::Number(info.messages_queued as u128),
                "busy" => Key::Number(info.time_in_handlers.as_millis()),
                "age" => Key::Number(info.age.as_millis()),
                _ => Key::Number(info.pid.to_bits().into()),
            };
            found.push((key, info.pid));
        }
    }
    let more = Object::default().number("handled", handled);
    let row = |pid| node.process(pid).map(|info| process(&info).end());
    table(request, found, more, begun, row)
}

fn process(info: &ProcessInfo) -> Object {
    Object::default()
        .text("id", info.pid)
        .text("name", info.name.as_ref().map_or("", Name::as_str))
        .text("actor", info.actor)
        .text("state", info.state.as_str())
        .number("in", info.messages_in)
        .number("out", info.messages_out)
        .number("queued", info.messages_queued)
        .number("busy", info.time_in_handlers.as_millis())
        .number("age", info.age.as_millis())
}

fn process_detail(info: &ProcessInfo) -> String {
    let lanes = info.lanes;
    let longest = info.longest_handler.as_ref();
    let longest = longest.map_or("-".into(), |slow| {
        format!("{:?} {}", slow.ran, slow.message)
    });
    process(info)
        .text("parent", info.parent)
        .text("message", info.message)
        .text(
            "lanes",
            format_args!(
                "urgent {}, system {}, main {}, log {}",
                lanes.urgent, lanes.system, lanes.main, lanes.log
            ),
        )
        .text("longest handler", longest)
        .number("meta-processes", info.meta_processes)
        .number("links", info.links)
        .number("monitors", info.monitors)
        .number("monitored by", info.monitored_by)
        .raw("supervised", info.is_supervised)
        .end()
}

fn sockets(node: &Node, request: &Request<'_>) -> String {
    let begun = Instant::now();
    let (sort, search) = (
        request.value("sort"),
        request.value("search").to_lowercase(),
    );
    let mut found = Vec::new();
    for info in node.sockets() {
        let shown = Shown::of(&info);
        let texts = [shown.kind, shown.state, &shown.peer, &shown.owner];
        if matches(&search, &texts) {
            let key = match sort.as_str() {
                "kind" => Key::Text(shown.kind.to_owned()),
                "state" => Key::Text(shown.state.to_owned()),
                "peer" => Key::Text(shown.peer),
                "owner" => Key::Text(shown.owner),
                "in" => Key::Number(shown.bytes_in.into()),
                "out" => Key::Number(shown.bytes_out.into()),
                "queued" => Key::Number(info.queued_bytes as u128),
                "age" => Key::Number(info.age.as_millis()),
                _ => Key::Text(String::new()),
            };
            found.push((key, info.alias));
        }
    }
    let row = |alias| node.socket(alias).map(|info| socket(&info).end());
    table(request, found, Object::default(), begun, row)
}

/// What the table shows of any kind of socket.
struct Shown {
    kind: &'static str,
    state: &'static str,
    peer: String,
    owner: String,
    bytes_in: u64,
    bytes_out: u64,
}

impl Shown {
    fn of(info: &SocketInfo) -> Self {
        let address = |address: Option<SocketAddr>| {
            address.map_or(String::new(), |address| address.to_string())
        };
        let mut shown = Self {
            kind: info.kind.as_str(),
            state: "",
            peer: String::new(),
            owner: info.parent.to_string(),
            bytes_in: 0,
            bytes_out: 0,
        };
        match &info.kind {
            SocketKind::Listener(info) => {
                (shown.state, shown.peer) = (info.state, address(info.local_addr));
                (shown.bytes_in, shown.bytes_out) = (info.ended_bytes_in, info.ended_bytes_out);
            }
            SocketKind::Connection(info) => {
                (shown.state, shown.peer) = (info.state, address(info.remote_addr));
                (shown.bytes_in, shown.bytes_out) = (info.bytes_in, info.bytes_out);
                shown.owner = info.owner.to_string();
            }
            SocketKind::Datagram(info) => {
                shown.peer = address(info.local_addr);
                (shown.bytes_in, shown.bytes_out) = (info.bytes_in, info.bytes_out);
                shown.owner = info.owner.to_string();
            }
            _ => {}
        }
        shown
    }
}

fn socket(info: &SocketInfo) -> Object {
    let shown = Shown::of(info);
    Object::default()
        .text("id", info.alias)
        .text("kind", shown.kind)
        .text("state", shown.state)
        .text("peer", shown.peer)
        .text("owner", shown.owner)
        .number("in", shown.bytes_in)
        .number("out", shown.bytes_out)
        .number("queued", info.queued_bytes)
        .number("age", info.age.as_millis())
}

fn socket_detail(info: &SocketInfo) -> String {
    let mut object = socket(info)
        .text("type", info.type_name)
        .text("parent", info.parent)
        .number("refused sends", info.refused_sends);
    if let SocketKind::Connection(connection) = &info.kind {
        object = object.text("tls", connection.tls.unwrap_or("no"));
    }
    let taken = ["kind", "state", "owner"];
    for (name, value) in info
        .details
        .iter()
        .filter(|(name, _)| !taken.contains(name))
    {
        object = object.text(&name.replace('_', " "), value);
    }
    object.end()
}

fn tree(tree: &SupervisionTree) -> String {
    array(tree.roots().map(|root| {
        Object::default()
            .text("name", root.name.as_ref().map_or("root", Name::as_str))
            .text("pid", root.pid)
            .text("state", root.kind)
            .number("starts", 1)
            .raw("children", children(tree, root))
            .end()
    }))
}

fn children(tree: &SupervisionTree, of: &SupervisorInfo) -> String {
    array(of.children.iter().map(|child| {
        let below = child.pid.and_then(|pid| tree.get(pid));
        let pid = child.pid.map_or(String::new(), |pid| pid.to_string());
        Object::default()
            .text("name", &child.name)
            .text("pid", pid)
            .text("state", child.state.as_str())
            .number("starts", child.starts)
            .raw(
                "children",
                below.map_or("[]".into(), |below| children(tree, below)),
            )
            .end()
    }))
}
