//! Relays and hand-overs of a connection that ends before the order comes to it: a meta-process holds its stripe while
//! its peer resets it, so that the stripe finds the reset first and the order behind it.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::sync::mpsc;

use longshore::prelude::*;
use longshore::{DisconnectReason, MessageRelayEnd};

use crate::reconnects::{long, options, server};
use crate::support::*;

/// Holds its stripe behind the commands of an activation, so that the next one begins with readiness.
struct Holder(Option<Hold>);

struct Hold(mpsc::Sender<()>, mpsc::Receiver<()>);

impl MetaProcess for Holder {
    fn handle_message(&mut self, cx: &mut MetaContext<'_>, _: Pid, message: Message) -> Handled {
        self.0 = message.downcast().ok();
        cx.flush_later();
        Ok(())
    }

    fn flush(&mut self, _: &mut MetaContext<'_>) -> Handled {
        if let Some(Hold(holds, gate)) = self.0.take() {
            let _ = holds.send(());
            let _ = gate.recv_timeout(LIMIT);
        }
        Ok(())
    }
}

fn stripe(alias: Alias) -> String {
    let text = alias.to_string();
    let (stripe, _) = text.split_once('.').expect("a stripe");
    stripe.to_owned()
}

/// A node with two stripes, and a process with a connection on each.
struct Site {
    node: Node,
    probe: Probe,
    ends: Vec<(Alias, Client)>,
}

impl Site {
    fn new() -> Self {
        let options = NodeOptions::from("test@localhost").with_workers(3);
        let node = node_with(options.with_stripes(2));
        let probe = Probe::spawn(&node);
        let (addr, _) = probe.listen(TcpServerOptions::default());
        let mut ends: Vec<(Alias, Client)> = Vec::new();
        while ends.len() < 2 || stripe(ends[0].0) == stripe(ends[ends.len() - 1].0) {
            let peer = client(addr);
            ends.push((probe.connect().id, peer));
        }
        Self { node, probe, ends }
    }

    /// A meta-process on the same stripe.
    fn holder_beside(&self, id: Alias) -> Alias {
        loop {
            let holder = self.probe.spawn_meta(Holder(None));
            if stripe(holder) == stripe(id) {
                return holder;
            }
        }
    }

    /// Holds the stripe until the sender is dropped.
    fn hold(&self, holder: Alias) -> mpsc::Sender<()> {
        let (holds, is_held) = mpsc::channel();
        let (gate, opens) = mpsc::channel();
        self.node
            .send(holder, Hold(holds, opens))
            .expect("it is there");
        is_held.recv_timeout(LIMIT).expect("the stripe is held");
        gate
    }

    /// A connection is handed over behind its reset, which its stripe has not found yet: the end goes to the new owner.
    fn new_owner_gets_the_end_of(&mut self, lost: (Alias, Client)) {
        let new = Probe::spawn(&self.node);
        let (id, to) = (lost.0, new.pid);
        self.order_behind_reset(lost, |probe| {
            assert_eq!(probe.run(move |cx| cx.hand_over(id, to)), Ok(()));
        });
        let end = new.disconnect();
        assert_eq!((end.id, end.reason), (id, DisconnectReason::Reset));
        new.saw_nothing();
        self.probe.saw_nothing();
        stop_clean(&self.node);
    }

    /// Has `order` run behind the reset of `victim`, and before its stripe finds that reset.
    fn order_behind_reset(&mut self, (id, victim): (Alias, Client), order: impl FnOnce(&Probe)) {
        let holder = self.holder_beside(id);
        let gate = self.hold(holder);
        reset(victim);
        let (other, peer) = self
            .ends
            .iter_mut()
            .find(|(other, _)| stripe(*other) != stripe(id))
            .expect("one of the other stripe");
        // The second poll begins when the reset of the first has been filed.
        for _ in 0..2 {
            peer.write_all(b"ping").unwrap();
            assert_eq!(self.probe.bytes(4), b"ping");
            self.probe.write(*other, "pong");
            assert_eq!(read(peer, 4), b"pong");
        }
        order(&self.probe);
        drop(gate);
    }
}

#[test]
fn relay_of_a_connection_that_has_just_been_reset_ends_with_its_reason() {
    let mut site = Site::new();
    let victim = site.ends.remove(0);
    let first = victim.0;
    let (second, _) = *site.ends.last().expect("another");
    site.order_behind_reset(victim, |probe| {
        assert_eq!(probe.run(move |cx| cx.relay(first, second)), Ok(()));
    });
    let (_, mut left) = site.ends.pop().expect("another");
    assert_eq!(read_out(&mut left), Err(ErrorKind::ConnectionReset));
    let end = site.probe.relay_end();
    assert_eq!(end.first.reason, DisconnectReason::Reset);
    assert_eq!(end.second.reason, DisconnectReason::Abort);
    site.probe.saw_nothing();
    stop_clean(&site.node);
}

#[test]
fn disconnect_of_a_connection_that_was_reset_as_it_moved_goes_to_the_new_owner() {
    let mut site = Site::new();
    let reset = site.ends.remove(0);
    site.new_owner_gets_the_end_of(reset);
}

#[test]
fn peers_that_have_both_ended_their_side_lose_nothing_if_one_stripe_comes_late() {
    let mut site = Site::new();
    let (first, mut one) = site.ends.remove(0);
    let (second, mut other) = site.ends.pop().expect("another");
    let holder = site.holder_beside(first);
    let gate = site.probe.block();
    site.probe.start(move |cx| Ok(cx.relay(first, second)?));
    one.write_all(&[1; 1_500]).unwrap();
    for (id, peer) in [(first, &one), (second, &other)] {
        peer.shutdown(Shutdown::Write).unwrap();
        wait_for(&site.node, id, "state", "half-closed by peer");
    }
    let opens = site.hold(holder);
    drop(gate);
    // The other stripe has its order, the owner returns the fence, and the stripe passes the end of its peer on.
    for _ in 0..20 {
        inspect(&site.node, second);
        site.probe.run(|_| ());
    }
    drop(opens);
    assert_eq!(read_to_end(&mut other), [1; 1_500]);
    assert_eq!(read_to_end(&mut one), b"");
    let end = site.probe.relay_end();
    for side in [&end.first, &end.second] {
        assert_eq!(side.reason, DisconnectReason::ClosedByPeer);
    }
    assert_eq!((end.first.forwarded, end.second.forwarded), (1_500, 0));
    site.probe.saw_nothing();
    stop_clean(&site.node);
}

/// Relays its connection to the one that it is sent.
struct Joiner(mpsc::Sender<Noted>);

#[derive(Debug)]
enum Noted {
    Connected(Pid, Alias),
    Upstream(Alias),
    Relayed(bool),
    End(MessageRelayEnd),
}

struct Join(Alias);

impl Session for Joiner {
    fn connected(&mut self, cx: &mut SessionContext<'_>, connect: &MessageTcpConnect) -> Handled {
        self.0.send(Noted::Connected(cx.pid(), connect.id))?;
        Ok(())
    }

    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        let to = String::from_utf8_lossy(&input.take()).into_owned();
        cx.spawn_meta(TcpConnection::connect(to.as_str())?)?;
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut SessionContext<'_>, _: Pid, message: Message) -> Handled {
        match message {
            Message::TcpConnect(connect) => self.0.send(Noted::Upstream(connect.id))?,
            message => {
                if let Ok(Join(upstream)) = message.downcast() {
                    let outcome = cx.relay_with(upstream);
                    self.0.send(Noted::Relayed(outcome.is_ok()))?;
                }
            }
        }
        Ok(())
    }

    fn relay_ended(&mut self, _: &mut SessionContext<'_>, end: &MessageRelayEnd) {
        let _ = self.0.send(Noted::End(end.clone()));
    }
}

#[test]
fn session_that_relays_itself_when_it_was_reset_resets_the_other_side() {
    let mut site = Site::new();
    let server = TcpServer::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr();
    let (seen, noted) = mpsc::channel();
    site.probe
        .run(move |cx| cx.spawn_meta(server.serve(move || Joiner(seen.clone()))))
        .unwrap();
    let next = || noted.recv_timeout(LIMIT).expect("a note");
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = client(addr);
    let Noted::Connected(session, own) = next() else {
        panic!("no Connect");
    };
    peer.write_all(upstream.local_addr().unwrap().to_string().as_bytes())
        .unwrap();
    let (mut left, _) = upstream.accept().unwrap();
    bounded(&left);
    let Noted::Upstream(other) = next() else {
        panic!("no connection");
    };
    let node = site.node.clone();
    site.order_behind_reset((own, peer), |_| {
        node.send(session, Join(other)).expect("it lives");
        assert!(matches!(next(), Noted::Relayed(true)));
    });
    assert_eq!(read_out(&mut left), Err(ErrorKind::ConnectionReset));
    let Noted::End(end) = next() else {
        panic!("no end");
    };
    assert_eq!(end.first.reason, DisconnectReason::Reset);
    wait_for_count(&site.node, "processes", 1);
    stop_clean(&site.node);
}

/// A connection of the site's process that is made anew when it is lost, though not soon, and its peer.
fn kept(site: &Site) -> (Alias, Client, std::net::TcpListener) {
    let (listener, addr) = server();
    let id = site.probe.connect_to(options(addr, long()));
    let (peer, _) = listener.accept().unwrap();
    bounded(&peer);
    assert_eq!(site.probe.connect().id, id);
    (id, peer.into(), listener)
}

#[test]
fn connection_that_is_lost_as_it_moves_ends_at_the_new_owner_and_is_not_made_anew() {
    let mut site = Site::new();
    let (id, peer, _listener) = kept(&site);
    site.new_owner_gets_the_end_of((id, peer));
}

#[test]
fn relay_of_a_connection_that_has_just_been_lost_ends_with_its_reason_and_it_is_not_made_anew() {
    let mut site = Site::new();
    let (first, peer, _listener) = kept(&site);
    let (second, _) = *site.ends.last().expect("another");
    site.order_behind_reset((first, peer), |probe| {
        assert_eq!(probe.run(move |cx| cx.relay(first, second)), Ok(()));
    });
    let (_, mut left) = site.ends.pop().expect("another");
    assert_eq!(read_out(&mut left), Err(ErrorKind::ConnectionReset));
    let end = site.probe.relay_end();
    assert_eq!(end.first.reason, DisconnectReason::Reset);
    assert_eq!(end.second.reason, DisconnectReason::Abort);
    site.probe.saw_nothing();
    stop_clean(&site.node);
}
