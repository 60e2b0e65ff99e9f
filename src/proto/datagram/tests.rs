use std::net::Ipv4Addr;

use super::*;
use crate::proto::script::run_random;

/// `LONGSHORE_DATAGRAM_SCRIPTS` sets how many.
#[test]
fn random_scripts_keep_every_promise() {
    let scripts = std::env::var("LONGSHORE_DATAGRAM_SCRIPTS")
        .ok()
        .and_then(|count| count.parse().ok());
    run_random(scripts.unwrap_or(5_000), 200, script::fuzz_datagrams);
}

fn peer(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn with_two(is_connected: bool) -> Datagrams {
    let mut machine = Datagrams::new(100, is_connected, true);
    machine.push(peer(1), Buffer::from("one"), LocalAddr::default());
    machine.push(peer(2), Buffer::from("two"), LocalAddr::default());
    machine
}

/// A socket that answers each call with the next of `answers`, and then takes everything. What it was given, by call.
fn give(
    machine: &mut Datagrams,
    answers: &[io::Result<()>],
) -> (Vec<Vec<String>>, Vec<TransmitOutcome>) {
    let (mut given, mut outcomes) = (Vec::new(), Vec::new());
    let mut answers = answers.iter();
    loop {
        let transmitted = machine.transmit(|batch| {
            let texts = batch
                .datagrams
                .iter()
                .map(|data| String::from_utf8_lossy(data).into_owned());
            given.push(texts.collect());
            match answers.next() {
                Some(Err(error)) => Err(error
                    .raw_os_error()
                    .map_or(error.kind().into(), io::Error::from_raw_os_error)),
                Some(Ok(())) | None => Ok(0),
            }
        });
        if transmitted == TransmitOutcome::Idle {
            return (given, outcomes);
        }
        outcomes.push(transmitted);
        if transmitted == TransmitOutcome::Blocked {
            return (given, outcomes);
        }
    }
}

fn with_run(is_connected: bool, texts: &[&str]) -> Datagrams {
    let mut machine = Datagrams::new(100, is_connected, true);
    for text in texts {
        machine.push(peer(1), Buffer::from(*text), LocalAddr::default());
    }
    machine
}

const EIO: i32 = 5;
const EINVAL: i32 = 22;
const EMSGSIZE: i32 = 90;

fn refused(number: i32) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(number))
}

fn kind(kind: ErrorKind) -> io::Result<()> {
    Err(kind.into())
}

#[test]
fn bad_datagram_is_an_error_of_its_own() {
    let mut machine = with_two(false);
    let (given, outcomes) = give(&mut machine, &[kind(ErrorKind::ConnectionRefused)]);
    assert_eq!(given, [["one"], ["two"]]);
    let failed = TransmitOutcome::Failed {
        addr: peer(1),
        length: 3,
        error: ErrorKind::ConnectionRefused.into(),
    };
    assert_eq!(outcomes, [failed, TransmitOutcome::Sent { counted: 64 }]);
    assert_eq!(
        (machine.counters.messages_out, machine.counters.send_errors),
        (1, 1)
    );
}

#[test]
fn refusal_of_an_earlier_datagram_costs_this_one_nothing() {
    let mut machine = with_run(true, &["one", "longer"]);
    let refusal = || kind(ErrorKind::ConnectionRefused);
    let (given, outcomes) = give(&mut machine, &[refusal(), Ok(()), refusal()]);
    assert_eq!(given, [["one"], ["one"], ["longer"], ["longer"]]);
    let (earlier, sent) = (
        TransmitOutcome::DeferredError(ErrorKind::ConnectionRefused.into()),
        TransmitOutcome::Sent { counted: 64 },
    );
    assert_eq!(outcomes, [earlier, sent, earlier, sent]);
    assert_eq!(
        (
            machine.counters.messages_out,
            machine.counters.receive_errors
        ),
        (2, 2)
    );
}

#[test]
fn datagram_that_is_refused_twice_has_failed() {
    let mut machine = with_run(true, &["one", "longer"]);
    let mut refuse = || machine.transmit(|_| Err(ErrorKind::HostUnreachable.into()));
    assert_eq!(
        refuse(),
        TransmitOutcome::DeferredError(ErrorKind::HostUnreachable.into())
    );
    assert!(matches!(
        refuse(),
        TransmitOutcome::Failed { length: 3, .. }
    ));
    assert_eq!(
        refuse(),
        TransmitOutcome::DeferredError(ErrorKind::HostUnreachable.into())
    );
}

#[test]
fn datagrams_wait_while_the_socket_is_full() {
    for is_connected in [false, true] {
        let mut machine = with_run(is_connected, &["one", "two", "end", "longer"]);
        let (given, outcomes) = give(
            &mut machine,
            &[kind(ErrorKind::Interrupted), kind(ErrorKind::WouldBlock)],
        );
        assert_eq!(
            given,
            [["one", "two", "end"]; 2],
            "neither is a reason to take a batch apart"
        );
        assert_eq!(outcomes, [TransmitOutcome::Again, TransmitOutcome::Blocked]);
        assert!(machine.wants_transmit());
        let (given, outcomes) = give(&mut machine, &[]);
        assert_eq!(given, [&["one", "two", "end"][..], &["longer"]]);
        assert_eq!(
            outcomes,
            [
                TransmitOutcome::Sent { counted: 3 * 64 },
                TransmitOutcome::Sent { counted: 64 }
            ]
        );
        assert!(!machine.wants_transmit());
    }
}

#[test]
fn batch_has_one_peer_and_one_size_and_ends_with_a_shorter_one() {
    let mut machine = Datagrams::new(100, false, true);
    for (port, text) in [
        (1, "aa"),
        (1, "bb"),
        (2, "cc"),
        (2, ""),
        (2, ""),
        (2, "d"),
        (2, "ee"),
        (2, "f"),
        (2, "g"),
    ] {
        machine.push(peer(port), Buffer::from(text), LocalAddr::default());
    }
    let (given, _) = give(&mut machine, &[]);
    assert_eq!(
        given,
        [
            &["aa", "bb"][..],
            &["cc"],
            &[""],
            &[""],
            &["d"],
            &["ee", "f"],
            &["g"]
        ]
    );
    assert_eq!(
        (machine.counters.messages_out, machine.counters.bytes_out),
        (9, 11)
    );
}

#[test]
fn batch_of_a_connected_socket_has_its_peer_whatever_the_addresses() {
    let mut machine = with_two(true);
    assert_eq!(give(&mut machine, &[]).0, [["one", "two"]]);
}

#[test]
fn batch_is_what_every_kernel_takes_and_no_fragments() {
    let counts = |length: usize| {
        let mut machine = Datagrams::new(100, false, true);
        (0..150).for_each(|_| {
            machine.push(
                peer(1),
                Buffer::from(vec![b'x'; length]),
                LocalAddr::default(),
            )
        });
        give(&mut machine, &[])
            .0
            .iter()
            .map(Vec::len)
            .collect::<Vec<_>>()
    };
    assert_eq!(counts(1), [64, 64, 22]);
    assert_eq!(counts(1_023), [64, 64, 22]);
    assert_eq!(counts(1_200), [54, 54, 42]);
    assert_eq!(counts(1_452), [45, 45, 45, 15]);
    assert_eq!(counts(1_453), [1; 150]);
}

#[test]
fn refused_batch_leaves_one_by_one_and_each_error_is_that_of_one() {
    let mut machine = with_run(false, &["one", "two", "end", "longer", "longer"]);
    let answers = [refused(EMSGSIZE), Ok(()), kind(ErrorKind::PermissionDenied)];
    let (given, outcomes) = give(&mut machine, &answers);
    let expected = [
        &["one", "two", "end"][..],
        &["one"],
        &["two"],
        &["end"],
        &["longer", "longer"],
    ];
    assert_eq!(given, expected, "the next batch is one again");
    let failed = TransmitOutcome::Failed {
        addr: peer(1),
        length: 3,
        error: ErrorKind::PermissionDenied.into(),
    };
    let sent = |counted| TransmitOutcome::Sent { counted };
    assert_eq!(
        outcomes,
        [
            TransmitOutcome::Again,
            sent(64),
            failed,
            sent(64),
            sent(128)
        ]
    );
    assert_eq!(
        (machine.counters.messages_out, machine.counters.send_errors),
        (4, 1)
    );
}

#[test]
fn socket_that_cannot_cut_gets_one_batch_and_no_other() {
    for error in [EIO, EINVAL] {
        let mut machine = with_run(false, &["one", "two", "end"]);
        let (given, _) = give(&mut machine, &[refused(error)]);
        assert_eq!(
            given,
            [&["one", "two", "end"][..], &["one"], &["two"], &["end"]]
        );
        machine.push(peer(1), Buffer::from("and"), LocalAddr::default());
        machine.push(peer(1), Buffer::from("on"), LocalAddr::default());
        assert_eq!(give(&mut machine, &[]).0, [["and"], ["on"]]);
    }
}

#[test]
fn datagrams_that_fail_alone_too_do_not_speak_against_batches() {
    let mut machine = with_run(false, &["bad", "bad", "longer", "longer"]);
    let (given, _) = give(
        &mut machine,
        &[refused(EINVAL), refused(EINVAL), refused(EINVAL)],
    );
    assert_eq!(
        given,
        [
            &["bad", "bad"][..],
            &["bad"],
            &["bad"],
            &["longer", "longer"]
        ]
    );
    assert_eq!(
        (machine.counters.messages_out, machine.counters.send_errors),
        (2, 2)
    );
}

#[test]
fn refusal_of_an_earlier_datagram_costs_a_batch_nothing() {
    let mut machine = with_run(true, &["one", "two"]);
    let refusal = || kind(ErrorKind::ConnectionRefused);
    let earlier = TransmitOutcome::DeferredError(ErrorKind::ConnectionRefused.into());
    let (given, outcomes) = give(&mut machine, &[refusal()]);
    assert_eq!(given, [["one", "two"]; 2]);
    assert_eq!(outcomes, [earlier, TransmitOutcome::Sent { counted: 128 }]);
    // Refused again and again it is taken apart, and only the one that was tried before has had its second chance.
    let mut machine = with_run(true, &["one", "two"]);
    let (given, outcomes) = give(&mut machine, &[refusal(), refusal(), refusal(), refusal()]);
    assert_eq!(
        given,
        [
            &["one", "two"][..],
            &["one", "two"],
            &["one"],
            &["two"],
            &["two"]
        ]
    );
    let failed = TransmitOutcome::Failed {
        addr: peer(1),
        length: 3,
        error: ErrorKind::ConnectionRefused.into(),
    };
    assert_eq!(
        outcomes,
        [
            earlier,
            TransmitOutcome::Again,
            failed,
            earlier,
            TransmitOutcome::Sent { counted: 64 }
        ]
    );
}

#[test]
fn batches_are_not_made_for_a_socket_that_is_not_said_to_cut_them() {
    let mut machine = Datagrams::new(100, false, false);
    (0..3).for_each(|_| machine.push(peer(1), Buffer::from("x"), LocalAddr::default()));
    assert_eq!(give(&mut machine, &[]).0, [["x"]; 3]);
}

#[test]
fn long_datagrams_are_cut_and_flagged_and_empty_ones_are_whole() {
    let (mut machine, pool) = (Datagrams::new(4, false, true), BufferPool::new());
    assert_eq!(
        machine.received(b"12345", &pool),
        (Buffer::from("1234"), true)
    );
    assert_eq!(
        machine.received(b"1234", &pool),
        (Buffer::from("1234"), false)
    );
    assert_eq!(machine.received(b"", &pool), (Buffer::new(), false));
    assert_eq!(
        (
            machine.counters.messages_in,
            machine.counters.bytes_in,
            machine.counters.truncated
        ),
        (3, 9, 1)
    );
}

#[test]
fn error_that_stays_makes_receiving_wait() {
    let mut machine = Datagrams::new(100, false, true);
    let refuse = |machine: &mut Datagrams| machine.receive_failed(ErrorKind::OutOfMemory.into());
    let reports = (1..ERRORS_IN_A_ROW)
        .filter(|_| matches!(refuse(&mut machine), AfterError::Report(_)))
        .count();
    assert_eq!(reports as u32, ERRORS_IN_A_ROW - 1);
    assert_eq!(
        refuse(&mut machine),
        AfterError::ReportAndWait(ErrorKind::OutOfMemory.into())
    );
    assert!(
        matches!(refuse(&mut machine), AfterError::Report(_)),
        "it begins anew"
    );
    assert_eq!(
        machine.receive_failed(ErrorKind::WouldBlock.into()),
        AfterError::Wait
    );
}
