//! What a peer that means harm can cost a node, at the default limits: memory that it can make the node hold, and
//! processor time for each thing that it can do. The figures stand in the guide, on the page "What a hostile peer can
//! and cannot do".
//!
//! ```text
//! cargo test --release --test scale hostile -- --nocapture
//! ```
//!
//! Both are counted for the node alone: bytes of heap, without the buffers of the kernel, and the processor time of the
//! node's threads, system calls included.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use longshore::prelude::*;

use crate::support::{
    Handled, Owner, PATIENCE, Until, alone, books, books_until, connect, cpu_of_the_runtime,
    eventually, heap_bytes, node, reset, scaled,
};

const PEERS: usize = 50;
/// What peers do whose processor time is measured.
const TIMES: usize = scaled(2_000, 200);
/// Messages and datagrams of one peer.
const MESSAGES: u64 = scaled(200_000, 20_000);

/// Bytes of heap for each of the peers once `attack` has done to each what it does, when they have stayed the same for
/// a while.
fn bytes_per_peer(what: &str, options: TcpServerOptions, attack: impl Fn(&mut TcpStream)) -> i64 {
    let _turn = alone();
    let node = node(2);
    let owner = node.spawn(Owner::new).unwrap();
    let is_tls = options.cert_manager.is_some();
    let server = TcpServer::bind(options).unwrap();
    let address = server.local_addr();
    node.send(owner, server).unwrap();
    bytes_of(
        what,
        &node,
        address,
        |node| {
            // A handshake that is not over is no connection of the owner.
            if !is_tls {
                books_until(node, &[owner], Until::Open(PEERS));
            }
        },
        attack,
    )
}

fn bytes_of(
    what: &str,
    node: &Node,
    address: SocketAddr,
    warmed: impl FnOnce(&Node),
    attack: impl Fn(&mut TcpStream),
) -> i64 {
    // The tables have their first entries.
    let warm: Vec<TcpStream> = (0..PEERS).map(|_| connect(address)).collect();
    warmed(node);
    settled();
    let before = heap_bytes();
    let mut peers: Vec<TcpStream> = (0..PEERS).map(|_| connect(address)).collect();
    for peer in &mut peers {
        peer.set_write_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        attack(peer);
    }
    let own = (PEERS * size_of::<TcpStream>()) as i64;
    let bytes = (settled() - before - own) / PEERS as i64;
    println!("holds: {what}: {bytes} bytes for each peer");
    peers.into_iter().chain(warm).for_each(reset);
    let _ = node.stop();
    bytes
}

/// The heap when it has not changed for half a second.
fn settled() -> i64 {
    let (mut heap, mut since) = (heap_bytes(), Instant::now());
    let end = Instant::now() + Duration::from_secs(20);
    while since.elapsed() < Duration::from_millis(500) && Instant::now() < end {
        std::thread::yield_now();
        let now = heap_bytes();
        if (now - heap).abs() > 4096 {
            (heap, since) = (now, Instant::now());
        }
    }
    heap_bytes()
}

/// Writes until the socket takes no more.
fn write_all_it_takes(peer: &mut TcpStream, bytes: &[u8]) {
    while peer.write_all(bytes).is_ok() {}
}

fn framed(framing: Framing) -> TcpServerOptions {
    TcpServerOptions::from("127.0.0.1:0").with_framing(framing)
}

// ---- Memory ----

#[test]
fn silent_peer_costs_what_an_idle_connection_costs() {
    let bytes = bytes_per_peer("is silent", framed(Framing::Raw), |_| ());
    assert!(bytes < 800, "{bytes}");
}

#[test]
fn peer_that_reads_no_answers_costs_no_more_than_the_high_mark_and_its_window() {
    let bytes = bytes_per_peer("reads nothing", framed(Framing::Raw), |peer| {
        write_all_it_takes(peer, &[7; 64 << 10]);
    });
    // 256 KiB of output, as much input on its way to the owner, one read, and what the pool rounds up.
    assert!(bytes < 3 * (256 << 10), "{bytes}");
}

#[test]
fn peer_with_a_line_without_end_costs_no_more_than_the_longest_line() {
    // A byte more than fits would end it.
    let bytes = bytes_per_peer("a line without end", framed(Framing::lines()), |peer| {
        peer.set_write_timeout(None).unwrap();
        peer.write_all(&vec![7; 60 << 10]).unwrap();
    });
    assert!(bytes < 3 * (60 << 10), "{bytes}");
}

#[test]
fn peer_with_half_a_line_costs_what_it_has_sent() {
    let framing = framed(Framing::lines());
    let bytes = bytes_per_peer("half a line of 1,000 bytes", framing, |peer| {
        peer.write_all(&[7; 1_000]).unwrap();
    });
    assert!(bytes < 4_000, "{bytes}");
}

/// Waits for more, whatever comes.
struct Hoards;

impl Session for Hoards {
    fn received(&mut self, _: &mut SessionContext<'_>, _: &mut Buffer) -> Handled {
        Ok(())
    }
}

struct Serves;

impl Actor for Serves {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        cx.spawn_meta(message.downcast::<TcpServer>()?.serve(|| Hoards))?;
        Ok(())
    }
}

#[test]
fn peer_of_a_session_that_takes_nothing_costs_no_more_than_the_input_limit() {
    let _turn = alone();
    let node = node(2);
    let parent = node.spawn(|| Serves).unwrap();
    let server = TcpServer::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr();
    node.send(parent, server).unwrap();
    let open = |node: &Node| eventually("sessions", || node.info().processes == PEERS + 1);
    let bytes = bytes_of("a session's input, untaken", &node, address, open, |peer| {
        peer.set_write_timeout(None).unwrap();
        // A byte more than the limit would end it.
        peer.write_all(&vec![7; 1 << 20]).unwrap();
    });
    assert!(bytes < 5 << 19, "{bytes}");
}

#[cfg(feature = "ring")]
fn secured() -> TcpServerOptions {
    TcpServerOptions::from("127.0.0.1:0").with_cert_manager(crate::support::tls::pair().0)
}

#[cfg(feature = "ring")]
#[test]
fn peer_that_begins_no_handshake_costs_less_than_four_kilobytes() {
    let bytes = bytes_per_peer("TLS, silent", secured(), |_| ());
    assert!(bytes < 4_000, "{bytes}");
}

#[cfg(feature = "ring")]
#[test]
fn peer_in_half_a_handshake_costs_no_more_than_what_a_handshake_may_take() {
    let bytes = bytes_per_peer("TLS, half a ClientHello", secured(), |peer| {
        // A handshake record of 16 KiB with a ClientHello as long, of which the last byte never comes.
        let mut hello = vec![0; 16 << 10];
        hello[..9].copy_from_slice(&[22, 3, 1, 0x3f, 0xfb, 1, 0, 0x3f, 0xf7]);
        hello.pop();
        peer.write_all(&hello).unwrap();
    });
    assert!(bytes < 64 << 10, "{bytes}");
}

// ---- Processor time ----

/// Processor time of the node for each time that a peer does something, when the last of its connections has ended.
fn time_of(what: &str, options: TcpServerOptions, attack: impl Fn(SocketAddr)) -> Duration {
    let _turn = alone();
    let node = node(2);
    let owner = node.spawn(Owner::new).unwrap();
    let server = TcpServer::bind(options).unwrap();
    let address = server.local_addr();
    node.send(owner, server).unwrap();
    let run = |times: usize| {
        for _ in 0..times {
            attack(address);
        }
        eventually("all have ended", || {
            // The listener, and one that a peer may hold.
            node.metrics().get("longshore_meta_processes") <= Some(2)
        });
    };
    run(TIMES / 10);
    let cpu = cpu_of_the_runtime();
    run(TIMES);
    let time = (cpu_of_the_runtime() - cpu) / TIMES as u32;
    println!("takes: {what}: {time:.1?} of a core");
    assert!(!time.is_zero(), "it is measured");
    let _ = node.stop();
    time
}

/// Sends something and reads until the end, whatever it is.
fn send_and_hear(stream: &mut TcpStream, bytes: &[u8]) {
    // The other side may be gone already.
    stream.write_all(bytes).ok();
    stream.shutdown(Shutdown::Write).ok();
    stream.read_to_end(&mut Vec::new()).ok();
}

/// What one thing may cost, generously: ten times what is measured.
const MOST: Duration = scaled(Duration::from_millis(2), Duration::from_millis(30));

#[test]
fn connection_that_is_reset_takes_little_time() {
    let time = time_of("connects and resets", framed(Framing::Raw), |address| {
        reset(connect(address));
    });
    assert!(time < MOST, "{time:?}");
}

#[test]
fn connection_with_a_bad_frame_takes_little_time() {
    let options = framed(Framing::lines().with_max_length(8));
    let time = time_of("connects and sends a bad frame", options, |address| {
        send_and_hear(&mut connect(address), &[b'x'; 100]);
    });
    assert!(time < MOST, "{time:?}");
}

#[test]
fn connection_that_a_limit_refuses_takes_little_time() {
    let options = framed(Framing::Raw).with_max_connections_per_ip(1);
    let held = std::cell::OnceCell::new();
    let time = time_of("connects and is refused by a limit", options, |address| {
        held.get_or_init(|| connect(address));
        send_and_hear(&mut connect(address), b"");
    });
    assert!(time < MOST, "{time:?}");
}

#[test]
fn connection_with_a_bad_proxy_header_takes_little_time() {
    let trusted = ["127.0.0.0/8".parse::<longshore::IpNetwork>().unwrap()];
    let options =
        framed(Framing::Raw).with_proxy_protocol(longshore::ProxyProtocol::required(trusted));
    let time = time_of("sends a bad PROXY header", options, |address| {
        send_and_hear(&mut connect(address), b"PROXY TCP4 what\r\n");
    });
    assert!(time < MOST, "{time:?}");
}

#[test]
fn connection_without_an_owner_takes_little_time() {
    let options = framed(Framing::Raw).with_process_pool(["absent"]);
    let time = time_of("connects where no process serves", options, |address| {
        send_and_hear(&mut connect(address), b"x");
    });
    assert!(time < MOST, "{time:?}");
}

#[test]
fn peer_with_half_a_proxy_header_costs_little() {
    let _turn = alone();
    let node = node(2);
    let owner = node.spawn(Owner::new).unwrap();
    let trusted = ["127.0.0.0/8".parse::<longshore::IpNetwork>().unwrap()];
    let options =
        framed(Framing::Raw).with_proxy_protocol(longshore::ProxyProtocol::required(trusted));
    let server = TcpServer::bind(options).unwrap();
    let address = server.local_addr();
    node.send(owner, server).unwrap();
    let what = "half a PROXY header";
    let bytes = bytes_of(
        what,
        &node,
        address,
        |_| (),
        |peer| {
            peer.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.2 ").unwrap();
        },
    );
    assert!(bytes < 4_000, "{bytes}");
}

#[cfg(feature = "ring")]
#[test]
fn connection_that_speaks_no_tls_takes_little_time() {
    let time = time_of("sends no TLS to a TLS port", secured(), |address| {
        send_and_hear(&mut connect(address), b"GET / HTTP/1.1\r\n\r\n");
    });
    assert!(time < MOST, "{time:?}");
}

#[cfg(feature = "ring")]
#[test]
fn handshake_takes_what_its_signature_takes() {
    let (certs, config) = crate::support::tls::pair();
    let options = TcpServerOptions::from("127.0.0.1:0").with_cert_manager(certs);
    let time = time_of("makes a handshake, then resets", options, |address| {
        let mut stream = connect(address);
        crate::support::tls::handshake(&mut stream, &config);
        reset(stream);
    });
    assert!(time < MOST * 2, "{time:?}");
}

#[test]
fn small_message_takes_little_time() {
    let _turn = alone();
    let node = node(2);
    let mut counts = Owner::new();
    counts.echo = false;
    let owner = node.spawn(|| counts).unwrap();
    let server = TcpServer::bind(framed(Framing::lines())).unwrap();
    let address = server.local_addr();
    node.send(owner, server).unwrap();
    let mut peer = connect(address);
    let cpu = cpu_of_the_runtime();
    let burst = b"x\n".repeat(1_000);
    for _ in 0..MESSAGES / 1_000 {
        peer.write_all(&burst).unwrap();
    }
    eventually("all are handled", || {
        books(&node, &[owner]).messages == MESSAGES
    });
    let time = (cpu_of_the_runtime() - cpu) / MESSAGES as u32;
    println!("takes: a line of one byte: {time:.2?} of a core");
    assert!(time < MOST / 100, "{time:?}");
    reset(peer);
    let _ = node.stop();
}

#[test]
fn datagram_takes_little_time() {
    struct Receives;
    impl Actor for Receives {
        fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
            if let Ok(server) = message.downcast::<UdpServer>() {
                cx.spawn_meta(server)?;
            }
            Ok(())
        }
    }
    let _turn = alone();
    let node = node(2);
    let owner = node.spawn(|| Receives).unwrap();
    let server = UdpServer::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr();
    node.send(owner, server).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let received = || node.process(owner).unwrap().messages_in;
    let (cpu, before) = (cpu_of_the_runtime(), received());
    for _ in 0..MESSAGES {
        // The kernel drops those for which it has no room.
        peer.send_to(&[7; 32], address).ok();
    }
    let mut last = (received(), Instant::now());
    eventually("the last is handled", || {
        let now = received();
        if now != last.0 {
            last = (now, Instant::now());
        }
        last.1.elapsed() > Duration::from_millis(300)
    });
    let count = received() - before;
    assert!(count > 0);
    let time = (cpu_of_the_runtime() - cpu) / count as u32;
    println!("takes: a datagram of 32 bytes: {time:.2?} of a core, {count} of {MESSAGES} arrived");
    assert!(time < MOST / 20, "{time:?}");
    node.call(owner, (), PATIENCE).ok();
    let _ = node.stop();
}
