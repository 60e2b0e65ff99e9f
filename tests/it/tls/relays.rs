//! Relays with TLS on either side, or on both.

use std::net::Shutdown;
use std::thread;

use super::*;

#[test]
fn relay_between_tls_and_plain_passes_every_byte_both_ways() {
    for (inner_tls, outer_tls) in [(false, true), (true, false), (true, true)] {
        let site = Site::new();
        let server = |tls: bool| {
            if tls {
                site.server()
            } else {
                TcpServerOptions::default()
            }
        };
        let addr = echo(&site.node, server(outer_tls));
        let probe = Probe::spawn(&site.node);
        let (inner, _) = probe.listen(server(inner_tls));
        let far = Probe::spawn(&site.node);
        let near = if inner_tls {
            dial(&far, inner, &site.client())
        } else {
            far.connect_to(inner)
        };
        let first = probe.connect().id;
        let second = if outer_tls {
            dial(&probe, addr, &site.client())
        } else {
            probe.connect_to(addr)
        };
        assert_eq!(probe.connect().id, second);
        assert_eq!(probe.run(move |cx| cx.relay(first, second)), Ok(()));
        far.connect();
        let bytes: Vec<u8> = (0..3 << 20).map(|at| (at % 251) as u8).collect();
        for part in bytes.chunks(1 << 18) {
            far.write(near, part);
            assert!(far.bytes(part.len()) == part);
        }
        far.run(move |cx| cx.shutdown_write(near)).unwrap();
        let (rest, end) = far.bytes_to_disconnect();
        assert_eq!((rest.len(), end.unsent), (0, 0));
        let end = probe.relay_end();
        assert_eq!(end.first.reason, DisconnectReason::ClosedByPeer);
        assert_eq!(end.first.forwarded as usize, bytes.len());
        assert_eq!(end.second.forwarded as usize, bytes.len());
        stop_clean(&site.node);
    }
}

#[test]
fn end_of_a_tls_peer_without_close_notify_resets_the_other_side() {
    let site = Site::new();
    let probe = Probe::spawn(&site.node);
    let (plain, _) = probe.listen(TcpServerOptions::default());
    let (encrypted, _) = probe.listen(site.server());
    let mut peer = client(plain);
    let first = probe.connect().id;
    let far = thread::scope(|scope| {
        let connecting = scope.spawn(|| raw(encrypted, &Arc::new(site.rustls(&TLS13))));
        let second = probe.connect().id;
        let relayed = probe.run(move |cx| cx.relay(first, second));
        assert_eq!(relayed, Ok(()));
        connecting.join().unwrap()
    });
    far.sock.shutdown(Shutdown::Write).unwrap();
    let out = read_out(&mut peer);
    let end = probe.relay_end();
    assert!(
        out.is_err(),
        "a truncated stream ends in order: {out:?} {end:?}"
    );
    assert_eq!(end.second.reason, DisconnectReason::Truncated);
    stop_clean(&site.node);
}

#[test]
fn connection_with_tls_is_handed_over_with_what_was_not_handled() {
    let site = Site::new();
    let (old, new) = (Probe::spawn(&site.node), Probe::spawn(&site.node));
    let (addr, _) = old.listen(site.server());
    let far = Probe::spawn(&site.node);
    let near = dial(&far, addr, &site.client());
    let id = old.connect().id;
    far.connect();
    let gate = old.block();
    let to = new.pid;
    old.start(move |cx| Ok(cx.hand_over(id, to)?));
    let bytes: Vec<u8> = (0..1 << 20).map(|at| (at % 251) as u8).collect();
    far.write(near, bytes.clone());
    wait_for(&site.node, id, "paused_by_backlog", true);
    drop(gate);
    let connect = new.connect();
    assert!(connect.tls.is_some() && connect.handed_over_by == Some(old.pid));
    assert!(new.bytes(bytes.len()) == bytes);
    new.write(id, "answer");
    far.writable(); // its megabyte had been above the high mark
    assert_eq!(far.bytes(6), b"answer");
    old.saw_nothing();
    stop_clean(&site.node);
}
