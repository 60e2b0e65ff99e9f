//! `tokio-http ADDRESS [--workers N]`: an HTTP/1.1 server on tokio, with the behavior of `examples/http.rs`.
//!
//! `GET /` answers a greeting, `HEAD /` its head, and `POST /` the request's body. Requests may be pipelined. A request
//! that is not HTTP gets 400, a body over 1 MiB 413, a head over 8 KiB 431, a chunked body 411. Ctrl-C lets the
//! requests that have begun finish, for at most five seconds.

use bytes::{Buf, BytesMut};
use longshore_bench::apps::Arguments;
use std::{io, io::Write, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::{select, signal, sync::watch, task::JoinSet, time};

const MAX_HEAD: usize = 8 << 10;
const MAX_BODY: usize = 1 << 20;
const GREETING: &[u8] = b"Hello, world!\n";
/// How long a client may be silent between its requests.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A request that has begun must be complete within this, and an answer must be taken.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What is at the beginning of the input.
enum Parsed {
    Request {
        head_only: bool,
        greeting: bool,
        keep_alive: bool,
        head: usize,
        body: usize,
    },
    Incomplete,
    Refused(&'static str),
}

fn main() -> io::Result<()> {
    let arguments = Arguments::read();
    arguments.runtime()?.block_on(async {
        let listener = TcpListener::bind(arguments.address).await?;
        println!("{}", listener.local_addr()?);
        let (stop, stopping) = watch::channel(false);
        let mut connections = JoinSet::new();
        loop {
            select! {
                accepted = listener.accept() => if let Ok((socket, _)) = accepted {
                    connections.spawn(serve(socket, stopping.clone()));
                },
                _ = connections.join_next(), if !connections.is_empty() => {}
                _ = signal::ctrl_c() => break,
            }
        }
        drop(listener);
        stop.send_replace(true);
        time::timeout(Duration::from_secs(5), connections.join_all())
            .await
            .ok();
        Ok(())
    })
}

async fn serve(mut socket: TcpStream, mut stopping: watch::Receiver<bool>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (mut input, mut output) = (BytesMut::with_capacity(MAX_HEAD), Vec::new());
    let (mut has_begun, mut until) = (false, time::Instant::now());
    loop {
        // All requests that are here are answered by one write.
        let open = answer_all(&mut input, &mut output)?;
        time::timeout(REQUEST_TIMEOUT, socket.write_all(&output)).await??;
        if input.is_empty() {
            until = time::Instant::now() + IDLE_TIMEOUT;
        } else if !has_begun || !output.is_empty() {
            until = time::Instant::now() + REQUEST_TIMEOUT;
        }
        has_begun = !input.is_empty();
        output.clear();
        if !open || (*stopping.borrow() && input.is_empty()) {
            return socket.shutdown().await;
        }
        select! {
            read = socket.read_buf(&mut input) => if read? == 0 { return Ok(()) },
            _ = stopping.changed() => {}
            () = time::sleep_until(until) => return Ok(()),
        }
    }
}

/// Answers complete requests; false if the connection must be closed after the output.
fn answer_all(input: &mut BytesMut, output: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        match parse(input) {
            Parsed::Incomplete => return Ok(true),
            Parsed::Refused(status) => {
                respond(output, status, status.as_bytes(), false)?;
                return Ok(false);
            }
            Parsed::Request {
                head_only,
                greeting,
                keep_alive,
                head,
                body,
            } => {
                let content = if greeting {
                    GREETING
                } else {
                    &input[head..head + body]
                };
                respond(output, "200 OK", content, keep_alive)?;
                if head_only {
                    output.truncate(output.len() - content.len());
                }
                input.advance(head + body);
                if !keep_alive {
                    return Ok(false);
                }
            }
        }
    }
}

fn parse(input: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(input) {
        Ok(httparse::Status::Complete(head)) if head <= MAX_HEAD => head,
        Ok(httparse::Status::Partial) if input.len() <= MAX_HEAD => return Parsed::Incomplete,
        Ok(_) => return Parsed::Refused("431 Request Header Fields Too Large"),
        Err(_) => return Parsed::Refused("400 Bad Request"),
    };
    let is_new = request.version == Some(1);
    let (mut hosts, mut body, mut closes, mut keeps) = (0, 0, false, is_new);
    for header in request.headers.iter() {
        let value = header.value.trim_ascii();
        if header.name.eq_ignore_ascii_case("content-length") {
            match str::from_utf8(value).map(str::parse) {
                Ok(Ok(length)) => body = length,
                _ => return Parsed::Refused("400 Bad Request"),
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Parsed::Refused("411 Length Required");
        } else if header.name.eq_ignore_ascii_case("connection") {
            for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                closes |= option.eq_ignore_ascii_case(b"close");
                keeps |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if header.name.eq_ignore_ascii_case("host") {
            hosts += 1;
        }
    }
    if hosts > 1 || is_new && hosts == 0 {
        return Parsed::Refused("400 Bad Request");
    }
    let (method, path) = (request.method.unwrap_or(""), request.path.unwrap_or(""));
    match (method, path) {
        _ if body > MAX_BODY => Parsed::Refused("413 Content Too Large"),
        _ if input.len() < head + body => Parsed::Incomplete,
        ("GET" | "HEAD" | "POST", "/") => Parsed::Request {
            head_only: method == "HEAD",
            greeting: method != "POST",
            keep_alive: keeps && !closes,
            head,
            body,
        },
        (_, "/") => Parsed::Refused("405 Method Not Allowed"),
        _ => Parsed::Refused("404 Not Found"),
    }
}

fn respond(output: &mut Vec<u8>, status: &str, content: &[u8], keep_alive: bool) -> io::Result<()> {
    let (length, connection) = (
        content.len(),
        if keep_alive {
            ""
        } else {
            "Connection: close\r\n"
        },
    );
    write!(
        output,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{connection}\r\n"
    )?;
    output.extend_from_slice(content);
    Ok(())
}
