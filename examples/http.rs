//! An HTTP/1.1 server: one session for each connection, requests parsed off the front of its input by httparse.
//!
//! `GET /` answers a greeting, `HEAD /` its head, and `POST /` the request's body. Requests may be pipelined. A request
//! that is not HTTP gets 400, a body over 1 MiB 413, a head over 8 KiB 431, a chunked body 411. A request that is not
//! complete after 30 seconds ends its connection.
//!
//! ```text
//! cargo run --release --example http -- 127.0.0.1:7000 [--workers N]
//! curl -v 127.0.0.1:7000/
//! curl --data-binary @Cargo.toml 127.0.0.1:7000/
//! wrk -c 50 http://127.0.0.1:7000/
//! ```

use std::time::Duration;

use longshore::TcpLimits;
use longshore::prelude::*;

const MAX_HEAD: usize = 8 << 10;
const MAX_BODY: usize = 1 << 20;
/// A request that has begun must be complete within this.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const GREETING: &[u8] = b"Hello, world!\n";
const CLOSE: &str = "Connection: close\r\n";

/// A request at the front of the input.
struct Request {
    is_greeting: bool,
    head_only: bool,
    /// The header of the answer that says whether the connection stays.
    connection: &'static str,
    expects_continue: bool,
    head: usize,
    body: usize,
}

/// Parses the head of a request. `Ok(None)`: it is not complete. `Err`: the status that refuses it.
fn parse(input: &[u8]) -> Result<Option<Request>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    let head = match parsed.parse(&input[..input.len().min(MAX_HEAD)]) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if input.len() < MAX_HEAD => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err("431 Request Header Fields Too Large");
        }
        Err(_) => return Err("400 Bad Request"),
    };
    let is_new = parsed.version == Some(1);
    let (mut hosts, mut body) = (0, None);
    let (mut closes, mut keeps, mut expects_continue) = (false, is_new, false);
    for header in parsed.headers.iter() {
        let is = |name| header.name.eq_ignore_ascii_case(name);
        let value = header.value.trim_ascii();
        if is("transfer-encoding") {
            return Err("411 Length Required");
        } else if is("content-length") {
            let length = std::str::from_utf8(value)
                .ok()
                .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
            // Digits only, and two lengths must not differ: RFC 9112 section 6.3.
            let length = length.ok_or("400 Bad Request")?;
            let length = length.parse::<usize>().unwrap_or(usize::MAX);
            if body.is_some_and(|other| other != length) {
                return Err("400 Bad Request");
            }
            body = Some(length);
        } else if is("connection") {
            for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                closes |= option.eq_ignore_ascii_case(b"close");
                keeps |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if is("expect") {
            expects_continue = is_new && value.eq_ignore_ascii_case(b"100-continue");
        } else if is("host") {
            hosts += 1;
        }
    }
    // Exactly one, but for clients of HTTP/1.0: RFC 9112 section 3.2.
    if hosts > 1 || is_new && hosts == 0 {
        return Err("400 Bad Request");
    }
    let body = body.unwrap_or(0);
    if body > MAX_BODY {
        return Err("413 Content Too Large");
    }
    let (is_greeting, head_only) = match parsed.method {
        Some("GET") => (true, false),
        Some("HEAD") => (true, true),
        Some("POST") => (false, false),
        _ => return Err("405 Method Not Allowed\r\nAllow: GET, HEAD, POST"),
    };
    let connection = match (closes || !keeps, is_new) {
        (true, _) => CLOSE,
        (false, true) => "",
        (false, false) => "Connection: keep-alive\r\n",
    };
    Ok(Some(Request {
        is_greeting,
        head_only,
        connection,
        expects_continue,
        head,
        body,
    }))
}

/// One connection.
#[derive(Default)]
struct Http {
    /// The peer has been asked to send the body of the request in front.
    has_continued: bool,
    /// The request in front is not complete, and its time runs.
    is_timed: bool,
}

impl Http {
    /// Begins or ends the time of a request. One that comes as a whole needs none.
    fn time(&mut self, cx: &mut SessionContext<'_>, waits: bool) {
        if self.is_timed != waits {
            self.is_timed = waits;
            cx.set_deadline(waits.then_some(REQUEST_TIMEOUT));
        }
    }
}

impl Session for Http {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Result<(), Reason> {
        let request = match parse(input) {
            Ok(Some(request)) => request,
            Ok(None) => {
                self.time(cx, true);
                return Ok(()); // more of the head is to come
            }
            Err(status) => {
                refuse(cx, status);
                return Ok(());
            }
        };
        let is_whole = input.len() >= request.head + request.body;
        self.time(cx, !is_whole);
        if !is_whole {
            if request.expects_continue && !self.has_continued {
                self.has_continued = true;
                cx.write("HTTP/1.1 100 Continue\r\n\r\n");
            }
            cx.need(request.head + request.body);
            return Ok(());
        }
        self.has_continued = false;
        input.advance(request.head);
        let body = input.split_to(request.body);
        let body = if request.is_greeting { GREETING } else { &body };
        let (length, connection) = (body.len(), request.connection);
        let mut answer = Buffer::from(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{connection}\r\n"
        ));
        if !request.head_only {
            answer.extend_from_slice(body);
        }
        cx.write(answer);
        if connection == CLOSE {
            cx.close();
        }
        Ok(())
    }
}

/// Answers what is wrong, and closes: what follows a request that is not understood is not a request.
fn refuse(cx: &mut SessionContext<'_>, status: &str) {
    cx.write(format!(
        "HTTP/1.1 {status}\r\nContent-Length: 0\r\n{CLOSE}\r\n"
    ));
    cx.close();
}

struct Root {
    address: String,
}

impl Actor for Root {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        // A client that is silent for a minute gives its place to another.
        let limits = TcpLimits::default().with_idle_timeout(Duration::from_secs(60));
        let options = TcpServerOptions::from(&self.address).with_limits(limits);
        let server = TcpServer::bind(options)?;
        println!("{}", server.local_addr());
        let sessions = server.serve(Http::default);
        cx.spawn_meta(sessions.with_input_limit(MAX_HEAD + MAX_BODY))?;
        Ok(())
    }
}

fn main() -> Result<(), longshore::Error> {
    let (mut address, mut options) = (
        String::from("127.0.0.1:7000"),
        NodeOptions::from("http@localhost"),
    );
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--workers" => {
                options.workers = arguments.next().and_then(|workers| workers.parse().ok())
            }
            _ => address = argument,
        }
    }
    let report = Node::run(options, || Root { address })?; // until Ctrl-C
    println!("{report}"); // what was cut off
    Ok(())
}
