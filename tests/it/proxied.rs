//! The PROXY protocol: listeners behind a proxy, client connections that speak for another, and real proxies.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use longshore::prelude::*;
use longshore::{IpNetwork, ProxyHeader, ProxyProtocol};

use crate::support::*;

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn trusting(networks: &[&str]) -> TcpServerOptions {
    let networks: Vec<IpNetwork> = networks
        .iter()
        .map(|text| text.parse().expect("a network"))
        .collect();
    TcpServerOptions::default().with_proxy_protocol(ProxyProtocol::required(networks))
}

fn local() -> TcpServerOptions {
    trusting(&["127.0.0.0/8"])
}

/// The example of the specification, and the addresses in it.
const LINE: &[u8] = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
const CLIENT: &str = "192.168.0.1:56324";
const ASKED: &str = "192.168.0.11:443";

#[test]
fn owner_gets_the_addresses_of_the_header_and_of_the_socket() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, _) = probe.listen(local());
    let any = ProxyHeader::v2(addr("[2001:db8::1]:7"), addr("[2001:db8::2]:8"));
    for (header, remote, asked, values) in [
        (LINE.to_vec(), CLIENT, ASKED, vec![]),
        (
            any.with_value(2, "a.test").with_checksum().to_bytes(),
            "[2001:db8::1]:7",
            "[2001:db8::2]:8",
            vec![2, 3],
        ),
    ] {
        let mut stream = client(listener);
        // Together with the first bytes of the connection, which the peer's address does not change.
        stream.write_all(&header).expect("written");
        stream.write_all(b"hello").expect("written");
        let connect = probe.connect();
        assert_eq!(connect.remote_addr, addr(remote));
        assert_eq!(connect.local_addr, addr(asked));
        let proxied = connect.proxied.expect("a proxy");
        assert_eq!(proxied.proxy_addr, stream.local_addr().expect("an address"));
        assert_eq!(proxied.local_addr, listener);
        let kinds: Vec<u8> = proxied.values().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, values);
        assert_eq!(probe.bytes(5), b"hello");
        let shown = inspect(&node, connect.id);
        assert_eq!(shown.value("remote_addr"), Some(remote));
        let proxy = proxied.proxy_addr.to_string();
        assert_eq!(shown.value("proxy_addr"), Some(&*proxy));
        probe.write(connect.id, "answer");
        assert_eq!(read(&mut stream, 6), b"answer");
        drop(stream);
        // What the header takes is not of the connection.
        assert_eq!(probe.disconnect().bytes_in, 5);
    }
    stop_clean(&node);
}

#[test]
fn header_that_comes_byte_by_byte_is_read() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, alias) = probe.listen(local());
    let mut stream = client(listener);
    for (number, byte) in LINE.iter().enumerate() {
        stream.write_all(&[*byte]).expect("written");
        if number == 5 {
            // The connection exists, and the owner does not know.
            wait_for(&node, alias, "connections", 1);
            probe.saw_nothing();
        }
    }
    assert_eq!(probe.connect().remote_addr, addr(CLIENT));
    exchange_through(&probe, &mut stream);
    stop_clean(&node);
}

/// Bytes both ways on the connection that was announced last.
fn exchange_through(probe: &Probe, stream: &mut Client) {
    stream.write_all(b"ping").expect("written");
    let data = probe.tcp();
    assert_eq!(data.data, b"ping");
    probe.write(data.id, "pong");
    assert_eq!(read(stream, 4), b"pong");
}

#[test]
fn proxy_that_speaks_for_itself_has_the_addresses_of_the_socket() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, _) = probe.listen(local());
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        ProxyHeader::local().to_bytes(),
    ] {
        let mut stream = client(listener);
        stream.write_all(&header).expect("written");
        let connect = probe.connect();
        assert_eq!(connect.remote_addr, stream.local_addr().expect("bound"));
        assert_eq!(connect.local_addr, listener);
        assert!(connect.proxied.is_none());
        exchange_through(&probe, &mut stream);
        drop(stream);
        probe.disconnect();
    }
    stop_clean(&node);
}

#[test]
fn connection_without_a_header_is_refused_and_the_owner_learns_nothing() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, alias) = probe.listen(local());
    for (number, bytes) in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        b"PROXY TCP4 1.2.3.4\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        b"PROXY TCP4",
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = client(listener);
        stream.write_all(bytes).expect("written");
        if bytes == b"PROXY TCP4" {
            stream.shutdown(std::net::Shutdown::Write).expect("shut");
        }
        assert!(matches!(read_out(&mut stream), Ok(rest) if rest.is_empty()) || number < 4);
        wait_for(&node, alias, "proxy_headers_failed", number + 1);
    }
    wait_for(&node, alias, "connections", 0);
    probe.saw_nothing();
    stop_clean(&node);
}

#[test]
fn peer_outside_of_the_trusted_networks_is_refused_before_it_is_read() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, alias) = probe.listen(trusting(&["192.0.2.0/24", "::1"]));
    match try_client(listener) {
        Ok(mut stream) => {
            // It may have been reset already.
            drop(stream.write_all(LINE));
            assert!(read_out(&mut stream).is_err() || stream.take_error().is_ok());
        }
        // The reset came before `connect` returned.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    wait_for(&node, alias, "untrusted", 1);
    wait_for(&node, alias, "accepted", 0);
    probe.saw_nothing();
    stop_clean(&node);
}

#[test]
fn header_that_does_not_come_in_time_ends_the_connection() {
    let node = node();
    let probe = Probe::spawn(&node);
    let mut options = local();
    if let ProxyProtocol::Required { timeout, .. } = &mut options.proxy_protocol {
        *timeout = Duration::from_millis(50);
    }
    let (listener, alias) = probe.listen(options);
    let mut silent = client(listener);
    let mut slow = client(listener);
    slow.write_all(&LINE[..20]).expect("written");
    assert!(read_out(&mut silent).is_err());
    assert!(read_out(&mut slow).is_err());
    wait_for(&node, alias, "proxy_headers_failed", 2);
    // One that is in time has no deadline behind its header.
    let mut stream = client(listener);
    stream.write_all(LINE).expect("written");
    probe.connect();
    exchange_through(&probe, &mut stream);
    stop_clean(&node);
}

#[test]
fn limit_for_each_address_counts_the_proxy() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, alias) = probe.listen(local().with_max_connections_per_ip(2));
    let mut held = Vec::new();
    for number in 1..=2 {
        let mut stream = client(listener);
        let header = ProxyHeader::v1(addr(&format!("192.0.2.{number}:1")), addr(ASKED));
        stream.write_all(&header.to_bytes()).expect("written");
        probe.connect();
        held.push(stream);
    }
    let mut refused = client(listener);
    drop(refused.write_all(LINE));
    // Closed, orderly or with a reset.
    drop(read_out(&mut refused));
    wait_for(&node, alias, "refused_per_ip", 1);
    held.clear();
    probe.disconnect();
    probe.disconnect();
    wait_for(&node, alias, "connections", 0);
    client(listener).write_all(LINE).expect("written");
    assert_eq!(probe.connect().remote_addr, addr(CLIENT));
    stop_clean(&node);
}

#[test]
fn client_connection_sends_its_header_first() {
    let node = node();
    let probe = Probe::spawn(&node);
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let header = ProxyHeader::v1(addr(CLIENT), addr(ASKED));
    let to = listener.local_addr().expect("an address");
    let alias = probe.connect_to(TcpConnectionOptions::from(to).with_proxy_header(header));
    probe.write(alias, "early");
    let (mut stream, _) = listener.accept().expect("accepted");
    bounded(&stream);
    assert_eq!(read(&mut stream, LINE.len()), LINE);
    assert_eq!(read(&mut stream, 5), b"early");
    assert_eq!(probe.connect().id, alias);
    drop(stream);
    // The header is not of the connection.
    assert_eq!(probe.disconnect().bytes_out, 5);
    stop_clean(&node);
}

/// Answers with the address of its client.
struct Teller(SocketAddr);

impl Session for Teller {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        if input.windows(4).any(|four| four == b"\r\n\r\n") {
            let text = format!("client {}\n", self.0.ip());
            let length = text.len();
            cx.write(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}"
            ));
            input.clear();
            cx.close();
        }
        Ok(())
    }
}

/// Starts a listener behind proxies of this machine, whose sessions answer with the address of their client.
fn serve_tellers(probe: &Probe) -> SocketAddr {
    let server = TcpServer::bind(local().with_host("127.0.0.1")).expect("bound");
    let listener = server.local_addr();
    let server = server.serve_with(|connect| Teller(connect.remote_addr));
    probe.run(|cx| cx.spawn_meta(server)).expect("spawned");
    listener
}

fn is_missing(program: &str) -> bool {
    let is_missing = Command::new(program).arg("--version").output().is_err();
    if is_missing {
        println!("skipped: this needs {program}");
    }
    is_missing
}

#[test]
fn header_of_curl_is_read() {
    if is_missing("curl") {
        return;
    }
    let node = node();
    let probe = Probe::spawn(&node);
    let listener = serve_tellers(&probe);
    let output = Command::new("curl")
        .args(["--haproxy-protocol", "--silent", "--max-time", "20"])
        .arg(format!("http://{listener}/"))
        .output()
        .expect("curl runs");
    let answer = String::from_utf8_lossy(&output.stdout);
    assert_eq!(answer, "client 127.0.0.1\n");
    stop_clean(&node);
}

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop((self.0.kill(), self.0.wait()));
    }
}

/// Starts a proxy of this machine in front of an address; returns it with its own address.
fn haproxy(to: SocketAddr, how: &str) -> (Running, SocketAddr) {
    let front = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = front.local_addr().expect("an address");
    drop(front);
    let config = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
         listen all\n bind {address}\n server one {to} {how}\n"
    );
    let file = std::env::temp_dir().join(format!(
        "longshore-{}-{}.cfg",
        std::process::id(),
        address.port()
    ));
    std::fs::write(&file, config).expect("written");
    let child = Command::new("haproxy")
        .args(["-db", "-f"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("haproxy runs");
    let running = Running(child);
    wait_until("haproxy to listen", || TcpStream::connect(address).is_ok());
    std::fs::remove_file(file).expect("removed");
    (running, address)
}

#[test]
fn headers_of_haproxy_are_read() {
    if is_missing("haproxy") {
        return;
    }
    let node = node();
    let probe = Probe::spawn(&node);
    let listener = serve_tellers(&probe);
    for how in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id",
    ] {
        let (_running, address) = haproxy(listener, how);
        let mut stream = client(address);
        stream
            .write_all(b"GET / HTTP/1.0\r\n\r\n")
            .expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.ends_with("client 127.0.0.1\n"), "{how}: {answer}");
    }
    stop_clean(&node);
}
