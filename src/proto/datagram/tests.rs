use std::net::Ipv4Addr;

use super::*;
use crate::proto::script::run_random;

/// `LONGSHORE_DATAGRAM_SCRIPTS` sets how many.
#[test]
fn random_scripts_keep_every_promise() {
    let scripts = std::env::var("LONGSHORE_DATAGRAM_SCRIPTS").ok().and_then(|count| count.parse().ok());
    run_random(scripts.unwrap_or(5_000), 200, script::fuzz_datagrams);
}

fn peer(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn with_two(is_connected: bool) -> Datagrams {
    let mut machine = Datagrams::new(100, is_connected);
    machine.push(peer(1), Buffer::from("one"));
    machine.push(peer(2), Buffer::from("two"));
    machine
}

#[test]
fn bad_datagram_is_an_error_of_its_own() {
    let mut machine = with_two(false);
    let failed = machine.transmit(|_, _| Err(ErrorKind::ConnectionRefused.into()));
    assert_eq!(failed, Transmitted::Failed { addr: peer(1), length: 3, error: ErrorKind::ConnectionRefused });
    let sent = machine.transmit(|addr, data| {
        assert_eq!((addr, data), (peer(2), &b"two"[..]));
        Ok(3)
    });
    assert_eq!(sent, Transmitted::Sent { length: 3 });
    assert_eq!(machine.transmit(|_, _| Ok(0)), Transmitted::Idle);
    assert_eq!((machine.counters.messages_out, machine.counters.send_errors), (1, 1));
}

#[test]
fn refusal_of_an_earlier_datagram_costs_this_one_nothing() {
    let mut machine = with_two(true);
    for _ in 0..2 {
        let refused = machine.transmit(|_, _| Err(ErrorKind::ConnectionRefused.into()));
        assert_eq!(refused, Transmitted::Earlier(ErrorKind::ConnectionRefused));
        assert_eq!(machine.transmit(|_, data| Ok(data.len())), Transmitted::Sent { length: 3 });
    }
    assert_eq!((machine.counters.messages_out, machine.counters.receive_errors), (2, 2));
}

#[test]
fn datagram_that_is_refused_twice_has_failed() {
    let mut machine = with_two(true);
    let mut refuse = || machine.transmit(|_, _| Err(ErrorKind::HostUnreachable.into()));
    assert_eq!(refuse(), Transmitted::Earlier(ErrorKind::HostUnreachable));
    assert!(matches!(refuse(), Transmitted::Failed { length: 3, .. }));
    assert_eq!(refuse(), Transmitted::Earlier(ErrorKind::HostUnreachable));
}

#[test]
fn datagrams_wait_while_the_socket_is_full() {
    let mut machine = with_two(true);
    assert_eq!(machine.transmit(|_, _| Err(ErrorKind::WouldBlock.into())), Transmitted::Blocked);
    assert_eq!(machine.transmit(|_, _| Err(ErrorKind::Interrupted.into())), Transmitted::Again);
    assert_eq!(machine.transmit(|addr, _| Ok(usize::from(addr.port()))), Transmitted::Sent { length: 3 });
    assert!(machine.wants_transmit());
}

#[test]
fn long_datagrams_are_cut_and_flagged_and_empty_ones_are_whole() {
    let (mut machine, pool) = (Datagrams::new(4, false), BufferPool::new());
    assert_eq!(machine.received(b"12345", &pool), (Buffer::from("1234"), true));
    assert_eq!(machine.received(b"1234", &pool), (Buffer::from("1234"), false));
    assert_eq!(machine.received(b"", &pool), (Buffer::new(), false));
    assert_eq!((machine.counters.messages_in, machine.counters.bytes_in, machine.counters.truncated), (3, 9, 1));
}

#[test]
fn error_that_stays_makes_receiving_wait() {
    let mut machine = Datagrams::new(100, false);
    let refuse = |machine: &mut Datagrams| machine.receive_failed(ErrorKind::OutOfMemory);
    let reports = (1..ERRORS_IN_A_ROW).filter(|_| matches!(refuse(&mut machine), AfterError::Report(_))).count();
    assert_eq!(reports as u32, ERRORS_IN_A_ROW - 1);
    assert_eq!(refuse(&mut machine), AfterError::ReportAndWait(ErrorKind::OutOfMemory));
    assert!(matches!(refuse(&mut machine), AfterError::Report(_)), "it begins anew");
    assert_eq!(machine.receive_failed(ErrorKind::WouldBlock), AfterError::Wait);
}
