//! Client connections with TLS that are made anew when they are lost, and those on which TLS begins later.

use std::net::{Shutdown, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use longshore::tls::StartTls;
use longshore::{ReconnectPolicy, WriteErrorKind};
use rustls::{ServerConfig, ServerConnection};

use super::*;
use crate::reconnects::{Account, accept, bind_again, options, quick, server};

type Served = StreamOwned<ServerConnection, TcpStream>;

fn config(issued: &Issued) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![issued.certificate.der().clone()],
            PrivatePkcs8KeyDer::from(issued.key.serialize_der()).into(),
        );
    Arc::new(config.unwrap())
}

/// The server's side of a handshake on an accepted connection.
fn secure(sock: TcpStream, config: &Arc<ServerConfig>) -> Option<Served> {
    let conn = ServerConnection::new(Arc::clone(config)).unwrap();
    let mut served = StreamOwned::new(conn, sock);
    while served.conn.is_handshaking() {
        served.conn.complete_io(&mut served.sock).ok()?;
    }
    Some(served)
}

/// Ends the server's side in order.
fn say_goodbye(served: &mut Served) {
    served.conn.send_close_notify();
    served.flush().unwrap();
    served.sock.shutdown(Shutdown::Write).unwrap();
}

/// Serves 50 connections, each in another way, and stays away in between. Returns the bytes that it has read.
fn come_and_go(addr: SocketAddr, listener: TcpListener, config: &Arc<ServerConfig>) -> u64 {
    let (mut total, mut listener) = (0, Some(listener));
    let mut bytes = vec![0; 100_000];
    for round in 0..50_u32 {
        let here = listener.take().unwrap_or_else(|| bind_again(addr));
        let sock = accept(&here);
        let served = if round % 5 == 0 {
            // In the handshake.
            drop(sock);
            None
        } else {
            secure(sock, config)
        };
        if let Some(mut served) = served {
            for _ in 0..round % 3 {
                total += served.read(&mut bytes).unwrap_or(0) as u64;
            }
            match round % 5 {
                1 => reset(served.sock),
                2 => drop(served),
                3 => {
                    say_goodbye(&mut served);
                    while let Ok(read @ 1..) = served.read(&mut bytes) {
                        total += read as u64;
                    }
                }
                // A FIN without a close_notify.
                _ => {
                    served.sock.shutdown(Shutdown::Write).unwrap();
                    while let Ok(read @ 1..) = served.read(&mut bytes) {
                        total += read as u64;
                    }
                }
            }
        }
        if round % 4 != 0 {
            listener = Some(here);
        }
    }
    total
}

#[test]
fn server_that_comes_and_goes_50_times_over_tls_leaves_no_byte_unaccounted() {
    let site = Site::new();
    let probe = Probe::spawn(&site.node);
    let (listener, addr) = server();
    let config = config(&site.authority.issue(NAME));
    let serving = thread::spawn(move || come_and_go(addr, listener, &config));
    let id = probe.connect_to(options(addr, quick()).with_tls(site.client()));
    let account = Account::keep(&site.node, &probe, id, serving);
    assert!(account.connects >= 30, "{account:?}");
    stop_clean(&site.node);
}

#[test]
fn server_whose_certificate_is_refused_the_second_time_is_tried_again() {
    let site = Site::new();
    let probe = Probe::spawn(&site.node);
    let (listener, addr) = server();
    let good = config(&site.authority.issue(NAME));
    let bad = config(&Authority::new("another authority").issue(NAME));
    let id = probe.connect_to(options(addr, quick()).with_tls(site.client()));
    let mut first = secure(accept(&listener), &good).expect("a handshake");
    assert_eq!(probe.connect().attempt, 1);
    say_goodbye(&mut first);
    let lost = probe.reconnecting();
    assert_eq!((lost.id, lost.reason), (id, DisconnectReason::ClosedByPeer));
    drop(first);

    assert!(secure(accept(&listener), &bad).is_none(), "it is refused");
    let lost = probe.reconnecting();
    let DisconnectReason::Tls(text) = &lost.reason else {
        panic!("{lost:?}");
    };
    assert!(text.contains("UnknownIssuer"), "{text}");
    assert_eq!((lost.attempt, lost.unsent, lost.bytes_out), (3, 0, 0));

    let mut third = secure(accept(&listener), &good).expect("a handshake");
    let connect = probe.connect();
    assert_eq!(connect.attempt, 3);
    assert!(connect.tls.is_some());
    probe.write(id, "again");
    assert_eq!(read(&mut third, 5), b"again");
    third.write_all(b"and back").unwrap();
    assert_eq!(probe.bytes(8), b"and back");
    probe.run(move |cx| cx.close(id)).unwrap();
    // An end of the peer that met the close would be a loss first.
    assert_eq!(read_to_end(&mut third), b"");
    drop(third);
    assert_eq!(probe.disconnect().reason, DisconnectReason::LocalClose);
    probe.saw_nothing();
    stop_clean(&site.node);
}

#[test]
fn server_that_is_refused_for_ever_is_given_up_with_the_reason() {
    let site = Site::new();
    let probe = Probe::spawn(&site.node);
    let (listener, addr) = server();
    let bad = config(&Authority::new("another authority").issue(NAME));
    let is_over = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&is_over);
    let serving = thread::spawn(move || {
        while !ends.load(Ordering::Relaxed) {
            assert!(secure(accept(&listener), &bad).is_none(), "it is refused");
        }
    });
    let policy = quick().with_give_up_after(std::time::Duration::from_millis(100));
    probe.connect_to(options(addr, policy).with_tls(site.client()));
    let end = loop {
        match probe.next().1 {
            Message::TcpReconnecting(lost) => assert_eq!(lost.unsent, 0),
            Message::TcpDisconnect(end) => break end,
            other => panic!("{other:?}"),
        }
    };
    assert!(tls_text(&end).contains("UnknownIssuer"), "{end:?}");
    probe.saw_nothing();
    stop_clean(&site.node);
    // The server waits for one more.
    is_over.store(true, Ordering::Relaxed);
    drop(client(addr));
    serving.join().unwrap();
}

#[test]
fn connection_that_was_secured_is_plain_again_when_it_is_made_anew() {
    let site = Site::new();
    let probe = Probe::spawn(&site.node);
    let (listener, addr) = server();
    let config = config(&site.authority.issue(NAME));
    let side = StartTls::client(NAME, site.client()).unwrap();
    let id = probe.connect_to(options(addr, quick()));
    for attempt in 1..=3 {
        let mut plain = accept(&listener);
        let connect = probe.connect();
        assert_eq!(connect.attempt, attempt);
        assert!(connect.tls.is_none());
        probe.write(id, "STARTTLS");
        assert_eq!(read(&mut plain, 8), b"STARTTLS");
        probe.start_tls(id, &side);
        let mut secured = secure(plain, &config).expect("a handshake");
        assert_eq!(probe.secured().id, id);
        probe.write(id, "secret");
        assert_eq!(read(&mut secured, 6), b"secret");
        secured.write_all(b"answer").unwrap();
        assert_eq!(probe.bytes(6), b"answer");
        say_goodbye(&mut secured);
        let lost = probe.reconnecting();
        assert_eq!(lost.reason, DisconnectReason::ClosedByPeer);
        assert_eq!((lost.bytes_out, lost.unsent), (14, 0));
    }
    stop_clean(&site.node);
}

/// When a connection is lost on which TLS begins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// The input has not come back.
    Fenced,
    /// Earlier output has not left.
    Draining,
    /// The peer has the hello.
    Handshake,
}

#[test]
fn connection_that_is_lost_as_tls_begins_is_made_anew_in_plain_text() {
    for stage in [Stage::Fenced, Stage::Draining, Stage::Handshake] {
        let site = Site::new();
        let probe = Probe::spawn(&site.node);
        let (listener, addr) = server();
        let side = StartTls::client(NAME, site.client()).unwrap();
        let id = probe.connect_to(options(addr, quick()));
        let mut first = accept(&listener);
        probe.connect();
        let mut accepted = 6;
        if stage == Stage::Draining {
            // More than the buffers of the system take.
            let large = vec![1; 3 << 20];
            accepted += large.len() as u64;
            probe
                .run(move |cx| cx.try_write(id, large).map(drop))
                .unwrap();
        }
        let (go, goes_on) = std::sync::mpsc::channel::<()>();
        let (done, is_done) = std::sync::mpsc::channel();
        let waits = stage == Stage::Fenced;
        probe.start(move |cx| {
            cx.start_tls(id, &side).unwrap();
            cx.try_write(id, "secret").map(drop).unwrap();
            done.send(()).unwrap();
            if waits {
                let _ = goes_on.recv_timeout(LIMIT);
            }
            Ok(())
        });
        value_of(&is_done).unwrap();
        if stage == Stage::Handshake {
            assert_eq!(read(&mut first, 1), [22], "a handshake record");
        }
        reset(first);
        if stage == Stage::Fenced {
            // The stripe finds the reset while the fence is out.
            wait_for(&site.node, id, "state", "reconnecting");
        }
        drop(go);
        let lost = loop {
            match probe.next().1 {
                Message::TcpReconnecting(lost) => break lost,
                Message::TcpWritable(_) => {}
                other => panic!("{stage:?}: {other:?}"),
            }
        };
        assert_eq!(lost.reason, DisconnectReason::Reset, "{stage:?}");
        assert_eq!(
            lost.bytes_out + lost.unsent,
            accepted,
            "{stage:?}: {lost:?}"
        );
        assert!(lost.unsent >= 6, "a secret has left: {lost:?}");
        let mut second = accept(&listener);
        let connect = probe.connect();
        assert_eq!((connect.attempt, connect.tls.is_none()), (2, true));
        probe.write(id, "plain");
        assert_eq!(read(&mut second, 5), b"plain");
        stop_clean(&site.node);
    }
}

#[test]
fn write_to_a_connection_whose_tls_server_is_away_is_refused_by_name() {
    let site = Site::new();
    let probe = Probe::spawn(&site.node);
    let (listener, addr) = server();
    let hour = std::time::Duration::from_secs(3_600);
    let policy = ReconnectPolicy::default().with_first(hour).with_max(hour);
    let good = config(&site.authority.issue(NAME));
    let id = probe.connect_to(options(addr, policy).with_tls(site.client()));
    let mut first = secure(accept(&listener), &good).expect("a handshake");
    probe.connect();
    say_goodbye(&mut first);
    probe.reconnecting();
    let refused = probe.run(move |cx| cx.try_write(id, "lost").unwrap_err());
    assert_eq!(refused.kind(), WriteErrorKind::Reconnecting);
    probe.run(move |cx| cx.close(id)).unwrap();
    assert_eq!(probe.disconnect().reason, DisconnectReason::LocalClose);
    stop_clean(&site.node);
}
