//! A proxy: one session for each client, which reads the request, connects, and relays.
//!
//! A client that begins with a SOCKS5 greeting or with HTTP CONNECT names its target; with `--to` all clients are connected
//! to one upstream and nothing is read from them before. `--proxy-header` sends the upstream a header of the PROXY protocol
//! with the addresses of the client. Each direction ends by itself, and a request has ten seconds.
//!
//! ```text
//! cargo run --release --example proxy -- 127.0.0.1:1080 [--to UPSTREAM] [--proxy-header]
//! curl --proxy socks5h://127.0.0.1:1080 http://localhost:7000/
//! curl --proxy http://127.0.0.1:1080 --proxytunnel http://localhost:7000/
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use longshore::ProxyHeader;
use longshore::prelude::*;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEAD: usize = 8 << 10;

/// What a client gets when its target is connected, and when it is not.
type Answers = [&'static [u8]; 2];
const NONE: Answers = [b"", b""];
const SOCKS: Answers = [
    &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0],
];
const HTTP: Answers = [
    b"HTTP/1.1 200 Connection established\r\n\r\n",
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
];

/// The length of a request and its target; `None` while it is incomplete. An error is the answer that refuses it.
type Parsed = Result<Option<(usize, String)>, &'static [u8]>;

/// Comes when a request must be there.
struct Deadline;

#[derive(Clone, Default)]
struct Client {
    to: Option<String>,
    sends_header: bool,
    has_greeted: bool,
    /// A target is known, and is answered with these.
    answers: Option<Answers>,
}

impl Client {
    fn connect(
        &mut self,
        cx: &mut SessionContext<'_>,
        to: &str,
        answers: Answers,
    ) -> Result<(), Reason> {
        self.answers = Some(answers);
        cx.pause(); // what the client sends from here on waits for the relay
        let mut options = TcpConnectionOptions::from(to);
        if self.sends_header {
            let header = ProxyHeader::v1(cx.peer_addr(), cx.local_addr());
            options = options.with_proxy_header(header);
        }
        match TcpConnection::connect(options) {
            Ok(upstream) => drop(cx.spawn_meta(upstream)?),
            Err(_) => refuse(cx, answers[1]),
        }
        Ok(())
    }
}

impl Session for Client {
    fn connected(
        &mut self,
        cx: &mut SessionContext<'_>,
        _: &MessageTcpConnect,
    ) -> Result<(), Reason> {
        if let Some(to) = self.to.take() {
            return self.connect(cx, &to, NONE);
        }
        let own = cx.pid();
        cx.send_after(own, Deadline, REQUEST_TIMEOUT);
        Ok(())
    }

    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Result<(), Reason> {
        let is_socks = input[0] == 5;
        if is_socks && !self.has_greeted {
            // The methods are not looked at: there is no authentication.
            if input.len() >= 2 && input.len() >= 2 + usize::from(input[1]) {
                input.advance(2 + usize::from(input[1]));
                self.has_greeted = true;
                cx.write(&[5, 0][..]);
            }
            return Ok(());
        }
        let parsed = if is_socks { socks(input) } else { http(input) };
        match parsed {
            Ok(Some((length, target))) => {
                input.advance(length);
                self.connect(cx, &target, if is_socks { SOCKS } else { HTTP })?;
            }
            Ok(None) => {}
            Err(answer) => refuse(cx, answer),
        }
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut SessionContext<'_>,
        _: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match (message, self.answers) {
            (Message::TcpConnect(upstream), Some([connected, _])) => {
                cx.write(connected);
                if cx.relay_with(upstream.id).is_err() {
                    cx.close(); // one of them has ended meanwhile
                }
            }
            (Message::TcpDisconnect(_), Some([_, refused])) => refuse(cx, refused),
            (message, None) if message.is::<Deadline>() => cx.close(),
            _ => {}
        }
        Ok(())
    }
}

fn refuse(cx: &mut SessionContext<'_>, answer: &'static [u8]) {
    cx.write(answer);
    cx.close();
}

/// RFC 1928, command CONNECT only: version, command, reserved, type and bytes of the address, port.
fn socks(input: &[u8]) -> Parsed {
    let (host, rest) = match *input {
        [5, 1, 0, 1, a, b, c, d, ref rest @ ..] => (Ipv4Addr::new(a, b, c, d).to_string(), rest),
        [5, 1, 0, 3, length, ref rest @ ..] if rest.len() >= length.into() => {
            let (name, rest) = rest.split_at(length.into());
            (String::from_utf8_lossy(name).into_owned(), rest)
        }
        [5, 1, 0, 4, ref rest @ ..] => match rest.split_first_chunk::<16>() {
            Some((ip, rest)) => (format!("[{}]", Ipv6Addr::from(*ip)), rest),
            None => return Ok(None),
        },
        [5] | [5, 1] | [5, 1, 0] | [5, 1, 0, 1 | 3, ..] => return Ok(None),
        _ => return Err(b"\x05\x07\0\x01\0\0\0\0\0\0"),
    };
    Ok(rest.split_first_chunk().map(|(port, rest)| {
        let target = format!("{host}:{}", u16::from_be_bytes(*port));
        (input.len() - rest.len(), target)
    }))
}

/// `CONNECT host:port HTTP/1.1` and headers, which are ignored.
fn http(input: &[u8]) -> Parsed {
    const REFUSED: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    let head = &input[..input.len().min(MAX_HEAD)];
    let Some(end) = head.windows(4).position(|end| end == b"\r\n\r\n") else {
        return if input.len() < MAX_HEAD {
            Ok(None)
        } else {
            Err(REFUSED)
        };
    };
    let line = str::from_utf8(&head[..end]).ok();
    let target = line.and_then(|line| line.strip_prefix("CONNECT ")?.split(' ').next());
    target
        .map(|target| Some((end + 4, target.to_owned())))
        .ok_or(REFUSED)
}

struct Root(String, Client);

impl Actor for Root {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let server = TcpServer::bind(&self.0)?;
        println!("{}", server.local_addr());
        let client = self.1.clone();
        cx.spawn_meta(server.serve(move || client.clone()))?;
        Ok(())
    }
}

fn main() -> Result<(), longshore::Error> {
    let (mut address, mut client) = (String::from("127.0.0.1:1080"), Client::default());
    let mut options = NodeOptions::from("proxy@localhost");
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--to" => client.to = arguments.next(),
            "--proxy-header" => client.sends_header = true,
            "--workers" => {
                options.workers = arguments.next().and_then(|workers| workers.parse().ok())
            }
            _ => address = argument,
        }
    }
    let report = Node::run(options, || Root(address, client))?; // until Ctrl-C
    println!("{report}"); // what was cut off
    Ok(())
}
