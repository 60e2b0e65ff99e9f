//! Servers that break the protocol, made up by the test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::*;

const INFO: &[u8] = b"INFO {\"max_payload\":1048576,\"headers\":true}\r\n";

/// What a server does after it has greeted and has read CONNECT and PING.
type Script = Box<dyn FnOnce(&mut TcpStream) + Send>;

/// A server whose connections follow these scripts, one after the other.
fn serve(scripts: Vec<Script>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for script in scripts {
            let (mut stream, _) = listener.accept().expect("a connection");
            bounded(&stream);
            script(&mut stream);
        }
    });
    addr
}

/// Greets and accepts CONNECT. The reader stands behind the client's first subscription, and may have read more.
fn accept(stream: &mut TcpStream) -> BufReader<TcpStream> {
    stream.write_all(INFO).expect("written");
    let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
    let mut line = String::new();
    for expected in ["CONNECT ", "PING"] {
        line.clear();
        reader.read_line(&mut line).expect("a line");
        assert!(line.starts_with(expected), "{line}");
    }
    stream.write_all(b"PONG\r\n").expect("written");
    line.clear();
    reader.read_line(&mut line).expect("a line");
    assert!(line.starts_with("SUB _INBOX."), "{line}");
    reader
}

fn options_for(addr: String) -> NatsOptions {
    NatsOptions::from(addr)
        .with_reconnect_first(Duration::from_millis(1))
        .with_reconnect_max(Duration::from_millis(5))
        .with_max_payload(1000_usize)
}

/// Reads until the client has ended the connection.
fn read_end(stream: &mut TcpStream) {
    drop(stream.read_to_end(&mut Vec::new()));
}

/// Sends until the client has ended the connection; at most 64 MiB, which a client that keeps it all would take.
fn flood(stream: &mut TcpStream, bytes: &[u8]) {
    let mut sent = 0;
    while stream.write_all(bytes).is_ok() {
        sent += bytes.len();
        assert!(sent < 64 << 20, "the client takes everything");
    }
}

#[test]
fn a_server_that_breaks_the_protocol_is_left_and_the_reason_names_it() {
    let cases: [(&str, &'static [u8], bool); 14] = [
        ("the first line is not INFO", b"PING\r\n", false),
        (
            "an operation that no server sends",
            b"SSH-2.0-OpenSSH\r\n",
            false,
        ),
        ("INFO is malformed", b"INFO nonsense\r\n", false),
        (
            "INFO is malformed",
            b"INFO {\"max_payload\":\"1\"}\r\n",
            false,
        ),
        ("PONG without a PING", b"INFO {}\r\nPONG\r\nPONG\r\n", false),
        (
            "a message before CONNECT is accepted",
            b"INFO {}\r\nMSG a 1 1\r\nx\r\n",
            false,
        ),
        ("PONG without a PING", b"PONG\r\nPONG\r\nPONG\r\n", true),
        ("wrong number of fields", b"MSG a\r\n", true),
        ("a number is malformed", b"MSG a 1 99999999999\r\n", true),
        ("a number is malformed", b"HMSG a 1 10 5\r\n", true),
        ("does not end with CR LF", b"MSG a 1 1\r\nxyz", true),
        ("does not end with CR LF", b"PING\n", true),
        ("an operation that no server sends", b"CONNECT {}\r\n", true),
        ("Slow Consumer", b"-ERR 'Slow Consumer'\r\n", true),
    ];
    for (expected, bytes, after_connect) in cases {
        let addr = serve(vec![
            Box::new(move |stream| {
                if after_connect {
                    accept(stream);
                }
                stream.write_all(bytes).expect("written");
                if bytes.starts_with(b"-ERR") {
                    stream
                        .shutdown(std::net::Shutdown::Write)
                        .expect("shut down");
                }
                read_end(stream);
            }),
            Box::new(|stream| {
                accept(stream);
                read_end(stream);
            }),
        ]);
        let node = node();
        let client = start(&node, options_for(addr));
        let (reason, _) = client.wait_disconnected();
        assert!(
            reason.contains(expected),
            "{}: {reason}",
            bytes.escape_ascii()
        );
        client.wait_connected();
        let _ = node.stop();
    }
}

#[test]
fn lines_and_payloads_without_an_end_take_no_memory_without_an_end() {
    let line: Script = Box::new(|stream| {
        accept(stream);
        flood(stream, &[b'a'; 65_536]);
    });
    let info: Script = Box::new(|stream| {
        stream.write_all(b"INFO ").expect("written");
        flood(stream, &[b'{'; 65_536]);
    });
    let pings: Script = Box::new(|stream| {
        accept(stream);
        // The client answers, and its answers are not read; then it is the test that ends it.
        let pings = b"PING\r\n".repeat(10_000);
        for _ in 0..200 {
            if stream.write_all(&pings).is_err() {
                break;
            }
        }
    });
    let good: Script = Box::new(|stream| {
        accept(stream);
        read_end(stream);
    });
    let addr = serve(vec![line, info, pings, good]);
    let node = node();
    let client = start(&node, options_for(addr));
    client.wait_connected();
    assert_eq!(
        client.wait_disconnected().0,
        "a line is longer than the limit"
    );
    assert_eq!(
        client.wait_disconnected().0,
        "a line is longer than the limit"
    );
    client.wait_connected();
    client.wait_disconnected();
    client.wait_connected();
    let _ = node.stop();
}

#[test]
fn what_other_publishers_can_send_ends_no_connection() {
    let probe_sid = 2;
    let addr = serve(vec![Box::new(move |stream| {
        accept(stream);
        let mut bytes = Vec::new();
        for operation in [
            format!("MSG a {probe_sid} 1\r\n1\r\n").as_bytes(),
            // Subjects and answers that are no UTF-8, headers that are none, sizes beyond the client's limit,
            // subscriptions that it does not have, answers to nothing.
            format!("MSG \u{e9} {probe_sid} 1\r\n2\r\n").as_bytes(),
            b"MSG \xff\xfe 2 1\r\nx\r\n",
            b"MSG a 2 \xff 1\r\nx\r\n",
            b"HMSG a 2 7 8\r\nrubbish3\r\n",
            format!(
                "MSG a {probe_sid} 5000\r\n{}\r\n",
                "PING\r\n".repeat(5000 / 6) + "xx"
            )
            .as_bytes(),
            b"MSG a 999 1\r\nx\r\n",
            b"MSG _INBOX.x.1 1 1\r\nx\r\n",
            b"MSG whatever 1 1\r\nx\r\n",
            b"-ERR 'Unknown Protocol Operation'\r\n",
            format!("MSG a {probe_sid} 1\r\n4\r\n").as_bytes(),
        ] {
            bytes.extend_from_slice(operation);
        }
        stream.write_all(&bytes).expect("written");
        read_end(stream);
    })]);
    let node = node();
    let nats = Nats::new(options_for(addr)).unwrap();
    let probe = Probe::spawn(&node);
    nats.subscribe(probe.pid, "a", None).unwrap();
    let pid = node.spawn(move || nats.client()).unwrap();
    for (data, missed) in [("1", 0), ("2", 0), ("3", 0), ("4", 1)] {
        let message = message(&probe);
        assert_eq!((message.data, message.missed), (data.into(), missed));
    }
    for (name, count) in [
        ("undecodable", 2),
        ("oversized", 1),
        ("unroutable", 1),
        ("late_answers", 2),
        ("errors", 1),
        ("losses", 0),
    ] {
        wait_for(&node, pid, name, count);
    }
    let _ = node.stop();
}

#[test]
fn a_server_that_is_silent_is_left_after_the_connect_timeout_or_two_pings() {
    let silent: Script = Box::new(read_end);
    let mute: Script = Box::new(|stream| {
        accept(stream);
        read_end(stream);
    });
    let addr = serve(vec![silent, mute]);
    let node = node();
    let options = options_for(addr)
        .with_connect_timeout(Duration::from_millis(100))
        .with_ping_interval(Duration::from_millis(50));
    let client = start(&node, options);
    assert_eq!(
        client.wait_disconnected().0,
        "no answer within the connect timeout"
    );
    client.wait_connected();
    assert_eq!(
        client.wait_disconnected().0,
        "stale: the server answers no PING"
    );
    let _ = node.stop();
}

#[test]
fn errors_without_an_end_reach_observers_ten_times() {
    let addr = serve(vec![
        Box::new(|stream| {
            accept(stream);
            stream
                .write_all(&b"-ERR 'no'\r\n".repeat(10_000))
                .expect("written");
        }),
        Box::new(|stream| {
            accept(stream);
            read_end(stream);
        }),
    ]);
    let node = node();
    let client = start(&node, options_for(addr));
    client.wait_connected();
    let mut errors = 0;
    client.wait_status(|status| match status {
        MessageNatsStatus::Error(_) => {
            errors += 1;
            None
        }
        MessageNatsStatus::Disconnected { .. } => Some(()),
        _ => None,
    });
    assert_eq!(errors, 10);
    wait_for(&node, client.pid, "errors", 10_000);
    let _ = node.stop();
}

#[test]
fn a_drain_of_a_client_at_rest_needs_nothing_from_the_server_to_begin() {
    // This server never sends a PING, so that only the drain gives the client a reason to send.
    let answers: Script = Box::new(|stream| {
        let reader = accept(stream);
        for line in reader.lines() {
            let Ok(line) = line else { return };
            if line == "PING" && stream.write_all(b"PONG\r\n").is_err() {
                return;
            }
        }
    });
    let node = node();
    let options = options_for(serve(vec![answers])).with_drain_timeout(Duration::from_secs(3600));
    let client = connected(&node, options);
    let subscriber = Probe::spawn(&node);
    client.nats.subscribe(subscriber.pid, "in", None).unwrap();
    client.flush(&Probe::spawn(&node)).unwrap();
    client.nats.drain();
    assert_eq!(end(&subscriber).error, NatsError::Closed);
    stop_clean(&node);
}
