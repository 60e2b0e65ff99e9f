//! TLS that begins on a live connection: what leaves and arrives in plain text, and what never does.

use std::net::Shutdown;
use std::sync::mpsc;
use std::time::Duration;

use longshore::tls::{StartTls, TlsServerOptions};
use longshore::{
    Flow, HandOverError, MessageTcpSecured, RelayError, StartTlsError, StopOptions, TcpLimits,
};

use super::*;

on_both! {
    both_sides_go_on_with_tls_and_learn_what_was_agreed_on,
    session_of_a_process_keeps_its_framing_over_tls,
}

impl Site {
    fn server_side(&self) -> StartTls {
        StartTls::server(self.certs.clone(), TlsServerOptions::default()).unwrap()
    }
}

impl Probe {
    #[track_caller]
    pub(super) fn secured(&self) -> Box<MessageTcpSecured> {
        match self.next().1 {
            Message::TcpSecured(secured) => secured,
            other => panic!("another message: {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn start_tls(&self, id: Alias, side: &StartTls) {
        let side = side.clone();
        assert_eq!(self.run(move |cx| cx.start_tls(id, &side)), Ok(()));
    }
}

/// Goes on with TLS on a connection of std.
fn upgrade(site: &Site, sock: TcpStream) -> Raw {
    let name = ServerName::try_from(NAME).unwrap();
    let config = Arc::new(site.rustls(&TLS13));
    let mut raw = StreamOwned::new(ClientConnection::new(config, name).unwrap(), sock);
    raw.conn.complete_io(&mut raw.sock).unwrap();
    while raw.conn.is_handshaking() {
        raw.conn.complete_io(&mut raw.sock).unwrap();
    }
    raw
}

/// A listener, a plain connection to it, and the alias of its other end.
fn plain(site: &Site, options: TcpServerOptions) -> (Probe, TcpStream, Alias) {
    let probe = Probe::spawn(&site.node);
    let (addr, _) = probe.listen(options);
    let peer = client(addr).into_std();
    let id = probe.connect().id;
    (probe, peer, id)
}

#[test]
fn both_sides_go_on_with_tls_and_learn_what_was_agreed_on() {
    let site = Site::new();
    let near = Probe::spawn(&site.node);
    let far = Probe::spawn(&site.node);
    let (addr, _) = far.listen(TcpServerOptions::default());
    let from = near.connect_to(addr);
    let to = far.connect().id;
    assert!(near.connect().tls.is_none());
    near.write(from, "STARTTLS");
    assert_eq!(far.bytes(8), b"STARTTLS");
    let tls = TlsServerOptions::default().with_alpn(["mail"]);
    let server = StartTls::server(site.certs.clone(), tls).unwrap();
    far.run(move |cx| {
        cx.write(to, "go on");
        cx.start_tls(to, &server).unwrap();
        cx.write(to, "hello");
    });
    assert_eq!(near.bytes(5), b"go on");
    let tls = site.client().with_alpn(["mail"]);
    let client = StartTls::client("not.asked.for", tls).unwrap();
    near.start_tls(from, &client);
    near.write(from, "and back");
    let (here, there) = (near.secured(), far.secured());
    assert_eq!((here.id, there.id), (from, to));
    for secured in [&here, &there] {
        assert_eq!(secured.tls.alpn.as_deref(), Some(&b"mail"[..]));
        assert_eq!(secured.tls.server_name.as_deref(), Some(NAME));
        assert_eq!(secured.tls.protocol_version, TLS13.version);
    }
    assert_eq!(here.tls.peer_certificates.len(), 1);
    assert!(there.tls.peer_certificates.is_empty());
    assert_eq!(near.bytes(5), b"hello");
    assert_eq!(far.bytes(8), b"and back");
    assert_eq!(inspect(&site.node, to).value("bytes_in"), Some("16"));
    near.run(move |cx| cx.close(from)).unwrap();
    assert_eq!(far.disconnect().reason, DisconnectReason::ClosedByPeer);
    assert_eq!(near.disconnect().reason, DisconnectReason::LocalClose);
    stop_clean(&site.node);
}

/// Answers `STARTTLS` and starts it; echoes every other line.
struct Greeter {
    side: StartTls,
    seen: mpsc::Sender<String>,
}

impl Session for Greeter {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        let line = String::from_utf8_lossy(input).into_owned();
        if line == "STARTTLS" {
            cx.write("220 go\n");
            assert!(cx.tls().is_none());
            return Ok(cx.start_tls(&self.side)?);
        }
        cx.write(format!("{line}\n"));
        self.seen.send(line)?;
        Ok(())
    }

    fn secured(&mut self, cx: &mut SessionContext<'_>, secured: &MessageTcpSecured) -> Handled {
        assert_eq!(cx.tls(), Some(&*secured.tls));
        self.seen.send(format!("secured {}", secured.tls.resumed))?;
        Ok(())
    }

    fn disconnected(&mut self, _: &mut SessionContext<'_>, end: &MessageTcpDisconnect) {
        let _ = self.seen.send(end.reason.to_string());
    }
}

/// A listener whose sessions are [`Greeter`]s, and what they see.
fn greeter(site: &Site) -> (SocketAddr, mpsc::Receiver<String>) {
    let (sender, seen) = mpsc::channel();
    let side = site.server_side();
    let options = TcpServerOptions::from("127.0.0.1:0").with_framing(Framing::lines());
    let server = at_node(|| TcpServer::bind(options)).unwrap();
    let addr = server.local_addr();
    let sessions = server.serve(move || Greeter {
        side: side.clone(),
        seen: sender.clone(),
    });
    let probe = Probe::spawn(&site.node);
    probe.run(move |cx| cx.spawn_meta(sessions)).unwrap();
    (addr, seen)
}

#[test]
fn session_keeps_its_framing_over_tls() {
    let site = Site::new();
    let (addr, seen) = greeter(&site);
    let mut peer = client(addr).into_std();
    exchange(&mut peer, b"plain\nSTARTTLS\n", b"plain\n220 go\n");
    let mut peer = upgrade(&site, peer);
    round_trip(&mut peer, b"one\ntwo\n");
    drop(peer);
    let seen = |_| seen.recv_timeout(LIMIT).unwrap();
    let all: Vec<String> = (0..5).map(seen).collect();
    assert_eq!(all[..4], ["plain", "secured false", "one", "two"]);
    stop_clean(&site.node);
}

/// As above, with a process of the node as the peer.
#[test]
fn session_of_a_process_keeps_its_framing_over_tls() {
    let site = Site::new();
    let (addr, seen) = greeter(&site);
    let peer = Probe::spawn(&site.node);
    let from = peer.connect_to(addr);
    peer.connect();
    peer.write(from, "plain\nSTARTTLS\n");
    assert_eq!(peer.bytes(13), b"plain\n220 go\n");
    peer.start_tls(from, &StartTls::client(NAME, site.client()).unwrap());
    peer.write(from, "one\ntwo\n");
    assert_eq!(peer.secured().id, from);
    assert_eq!(peer.bytes(8), b"one\ntwo\n");
    peer.run(move |cx| cx.close(from)).unwrap();
    peer.disconnect();
    let all: Vec<String> = (0..5).map(|_| value_of(&seen).unwrap()).collect();
    assert_eq!(all[..4], ["plain", "secured false", "one", "two"]);
    stop_clean(&site.node);
}

#[test]
fn lines_behind_the_command_never_reach_a_session() {
    let site = Site::new();
    let (addr, seen) = greeter(&site);
    for rest in ["EVIL\n", "EVIL", "\n", &"EVIL\n".repeat(5_000)] {
        let mut peer = client(addr).into_std();
        let sent = format!("STARTTLS\n{rest}");
        let (mut writer, bytes) = (peer.try_clone().unwrap(), sent.into_bytes());
        let writing = std::thread::spawn(move || {
            writer.write_all(&bytes).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        assert_eq!(read(&mut peer, 7), b"220 go\n");
        let answer = read_out(&mut peer);
        writing.join().unwrap();
        let reason = seen.recv_timeout(LIMIT).unwrap();
        assert!(reason.contains("tls"), "{reason} {rest:?} {answer:?}");
        // An alert may follow, and no echo of what lay behind the command.
        assert!(answer.is_ok_and(|answer| !answer.starts_with(b"E")));
    }
    assert!(seen.try_recv().is_err());
    stop_clean(&site.node);
}

#[test]
fn hello_of_a_client_that_does_not_wait_is_taken_for_tls() {
    let site = Site::new();
    let (addr, seen) = greeter(&site);
    let name = ServerName::try_from(NAME).unwrap();
    let config = Arc::new(site.rustls(&TLS13));
    let mut tls = ClientConnection::new(config, name).unwrap();
    let mut sent = b"STARTTLS\n".to_vec();
    tls.write_tls(&mut sent).unwrap();
    let mut peer = client(addr).into_std();
    exchange(&mut peer, &sent, b"220 go\n");
    let mut peer = StreamOwned::new(tls, peer);
    round_trip(&mut peer, b"hi\n");
    assert_eq!(seen.recv_timeout(LIMIT).unwrap(), "secured false");
    assert_eq!(seen.recv_timeout(LIMIT).unwrap(), "hi");
    stop_clean(&site.node);
}

#[test]
fn bytes_in_the_mailbox_of_an_owner_go_back_to_tls() {
    let site = Site::new();
    let (probe, mut peer, id) = plain(&site, TcpServerOptions::default());
    let gate = probe.block();
    let side = site.server_side();
    probe.start(move |cx| Ok(cx.start_tls(id, &side)?));
    // They are in the mailbox, behind the closure that starts TLS.
    peer.write_all(b"injected").unwrap();
    wait_for(&site.node, id, "messages_in", 1);
    drop(gate);
    let end = probe.disconnect();
    assert!(tls_text(&end).starts_with("what the peer sent is not tls: "));
    assert_eq!(end.bytes_in, 0, "none of them was plain text");
    stop_clean(&site.node);
}

#[test]
fn frames_behind_the_command_close_the_connection() {
    let site = Site::new();
    for behind in ["EVIL\n", "EV", "\n\n"] {
        let options = TcpServerOptions::default().with_framing(Framing::lines());
        let (probe, mut peer, id) = plain(&site, options);
        let gate = probe.block();
        let side = site.server_side();
        probe.start(move |cx| {
            cx.write(id, "go");
            cx.start_tls(id, &side)?;
            cx.write(id, "never in plain text");
            Ok(())
        });
        peer.write_all(behind.as_bytes()).unwrap();
        wait_for(&site.node, id, "bytes_in", behind.len());
        drop(gate);
        let end = probe.disconnect();
        assert_eq!(tls_text(&end), "plaintext behind STARTTLS");
        assert_eq!(end.unsent, 19);
        let mut got = Vec::new();
        // The rest was not sent: the end is a reset, which may come before the bytes are read.
        let _ = peer.read_to_end(&mut got);
        assert!(b"go".starts_with(&got[..]), "{got:?}");
    }
    stop_clean(&site.node);
}

#[test]
fn earlier_writes_leave_in_plain_text_and_later_ones_encrypted() {
    const LENGTH: usize = 8 << 20;
    let site = Site::new();
    let limits = TcpLimits::default()
        .with_output_limit(64 << 20)
        .with_high_water_mark(32 << 20);
    let (probe, mut peer, id) = plain(&site, TcpServerOptions::default().with_limits(limits));
    let side = site.server_side();
    let (mut before, mut behind) = (vec![0; LENGTH], vec![0; LENGTH]);
    pattern(0, &mut before);
    pattern(7, &mut behind);
    let (first, second) = (before.clone(), behind.clone());
    probe.run(move |cx| {
        cx.write(id, first);
        cx.start_tls(id, &side).unwrap();
        cx.write(id, longshore::SharedBuffer::from(second));
    });
    // The handshake waits for a reader: no byte of it is among the first.
    assert!(read(&mut peer, LENGTH) == before);
    let mut peer = upgrade(&site, peer);
    let mut got = vec![0; LENGTH];
    peer.read_exact(&mut got).unwrap();
    assert!(got == behind);
    probe.secured();
    stop_clean(&site.node);
}

#[test]
fn writer_above_the_high_mark_gets_its_writable_although_tls_began() {
    let site = Site::new();
    let (probe, mut peer, id) = plain(&site, TcpServerOptions::default());
    let side = site.server_side();
    let length = 4 << 20;
    let flow = probe.run(move |cx| {
        let flow = cx.try_write(id, vec![7; length]).unwrap();
        cx.start_tls(id, &side).unwrap();
        flow
    });
    assert_eq!(flow, Flow::AboveHigh);
    read(&mut peer, length);
    let mut peer = upgrade(&site, peer);
    let both = [probe.next().1, probe.next().1];
    assert!(
        both.iter()
            .any(|one| matches!(one, Message::TcpWritable(_)))
            && both.iter().any(|one| matches!(one, Message::TcpSecured(_))),
        "{both:?}"
    );
    peer.write_all(b"x").unwrap();
    assert_eq!(probe.bytes(1), b"x");
    stop_clean(&site.node);
}

#[test]
fn connection_that_is_closed_at_once_ends_behind_the_handshake() {
    let site = Site::new();
    let (probe, peer, id) = plain(&site, TcpServerOptions::default());
    let side = site.server_side();
    probe.run(move |cx| {
        cx.start_tls(id, &side).unwrap();
        cx.write(id, "goodbye");
        cx.close(id).unwrap();
    });
    let mut peer = upgrade(&site, peer);
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"goodbye");
    drop(peer);
    let end = loop {
        match probe.next().1 {
            Message::TcpSecured(_) => {}
            Message::TcpDisconnect(end) => break end,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((end.reason, end.unsent), (DisconnectReason::LocalClose, 0));
    stop_clean(&site.node);
}

#[test]
fn start_is_refused_on_every_connection_that_cannot_have_it() {
    let site = Site::new();
    let side = site.server_side();
    let (probe, peer, id) = plain(&site, TcpServerOptions::default());
    let other = Probe::spawn(&site.node);
    let start = |probe: &Probe, id: Alias| {
        let side = side.clone();
        probe.run(move |cx| cx.start_tls(id, &side))
    };
    assert_eq!(start(&other, id), Err(StartTlsError::NotOwner(id)));
    assert_eq!(start(&probe, id), Ok(()));
    assert_eq!(start(&probe, id), Err(StartTlsError::AlreadyStarted(id)));
    drop(peer);
    probe.disconnect();
    assert_eq!(start(&probe, id), Err(StartTlsError::Closed(id)));

    // On TLS already.
    let (addr, _) = probe.listen(site.server());
    let from = dial(&other, addr, &site.client());
    let to = probe.connect().id;
    other.connect();
    assert_eq!(start(&probe, to), Err(StartTlsError::AlreadyStarted(to)));
    assert_eq!(
        start(&other, from),
        Err(StartTlsError::AlreadyStarted(from))
    );

    // While it is relayed, and when it has another owner.
    let (_, _first, first) = plain_of(&probe);
    let (_, _second, second) = plain_of(&probe);
    assert_eq!(probe.run(move |cx| cx.relay(first, second)), Ok(()));
    assert_eq!(start(&probe, first), Err(StartTlsError::Closed(first)));
    let (_, _third, third) = plain_of(&probe);
    let to = other.pid;
    assert_eq!(probe.run(move |cx| cx.hand_over(third, to)), Ok(()));
    assert_eq!(start(&probe, third), Err(StartTlsError::NotOwner(third)));
    let (_, _fourth, fourth) = plain_of(&probe);
    probe.run(move |cx| cx.shutdown_write(fourth)).unwrap();
    assert_eq!(start(&probe, fourth), Err(StartTlsError::Closed(fourth)));

    // A connection that is being made.
    let unaccepting = Unaccepting::new();
    let waiting = probe.connect_to(unaccepting.addr);
    assert_eq!(start(&probe, waiting), Err(StartTlsError::NotEstablished));
    stop_clean(&site.node);
}

/// One more connection of the probe.
fn plain_of(probe: &Probe) -> (SocketAddr, TcpStream, Alias) {
    let (addr, _) = probe.listen(TcpServerOptions::default());
    let peer = client(addr).into_std();
    (addr, peer, probe.connect().id)
}

#[test]
fn handshake_that_does_not_come_or_fails_ends_the_connection_with_its_reason() {
    let site = Site::new();
    let limits = TcpLimits::default().with_handshake_timeout(Duration::from_millis(100));
    let options = TcpServerOptions::default().with_limits(limits);
    let start = || {
        let (probe, peer, id) = plain(&site, options.clone());
        probe.start_tls(id, &site.server_side());
        (probe, peer)
    };
    let (probe, mut peer) = start();
    assert_eq!(
        probe.disconnect().reason,
        DisconnectReason::HandshakeTimeout
    );
    assert!(read_out(&mut peer).is_ok_and(|bytes| bytes.is_empty()));

    let (probe, mut peer) = start();
    peer.write_all(b"EHLO again\r\n").unwrap();
    let text = tls_text(&probe.disconnect());
    assert!(
        text.starts_with("what the peer sent is not tls: "),
        "{text}"
    );

    let (probe, peer) = start();
    peer.shutdown(Shutdown::Write).unwrap();
    let text = tls_text(&probe.disconnect());
    assert_eq!(text, "the peer ended the connection in the handshake");

    let (probe, peer) = start();
    reset(peer);
    assert_eq!(probe.disconnect().reason, DisconnectReason::Reset);
    stop_clean(&site.node);
}

#[test]
fn client_that_distrusts_the_server_ends_the_connection() {
    let site = Site::new();
    let stranger = Authority::new("another authority");
    let distrusting = TlsClientOptions::default().with_roots(stranger.roots());
    let (server, client) = (Probe::spawn(&site.node), Probe::spawn(&site.node));
    let (addr, _) = server.listen(TcpServerOptions::default());
    let from = client.connect_to(addr);
    let to = server.connect().id;
    client.connect();
    server.start_tls(to, &site.server_side());
    client.start_tls(from, &StartTls::client(NAME, distrusting).unwrap());
    let text = tls_text(&client.disconnect());
    assert!(text.contains("certificate was not accepted"), "{text}");
    tls_text(&server.disconnect());
    stop_clean(&site.node);
}

#[test]
fn peer_that_ends_before_tls_begins_ends_the_connection_once() {
    for half_open in [false, true] {
        let site = Site::new();
        let (probe, peer, id) = plain(&site, TcpServerOptions::default().with_half_open(half_open));
        let gate = probe.block();
        let side = site.server_side();
        probe.start(move |cx| Ok(cx.start_tls(id, &side)?));
        peer.shutdown(Shutdown::Write).unwrap();
        drop(gate);
        let end = probe.disconnect();
        tls_text(&end);
        probe.saw_nothing();
        stop_clean(&site.node);
    }
}

#[test]
fn owner_that_ends_meanwhile_leaves_nothing_in_plain_text() {
    let site = Site::new();
    let (probe, mut peer, id) = plain(&site, TcpServerOptions::default());
    let side = site.server_side();
    probe.start(move |cx| {
        cx.write(id, "go");
        cx.start_tls(id, &side)?;
        cx.write(id, "never in plain text");
        Err(Reason::error("asked to"))
    });
    let mut got = Vec::new();
    let _ = peer.read_to_end(&mut got);
    assert!(b"go".starts_with(&got[..]), "{got:?}");
    wait_for_count(&site.node, "meta_processes", 0);
    stop_clean(&site.node);
}

#[test]
fn stop_ends_connections_before_and_in_the_handshake() {
    let site = Site::new();
    let (probe, _first, first) = plain(&site, TcpServerOptions::default());
    let (_, _second, second) = plain_of(&probe);
    probe.start_tls(first, &site.server_side());
    // One is in its handshake; the other waits for its owner.
    wait_for(&site.node, first, "state", "handshaking");
    let gate = probe.block();
    let side = site.server_side();
    probe.start(move |cx| Ok(cx.start_tls(second, &side)?));
    let node = site.node.clone();
    let stopping = std::thread::spawn(move || node.stop_with(StopOptions::default()));
    drop(gate);
    let report = stopping.join().unwrap();
    assert!(
        report.killed.is_empty() && report.stuck.is_empty(),
        "{report}"
    );
    assert_eq!(count(&site.node, "meta_processes"), 0);
}

#[test]
fn new_owner_starts_tls_before_the_input_has_come_over() {
    let site = Site::new();
    let (old, mut peer, id) = plain(&site, TcpServerOptions::default());
    let new = Probe::spawn(&site.node);
    let gate = old.block();
    let to = new.pid;
    old.start(move |cx| {
        cx.write(id, "go");
        Ok(cx.hand_over(id, to)?)
    });
    drop(gate);
    assert_eq!(new.connect().id, id);
    let side = site.server_side();
    new.run(move |cx| {
        cx.start_tls(id, &side).unwrap();
        cx.write(id, "hello");
    });
    assert_eq!(read(&mut peer, 2), b"go");
    let mut peer = upgrade(&site, peer);
    let mut got = [0; 5];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello");
    assert_eq!(new.secured().id, id);
    old.saw_nothing();
    stop_clean(&site.node);
}

#[test]
fn connection_is_handed_over_and_relayed_while_the_handshake_goes_on() {
    let site = Site::new();
    let (old, peer, id) = plain(&site, TcpServerOptions::default());
    let new = Probe::spawn(&site.node);
    let (side, to) = (site.server_side(), new.pid);
    let moved: Result<(), HandOverError> = old.run(move |cx| {
        cx.start_tls(id, &side).unwrap();
        cx.hand_over(id, to)
    });
    assert_eq!(moved, Ok(()));
    let connect = new.connect();
    assert!(connect.tls.is_none(), "the handshake has not begun");
    let mut peer = upgrade(&site, peer);
    assert_eq!(new.secured().id, id);
    peer.write_all(b"x").unwrap();
    assert_eq!(new.bytes(1), b"x");
    old.saw_nothing();

    let (_, mut inner, inner_id) = plain_of(&new);
    let (_, outer, outer_id) = plain_of(&new);
    let side = site.server_side();
    let relayed: Result<(), RelayError> = new.run(move |cx| {
        cx.start_tls(outer_id, &side).unwrap();
        cx.relay(outer_id, inner_id)
    });
    assert_eq!(relayed, Ok(()));
    inner.write_all(b"from inside").unwrap();
    let mut outer = upgrade(&site, outer);
    let mut got = [0; 11];
    outer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"from inside");
    outer.write_all(b"from outside").unwrap();
    assert_eq!(read(&mut inner, 12), b"from outside");
    stop_clean(&site.node);
}
