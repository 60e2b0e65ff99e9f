//! Datagrams that leave together: neither the datagrams nor the errors differ from single sends.

#[cfg(target_os = "linux")]
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
#[cfg(target_os = "linux")]
use std::process::Command;

use longshore::UdpServer;
use longshore::prelude::*;

use crate::support::*;

/// A node with one worker, so that all sends of a callback are flushed together after it.
fn lone_worker() -> Node {
    node_with(NodeOptions::from("test@localhost").with_workers(1))
}

/// Bytes that identify their datagram.
fn numbered(number: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|place| (number * 31 + place) as u8)
        .collect()
}

/// Sends all datagrams from one callback.
#[track_caller]
fn send_all(probe: &Probe, socket: Alias, datagrams: Vec<(SocketAddr, Vec<u8>)>) {
    probe
        .run(move |cx| {
            datagrams
                .into_iter()
                .try_for_each(|(to, data)| cx.send_alias(socket, MessageUdp::new(socket, to, data)))
        })
        .expect("accepted");
}

#[test]
fn sixteen_equal_datagrams_arrive_whole_apart_and_in_order() {
    let node = lone_worker();
    let probe = Probe::spawn(&node);
    let has_v6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    for (interface, client, localhost) in [
        ("127.0.0.1", "127.0.0.1:0", Ipv4Addr::LOCALHOST.into()),
        ("::1", "[::1]:0", Ipv6Addr::LOCALHOST.into()),
        // Both families on one socket.
        (
            "",
            "127.0.0.1:0",
            Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
        ),
    ] {
        if !has_v6 && interface != "127.0.0.1" {
            continue;
        }
        let client = UdpSocket::bind(client).expect("bound");
        client.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let to = SocketAddr::new(localhost, client.local_addr().expect("an address").port());
        for peer in [None, Some(to)] {
            let options = UdpServerOptions::default()
                .with_host(interface)
                .with_peer(peer);
            let id = probe.spawn_meta(UdpServer::bind(options).expect("bound"));
            for length in [1, 64, 1_200, 1_452, 1_453] {
                let datagrams = (0..16).map(|number| numbered(number, length));
                send_all(
                    &probe,
                    id,
                    datagrams.clone().map(|data| (to, data)).collect(),
                );
                for data in datagrams {
                    assert!(
                        receive(&client) == data,
                        "of {length} bytes from {interface:?} to {peer:?}"
                    );
                }
            }
            wait_for(&node, id, "queued_bytes", 0);
            let counts = inspect(&node, id);
            assert_eq!(
                (counts.number("messages_out"), counts.number("send_errors")),
                (Some(5 * 16), Some(0))
            );
            assert_eq!(
                counts.number("bytes_out"),
                Some(16 * (1 + 64 + 1_200 + 1_452 + 1_453))
            );
        }
    }
    stop_clean(&node);
}

#[test]
fn mix_of_sizes_and_peers_arrives_as_if_sent_one_by_one() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (_, id) = probe.listen_udp(UdpServerOptions::default());
    let clients: [Udp; 3] = std::array::from_fn(|_| udp_client());
    let addr = |peer: usize| clients[peer].local_addr().expect("an address");
    for round in 0..50_usize {
        // Runs of every length with one size and one peer, each ended by every other combination.
        let plan: Vec<(usize, usize)> = (0..40)
            .map(|number| {
                let step = (number * (round + 3)) / 7;
                (
                    step % 3,
                    [64, 64, 1_200, 64, 0, 1_200, 1_453, 3_000, 63][(step + number / 5) % 9],
                )
            })
            .collect();
        let datagrams = plan.iter().enumerate();
        let datagrams =
            datagrams.map(|(number, (peer, length))| (addr(*peer), numbered(number, *length)));
        send_all(&probe, id, datagrams.collect());
        for (number, (peer, length)) in plan.iter().enumerate() {
            assert!(
                receive(&clients[*peer]) == numbered(number, *length),
                "{number} of round {round}: {plan:?}"
            );
        }
    }
    assert_eq!(inspect(&node, id).number("messages_out"), Some(50 * 40));
    stop_clean(&node);
}

#[test]
fn bad_datagrams_among_good_ones_are_errors_of_their_own() {
    let node = lone_worker();
    let probe = Probe::spawn(&node);
    let (_, id) = probe.listen_udp(UdpServerOptions::default().with_report_errors(true));
    let client = udp_client();
    let to = client.local_addr().expect("an address");
    let bad = [
        (to, 65_508),
        (SocketAddr::from((Ipv6Addr::LOCALHOST, 9)), 64),
        // Without permission; to no port.
        (SocketAddr::from((Ipv4Addr::BROADCAST, 9)), 64),
        (SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 64),
    ];
    for round in 0..3 {
        let mut datagrams = Vec::new();
        for (number, (addr, length)) in bad.into_iter().enumerate() {
            datagrams.extend((0..8).map(|place| (to, numbered(8 * number + place, 64))));
            datagrams.extend((0..3).map(|_| (addr, vec![0; length])));
        }
        datagrams.push((to, b"last".to_vec()));
        send_all(&probe, id, datagrams);
        for number in 0..8 * bad.len() {
            assert!(
                receive(&client) == numbered(number, 64),
                "{number} of round {round}"
            );
        }
        assert_eq!(receive(&client), b"last");
        for expected in bad.into_iter().flat_map(|bad| [bad; 3]) {
            let error = probe.udp_error();
            assert_eq!(
                (error.addr, error.length),
                (Some(expected.0), expected.1),
                "{error:?}"
            );
        }
        let counts = inspect(&node, id);
        assert_eq!(counts.number("messages_out"), Some((round + 1) * 33));
        assert_eq!(counts.number("send_errors"), Some((round + 1) * 12));
        assert_eq!(counts.number("queued_bytes"), Some(0));
    }
    probe.saw_nothing();
    stop_clean(&node);
}

#[cfg(target_os = "linux")]
#[test]
fn peer_that_is_gone_for_a_while_costs_no_datagram_of_a_batch() {
    let node = lone_worker();
    let probe = Probe::spawn(&node);
    let absent = UdpSocket::bind("127.0.0.1:0")
        .expect("bound")
        .local_addr()
        .expect("an address");
    let (_, id) = probe.listen_udp(
        UdpServerOptions::default()
            .with_peer(absent)
            .with_report_errors(true),
    );
    let burst = |first: usize| {
        (first..first + 16)
            .map(|number| (absent, numbered(number, 64)))
            .collect()
    };
    // Each refusal is reported at the next chance, which is the next burst or earlier.
    for round in 0..4 {
        send_all(&probe, id, burst(round * 16));
        let error = probe.udp_error();
        assert_eq!(
            (error.error.kind(), error.addr),
            (ErrorKind::ConnectionRefused, None)
        );
    }
    wait_for(&node, id, "messages_out", 64);
    let client = UdpSocket::bind(absent).expect("the port");
    client.set_read_timeout(Some(LIMIT)).expect("a timeout");
    for round in 0..4 {
        send_all(&probe, id, burst(round * 16));
        for number in round * 16..(round + 1) * 16 {
            assert!(receive(&client) == numbered(number, 64), "{number}");
        }
    }
    let counts = inspect(&node, id);
    assert_eq!(
        (counts.number("messages_out"), counts.number("send_errors")),
        (Some(128), Some(0))
    );
    stop_clean(&node);
}

const CHILD: &str = "LONGSHORE_BATCHES";
/// The child's bursts, and the datagrams in each.
const BURSTS: usize = 20;
const BURST: usize = 16;

/// Sends bursts and checks that all of it arrives.
#[test]
fn child_that_sends_bursts() {
    let Some(offload) = std::env::var_os(CHILD) else {
        return;
    };
    let node = lone_worker();
    let probe = Probe::spawn(&node);
    let (_, id) =
        probe.listen_udp(UdpServerOptions::default().with_segmentation_offload(offload == "on"));
    let client = udp_client();
    let to = client.local_addr().expect("an address");
    for burst in 0..BURSTS {
        send_all(
            &probe,
            id,
            (0..BURST)
                .map(|number| (to, numbered(burst + number, 200)))
                .collect(),
        );
        for number in 0..BURST {
            assert!(
                receive(&client) == numbered(burst + number, 200),
                "{number} of burst {burst}"
            );
        }
    }
    let counts = inspect(&node, id);
    let sent = (BURSTS * BURST) as u64;
    assert_eq!(
        (counts.number("messages_out"), counts.number("send_errors")),
        (Some(sent), Some(0))
    );
    assert_eq!(
        (counts.number("bytes_out"), counts.number("queued_bytes")),
        (Some(200 * sent), Some(0))
    );
    stop_clean(&node);
}

/// Runs the child under strace, with a fault if one is given, and counts its calls of `sendmsg` and `sendto`.
#[cfg(target_os = "linux")]
fn sends_of_child(offload: &str, fault: Option<&str>) -> Option<(usize, usize)> {
    if !Command::new("strace")
        .arg("-V")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        println!("skipped: this needs strace");
        return None;
    }
    let output = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-e",
            "trace=sendmsg,sendto",
            "-e",
            "signal=none",
        ])
        .args(fault.map(|fault| format!("--inject=sendmsg:{fault}")))
        .arg(std::env::current_exe().expect("the test binary"))
        .args([
            "udp_batches::child_that_sends_bursts",
            "--exact",
            "--test-threads=1",
        ])
        .env(CHILD, offload)
        .output()
        .expect("strace runs");
    let (text, trace) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{fault:?}: {text}\n{trace}"
    );
    let calls = |name: &str| trace.matches(&format!("{name}(")).count();
    Some((calls("sendmsg"), calls("sendto")))
}

#[cfg(target_os = "linux")]
#[test]
fn burst_leaves_in_few_system_calls_unless_the_option_is_off() {
    if let Some((batches, singles)) = sends_of_child("on", None) {
        // One call for each burst, if the flush came after all of it, and the probe whether the kernel supports it.
        assert!(
            batches > BURSTS / 2 && batches + singles <= BURSTS * BURST / 4,
            "{batches} and {singles} calls"
        );
    }
    if let Some(calls) = sends_of_child("off", None) {
        assert_eq!(calls, (0, BURSTS * BURST));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn socket_that_cannot_cut_batches_still_sends_everything() {
    let all = BURSTS * BURST;
    // strace counts in each thread: the test's thread probes for support, and the worker's sends the batches.
    for (fault, batches, singles) in [
        // The probe succeeds, and then the sends fail.
        ("error=EINVAL:when=1+", 2..=2, all..=all),
        ("error=EIO:when=2+", 2..=4, all - 2 * BURST..=all - 2),
        // The probe fails, so batches are not tried.
        ("error=EIO:when=1+", 1..=1, all..=all),
        ("error=ENOSYS:when=1+", 1..=1, all..=all),
        // The socket is not at fault, so the next batch is tried again.
        ("error=EMSGSIZE:when=2+2", BURSTS / 2..=all, 1..=all),
        ("error=EINTR:when=2+2", BURSTS / 2..=all, 0..=all),
    ] {
        let Some(calls) = sends_of_child("on", Some(fault)) else {
            return;
        };
        assert!(
            batches.contains(&calls.0) && singles.contains(&calls.1),
            "{calls:?} calls with {fault}"
        );
    }
}
