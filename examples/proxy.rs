//! A proxy: one session for each client, which reads the request, connects, and relays.
//!
//! A client that begins with a SOCKS5 greeting or with HTTP CONNECT names its target; with `--to` all clients are
//! connected to one upstream and nothing is read from them before. `--proxy-header` sends the upstream a header of the
//! PROXY protocol with the addresses of the client. Each direction ends by itself, and a request has ten seconds.
//!
//! ```text
//! cargo run --release --example proxy -- 127.0.0.1:1080 [--to UPSTREAM] [--proxy-header]
//! curl --proxy socks5h://127.0.0.1:1080 http://localhost:7000/
//! curl --proxy http://127.0.0.1:1080 --proxytunnel http://localhost:7000/
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use longshore::prelude::*;
use longshore::{ProxyHeader, RelayFailure};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEAD: usize = 8 << 10;

/// How clients name their target, and what they are answered.
struct Protocol {
    parse: fn(&[u8]) -> Parsed,
    connected: &'static [u8],
    unreachable: &'static [u8],
    refused: &'static [u8],
}

/// The length of a request and its target, without one if it is refused; `None` while it is incomplete.
type Parsed = Option<(usize, Option<String>)>;

static SOCKS: Protocol = Protocol {
    parse: socks,
    connected: &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    unreachable: &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0],
    refused: &[5, 7, 0, 1, 0, 0, 0, 0, 0, 0],
};
static HTTP: Protocol = Protocol {
    parse: http,
    connected: b"HTTP/1.1 200 Connection established\r\n\r\n",
    unreachable: b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    refused: b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
};

#[derive(Clone, Default)]
struct Client {
    to: Option<String>,
    sends_header: bool,
    has_greeted: bool,
    /// How it has named its target.
    protocol: Option<&'static Protocol>,
}

impl Client {
    fn relay(&self, cx: &mut SessionContext<'_>, target: &str) {
        let header = ProxyHeader::v1(cx.peer_addr(), cx.local_addr());
        let header = self.sends_header.then_some(header);
        cx.relay_to(TcpConnectionOptions::from(target).with_proxy_header(header));
    }
}

impl Session for Client {
    fn connected(
        &mut self,
        cx: &mut SessionContext<'_>,
        _: &MessageTcpConnect,
    ) -> Result<(), Reason> {
        match &self.to {
            Some(to) => self.relay(cx, to),
            None => cx.set_deadline(REQUEST_TIMEOUT),
        }
        Ok(())
    }

    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Result<(), Reason> {
        if let [5, methods, rest @ ..] = &input[..]
            && !self.has_greeted
        {
            // There is no authentication, and the client must offer that: RFC 1928 section 3.
            let methods = rest.get(..usize::from(*methods)).map(<[u8]>::to_vec);
            if let Some(methods) = methods {
                input.advance(2 + methods.len());
                self.has_greeted = methods.contains(&0);
                cx.write(if self.has_greeted {
                    &[5, 0][..]
                } else {
                    &[5, 0xff][..]
                });
                if !self.has_greeted {
                    cx.close();
                }
            }
            return Ok(());
        }
        let is_socks = self.has_greeted || input[0] == 5;
        let protocol = if is_socks { &SOCKS } else { &HTTP };
        self.protocol = Some(protocol);
        match (protocol.parse)(input) {
            Some((length, Some(target))) => {
                input.advance(length); // what comes behind is for the target
                self.relay(cx, &target);
            }
            None if input.len() < MAX_HEAD => {}
            _ => {
                cx.write(protocol.refused);
                cx.close();
            }
        }
        Ok(())
    }

    fn relay_begins(&mut self, cx: &mut SessionContext<'_>, _: &MessageTcpConnect) {
        if let Some(protocol) = self.protocol {
            cx.write(protocol.connected);
        }
    }

    fn relay_failed(&mut self, cx: &mut SessionContext<'_>, _: &RelayFailure) {
        if let Some(protocol) = self.protocol {
            cx.write(protocol.unreachable);
        }
        cx.close();
    }
}

/// RFC 1928, command CONNECT only: version, command, reserved, type and bytes of the address, port.
fn socks(input: &[u8]) -> Parsed {
    let (host, rest) = match *input {
        [5, 1, 0, 1, a, b, c, d, ref rest @ ..] => (Ipv4Addr::new(a, b, c, d).to_string(), rest),
        [5, 1, 0, 3, length, ref rest @ ..] => {
            let (name, rest) = rest.split_at_checked(length.into())?;
            (String::from_utf8_lossy(name).into_owned(), rest)
        }
        [5, 1, 0, 4, ref rest @ ..] => {
            let (ip, rest) = rest.split_first_chunk::<16>()?;
            (format!("[{}]", Ipv6Addr::from(*ip)), rest)
        }
        [5] | [5, 1] | [5, 1, 0] | [5, 1, 0, 1 | 3, ..] => return None,
        _ => return Some((input.len(), None)),
    };
    let (port, rest) = rest.split_first_chunk()?;
    let target = format!("{host}:{}", u16::from_be_bytes(*port));
    Some((input.len() - rest.len(), Some(target)))
}

/// `CONNECT host:port HTTP/1.1` and headers, which are ignored.
fn http(input: &[u8]) -> Parsed {
    // Another protocol may never send the end of a head.
    if input
        .iter()
        .zip(b"CONNECT ")
        .any(|(byte, expected)| byte != expected)
    {
        return Some((input.len(), None));
    }
    let head = &input[..input.len().min(MAX_HEAD)];
    let end = head.windows(4).position(|end| end == b"\r\n\r\n")?;
    let line = str::from_utf8(&head[..end]).ok();
    let target = line.and_then(|line| line.strip_prefix("CONNECT ")?.split(' ').next());
    Some((end + 4, target.map(str::to_owned)))
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
