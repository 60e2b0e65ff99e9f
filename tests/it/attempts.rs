//! Connecting to names: addresses that are silent or refuse, attempts side by side, and lookups that hang.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::Duration;

use longshore::prelude::*;
use longshore::{DisconnectReason, FailedAttempt};

use crate::support::*;

/// A node whose resolver knows one name.
fn node_that_resolves(addresses: &[&str]) -> Node {
    let addresses: Vec<IpAddr> = addresses
        .iter()
        .map(|text| text.parse().expect("an address"))
        .collect();
    let options = NodeOptions::from("test@localhost").with_workers(2);
    node_with(options.with_resolver(move |name| {
        assert_eq!(name, "several.test");
        Ok(addresses.clone())
    }))
}

fn failures(disconnect: &MessageTcpDisconnect) -> Vec<(SocketAddr, ErrorKind)> {
    let shown = |failed: &FailedAttempt| (failed.addr, failed.error.kind());
    disconnect.failed_attempts.iter().map(shown).collect()
}

/// A port at which 127.0.0.1 never answers, and a listener there at 127.0.0.2.
fn silent_and_good() -> (Unaccepting, TcpListener, u16) {
    loop {
        let silent = Unaccepting::new();
        let port = silent.addr.port();
        if let Ok(good) = TcpListener::bind(("127.0.0.2", port)) {
            return (silent, good, port);
        }
    }
}

#[test]
fn name_with_a_silent_first_address_is_connected_to_soon() {
    let (_silent, good, port) = silent_and_good();
    let node = node_that_resolves(&["127.0.0.1", "127.0.0.2"]);
    let probe = Probe::spawn(&node);
    let began = Moment::now();
    let alias = probe.connect_to(("several.test", port));
    let connect = probe.connect();
    let took = began.elapsed();
    assert_eq!(connect.remote_addr, good.local_addr().expect("an address"));
    // The delay between two attempts is 250 ms.
    assert!(took >= Duration::from_millis(200), "{took:?}");
    // Far less than the connect timeout of 10 s, on a loaded machine too.
    assert!(took < Duration::from_secs(3), "{took:?}");
    println!("connected after {took:?}");
    // The loser has left: what is written goes to the winner, and nothing ends it.
    let (mut stream, _) = good.accept().expect("accepted");
    bounded(&stream);
    probe.write(alias, "to the winner");
    assert_eq!(read(&mut stream, 13), b"to the winner");
    drop(stream);
    assert_eq!(probe.disconnect().failed_attempts, []);
    stop_clean(&node);
}

#[test]
fn silent_address_leaves_time_to_the_others_of_a_short_deadline() {
    let (_silent, good, port) = silent_and_good();
    let node = node_that_resolves(&["127.0.0.1", "127.0.0.2"]);
    let probe = Probe::spawn(&node);
    // Shorter than the delay between two attempts.
    let timeout = Duration::from_millis(240);
    let options = TcpConnectionOptions::from(("several.test", port)).with_connect_timeout(timeout);
    let is_connected = |_| {
        probe.connect_to(options.clone());
        match probe.next().1 {
            Message::TcpConnect(connect) => {
                assert_eq!(connect.remote_addr, good.local_addr().expect("an address"));
                true
            }
            Message::TcpDisconnect(end) => {
                assert_eq!(end.reason, DisconnectReason::ConnectTimeout);
                false
            }
            other => panic!("{other:?}"),
        }
    };
    // A loaded machine may take more time than there is.
    assert!((0..10).any(is_connected), "no attempt of ten");
    stop_clean(&node);
}

#[test]
fn name_whose_first_address_refuses_is_connected_to_at_once() {
    let good = TcpListener::bind("127.0.0.2:0").expect("bound");
    let to = good.local_addr().expect("an address");
    let node = node_that_resolves(&["127.0.0.1", "127.0.0.2"]);
    let probe = Probe::spawn(&node);
    let began = Moment::now();
    probe.connect_to(("several.test", to.port()));
    assert_eq!(probe.connect().remote_addr, to);
    let took = began.elapsed();
    println!("connected after {took:?}");
    stop_clean(&node);
}

#[test]
fn disconnect_has_each_address_with_what_it_said() {
    let good = TcpListener::bind("127.0.0.2:0").expect("bound");
    let port = good.local_addr().expect("an address").port();
    drop(good);
    let node = node_that_resolves(&["127.0.0.1", "127.0.0.2", "255.255.255.255"]);
    let probe = Probe::spawn(&node);
    probe.connect_to(("several.test", port));
    let disconnect = probe.disconnect();
    let failed = failures(&disconnect);
    let at = |ip: [u8; 4]| SocketAddr::from((ip, port));
    assert_eq!(failed.len(), 3, "{failed:?}");
    assert_eq!(
        failed[0],
        (at([127, 0, 0, 1]), ErrorKind::ConnectionRefused)
    );
    assert_eq!(
        failed[1],
        (at([127, 0, 0, 2]), ErrorKind::ConnectionRefused)
    );
    assert_eq!(failed[2].0, at([255; 4]));
    assert_eq!(
        without_number(disconnect.reason),
        DisconnectReason::Connect(failed[2].1.into())
    );
    stop_clean(&node);
}

#[test]
fn address_that_has_not_answered_is_said_to_have_timed_out() {
    let (_silent, good, port) = silent_and_good();
    drop(good);
    let node = node_that_resolves(&["127.0.0.1", "127.0.0.2"]);
    let probe = Probe::spawn(&node);
    let options = TcpConnectionOptions::from(("several.test", port));
    probe.connect_to(options.with_connect_timeout(Duration::from_millis(400)));
    let disconnect = probe.disconnect();
    assert_eq!(disconnect.reason, DisconnectReason::ConnectTimeout);
    let at = |ip: [u8; 4]| SocketAddr::from((ip, port));
    assert_eq!(
        failures(&disconnect),
        [
            (at([127, 0, 0, 2]), ErrorKind::ConnectionRefused),
            (at([127, 0, 0, 1]), ErrorKind::TimedOut)
        ]
    );
    stop_clean(&node);
}

#[test]
fn hanging_lookups_hold_up_neither_localhost_nor_another_name() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("an address").port();
    // Dropped at the end, so that the lookups end.
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let options = NodeOptions::from("test@localhost").with_workers(2);
    let node = node_with(options.with_resolver(move |name| {
        if name.starts_with("hangs") {
            drop(released.lock().map(|released| released.recv()));
        }
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }));
    let hanging = Probe::spawn(&node);
    for number in 0..120 {
        hanging.connect_to((format!("hangs-{number}.test"), port));
    }
    let probe = Probe::spawn(&node);
    probe.connect_to(("localhost", port));
    assert_eq!(probe.connect().remote_addr.port(), port);
    probe.connect_to(("another.test", port));
    assert_eq!(probe.connect().remote_addr.port(), port);
    hanging.saw_nothing();
    drop(release);
    for _ in 0..120 {
        hanging.connect();
    }
    stop_clean(&node);
}
