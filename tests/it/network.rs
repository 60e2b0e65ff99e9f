//! What a network can do to a connection, tested in a network namespace with nftables. The tests need root, `unshare`,
//! `ip` and `nft`; without them they print that they were skipped.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use longshore::prelude::*;
use longshore::{ConnectError, SocketOptions};

use crate::support::*;

/// Runs the body in a process with a network of its own.
fn in_own_network(test: &str, body: impl FnOnce()) {
    const MARK: &str = "LONGSHORE_NETWORK";
    if std::env::var_os(MARK).is_some() {
        sh("ip link set lo up");
        sh("nft add table ip t");
        sh("nft add chain ip t in '{ type filter hook input priority 0; }'");
        return body();
    }
    let possible = Command::new("unshare")
        .args(["-n", "sh", "-c", "nft list tables && ip link set lo up"])
        .output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return println!("skipped: this needs root, unshare, ip and nft");
    }
    let program = std::env::current_exe().expect("the test binary");
    let output = Command::new("unshare")
        .arg("-n")
        .arg(program)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        text.contains("1 passed"),
        "no test has the name {test}:\n{text}"
    );
}

fn sh(command: &str) {
    let status = Command::new("sh")
        .args(["-c", command])
        .status()
        .expect("a shell");
    assert!(status.success(), "{command}");
}

/// Adds a rule for matching packets, in force from now on.
fn rule(rule: &str) {
    sh(&format!("nft add rule ip t in {rule}"));
}

fn no_rules() {
    sh("nft flush chain ip t in");
}

/// Why an attempt failed.
fn failure(probe: &Probe, options: TcpConnectionOptions) -> DisconnectReason {
    match TcpConnection::connect(options) {
        Ok(connection) => {
            probe.spawn_meta(connection);
            without_number(probe.disconnect().reason)
        }
        Err(ConnectError::Connect { source, .. }) => {
            DisconnectReason::Connect(source.kind().into())
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn attempts_report_what_the_network_says() {
    in_own_network("network::attempts_report_what_the_network_says", || {
        let node = node();
        let probe = Probe::spawn(&node);
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let addr = listener.local_addr().expect("an address");
        let to =
            || TcpConnectionOptions::from(addr).with_connect_timeout(Duration::from_millis(300));
        let port = addr.port();
        for (verdict, expected) in [
            (
                "reject with tcp reset",
                DisconnectReason::Connect(ErrorKind::ConnectionRefused.into()),
            ),
            (
                "reject with icmp type host-unreachable",
                DisconnectReason::Connect(ErrorKind::HostUnreachable.into()),
            ),
            (
                "reject with icmp type net-unreachable",
                DisconnectReason::Connect(ErrorKind::NetworkUnreachable.into()),
            ),
            ("drop", DisconnectReason::ConnectTimeout),
        ] {
            rule(&format!("tcp dport {port} {verdict}"));
            assert_eq!(failure(&probe, to()), expected, "{verdict}");
            no_rules();
        }
        let nowhere = TcpConnectionOptions::from("203.0.113.1:80");
        assert_eq!(
            failure(&probe, nowhere),
            DisconnectReason::Connect(ErrorKind::NetworkUnreachable.into())
        );
        // There are four ports, and then none.
        sh("sysctl -qw net.ipv4.ip_local_port_range='40000 40003'");
        for _ in 0..4 {
            probe.connect_to(to());
            probe.connect();
        }
        assert_eq!(
            failure(&probe, to()),
            DisconnectReason::Connect(ErrorKind::AddrNotAvailable.into())
        );
        probe.saw_nothing();
        stop_clean(&node);
    });
}

#[test]
fn connections_report_what_became_of_their_network() {
    in_own_network(
        "network::connections_report_what_became_of_their_network",
        || {
            let node = node();
            let probe = Probe::spawn(&node);
            // A reset that the peer did not send.
            let (addr, _) = probe.listen(TcpServerOptions::default());
            let peer = client(addr);
            let connect = probe.connect();
            rule(&format!(
                "tcp dport {} reject with tcp reset",
                connect.remote_addr.port()
            ));
            probe.write(connect.id, "lost");
            let end = probe.disconnect();
            assert_eq!((end.reason, end.bytes_out), (DisconnectReason::Reset, 4));
            no_rules();
            drop(peer);
            // A peer that vanishes while data is in flight.
            let socket = SocketOptions::default().with_user_timeout(Duration::from_secs(1));
            let (addr, _) = probe.listen(TcpServerOptions::default().with_socket(socket));
            let peer = client(addr);
            let alias = probe.connect().id;
            rule(&format!("tcp dport {} drop", addr.port()));
            rule(&format!("tcp sport {} drop", addr.port()));
            let begun = Instant::now();
            probe.write(alias, "hello?");
            let end = probe.disconnect();
            assert_eq!(
                without_number(end.reason),
                DisconnectReason::Io(ErrorKind::TimedOut.into())
            );
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "{:?}",
                begun.elapsed()
            );
            no_rules();
            drop(peer);
            stop_clean(&node);
        },
    );
}

#[test]
fn lossy_network_costs_datagrams_and_nothing_else() {
    in_own_network(
        "network::lossy_network_costs_datagrams_and_nothing_else",
        || {
            let node = node();
            let probe = Probe::spawn(&node);
            let (addr, alias) = probe.listen_udp(UdpServerOptions::default());
            rule(&format!(
                "udp dport {} numgen random mod 100 '<' 20 drop",
                addr.port()
            ));
            let client = udp_client();
            for number in 0..1_000_u32 {
                // On loopback a datagram that the filter drops is reported to the sender as refused.
                let _ = client.send_to(&number.to_be_bytes(), addr);
            }
            no_rules();
            client.send_to(b"end", addr).expect("sent");
            let (mut got, mut last) = (0, None);
            loop {
                let packet = probe.udp();
                if packet.data == "end" {
                    break;
                }
                let number = u32::from_be_bytes(packet.data[..].try_into().expect("4 bytes"));
                assert!(last < Some(number), "out of order");
                last = Some(number);
                got += 1;
            }
            // The kernel's own drops for lack of room are not the network's.
            got += inspect(&node, alias)
                .number("kernel_drops")
                .expect("a count");
            assert!((600..950).contains(&got), "{got} of 1000");
            assert_eq!(inspect(&node, alias).number("receive_errors"), Some(0));
            stop_clean(&node);
        },
    );
}
