//! `tokio-proxy ADDRESS [--workers N] [--to UPSTREAM] [--proxy-header]`: a proxy on tokio, with the behavior of
//! `examples/proxy.rs`.
//!
//! A client that begins with a SOCKS5 greeting or with HTTP CONNECT names its target; with `--to` all clients are
//! connected to one upstream and nothing is read from them before. `--proxy-header` sends the upstream a PROXY header
//! of version 1. Each direction ends by itself, a reset on one side resets the other, and a request has ten seconds.
//! Ctrl-C lets the clients that are here finish, for at most five seconds.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::{env, io, sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, copy, copy_bidirectional, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio::{runtime::Builder, select, signal, task::JoinSet};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_HEAD: usize = 8 << 10;

/// What a client gets when its target is connected, and when it is not.
struct Answers {
    connected: &'static [u8],
    unreachable: &'static [u8],
}

static NONE: Answers = Answers {
    connected: b"",
    unreachable: b"",
};
static SOCKS: Answers = Answers {
    connected: &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    unreachable: &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0],
};
static HTTP: Answers = Answers {
    connected: b"HTTP/1.1 200 Connection established\r\n\r\n",
    unreachable: b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
};

#[derive(Default)]
struct Options {
    to: Option<String>,
    sends_header: bool,
}

fn main() -> io::Result<()> {
    let (mut address, mut options) = (String::from("127.0.0.1:1080"), Options::default());
    let mut runtime = Builder::new_multi_thread();
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--to" => options.to = arguments.next(),
            "--proxy-header" => options.sends_header = true,
            "--workers" => {
                if let Some(workers) = arguments.next().and_then(|workers| workers.parse().ok()) {
                    runtime.worker_threads(workers);
                }
            }
            _ => address = argument,
        }
    }
    let options = Arc::new(options);
    runtime
        .enable_all()
        .build()?
        .block_on(run(address, options))
}

async fn run(address: String, options: Arc<Options>) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("{}", listener.local_addr()?);
    let mut clients = JoinSet::new();
    loop {
        select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => drop(clients.spawn(serve(client, Arc::clone(&options)))),
                // No descriptor is left, for instance: the client waits in the backlog.
                Err(_) => sleep(Duration::from_millis(100)).await,
            },
            _ = clients.join_next(), if !clients.is_empty() => {}
            _ = signal::ctrl_c() => break,
        }
    }
    drop(listener);
    timeout(STOP_TIMEOUT, clients.join_all()).await.ok();
    Ok(())
}

async fn serve(client: TcpStream, options: Arc<Options>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let header = proxy_header(client.peer_addr()?, client.local_addr()?);
    let mut client = BufReader::new(client);
    let (answers, target) = match &options.to {
        Some(to) => (&NONE, to.clone()),
        None => timeout(REQUEST_TIMEOUT, request(&mut client)).await??,
    };
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(target)).await;
    let Ok(Ok(mut upstream)) = connected else {
        return refuse(&mut client, answers.unreachable).await;
    };
    upstream.set_nodelay(true)?;
    if options.sends_header {
        upstream.write_all(header.as_bytes()).await?;
    }
    client.write_all(answers.connected).await?;
    let copied = copy_bidirectional(&mut client, &mut upstream).await;
    if copied.is_err() {
        // A part must not be taken for the whole.
        client.get_ref().set_zero_linger()?;
        upstream.set_zero_linger()?;
    }
    copied.map(drop)
}

async fn request(client: &mut BufReader<TcpStream>) -> io::Result<(&'static Answers, String)> {
    Ok(match client.read_u8().await? {
        5 => (&SOCKS, socks_target(client).await?),
        first => (&HTTP, http_target(client, first).await?),
    })
}

/// RFC 1928 without authentication, command CONNECT only; the version was read.
async fn socks_target(client: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut methods = vec![0; client.read_u8().await?.into()];
    client.read_exact(&mut methods).await?;
    if !methods.contains(&0) {
        return refuse(client, &[5, 0xff]).await;
    }
    client.write_all(&[5, 0]).await?;
    let mut request = [0; 4];
    client.read_exact(&mut request).await?;
    let host = match request {
        [5, 1, 0, 1] => Ipv4Addr::from(client.read_u32().await?).to_string(),
        [5, 1, 0, 3] => {
            let mut name = vec![0; client.read_u8().await?.into()];
            client.read_exact(&mut name).await?;
            String::from_utf8_lossy(&name).into_owned()
        }
        [5, 1, 0, 4] => format!("[{}]", Ipv6Addr::from(client.read_u128().await?)),
        _ => return refuse(client, &[5, 7, 0, 1, 0, 0, 0, 0, 0, 0]).await,
    };
    Ok(format!("{host}:{}", client.read_u16().await?))
}

/// `CONNECT host:port HTTP/1.1` and headers, which are ignored; the first byte was read.
async fn http_target(client: &mut BufReader<TcpStream>, first: u8) -> io::Result<String> {
    let mut head = vec![first];
    while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_HEAD {
        head.push(client.read_u8().await?);
    }
    let line = str::from_utf8(&head).ok();
    match line.and_then(|line| line.strip_prefix("CONNECT ")?.split(' ').next()) {
        Some(target) => Ok(target.to_owned()),
        None => {
            let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
            refuse(client, answer).await
        }
    }
}

/// Answers and ends. Input that is not read would turn the end into a reset, which can overtake the answer.
async fn refuse<T>(client: &mut BufReader<TcpStream>, answer: &[u8]) -> io::Result<T> {
    client.write_all(answer).await?;
    client.shutdown().await?;
    timeout(CLOSE_TIMEOUT, copy(client, &mut sink())).await??;
    Err(io::ErrorKind::InvalidData.into())
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
