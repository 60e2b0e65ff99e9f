//! Connections between two processes that are made anew when they are lost, on both networks.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use longshore::prelude::*;
use longshore::{DisconnectReason, MessageTcpReconnecting, ReconnectPolicy};

use crate::support::*;

on_both! {
    lost_connection_of_two_processes_is_made_anew,
    each_byte_of_twenty_losses_is_sent_or_unsent,
    bytes_written_before_the_listener_is_there_wait_for_it,
    attempts_that_are_given_up_end_in_one_disconnect,
}

const MS: Duration = Duration::from_millis(1);

fn quick() -> ReconnectPolicy {
    ReconnectPolicy::default()
        .with_first(2 * MS)
        .with_max(16 * MS)
}

fn renewed(addr: SocketAddr, policy: ReconnectPolicy) -> TcpConnectionOptions {
    TcpConnectionOptions::from(addr).with_reconnect(policy)
}

#[track_caller]
fn lost(probe: &Probe) -> Box<MessageTcpReconnecting> {
    match probe.next().1 {
        Message::TcpReconnecting(lost) => lost,
        other => panic!("another message: {other:?}"),
    }
}

/// The next Connect behind attempts that fail.
#[track_caller]
fn connect(probe: &Probe) -> Box<MessageTcpConnect> {
    loop {
        match probe.next().1 {
            Message::TcpReconnecting(lost) => assert_eq!(lost.unsent, 0),
            Message::TcpConnect(connect) => return connect,
            other => panic!("another message: {other:?}"),
        }
    }
}

/// An address at which nothing listens.
fn free_addr(node: &Node, probe: &Probe) -> SocketAddr {
    let (addr, listener) = probe.listen(TcpServerOptions::default());
    close_listener(node, probe, listener);
    addr
}

fn close_listener(node: &Node, probe: &Probe, listener: Alias) {
    probe
        .run(move |cx| cx.send_exit_meta(listener, Reason::Shutdown))
        .expect("it lives");
    wait_until("the listener to end", || node.socket(listener).is_none());
}

#[test]
fn lost_connection_of_two_processes_is_made_anew() {
    let node = node();
    let (near, far) = (Probe::spawn(&node), Probe::spawn(&node));
    let (addr, _) = far.listen(TcpServerOptions::default());
    let from = near.connect_to(renewed(addr, quick()));
    assert_eq!(near.connect().attempt, 1);
    for attempt in 2..5 {
        let to = far.connect().id;
        near.write(from, "question");
        assert_eq!(far.bytes(8), b"question");
        far.write(to, "answer");
        assert_eq!(near.bytes(6), b"answer");
        let begun = Moment::now();
        far.run(move |cx| cx.close(to)).expect("it is open");
        let lost = lost(&near);
        assert_eq!(
            (lost.id, &lost.reason),
            (from, &DisconnectReason::ClosedByPeer)
        );
        assert_eq!((lost.bytes_in, lost.bytes_out, lost.unsent), (6, 8, 0));
        assert_eq!(lost.attempt, attempt);
        assert_eq!(far.disconnect().bytes_in, 8);
        let connect = near.connect();
        assert_eq!((connect.id, connect.attempt), (from, attempt));
        assert!(begun.elapsed() + MS >= lost.next_attempt);
    }
    far.connect();
    near.run(move |cx| cx.close(from)).expect("it is open");
    assert_eq!(near.disconnect().reason, DisconnectReason::LocalClose);
    assert_eq!(far.disconnect().reason, DisconnectReason::ClosedByPeer);
    stop_clean(&node);
}

#[test]
fn each_byte_of_twenty_losses_is_sent_or_unsent() {
    const LENGTH: u64 = 300_000;
    let node = node();
    let (near, far) = (Probe::spawn(&node), Probe::spawn(&node));
    let (addr, _) = far.listen(TcpServerOptions::default());
    let from = near.connect_to(renewed(addr, quick()));
    let (mut sent, mut unsent, mut received) = (0, 0, 0);
    for round in 0..20 {
        connect(&near);
        let to = far.connect().id;
        near.write(from, vec![b'x'; LENGTH as usize]);
        received += far.tcp().data.len() as u64;
        far.run(move |cx| {
            if round % 2 == 0 {
                cx.abort(to)
            } else {
                cx.close(to)
            }
        })
        .expect("it is open");
        let end = loop {
            match far.next().1 {
                Message::Tcp(packet) => received += packet.data.len() as u64,
                Message::TcpDisconnect(end) => break end,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(end.id, to);
        let lost = loop {
            match near.next().1 {
                Message::TcpWritable(_) => {}
                Message::TcpReconnecting(lost) => break lost,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(lost.bytes_out + lost.unsent, LENGTH, "round {round}");
        (sent, unsent) = (sent + lost.bytes_out, unsent + lost.unsent);
    }
    assert_eq!(sent + unsent, 20 * LENGTH);
    assert!(received <= sent, "{received} of {sent}");
    near.run(move |cx| cx.abort(from)).expect("it waits");
    stop_clean(&node);
}

#[test]
fn bytes_written_before_the_listener_is_there_wait_for_it() {
    let node = node();
    let (near, far) = (Probe::spawn(&node), Probe::spawn(&node));
    let addr = free_addr(&node, &far);
    let from = near.connect_to(renewed(addr, quick()));
    near.write(from, "early");
    let failed = lost(&near);
    assert_eq!(
        without_number(failed.reason),
        DisconnectReason::Connect(ErrorKind::ConnectionRefused.into())
    );
    assert_eq!((failed.failed_attempts.len(), failed.unsent), (1, 0));
    near.write(from, " and more");
    far.listen(TcpServerOptions::default().with_port(addr.port()));
    assert!(connect(&near).attempt >= 2);
    far.connect();
    assert_eq!(far.bytes(14), b"early and more");
    near.run(move |cx| cx.close(from)).expect("it is open");
    assert_eq!(near.disconnect().bytes_out, 14);
    stop_clean(&node);
}

#[test]
fn attempts_that_are_given_up_end_in_one_disconnect() {
    let node = node();
    let (near, far) = (Probe::spawn(&node), Probe::spawn(&node));
    let (addr, listener) = far.listen(TcpServerOptions::default());
    let policy = quick().with_give_up_after(100 * MS);
    let from = near.connect_to(renewed(addr, policy));
    near.connect();
    let to = far.connect().id;
    close_listener(&node, &far, listener);
    let begun = Moment::now();
    far.run(move |cx| cx.abort(to)).expect("it is open");
    let mut losses = 0;
    let end = loop {
        match near.next().1 {
            Message::TcpReconnecting(_) => losses += 1,
            Message::TcpDisconnect(end) => break end,
            other => panic!("{other:?}"),
        }
    };
    assert!(losses >= 2, "{losses}");
    assert!(begun.elapsed() >= 80 * MS);
    assert_eq!(end.id, from);
    near.saw_nothing();
    stop_clean(&node);
}
