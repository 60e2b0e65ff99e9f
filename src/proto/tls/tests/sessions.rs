use rustls::ProtocolVersion;

use super::super::StreamEnd;
use super::super::pair::{End, Pair};
use super::{NAME, Site, VERSIONS, data, send};

#[test]
fn both_versions_agree_and_carry_data_both_ways() {
    let site = Site::new();
    for (version, protocol) in VERSIONS
        .into_iter()
        .zip([ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3])
    {
        let mut pair = site.open_pair(version);
        send(&mut pair.client, b"ping");
        send(&mut pair.server, &data(200_000));
        pair.run_until_quiet();
        assert_eq!(pair.server.plain, b"ping");
        assert_eq!(pair.client.plain, data(200_000));
        let (client, server) = (pair.client.tls.info(), pair.server.tls.info());
        assert_eq!(
            (client.protocol_version, server.protocol_version),
            (protocol, protocol)
        );
        assert_eq!(client.cipher_suite, server.cipher_suite);
        assert_eq!(
            (client.server_name.as_deref(), server.server_name.as_deref()),
            (Some(NAME), Some(NAME))
        );
        assert_eq!(
            (
                client.peer_certificates.len(),
                server.peer_certificates.len()
            ),
            (1, 0)
        );
        assert_eq!((client.alpn, server.alpn), (None, None));
        assert!(!client.resumed && !server.resumed);
    }
}

/// Moves everything that `from` has to say in two pieces.
fn carry_split(from: &mut End, to: &mut End, at: usize) -> usize {
    from.transmit(usize::MAX);
    let wire = std::mem::take(&mut from.wire);
    let (first, second) = wire.split_at(at.min(wire.len()));
    for piece in [first, second] {
        to.feed(piece).unwrap();
    }
    wire.len()
}

/// Runs a whole session, each flight cut at the same place; returns the length of the longest flight.
fn run_split(mut pair: Pair, at: usize) -> usize {
    let (question, answer) = (data(300), data(700));
    let mut longest = 0;
    let (mut asked, mut answered) = (false, false);
    loop {
        if !asked && !pair.client.tls.is_handshaking() {
            send(&mut pair.client, &question);
            pair.client.tls.close_notify();
            asked = true;
        }
        let there = carry_split(&mut pair.client, &mut pair.server, at);
        if !answered && pair.server.plain == question {
            send(&mut pair.server, &answer);
            pair.server.tls.close_notify();
            answered = true;
        }
        let back = carry_split(&mut pair.server, &mut pair.client, at);
        longest = longest.max(there).max(back);
        if there + back == 0 {
            break;
        }
    }
    assert_eq!((pair.client.completed, pair.server.completed), (1, 1));
    assert_eq!(
        (&pair.client.plain, &pair.server.plain),
        (&answer, &question)
    );
    assert_eq!(pair.client.tls.end_of_stream(), StreamEnd::Clean);
    assert_eq!(pair.server.tls.end_of_stream(), StreamEnd::Clean);
    longest
}

#[test]
fn a_session_cut_at_any_position_gives_the_same_plaintext() {
    let site = Site::new();
    for version in VERSIONS {
        let (client, server) = (site.client(version).into(), site.server());
        let mut at = 0;
        while at <= run_split(Pair::new(&client, &server, NAME), at) {
            at += 1;
        }
        assert!(at > 700, "the longest flight has {at} bytes only");
    }
}

#[test]
fn a_session_in_pieces_of_any_size_gives_the_same_plaintext() {
    let site = Site::new();
    for version in VERSIONS {
        for step in [1, 2, 3, 4, 5, 6, 7, 13, 64, 511, 4095, 4096, 4097, 16_400] {
            let mut pair = site.pair(version);
            pair.settle_by(step);
            send(&mut pair.client, &data(40_000));
            pair.client.tls.close_notify();
            pair.settle_by(step);
            assert_eq!((pair.client.completed, pair.server.completed), (1, 1));
            assert_eq!(pair.server.plain, data(40_000), "in pieces of {step}");
            assert!(pair.server.close_notify);
        }
    }
}

#[test]
fn an_empty_read_is_not_the_end() {
    let mut pair = Site::new().open_pair(VERSIONS[1]);
    assert!(!pair.server.feed(&[]).unwrap().close_notify);
    send(&mut pair.client, b"still here");
    pair.run_until_quiet();
    assert_eq!(pair.server.plain, b"still here");
}

#[test]
fn data_arriving_with_close_notify_is_given_out() {
    for version in VERSIONS {
        let mut pair = Site::new().open_pair(version);
        send(&mut pair.client, b"last words");
        pair.client.tls.close_notify();
        pair.client.transmit(usize::MAX);
        let wire = std::mem::take(&mut pair.client.wire);
        let fed = pair.server.feed(&wire).unwrap();
        assert!(fed.close_notify && !fed.handshake_completed);
        assert_eq!(pair.server.plain, b"last words");
        assert_eq!(pair.server.tls.end_of_stream(), StreamEnd::Clean);
    }
}

#[test]
fn the_first_data_may_arrive_with_the_end_of_the_handshake() {
    let mut pair = Site::new().pair(VERSIONS[1]);
    let (client, server) = (&mut pair.client, &mut pair.server);
    carry_split(client, server, 0);
    carry_split(server, client, 0);
    send(client, b"early bird");
    client.tls.close_notify();
    client.transmit(usize::MAX);
    let wire = std::mem::take(&mut client.wire);
    let fed = server.feed(&wire).unwrap();
    assert!(fed.handshake_completed && fed.close_notify);
    assert_eq!(server.plain, b"early bird");
}

#[test]
fn input_after_close_notify_is_ignored() {
    for version in VERSIONS {
        let mut pair = Site::new().open_pair(version);
        pair.client.tls.close_notify();
        pair.client.transmit(usize::MAX);
        pair.client
            .wire
            .extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
        pair.run_until_quiet();
        assert!(pair.server.feed(&data(10_000)).unwrap().close_notify);
        assert!(pair.server.plain.is_empty() && pair.server.error.is_none());
    }
}

#[test]
fn a_half_closed_peer_still_gets_its_reply() {
    for version in VERSIONS {
        let mut pair = Site::new().open_pair(version);
        send(&mut pair.client, b"question");
        pair.client.tls.close_notify();
        pair.run_until_quiet();
        send(&mut pair.server, &data(50_000));
        pair.server.tls.close_notify();
        pair.run_until_quiet();
        assert_eq!(pair.client.plain, data(50_000));
        assert_eq!(pair.client.tls.end_of_stream(), StreamEnd::Clean);
    }
}

#[test]
fn the_end_of_the_stream_says_what_it_means() {
    let site = Site::new();
    for version in VERSIONS {
        let mut pair = site.pair(version);
        assert_eq!(pair.client.tls.end_of_stream(), StreamEnd::DuringHandshake);
        assert_eq!(pair.server.tls.end_of_stream(), StreamEnd::DuringHandshake);
        pair.run_until_quiet();
        assert_eq!(pair.server.tls.end_of_stream(), StreamEnd::Truncated);
        // Half a record is no better than none.
        send(&mut pair.client, &data(1000));
        pair.server.feed(&pair.client.wire[..500]).unwrap();
        assert_eq!(pair.server.tls.end_of_stream(), StreamEnd::Truncated);
        assert!(pair.server.plain.is_empty());
    }
}

#[test]
fn keys_can_be_changed_on_a_live_session() {
    let mut pair = Site::new().open_pair(VERSIONS[1]);
    for _ in 0..3 {
        pair.client
            .tls
            .session
            .rustls
            .refresh_traffic_keys()
            .unwrap();
        send(&mut pair.client, b"new key");
        pair.run_until_quiet();
        // The answer to the key update waits for this write.
        send(&mut pair.server, b"new key");
        pair.run_until_quiet();
    }
    assert_eq!((pair.server.plain.len(), pair.client.plain.len()), (21, 21));
}
