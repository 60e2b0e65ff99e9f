//! `tokio-proxy ADDRESS [--workers N] [--to UPSTREAM] [--proxy-header]`: a proxy on tokio, with the behavior of
//! `examples/proxy.rs`.
//!
//! A client that begins with a SOCKS5 greeting or with HTTP CONNECT names its target; with `--to` all clients are connected
//! to one upstream and nothing is read from them before. `--proxy-header` sends the upstream a PROXY header of version 1.
//! Each direction ends by itself, and a request has ten seconds.

use longshore_bench::apps::Arguments;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::{io, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::{select, signal, time::timeout};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEAD: usize = 8 << 10;

/// How a client asked for its target, which decides how it is answered.
enum Protocol {
    Socks,
    Http,
}

fn main() -> io::Result<()> {
    let arguments: &'static Arguments = Box::leak(Box::new(Arguments::read()));
    arguments.runtime()?.block_on(async {
        let listener = TcpListener::bind(arguments.address).await?;
        println!("{}", listener.local_addr()?);
        loop {
            select! {
                accepted = listener.accept() => if let Ok((client, _)) = accepted {
                    tokio::spawn(serve(client, arguments));
                },
                _ = signal::ctrl_c() => return Ok(()),
            }
        }
    })
}

async fn serve(client: TcpStream, arguments: &Arguments) -> io::Result<()> {
    client.set_nodelay(true)?;
    let peer = client.peer_addr()?;
    let mut client = BufReader::new(client);
    let mut upstream = match arguments.to {
        Some(to) => TcpStream::connect(to).await?,
        None => timeout(REQUEST_TIMEOUT, negotiate(&mut client)).await??,
    };
    upstream.set_nodelay(true)?;
    if arguments.proxy_header {
        let header = proxy_header(peer, client.get_ref().local_addr()?);
        upstream.write_all(header.as_bytes()).await?;
    }
    copy_bidirectional(&mut client, &mut upstream).await?;
    Ok(())
}

/// Reads the request, connects, and answers.
async fn negotiate(client: &mut BufReader<TcpStream>) -> io::Result<TcpStream> {
    let (protocol, target) = match client.read_u8().await? {
        5 => (Protocol::Socks, socks_target(client).await?),
        first => (Protocol::Http, http_target(client, first).await?),
    };
    let upstream = TcpStream::connect(target).await;
    let answer: &[u8] = match (protocol, &upstream) {
        (Protocol::Socks, Ok(_)) => &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        (Protocol::Socks, Err(_)) => &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0],
        (Protocol::Http, Ok(_)) => b"HTTP/1.1 200 Connection established\r\n\r\n",
        (Protocol::Http, Err(_)) => b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    };
    client.write_all(answer).await?;
    upstream
}

/// RFC 1928 without authentication, command CONNECT only; the version was read.
async fn socks_target(client: &mut BufReader<TcpStream>) -> io::Result<(String, u16)> {
    let mut methods = vec![0; client.read_u8().await?.into()];
    client.read_exact(&mut methods).await?;
    client.write_all(&[5, 0]).await?;
    let mut request = [0; 4];
    client.read_exact(&mut request).await?;
    let host = match request {
        [5, 1, 0, 1] => IpAddr::from(Ipv4Addr::from(client.read_u32().await?)).to_string(),
        [5, 1, 0, 3] => {
            let mut name = vec![0; client.read_u8().await?.into()];
            client.read_exact(&mut name).await?;
            String::from_utf8(name).map_err(|_| invalid("a name that is not UTF-8"))?
        }
        [5, 1, 0, 4] => IpAddr::from(Ipv6Addr::from(client.read_u128().await?)).to_string(),
        _ => {
            client.write_all(&[5, 7, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
            return Err(invalid("not a CONNECT request"));
        }
    };
    Ok((host, client.read_u16().await?))
}

/// `CONNECT host:port HTTP/1.1` and headers, which are ignored; the first byte was read.
async fn http_target(client: &mut BufReader<TcpStream>, first: u8) -> io::Result<(String, u16)> {
    let mut head = vec![first];
    while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_HEAD {
        head.push(client.read_u8().await?);
    }
    let target = str::from_utf8(&head).ok().and_then(|head| {
        let (host, port) = head
            .strip_prefix("CONNECT ")?
            .split(' ')
            .next()?
            .rsplit_once(':')?;
        let host = host.trim_matches(['[', ']']).to_owned();
        Some((host, port.parse().ok()?))
    });
    if target.is_none() {
        client
            .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            .await?;
    }
    target.ok_or_else(|| invalid("not a CONNECT request"))
}

fn proxy_header(from: SocketAddr, to: SocketAddr) -> String {
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from_port, to_port) = (from.port(), to.port());
    format!(
        "PROXY {family} {} {} {from_port} {to_port}\r\n",
        from.ip(),
        to.ip()
    )
}

fn invalid(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}
