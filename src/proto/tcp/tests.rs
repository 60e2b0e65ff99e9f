//! Each phase, each numbered transition and each deadline over virtual time; then scripts.

use std::io::ErrorKind;

use std::io::IoSlice;

use super::*;
use crate::error::{FrameError, Reason};
use crate::memory::buffer::BufferPool;
use crate::proto::framing::HeaderFraming;
use crate::proto::script::run_random;

/// `LONGSHORE_CONNECTION_SCRIPTS` sets how many.
#[test]
fn random_scripts_keep_every_promise() {
    let scripts = std::env::var("LONGSHORE_CONNECTION_SCRIPTS")
        .ok()
        .and_then(|count| count.parse().ok());
    run_random(scripts.unwrap_or(10_000), 200, script::fuzz_connection);
}

/// `LONGSHORE_PAIR_SCRIPTS` sets how many.
#[test]
fn random_scripts_between_two_connections_keep_every_promise() {
    let scripts = std::env::var("LONGSHORE_PAIR_SCRIPTS")
        .ok()
        .and_then(|count| count.parse().ok());
    run_random(scripts.unwrap_or(1_000), 150, pair::fuzz_pair);
}

const CLOSE: u64 = 500;
const LINGER: u64 = 100;
const WRITE: u64 = 3_000;

fn settings(framing: Framing) -> Settings {
    Settings {
        framing: Arc::new(framing),
        pool: BufferPool::new(),
        read_buffer_size: 64 * 1024,
        output_limit: 1 << 20,
        high_water_mark: 100,
        closes_on_overflow: true,
        reads_above_high: false,
        input_window: 100,
        window_follows_buffers: false,
        low_water_mark: 10,
        half_open: false,
        close_on_full_mailbox: false,
        handshake_timeout: Some(1_000),
        idle_timeout: None,
        write_timeout: Some(WRITE),
        frame_timeout: None,
        close_timeout: CLOSE,
        linger_timeout: LINGER,
        write_keep_alive: None,
    }
}

fn with(change: impl FnOnce(&mut Settings), framing: Framing) -> Connection {
    let mut settings = settings(framing);
    change(&mut settings);
    let mut machine = Connection::new(Arc::new(settings), 0);
    assert!(matches!(machine.next_event(0), Some(Event::Connected)));
    machine
}

/// A connection that was announced.
fn open() -> Connection {
    with(|_| {}, Framing::Raw)
}

fn lines() -> Connection {
    with(|_| {}, Framing::lines())
}

fn read(machine: &mut Connection, text: &str, now_ms: u64) {
    assert!(machine.wants_read(), "not the time to read");
    let mut buffer = machine.settings.pool.copy_from_slice(text.as_bytes());
    machine.receive(&mut buffer, now_ms);
}

fn send(machine: &mut Connection, text: &str, now_ms: u64) {
    machine.send(Buffer::from(text), now_ms);
}

/// What the owner gets now: data as its text.
fn events(machine: &mut Connection, now_ms: u64) -> Vec<String> {
    std::iter::from_fn(|| machine.next_event(now_ms))
        .map(|event| match event {
            Event::Data(data) => String::from_utf8(data.into_vec()).unwrap(),
            event => format!("{event:?}"),
        })
        .collect()
}

fn gathered(slices: &[IoSlice<'_>]) -> Vec<u8> {
    slices.iter().flat_map(|slice| slice.to_vec()).collect()
}

/// A socket that takes `room` bytes and does what the driver does; returns what it took.
fn transmit(machine: &mut Connection, mut room: usize, now_ms: u64) -> String {
    let mut taken = Vec::new();
    machine.transmit(
        |slices| {
            if room == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            let offered = gathered(slices);
            let part = offered.len().min(room);
            room -= part;
            taken.extend_from_slice(&offered[..part]);
            Ok(part)
        },
        now_ms,
    );
    if machine.shutdown_is_due() {
        machine.shutdown_done(now_ms);
        taken.extend_from_slice(b"|FIN");
    }
    String::from_utf8(taken).unwrap()
}

fn refuse(machine: &mut Connection, kind: ErrorKind, now_ms: u64) {
    machine.transmit(|_| Err(kind.into()), now_ms);
}

fn ended(machine: &Connection) -> Option<DisconnectReason> {
    machine.ended().cloned()
}

/// Lets the next deadline come; returns when that was.
fn expire(machine: &mut Connection) -> u64 {
    let now_ms = machine.next_deadline();
    assert_ne!(now_ms, u64::MAX, "no deadline");
    machine.handle_timeout(now_ms - 1);
    assert_eq!(
        machine.next_deadline(),
        now_ms,
        "an early call changed something"
    );
    machine.handle_timeout(now_ms);
    now_ms
}

// ---- Open ----

#[test]
fn connect_is_delivered_before_data_that_was_read_at_once() {
    let mut machine = Connection::new(Arc::new(settings(Framing::Raw)), 0);
    read(&mut machine, "early", 0);
    assert_eq!(events(&mut machine, 0), ["Connected", "early"]);
}

#[test]
fn nothing_is_read_while_frames_wait_for_the_owner() {
    let mut machine = lines();
    read(&mut machine, "one\ntwo\nthr", 0);
    assert!(matches!(machine.next_event(0), Some(Event::Data(_))));
    assert!(!machine.wants_read());
    assert_eq!(events(&mut machine, 0), ["two"]);
    read(&mut machine, "ee\n", 0);
    assert_eq!(events(&mut machine, 0), ["three"]);
}

#[test]
fn large_read_is_handed_on_without_a_copy() {
    let mut machine = open();
    let mut buffer = machine.settings.pool.get(TAKE);
    buffer.extend_from_slice(&vec![7; TAKE]);
    let place = buffer.as_ptr();
    machine.receive(&mut buffer, 0);
    assert!(
        buffer.is_empty() && buffer.capacity() >= TAKE,
        "the caller can read on"
    );
    let Some(Event::Data(data)) = machine.next_event(0) else {
        panic!("no data")
    };
    assert_eq!((data.as_ptr(), data.len()), (place, TAKE));
}

#[test]
fn owner_pauses_and_resumes_reading() {
    let mut machine = open();
    machine.pause(true, 0);
    assert!(!machine.wants_read());
    machine.pause(false, 0);
    assert!(machine.wants_read());
}

#[test]
fn output_above_its_high_mark_stops_reading_until_it_is_at_its_low_mark() {
    let mut machine = open();
    send(&mut machine, &"x".repeat(100), 0);
    assert!(machine.wants_read(), "at the mark is not above it");
    send(&mut machine, "y", 0);
    assert!(!machine.wants_read());
    transmit(&mut machine, 90, 0);
    assert!(!machine.wants_read());
    assert_eq!(events(&mut machine, 0), [""; 0]);
    transmit(&mut machine, 1, 0);
    assert!(machine.wants_read());
    assert_eq!(events(&mut machine, 0), ["Writable"]);
    assert_eq!(events(&mut machine, 0), [""; 0], "reported once");
}

#[test]
fn writable_is_not_reported_while_output_is_above_the_mark() {
    for spoil in [
        |machine: &mut Connection| machine.shutdown_write(),
        |machine: &mut Connection| machine.close(DisconnectReason::LocalClose, 0),
        |machine: &mut Connection| machine.end(DisconnectReason::Abort),
        |machine: &mut Connection| machine.send(Buffer::from(vec![0; 200]), 0),
    ] {
        let mut machine = open();
        machine.request_writable_event();
        spoil(&mut machine);
        assert_eq!(events(&mut machine, 0), [""; 0]);
    }
}

#[test]
fn framing_change_reads_kept_and_waiting_bytes_again() {
    let mut machine = lines();
    read(&mut machine, "head\nabcd", 0);
    assert_eq!(events(&mut machine, 0), ["head"]);
    machine.set_framing(Arc::new(Framing::fixed(3)));
    assert_eq!(events(&mut machine, 0), ["abc"]);
    machine.set_framing(Arc::new(Framing::Raw));
    assert_eq!(events(&mut machine, 0), ["d"]);
}

#[test]
fn framing_change_in_the_middle_of_a_read_counts_from_the_next_frame() {
    let mut machine = lines();
    read(&mut machine, "upgrade\nabcdef", 0);
    assert!(matches!(machine.next_event(0), Some(Event::Data(_))));
    machine.set_framing(Arc::new(Framing::fixed(2)));
    assert_eq!(events(&mut machine, 0), ["ab", "cd", "ef"]);
}

// ---- The question ----

const ALL: Able = Able {
    deliver: true,
    read: true,
    write: true,
};
const NOTHING: Able = Able {
    deliver: false,
    read: false,
    write: false,
};

fn poll(machine: &mut Connection, able: Able) -> String {
    format!("{:?}", machine.poll(able, 0))
}

#[test]
fn driver_is_asked_to_deliver_then_to_read_then_to_transmit() {
    let mut machine = lines();
    send(&mut machine, "reply", 0);
    read(&mut machine, "one\ntwo\n", 0);
    for _ in 0..2 {
        assert!(poll(&mut machine, ALL).starts_with("Deliver(Data("));
    }
    assert_eq!(poll(&mut machine, ALL), "Read");
    let may_not_read = Able { read: false, ..ALL };
    assert_eq!(
        poll(&mut machine, may_not_read),
        "Transmit { only_tickets: false }"
    );
    assert_eq!(poll(&mut machine, NOTHING), format!("Wait({WRITE})"));
    assert_eq!(transmit(&mut machine, usize::MAX, 0), "reply");
    assert_eq!(
        poll(&mut machine, may_not_read),
        format!("Wait({})", u64::MAX)
    );
}

#[test]
fn driver_is_asked_for_nothing_that_it_cannot_do() {
    let mut machine = lines();
    send(&mut machine, "reply", 0);
    read(&mut machine, "one\n", 0);
    assert_eq!(poll(&mut machine, NOTHING), format!("Wait({WRITE})"));
    let may_deliver = Able {
        deliver: true,
        ..NOTHING
    };
    assert!(poll(&mut machine, may_deliver).starts_with("Deliver("));
    machine.handle(Input::SetBlocked(true), 0);
    let may_read = Able {
        read: true,
        ..NOTHING
    };
    assert!(poll(&mut machine, may_read).starts_with("Wait("));
    machine.handle(Input::SetBlocked(false), 0);
    assert_eq!(poll(&mut machine, may_read), "Read");
}

#[test]
fn end_is_asked_for_step_by_step_and_each_step_once() {
    let mut machine = open();
    send(&mut machine, "one ", 0);
    machine.handle(Input::Close(DisconnectReason::LocalClose), 0);
    let able = Able { read: false, ..ALL };
    assert_eq!(poll(&mut machine, able), "CloseQuota");
    machine.handle(Input::QuotaClosed(7), 0);
    assert_eq!(transmit(&mut machine, usize::MAX, 0), "one ");
    assert!(
        poll(&mut machine, able).starts_with("Wait("),
        "three bytes are still in flight"
    );
    send(&mut machine, "two", 0);
    assert_eq!(poll(&mut machine, able), "Transmit { only_tickets: false }");
    machine.transmit(|slices| Ok(gathered(slices).len()), 0);
    assert_eq!(poll(&mut machine, able), "ShutdownWrite");
    assert_eq!(poll(&mut machine, ALL), "Read");
    machine.handle(Input::PeerEnded, 0);
    assert_eq!(poll(&mut machine, ALL), "Ended");
    assert_eq!(machine.status().ended, Some(&DisconnectReason::LocalClose));
}

#[test]
fn frames_that_were_read_are_delivered_before_the_end() {
    let mut machine = lines();
    read(&mut machine, "one\n", 0);
    machine.handle(Input::ReadFailed(ErrorKind::ConnectionReset.into()), 0);
    let may_not_deliver = Able {
        deliver: false,
        ..ALL
    };
    assert_eq!(poll(&mut machine, may_not_deliver), "CloseQuota");
    assert_eq!(poll(&mut machine, may_not_deliver), "Ended");
    assert!(poll(&mut machine, ALL).starts_with("Deliver("));
    assert_eq!(poll(&mut machine, ALL), "Ended");
}

// ---- The peer's end ----

#[test]
fn peer_finished_comes_after_all_data_and_drops_the_incomplete_frame() {
    let mut machine = lines();
    read(&mut machine, "one\nrest", 0);
    machine.receive_end(0);
    assert_eq!(events(&mut machine, 0), ["one", "PeerFinished"]);
    machine.set_framing(Arc::new(Framing::Raw));
    assert_eq!(
        events(&mut machine, 0),
        [""; 0],
        "no data after PeerFinished"
    );
    assert!(!machine.wants_read() && machine.ended().is_none());
}

#[test]
fn half_closed_peer_still_gets_its_reply() {
    let mut machine = open();
    read(&mut machine, "question", 0);
    machine.receive_end(0);
    assert_eq!(events(&mut machine, 0), ["question", "PeerFinished"]);
    send(&mut machine, "answer", 0);
    machine.peer_end_handled(0);
    assert_eq!(ended(&machine), None);
    assert_eq!(transmit(&mut machine, usize::MAX, 0), "answer|FIN");
    assert_eq!(ended(&machine), Some(DisconnectReason::ClosedByPeer));
}

#[test]
fn both_sides_ended_is_the_end_once_the_owner_knows() {
    let mut machine = open();
    machine.shutdown_write();
    assert_eq!(transmit(&mut machine, usize::MAX, 0), "|FIN");
    machine.receive_end(0);
    assert_eq!(ended(&machine), None);
    assert_eq!(events(&mut machine, 0), ["PeerFinished"]);
    assert_eq!(ended(&machine), Some(DisconnectReason::ClosedByPeer));
}

#[test]
fn owner_reads_on_after_its_own_shutdown() {
    let mut machine = open();
    send(&mut machine, "last", 0);
    machine.shutdown_write();
    assert_eq!(transmit(&mut machine, 2, 0), "la");
    assert_eq!(transmit(&mut machine, usize::MAX, 0), "st|FIN");
    send(&mut machine, "too late", 0);
    assert!(!machine.wants_transmit());
    read(&mut machine, "more", 0);
    assert_eq!(events(&mut machine, 0), ["more"]);
    assert_eq!(machine.state(), "half-closed");
}

#[test]
fn read_error_ends_at_once_but_gives_out_what_was_read() {
    let mut machine = open();
    read(&mut machine, "before", 0);
    send(&mut machine, "never sent", 0);
    machine.fail(ErrorKind::ConnectionReset);
    assert_eq!(ended(&machine), Some(DisconnectReason::Reset));
    assert_eq!(events(&mut machine, 0), ["before"]);
    assert_eq!(transmit(&mut machine, usize::MAX, 0), "");
}

// ---- A failed write ----

#[test]
fn what_came_before_a_failed_write_is_still_read() {
    let mut machine = open();
    send(&mut machine, "lost", 0);
    refuse(&mut machine, ErrorKind::BrokenPipe, 0);
    assert_eq!(ended(&machine), None);
    machine.pause(true, 0);
    read(&mut machine, "last words", 0);
    assert_eq!(events(&mut machine, 0), ["last words"]);
    machine.fail(ErrorKind::TimedOut);
    assert_eq!(
        ended(&machine),
        Some(DisconnectReason::Reset),
        "the reason is that of the write"
    );
}

#[test]
fn failed_write_after_the_peers_end_is_the_end() {
    let mut machine = open();
    machine.receive_end(0);
    send(&mut machine, "reply", 0);
    refuse(&mut machine, ErrorKind::ConnectionReset, 0);
    assert_eq!(ended(&machine), Some(DisconnectReason::Reset));
}

#[test]
fn broken_connection_whose_peer_is_silent_ends_in_time() {
    let mut machine = open();
    send(&mut machine, "lost", 0);
    refuse(&mut machine, ErrorKind::OutOfMemory, 0);
    read(&mut machine, "alive", 100);
    assert_eq!(events(&mut machine, 100), ["alive"]);
    assert_eq!(expire(&mut machine), 100 + CLOSE);
    assert_eq!(
        ended(&machine),
        Some(DisconnectReason::Io(ErrorKind::OutOfMemory.into()))
    );
}

#[test]
fn short_and_interrupted_writes_go_on_where_they_were() {
    let mut machine = open();
    send(&mut machine, "abc", 0);
    send(&mut machine, "def", 0);
    let mut interrupted = false;
    let done = machine.transmit(
        |slices| {
            if !std::mem::replace(&mut interrupted, true) {
                return Err(ErrorKind::Interrupted.into());
            }
            assert_eq!(gathered(slices), b"abcdef");
            Ok(4)
        },
        0,
    );
    assert_eq!(
        done,
        Transmitted {
            bytes: 4,
            blocked: true
        }
    );
    assert_eq!(transmit(&mut machine, usize::MAX, 0), "ef");
}

// ---- Closing ----

#[test]
fn close_sends_what_is_queued_then_fin_then_waits_for_the_peer() {
    let mut machine = open();
    send(&mut machine, "farewell", 0);
    machine.close(DisconnectReason::LocalClose, 0);
    assert_eq!(transmit(&mut machine, 4, 0), "fare");
    assert_eq!(transmit(&mut machine, usize::MAX, 0), "well|FIN");
    assert_eq!(ended(&machine), None);
    read(&mut machine, "discarded", 0);
    assert_eq!(events(&mut machine, 0), [""; 0]);
    machine.receive_end(0);
    assert_eq!(ended(&machine), Some(DisconnectReason::LocalClose));
}

#[test]
fn closing_reads_on_while_frames_wait_and_gives_them_out_after_the_end() {
    let mut machine = lines();
    read(&mut machine, "one\ntwo\n", 0);
    machine.close(DisconnectReason::LocalClose, 0);
    read(&mut machine, "discarded\n", 0);
    transmit(&mut machine, usize::MAX, 0);
    machine.receive_end(0);
    assert!(machine.ended().is_some());
    assert_eq!(events(&mut machine, 0), ["one", "two"]);
}

#[test]
fn peer_that_never_ends_is_waited_for_briefly() {
    let mut machine = open();
    machine.close(DisconnectReason::LocalClose, 0);
    transmit(&mut machine, usize::MAX, 10);
    assert_eq!(expire(&mut machine), 10 + LINGER);
    assert_eq!(ended(&machine), Some(DisconnectReason::LocalClose));
    assert!(!machine.is_abandoned());
}

#[test]
fn close_that_cannot_flush_says_so_at_its_deadline() {
    let mut machine = open();
    send(&mut machine, "stuck", 0);
    machine.close(DisconnectReason::LocalClose, 20);
    transmit(&mut machine, 1, 20);
    assert_eq!(expire(&mut machine), 20 + CLOSE);
    assert_eq!(ended(&machine), Some(DisconnectReason::CloseTimeout));
    assert!(machine.is_abandoned());
}

#[test]
fn first_reason_stays_unless_it_claims_that_everything_was_sent() {
    let exit = DisconnectReason::Exit(Reason::Shutdown);
    for (reason, expected) in [
        (exit.clone(), exit),
        (DisconnectReason::IdleTimeout, DisconnectReason::IdleTimeout),
        (DisconnectReason::LocalClose, DisconnectReason::Reset),
        (DisconnectReason::ClosedByPeer, DisconnectReason::Reset),
    ] {
        let mut machine = open();
        send(&mut machine, "stuck", 0);
        machine.close(reason.clone(), 0);
        machine.close(DisconnectReason::NodeStop, 0);
        refuse(&mut machine, ErrorKind::BrokenPipe, 0);
        assert_eq!(ended(&machine), Some(expected.clone()));

        let mut machine = open();
        send(&mut machine, "stuck", 0);
        machine.close(reason, 0);
        machine.fail(ErrorKind::ConnectionReset);
        assert_eq!(ended(&machine), Some(expected));
    }
}

#[test]
fn reset_behind_the_end_of_both_sides_is_no_event() {
    let mut machine = open();
    machine.close(DisconnectReason::LocalClose, 0);
    assert_eq!(transmit(&mut machine, usize::MAX, 0), "|FIN");
    machine.fail(ErrorKind::ConnectionReset);
    assert_eq!(ended(&machine), Some(DisconnectReason::LocalClose));
}

#[test]
fn close_after_both_sides_ended_is_immediate() {
    let mut machine = open();
    machine.receive_end(0);
    machine.shutdown_write();
    transmit(&mut machine, usize::MAX, 0);
    machine.close(DisconnectReason::LocalClose, 0);
    assert_eq!(ended(&machine), Some(DisconnectReason::LocalClose));
}

#[test]
fn accepted_bytes_that_are_still_on_their_way_go_before_fin() {
    let mut machine = open();
    send(&mut machine, "one ", 0);
    machine.close(DisconnectReason::LocalClose, 0);
    machine.await_in_flight(7);
    assert_eq!(transmit(&mut machine, usize::MAX, 0), "one ");
    assert!(
        !machine.wants_transmit(),
        "nothing to do before the rest is here"
    );
    send(&mut machine, "two", 0);
    machine.await_in_flight(3);
    assert_eq!(transmit(&mut machine, usize::MAX, 0), "two|FIN");
}

#[test]
fn commands_after_the_end_do_nothing() {
    let mut machine = open();
    machine.end(DisconnectReason::Abort);
    machine.close(DisconnectReason::LocalClose, 0);
    machine.end(DisconnectReason::NodeStop);
    machine.shutdown_write();
    machine.peer_end_handled(0);
    machine.pause(false, 0);
    machine.request_writable_event();
    send(&mut machine, "late", 0);
    machine.receive_end(0);
    machine.fail(ErrorKind::TimedOut);
    machine.set_framing(Arc::new(Framing::lines()));
    machine.receive(&mut Buffer::from("late"), 0);
    assert_eq!(events(&mut machine, 0), [""; 0]);
    assert!(!machine.wants_read() && !machine.wants_transmit() && !machine.shutdown_is_due());
    assert_eq!(
        (
            machine.next_deadline(),
            machine.handle_timeout(u64::MAX - 1)
        ),
        (u64::MAX, false)
    );
    assert_eq!(ended(&machine), Some(DisconnectReason::Abort));
}

#[test]
fn refused_frame_closes_and_stays_the_reason() {
    let framing = Framing::header(
        HeaderFraming::default()
            .with_length_size(1)
            .with_header_size(1)
            .with_max_length(4),
    );
    let mut machine = with(|_| {}, framing);
    send(&mut machine, "reply", 0);
    read(&mut machine, "\u{1}a\u{9}more", 0);
    machine.receive_end(0);
    assert_eq!(events(&mut machine, 0), ["\u{1}a"]);
    machine.set_framing(Arc::new(Framing::Raw));
    assert_eq!(
        events(&mut machine, 0),
        [""; 0],
        "a stream that failed stays failed"
    );
    assert_eq!(transmit(&mut machine, usize::MAX, 0), "reply|FIN");
    assert_eq!(
        ended(&machine),
        Some(DisconnectReason::Frame(FrameError::TooLarge {
            length: 10,
            max: 4
        }))
    );
}

// ---- Deadlines ----

#[test]
fn idle_deadline_counts_from_the_last_byte_in_either_direction() {
    let mut machine = with(|settings| settings.idle_timeout = Some(1_000), Framing::Raw);
    read(&mut machine, "in", 100);
    assert_eq!(events(&mut machine, 100), ["in"]);
    assert_eq!(machine.next_deadline(), 1_100);
    send(&mut machine, "out", 200);
    transmit(&mut machine, usize::MAX, 300);
    assert_eq!(expire(&mut machine), 1_300);
    assert_eq!(transmit(&mut machine, usize::MAX, 1_300), "|FIN");
    machine.receive_end(1_300);
    assert_eq!(ended(&machine), Some(DisconnectReason::IdleTimeout));
}

#[test]
fn peer_is_not_idle_while_the_owner_takes_nothing() {
    let mut machine = with(|settings| settings.idle_timeout = Some(1_000), Framing::Raw);
    machine.pause(true, 0);
    assert_eq!(machine.next_deadline(), u64::MAX);
    machine.pause(false, 5_000);
    assert_eq!(machine.next_deadline(), 6_000);
    machine.set_owner_blocked(true, 5_500);
    assert_eq!(machine.next_deadline(), u64::MAX);
}

#[test]
fn write_deadline_counts_from_the_last_progress() {
    let mut machine = open();
    send(&mut machine, "abc", 100);
    assert_eq!(machine.next_deadline(), 100 + WRITE);
    transmit(&mut machine, 1, 200);
    send(&mut machine, "more", 300);
    transmit(&mut machine, 0, 400);
    assert_eq!(expire(&mut machine), 200 + WRITE);
    assert_eq!(ended(&machine), Some(DisconnectReason::SlowReader));
    assert!(machine.is_abandoned());
}

#[test]
fn sent_output_has_no_write_deadline() {
    let mut machine = open();
    send(&mut machine, "abc", 0);
    transmit(&mut machine, usize::MAX, 0);
    assert_eq!(machine.next_deadline(), u64::MAX);
}

#[test]
fn frame_deadline_counts_from_the_first_byte_of_each_frame() {
    let mut machine = with(
        |settings| settings.frame_timeout = Some(50),
        Framing::lines(),
    );
    read(&mut machine, "one\ntw", 10);
    assert_eq!(events(&mut machine, 10), ["one"]);
    read(&mut machine, "o", 40);
    assert_eq!(events(&mut machine, 40), [""; 0]);
    assert_eq!(machine.next_deadline(), 60);
    read(&mut machine, "\nth", 55);
    assert_eq!(events(&mut machine, 55), ["two"]);
    assert_eq!(expire(&mut machine), 105);
    transmit(&mut machine, usize::MAX, 105);
    machine.receive_end(105);
    assert_eq!(ended(&machine), Some(DisconnectReason::FrameTimeout));
}

#[test]
fn frame_deadline_stands_still_while_reading_does_and_after_the_end() {
    let mut machine = with(
        |settings| settings.frame_timeout = Some(50),
        Framing::lines(),
    );
    read(&mut machine, "begun", 0);
    events(&mut machine, 0);
    machine.pause(true, 10);
    events(&mut machine, 10);
    assert_eq!(machine.next_deadline(), u64::MAX);
    machine.pause(false, 500);
    events(&mut machine, 500);
    assert_eq!(machine.next_deadline(), 550);
    machine.receive_end(510);
    assert_eq!(events(&mut machine, 510), ["PeerFinished"]);
    assert_eq!(machine.next_deadline(), u64::MAX);
}

#[test]
fn keep_alive_is_due_after_silence_and_not_after_each_write() {
    let keep_alive =
        |settings: &mut Settings| settings.write_keep_alive = Some((100, b"ping".to_vec()));
    let mut machine = with(keep_alive, Framing::Raw);
    send(&mut machine, "abc", 30);
    transmit(&mut machine, usize::MAX, 40);
    assert_eq!(machine.next_deadline(), 140);
    assert!(!machine.handle_timeout(139));
    assert!(machine.handle_timeout(140));
    assert_eq!(machine.next_deadline(), 240);
    machine.shutdown_write();
    assert_eq!(
        machine.next_deadline(),
        u64::MAX,
        "nothing is written after a shutdown"
    );
}

#[cfg(feature = "tls")]
mod tls;
