//! Unit tests of the simulated network, and its conformance with the loopback of the operating system.

mod conformance;

use std::io::{self, ErrorKind, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::simulation::Site;
use crate::simulation::random::Hash;

/// A network of two hosts.
struct Machines {
    net: Arc<Mutex<Net>>,
    server: Site,
    client: Site,
}

impl Machines {
    fn with(seed: u64, options: NetOptions) -> Self {
        let mut net = Net::new(seed, options);
        let hosts = [net.add_host("server"), net.add_host("client")];
        let polls = [net.add_poll(), net.add_poll()];
        let net = Arc::new(Mutex::new(net));
        Self {
            server: Site::new(&net, hosts[0], hosts[0], polls[0]),
            client: Site::new(&net, hosts[1], hosts[1], polls[1]),
            net,
        }
    }

    fn new(seed: u64) -> Self {
        Self::with(seed, NetOptions::default())
    }

    fn net(&self) -> std::sync::MutexGuard<'_, Net> {
        self.net.lock().expect("no panic")
    }

    /// Lets that time pass.
    fn pass(&self, time: Duration) {
        let mut net = self.net();
        let to_ns = net.now_ns() + nanos(time);
        net.advance(to_ns);
    }

    /// Lets everything that is on its way arrive.
    fn run_dry(&self) {
        let mut net = self.net();
        while let Some(next_ns) = net.next_ns() {
            net.advance(next_ns);
        }
    }

    fn listen(&self, backlog: u32) -> (Listener, SocketAddr) {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let listener = Listener::bind(&self.server, any, backlog, Asked::default());
        let listener = listener.expect("bound");
        let port = ip(listener.local_addr()).port();
        let addr = self.net().address_of(self.server.host, false);
        (listener, SocketAddr::new(addr, port))
    }

    fn dial(&self, addr: SocketAddr) -> StreamSocket {
        StreamSocket::connect(&self.client, addr, None, Asked::default()).expect("begun")
    }

    /// A connection: client and server.
    fn pair(&self) -> (StreamSocket, StreamSocket) {
        let (listener, addr) = self.listen(8);
        let client = self.dial(addr);
        self.run_dry();
        let (server, _) = listener.accept().expect("a connection");
        (client, server)
    }

    fn ready(&self, site: &Site) -> Vec<(u64, Interest)> {
        let mut ready = Vec::new();
        self.net()
            .take_ready(site.poll, true, |token, now| ready.push((token, now)))
            .expect("no signal");
        ready
    }
}

fn ip(address: Option<Address>) -> SocketAddr {
    address
        .and_then(|address| address.ip())
        .expect("an address of the internet")
}

fn write(socket: &StreamSocket, bytes: &[u8]) -> io::Result<usize> {
    socket.write(&[IoSlice::new(bytes)])
}

/// Reads what is there, and how it stops.
fn read_all(socket: &StreamSocket) -> (Vec<u8>, Result<(), ErrorKind>) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 777]);
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return (bytes, Ok(())),
            Ok(length) => bytes.extend(&buffer[..length]),
            Err(error) => return (bytes, Err(error.kind())),
        }
    }
}

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> ErrorKind {
    result.expect_err("an error").kind()
}

#[test]
fn bytes_arrive_once_and_in_order_whatever_the_sizes_and_losses() {
    for seed in 0..50 {
        let link = LinkOptions::default()
            .with_loss(100_000)
            .with_short_writes(300_000)
            .with_bytes_per_second(10_000_000)
            .with_segment(1..=500);
        let machines = Machines::with(
            seed,
            NetOptions::default().with_link(link).with_buffers(900, 700),
        );
        let (client, server) = machines.pair();
        let sent: Vec<u8> = (0..20_000_u32).map(|number| number as u8).collect();
        let (mut left, mut got) = (&sent[..], Vec::new());
        while got.len() < sent.len() {
            match write(&client, left) {
                Ok(length) => left = &left[length..],
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            machines.pass(Duration::from_millis(5));
            let (bytes, stop) = read_all(&server);
            assert!(bytes.len() <= 700, "more than the receive buffer");
            assert_eq!(stop, Err(ErrorKind::WouldBlock));
            got.extend(bytes);
        }
        assert_eq!(got, sent, "seed {seed}");
    }
}

#[test]
fn full_buffers_refuse_and_the_writer_is_woken_when_there_is_room() {
    let machines = Machines::with(1, NetOptions::default().with_buffers(1_000, 1_000));
    let (client, server) = machines.pair();
    client.register(7).expect("registered");
    assert_eq!(machines.ready(&machines.client), [(7, Interest::OUT)]);
    let mut taken = 0;
    loop {
        match write(&client, &[1; 300]) {
            Ok(length) => taken += length,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                machines.run_dry();
                if machines.ready(&machines.client).is_empty() {
                    break;
                }
            }
        }
    }
    assert_eq!(taken, 2_000, "a send buffer and a receive buffer");
    assert_eq!(read_all(&server).0.len(), 1_000);
    machines.run_dry();
    assert_eq!(machines.ready(&machines.client), [(7, Interest::OUT)]);
    assert_eq!(read_all(&server).0.len(), 1_000);
}

#[test]
fn half_close_ends_one_direction() {
    let machines = Machines::new(2);
    let (client, server) = machines.pair();
    write(&client, b"question").expect("written");
    client.shutdown_write().expect("shut");
    machines.run_dry();
    assert_eq!(read_all(&server), (b"question".to_vec(), Ok(())));
    write(&server, b"answer").expect("written");
    drop(server);
    machines.run_dry();
    assert_eq!(read_all(&client), (b"answer".to_vec(), Ok(())));
    assert_eq!(kind(write(&client, b"x")), ErrorKind::BrokenPipe);
}

#[test]
fn bytes_before_a_reset_can_be_read_then_the_error_comes_once_then_the_end() {
    let machines = Machines::new(3);
    let (client, server) = machines.pair();
    write(&client, b"last words").expect("written");
    client.reset_on_close();
    drop(client);
    machines.run_dry();
    let mut buffer = [0; 100];
    assert_eq!(server.read(&mut buffer).expect("bytes"), 10);
    assert_eq!(kind(server.read(&mut buffer)), ErrorKind::ConnectionReset);
    assert_eq!(server.read(&mut buffer).expect("the end"), 0);
    assert_eq!(kind(write(&server, b"x")), ErrorKind::BrokenPipe);
}

#[test]
fn close_with_unread_bytes_resets() {
    let machines = Machines::new(4);
    let (client, server) = machines.pair();
    write(&client, b"unread").expect("written");
    machines.run_dry();
    drop(server);
    machines.run_dry();
    assert_eq!(kind(client.read(&mut [0; 9])), ErrorKind::ConnectionReset);
}

#[test]
fn client_that_closes_before_it_is_accepted_is_accepted_with_its_bytes() {
    for resets in [false, true] {
        let machines = Machines::new(20);
        let (listener, addr) = machines.listen(8);
        let client = machines.dial(addr);
        while client.is_connecting() {
            machines.pass(Duration::from_micros(1));
        }
        write(&client, b"bye").expect("written");
        if resets {
            client.reset_on_close();
        }
        drop(client);
        machines.run_dry();
        let (server, _) = listener.accept().expect("a connection");
        let end = match resets {
            true => Err(ErrorKind::ConnectionReset),
            false => Ok(()),
        };
        assert_eq!(read_all(&server), (b"bye".to_vec(), end));
    }
}

#[test]
fn reset_at_any_byte_leaves_the_bytes_before_it() {
    for bytes in 1..100 {
        let machines = Machines::new(bytes as u64);
        let (client, server) = machines.pair();
        let number = client.number().expect("a connection");
        machines.net().cut_after(number, 0, bytes);
        write(&client, &[9; 100]).expect("written");
        if bytes % 2 == 0 {
            // The end that is on its way is lost with the bytes before it.
            client.shutdown_write().expect("shut down");
        }
        machines.run_dry();
        assert_eq!(
            read_all(&server),
            (vec![9; bytes], Err(ErrorKind::ConnectionReset))
        );
        assert_eq!(kind(write(&client, b"x")), ErrorKind::ConnectionReset);
    }
}

#[test]
fn attempts_fail_as_their_hosts_do() {
    let machines = Machines::new(5);
    let closed_port = SocketAddr::new(machines.net().address_of(machines.server.host, false), 1);
    let far = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let cases = [
        (closed_port, ErrorKind::ConnectionRefused, 1),
        (far("203.0.113.9:80"), ErrorKind::HostUnreachable, 1),
        (far("192.0.2.1:80"), ErrorKind::TimedOut, 127),
        (far("[2001:db8::1]:80"), ErrorKind::TimedOut, 127),
    ];
    for (addr, expected, seconds) in cases {
        let client = machines.dial(addr);
        client.register(1).expect("registered");
        machines.pass(Duration::from_secs(seconds - 1));
        assert!(seconds == 1 || client.is_connecting(), "{addr}");
        machines.pass(Duration::from_secs(1));
        let ready = machines.ready(&machines.client);
        assert!(ready[0].1.has(Interest::ERROR) && ready[0].1.has(Interest::OUT));
        assert_eq!(client.take_error().expect("an error").kind(), expected);
        assert!(client.take_error().is_none());
    }
}

#[test]
fn full_backlog_lets_a_client_wait_until_there_is_room() {
    let machines = Machines::new(6);
    let (listener, addr) = machines.listen(1);
    let clients: Vec<_> = (0..3).map(|_| machines.dial(addr)).collect();
    machines.pass(Duration::from_millis(500));
    let waiting = || {
        clients
            .iter()
            .filter(|client| client.is_connecting())
            .count()
    };
    // The SYNs came before any connection was complete, so all of them were let in.
    assert_eq!(waiting(), 0);
    let late = machines.dial(addr);
    machines.pass(Duration::from_millis(500));
    assert!(late.is_connecting());
    let (_first, _) = listener.accept().expect("a connection");
    let (_second, _) = listener.accept().expect("a connection");
    machines.pass(Duration::from_millis(600));
    assert!(!late.is_connecting(), "the second attempt is let in");
}

#[test]
fn end_of_a_listener_resets_what_it_has_not_accepted() {
    let machines = Machines::new(7);
    let (listener, addr) = machines.listen(8);
    let client = machines.dial(addr);
    machines.run_dry();
    drop(listener);
    machines.run_dry();
    assert_eq!(kind(client.read(&mut [0; 1])), ErrorKind::ConnectionReset);
    let late = machines.dial(addr);
    machines.run_dry();
    assert_eq!(
        late.take_error().expect("an error").kind(),
        ErrorKind::ConnectionRefused
    );
}

#[test]
fn attempt_that_draws_its_own_port_connects_to_itself() {
    let options = NetOptions::default().with_ephemeral_ports(40_000..=40_000);
    let machines = Machines::with(8, options);
    let own = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
    let client = machines.dial(own);
    machines.run_dry();
    assert_eq!(ip(client.local_addr()), own);
    assert_eq!(ip(client.peer_addr().ok()), own);
    write(&client, b"echo").expect("written");
    machines.run_dry();
    assert_eq!(
        read_all(&client),
        (b"echo".to_vec(), Err(ErrorKind::WouldBlock))
    );
    let taken = Listener::bind(&machines.client, own, 1, Asked::default());
    assert!(taken.is_ok(), "SO_REUSEADDR");
}

#[test]
fn ports_and_descriptors_run_out_and_come_back() {
    let options = NetOptions::default()
        .with_ephemeral_ports(50_000..=50_002)
        .with_descriptors(4);
    let machines = Machines::with(9, options);
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7));
    let listener = Listener::bind(&machines.server, any, 8, Asked::default()).expect("bound");
    let addr = SocketAddr::new(machines.net().address_of(machines.server.host, false), 7);
    let mut clients: Vec<_> = (0..3).map(|_| machines.dial(addr)).collect();
    let dial = || StreamSocket::connect(&machines.client, addr, None, Asked::default());
    assert_eq!(kind(dial()), ErrorKind::AddrNotAvailable);
    machines.run_dry();
    let mut accepted: Vec<_> = (0..3).map(|_| listener.accept().expect("one")).collect();
    clients.pop();
    clients.push(dial().expect("a port is free again"));
    machines.run_dry();
    let error = listener.accept().expect_err("no descriptor");
    assert_eq!(error.raw_os_error(), Some(24));
    accepted.pop();
    machines.net().withhold_descriptors(machines.server.host);
    assert!(listener.accept().is_err());
    machines.net().release_descriptors(machines.server.host);
    assert!(listener.accept().is_ok());
}

#[test]
fn bound_addresses_exclude_each_other_unless_they_are_shared() {
    let machines = Machines::new(10);
    let bind = |text: &str, shares_port| {
        let asked = Asked {
            shares_port,
            ..Asked::default()
        };
        Listener::bind(
            &machines.server,
            text.parse().expect("an address"),
            1,
            asked,
        )
    };
    let one = bind("127.0.0.1:80", false).expect("free");
    assert_eq!(kind(bind("127.0.0.1:80", false)), ErrorKind::AddrInUse);
    assert_eq!(kind(bind("0.0.0.0:80", false)), ErrorKind::AddrInUse);
    assert_eq!(kind(bind("9.9.9.9:80", false)), ErrorKind::AddrNotAvailable);
    drop(one);
    let _all = bind("[::]:80", true).expect("free again");
    let _shared = bind("[::]:80", true).expect("shared");
    assert_eq!(kind(bind("0.0.0.0:80", false)), ErrorKind::AddrInUse);
}

#[test]
fn cut_link_holds_segments_and_loses_datagrams() {
    let machines = Machines::new(11);
    let (client, server) = machines.pair();
    let (one, other) = (machines.client.host, machines.server.host);
    machines.net().cut_link(one, other);
    write(&client, b"late").expect("written");
    machines.pass(Duration::from_secs(60));
    assert_eq!(read_all(&server).0, b"");
    machines.net().mend_link(one, other);
    machines.run_dry();
    assert_eq!(read_all(&server).0, b"late");
}

#[test]
fn readiness_is_reported_once_for_each_change_and_as_it_is_now() {
    let machines = Machines::new(12);
    let (client, server) = machines.pair();
    server.register(5).expect("registered");
    assert_eq!(kind(server.register(5)), ErrorKind::AlreadyExists);
    assert_eq!(machines.ready(&machines.server), [(5, Interest::OUT)]);
    assert_eq!(machines.ready(&machines.server), []);
    write(&client, b"one").expect("written");
    machines.run_dry();
    write(&client, b"two").expect("written");
    machines.run_dry();
    let both = Interest::OUT | Interest::IN;
    assert_eq!(machines.ready(&machines.server), [(5, both)]);
    drop(client);
    machines.run_dry();
    let ended = both | Interest::READ_HANG_UP;
    assert_eq!(machines.ready(&machines.server), [(5, ended)]);
    server.deregister().expect("registered");
    write(&server, b"x").expect("written");
    machines.run_dry();
    assert_eq!(machines.ready(&machines.server), []);
}

#[test]
fn interrupted_poll_keeps_its_readiness() {
    let machines = Machines::new(13);
    let (client, _server) = machines.pair();
    client.register(1).expect("registered");
    machines.net().interrupt_poll(machines.client.poll);
    let interrupted = machines
        .net()
        .take_ready(machines.client.poll, true, |_, _| {
            panic!("reported although a signal came first")
        });
    assert_eq!(kind(interrupted), ErrorKind::Interrupted);
    assert_eq!(machines.ready(&machines.client).len(), 1);
}

#[test]
fn datagrams_are_lost_doubled_and_overtaken_as_the_link_says() {
    let link = LinkOptions::default()
        .with_loss(200_000)
        .with_duplicates(200_000)
        .with_reordering(200_000);
    let machines = Machines::with(14, NetOptions::default().with_link(link));
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let server = DatagramSocket::bind(&machines.server, any, Asked::default()).expect("bound");
    let client = DatagramSocket::bind(&machines.client, any, Asked::default()).expect("bound");
    let addr = machines.net().address_of(machines.server.host, false);
    let addr = SocketAddr::new(addr, ip(server.local_addr()).port());
    let mut got: Vec<u32> = Vec::new();
    let mut buffer = [0; 10];
    for number in 0..1_000_u32 {
        client
            .send_to(Some(addr), &number.to_le_bytes())
            .expect("sent");
        machines.pass(Duration::from_micros(100));
        while let Ok((length, _)) = server.receive(&mut buffer) {
            got.push(u32::from_le_bytes(
                buffer[..length].try_into().expect("four bytes"),
            ));
        }
    }
    let mut distinct = got.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert!(
        (700..900).contains(&distinct.len()),
        "{} arrived",
        distinct.len()
    );
    assert!(got.len() > distinct.len() + 50, "some arrived twice");
    assert!(
        got.windows(2).any(|pair| pair[0] > pair[1]),
        "some were overtaken"
    );
}

#[test]
fn datagram_errors_are_those_of_the_operating_system() {
    let machines = Machines::new(15);
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let socket = DatagramSocket::bind(&machines.client, any, Asked::default()).expect("bound");
    let closed = SocketAddr::new(machines.net().address_of(machines.server.host, false), 9);
    assert!(socket.send_to(Some(closed), &vec![0; 65_508]).is_err());
    assert_eq!(
        socket
            .send_to(Some(closed), &vec![0; 65_507])
            .expect("sent"),
        65_507
    );
    machines.run_dry();
    assert_eq!(kind(socket.receive(&mut [0; 1])), ErrorKind::WouldBlock);
    let far = "203.0.113.9:1".parse().expect("an address");
    assert_eq!(
        kind(socket.send_to(Some(far), b"x")),
        ErrorKind::NetworkUnreachable
    );
    socket.connect(closed).expect("connected");
    socket.send_to(None, b"x").expect("sent");
    machines.run_dry();
    assert_eq!(
        kind(socket.receive(&mut [0; 1])),
        ErrorKind::ConnectionRefused
    );
    assert_eq!(kind(socket.receive(&mut [0; 1])), ErrorKind::WouldBlock);
}

#[test]
fn datagrams_that_find_the_buffer_full_are_dropped_and_counted() {
    let machines = Machines::with(16, NetOptions::default().with_buffers(1_000, 1_000));
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let socket = DatagramSocket::bind(&machines.server, any, Asked::default()).expect("bound");
    let own = ip(socket.local_addr());
    for _ in 0..10 {
        socket.send_to(Some(own), &[1; 244]).expect("sent");
    }
    machines.run_dry();
    assert_eq!(socket.dropped(), 2, "4,000 bytes hold eight of 500");
}

#[test]
fn unix_sockets_have_paths_and_refuse_when_they_are_full() {
    let machines = Machines::new(17);
    let path = Path::new("/run/service.sock");
    let connect = || StreamSocket::connect_unix(&machines.server, path, Asked::default());
    assert_eq!(kind(connect()), ErrorKind::NotFound);
    let listener = Listener::bind_unix(&machines.server, path, 0).expect("bound");
    assert_eq!(
        kind(Listener::bind_unix(&machines.server, path, 0)),
        ErrorKind::AddrInUse
    );
    let client = connect().expect("connected");
    assert_eq!(kind(connect()), ErrorKind::WouldBlock);
    let (server, _) = listener.accept().expect("one");
    write(&client, b"hi").expect("written");
    machines.pass(Duration::ZERO);
    assert_eq!(read_all(&server).0, b"hi");
    drop(listener);
    assert_eq!(kind(connect()), ErrorKind::NotFound);
    let datagrams = DatagramSocket::bind_unix(&machines.server, path).expect("free again");
    let sent = (0..20).map(|_| datagrams.send_to_path(Some(path), b"x"));
    let sent: Vec<_> = sent.filter_map(|sent| sent.err()).collect();
    assert_eq!(sent.len(), 9, "eleven of twenty fit");
    assert!(
        sent.iter()
            .all(|error| error.kind() == ErrorKind::WouldBlock)
    );
}

#[test]
fn names_have_the_addresses_that_they_were_given() {
    let machines = Machines::new(18);
    let addresses = vec![
        Ipv4Addr::new(10, 1, 1, 1).into(),
        Ipv4Addr::new(10, 1, 1, 2).into(),
    ];
    machines.net().set_name("db.example", addresses.clone());
    assert_eq!(
        machines.net().resolve("db.example").expect("known"),
        addresses
    );
    assert_eq!(machines.net().resolve("server").expect("a host").len(), 2);
    assert_eq!(kind(machines.net().resolve("unknown")), ErrorKind::NotFound);
}

#[test]
fn nothing_is_left_when_every_socket_is_closed() {
    let machines = Machines::new(19);
    let (listener, addr) = machines.listen(4);
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(machines.dial(addr));
        machines.run_dry();
        sockets.extend(listener.accept().ok().map(|(socket, _)| socket));
    }
    sockets.push(machines.dial(addr));
    machines.run_dry();
    drop((sockets, listener));
    machines.run_dry();
    let net = machines.net();
    assert_eq!((net.connections_open(), net.descriptors_in_use()), (0, 0));
    assert!(
        net.hosts
            .iter()
            .all(|host| host.ports.is_empty() && host.paths.is_empty())
    );
}

/// A script over everything that is drawn; its hash changes when the network draws anything else.
#[test]
fn network_of_a_seed_never_changes() {
    let mut hash = Hash::EMPTY;
    for seed in 0..20 {
        let link = LinkOptions::default()
            .with_loss(50_000)
            .with_short_writes(100_000)
            .with_duplicates(50_000);
        let machines = Machines::with(seed, NetOptions::default().with_link(link));
        let (client, server) = machines.pair();
        for round in 0..50_u8 {
            let length = usize::from(round) * 100;
            let written = write(&client, &vec![round; length]).unwrap_or(0);
            machines.pass(Duration::from_millis(1));
            hash.add(written as u64);
            hash.add(read_all(&server).0.len() as u64);
        }
        hash.add(machines.net().trace.hash());
    }
    assert_eq!(
        hash.0, NETWORK,
        "the network draws other numbers: {hash:x?}"
    );
}

const NETWORK: u64 = 0x267a_4897_551c_0349;
