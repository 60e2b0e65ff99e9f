//! Ends of TLS connections: clean, truncated, half-closed, under load; and pressure in both directions.

use std::io::ErrorKind;
use std::time::Duration;

use longshore::TcpLimits;

use super::*;

/// A server's probe and its connected rustls client.
fn pair(
    site: &Site,
    options: TcpServerOptions,
    version: &'static SupportedProtocolVersion,
) -> (Probe, Alias, Raw) {
    let server = Probe::spawn(&site.node);
    let (addr, _) = server.listen(options);
    let raw = raw(addr, &Arc::new(site.rustls(version)));
    let id = server.connect().id;
    (server, id, raw)
}

/// The Disconnect, after Writable events.
#[track_caller]
fn last(probe: &Probe) -> Box<MessageTcpDisconnect> {
    loop {
        match probe.next().1 {
            Message::TcpWritable(_) => {}
            Message::TcpDisconnect(ended) => return ended,
            other => panic!("{other:?}"),
        }
    }
}

/// Moves the queued records of rustls into one buffer.
fn ciphertext(raw: &mut Raw) -> Vec<u8> {
    let mut bytes = Vec::new();
    while raw.conn.wants_write() {
        raw.conn.write_tls(&mut bytes).unwrap();
    }
    bytes
}

#[test]
fn data_that_comes_with_close_notify_is_delivered_first() {
    let site = Site::new();
    for version in VERSIONS {
        for _ in 0..50 {
            let (server, id, mut raw) = pair(&site, site.server(), version);
            raw.conn.writer().write_all(b"last words").unwrap();
            raw.conn.send_close_notify();
            let bytes = ciphertext(&mut raw);
            raw.sock.write_all(&bytes).unwrap();
            drop(raw);
            let (data, ended) = server.bytes_to_disconnect();
            assert_eq!(
                (&data[..], ended.id, ended.reason),
                (&b"last words"[..], id, DisconnectReason::ClosedByPeer)
            );
        }
    }
    stop_clean(&site.node);
}

#[test]
fn end_without_close_notify_is_truncated_and_its_data_is_delivered() {
    let site = Site::new();
    for version in VERSIONS {
        let (server, _, mut raw) = pair(&site, site.server(), version);
        raw.conn.writer().write_all(b"and then").unwrap();
        let bytes = ciphertext(&mut raw);
        raw.sock.write_all(&bytes).unwrap();
        raw.sock.shutdown(std::net::Shutdown::Write).unwrap();
        let (data, ended) = server.bytes_to_disconnect();
        assert_eq!(
            (&data[..], ended.reason),
            (&b"and then"[..], DisconnectReason::Truncated)
        );
    }
    stop_clean(&site.node);
}

#[test]
fn our_close_sends_everything_then_close_notify_then_fin() {
    let site = Site::new();
    for version in VERSIONS {
        let (server, id, mut raw) = pair(&site, site.server(), version);
        let sent = vec![7; 1 << 20];
        server.write(id, sent.clone());
        server.run(move |cx| cx.close(id)).unwrap();
        let mut got = Vec::new();
        // rustls calls an end without close_notify an error.
        raw.read_to_end(&mut got).unwrap();
        assert!(got == sent);
        raw.conn.send_close_notify();
        raw.conn.complete_io(&mut raw.sock).unwrap();
        drop(raw);
        let ended = last(&server);
        assert_eq!(
            (ended.reason, ended.bytes_out, ended.unsent),
            (DisconnectReason::LocalClose, 1 << 20, 0)
        );
    }
    stop_clean(&site.node);
}

#[test]
fn what_is_sent_and_closed_before_the_handshake_arrives() {
    let site = Site::new();
    let (server, user) = (Probe::spawn(&site.node), Probe::spawn(&site.node));
    let (addr, _) = server.listen(site.server());
    for _ in 0..20 {
        let tls = site.client();
        user.run(move |cx| {
            let here = cx.spawn_meta(
                TcpConnection::connect(TcpConnectionOptions::from(addr).with_tls(tls)).unwrap(),
            );
            let here = here.unwrap();
            cx.send_alias(here, MessageTcp::new(here, "fire ")).unwrap();
            cx.send_alias(here, MessageTcp::new(here, "and forget"))
                .unwrap();
            cx.close(here).unwrap();
        });
        user.connect();
        server.connect();
        let (data, ended) = server.bytes_to_disconnect();
        assert_eq!(
            (&data[..], ended.reason),
            (&b"fire and forget"[..], DisconnectReason::ClosedByPeer)
        );
        let ended = user.disconnect();
        assert_eq!(
            (ended.reason, ended.bytes_out, ended.unsent),
            (DisconnectReason::LocalClose, 15, 0)
        );
    }
    stop_clean(&site.node);
}

#[test]
fn half_closed_sides_still_get_what_the_other_sends() {
    let site = Site::new();
    for version in VERSIONS {
        let (server, user) = (Probe::spawn(&site.node), Probe::spawn(&site.node));
        let (addr, _) = server.listen(site.server().with_half_open(true));
        let tls = TlsClientOptions::default()
            .with_config(site.rustls(version).into())
            .with_server_name(NAME);
        let here = dial(&user, addr, &tls);
        user.run(move |cx| {
            cx.send_alias(here, MessageTcp::new(here, "question"))
                .unwrap();
            cx.shutdown_write(here).unwrap(); // perhaps before the handshake is complete
        });
        let there = server.connect().id;
        assert_eq!(server.bytes(8), b"question");
        assert_eq!(server.peer_closed().id, there);
        let answer = vec![b'a'; 300_000];
        server.write(there, answer.clone());
        server.run(move |cx| cx.close(there)).unwrap();
        user.connect();
        let (data, ended) = user.bytes_to_disconnect();
        assert!(data == answer);
        assert_eq!(
            (ended.reason, ended.unsent),
            (DisconnectReason::ClosedByPeer, 0)
        );
        assert_eq!(last(&server).reason, DisconnectReason::LocalClose);
    }
    stop_clean(&site.node);
}

#[test]
fn reset_is_a_reset_and_no_clean_end() {
    let site = Site::new();
    let (server, _, raw) = pair(&site, site.server(), &TLS13);
    reset(raw.sock);
    assert_eq!(server.disconnect().reason, DisconnectReason::Reset);
    stop_clean(&site.node);
}

#[test]
fn damaged_record_ends_the_session_with_an_alert() {
    let site = Site::new();
    for version in VERSIONS {
        let (server, _, mut raw) = pair(&site, site.server(), version);
        raw.conn.writer().write_all(b"whole").unwrap();
        let mut bytes = ciphertext(&mut raw);
        let keep = bytes.clone();
        *bytes.last_mut().unwrap() ^= 1;
        raw.sock.write_all(&bytes).unwrap();
        // More bytes, which must not turn our alert into a reset.
        for _ in 0..20 {
            if raw.sock.write_all(&keep).is_err() {
                break;
            }
        }
        let error = raw.read(&mut [0]).unwrap_err();
        assert!(error.to_string().contains("BadRecordMac"), "{error}");
        assert!(tls_text(&server.disconnect()).contains("protocol"));
    }
    stop_clean(&site.node);
}

#[test]
fn full_mailbox_of_the_owner_pauses_the_peer_and_loses_nothing() {
    let options = NodeOptions::from("test@localhost")
        .with_workers(2)
        .with_data_bound(4);
    let site = Site::with_options(options, |authority| authority.issue(NAME));
    let (server, id, mut raw) = pair(&site, site.server(), &TLS13);
    let gate = server.block();
    raw.sock
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let (mut sent, mut block) = (0u64, [0; 16 * 1024]);
    loop {
        pattern(sent, &mut block);
        raw.conn.writer().write_all(&block).unwrap();
        sent += block.len() as u64;
        let result = raw.conn.write_tls(&mut raw.sock);
        match result {
            Ok(_) if sent < 64 << 20 => {}
            Ok(_) => panic!("64 MiB went to a process that handles nothing"),
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                    "{error}"
                );
                break;
            }
        }
    }
    assert_eq!(
        inspect(&site.node, id).value("paused_by_mailbox"),
        Some("true")
    );
    drop(gate);
    raw.sock.set_write_timeout(Some(LIMIT)).unwrap();
    let writer = std::thread::spawn(move || {
        raw.conn.send_close_notify();
        while raw.conn.wants_write() {
            raw.conn.write_tls(&mut raw.sock).unwrap();
        }
        raw
    });
    let (data, ended) = server.bytes_to_disconnect();
    let mut expected = vec![0; data.len()];
    pattern(0, &mut expected);
    assert!(data == expected);
    assert_eq!(
        (data.len() as u64, ended.reason),
        (sent, DisconnectReason::ClosedByPeer)
    );
    drop(writer.join().unwrap());
    stop_clean(&site.node);
}

#[test]
fn sender_is_refused_at_the_limit_and_notified_when_a_slow_reader_has_read() {
    let site = Site::new();
    let limits = TcpLimits::default()
        .with_output_limit(300_000)
        .with_high_water_mark(200_000)
        .with_low_water_mark(50_000);
    let (server, id, mut raw) = pair(&site, site.server().with_limits(limits), &TLS13);
    // Sends until the kernel's buffers are full as well and the limit applies.
    let sent: u64 = wait_refused(&server, id);
    let queued = inspect(&site.node, id).number("queued_bytes").unwrap();
    assert!((200_000..=300_000).contains(&queued), "{queued}");
    let (mut got, mut block) = (0u64, vec![0; 65_536]);
    let mut expected = block.clone();
    while got < sent {
        let read = raw.read(&mut block).unwrap();
        pattern(got, &mut expected[..read]);
        assert!(block[..read] == expected[..read]);
        got += read as u64;
    }
    assert_eq!(server.writable().id, id);
    wait_for(&site.node, id, "queued_bytes", 0);
    drop(raw);
    assert_eq!(last(&server).bytes_out, sent);
    stop_clean(&site.node);
}

/// Sends blocks until one is refused and stays refused; returns the bytes accepted.
fn wait_refused(server: &Probe, id: Alias) -> u64 {
    let (mut sent, mut refusals) = (0, 0);
    wait_until("the limit", || {
        let from = sent;
        let accepted = server.run(move |cx| {
            let mut block = vec![0; 50_000];
            pattern(from, &mut block);
            cx.send_alias(id, MessageTcp::new(id, block)).is_ok()
        });
        sent += if accepted { 50_000 } else { 0 };
        refusals = if accepted { 0 } else { refusals + 1 };
        refusals > 100
    });
    sent
}

#[test]
fn peer_that_reads_nothing_is_ended_and_the_unsent_bytes_are_counted() {
    let site = Site::new();
    let limits = TcpLimits::default().with_write_timeout(Duration::from_millis(200));
    let (server, id, raw) = pair(&site, site.server().with_limits(limits), &TLS13);
    let sent = wait_refused(&server, id);
    let ended = last(&server);
    assert_eq!(ended.reason, DisconnectReason::SlowReader);
    assert_eq!(ended.bytes_out + ended.unsent, sent);
    assert!(ended.unsent > 0);
    drop(raw);
    stop_clean(&site.node);
}

#[test]
fn half_a_record_does_not_hold_up_a_stop() {
    struct Echo;
    impl Session for Echo {
        fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
            cx.write(input.take());
            Ok(())
        }
    }
    let site = Site::new();
    let server = TcpServer::bind(site.server()).unwrap();
    let addr = server.local_addr();
    let probe = Probe::spawn(&site.node);
    probe
        .run(move |cx| cx.spawn_meta(server.serve(|| Echo)))
        .unwrap();
    let mut peer = raw(addr, &Arc::new(site.rustls(&TLS13)));
    round_trip(&mut peer, b"whole");
    // The header of a record of 99 bytes, and none of these.
    peer.sock.write_all(&[23, 3, 3, 0, 99]).unwrap();
    stop_clean(&site.node);
}
