//! Limits both ways: payloads, slow subscribers, a server that finds the client slow.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use longshore::MailboxPolicy;
use longshore::nats::{SubscribeOptions, WhenSlow};

use super::*;

#[test]
fn what_is_larger_than_the_server_accepts_is_refused_with_its_bytes() {
    let Some(server) = NatsServer::start("max_payload: 1024") else {
        return;
    };
    let node = node();
    let client = start(&node, options(&server));
    let probe = Probe::spawn(&node);
    client.nats.subscribe(probe.pid, "a", None).unwrap();
    client.wait_connected();
    client.nats.publish("a", vec![b'x'; 1024]).unwrap();
    let refused = client.nats.publish("a", vec![b'x'; 1025]).unwrap_err();
    assert_eq!(refused.error, NatsError::TooLarge { max: 1024 });
    assert_eq!(refused.data.len(), 1025);
    assert_eq!(message(&probe).data.len(), 1024);
    wait_for(&node, client.pid, "losses", 0);
    stop_clean(&node);
}

#[test]
fn what_was_accepted_before_the_server_said_its_limit_is_removed_and_counted() {
    if !is_installed() {
        return;
    }
    let port = free_port();
    let node = node();
    let client = start(&node, NatsOptions::from(format!("127.0.0.1:{port}")));
    let probe = Probe::spawn(&node);
    client.nats.subscribe(probe.pid, "a", None).unwrap();
    for size in [10, 5000, 20, 100_000, 30] {
        client.nats.publish("a", vec![b'x'; size]).unwrap();
    }
    let _server = NatsServer::start_on(port, "max_payload: 1024");
    for size in [10, 20, 30] {
        assert_eq!(message(&probe).data.len(), size);
    }
    wait_for(&node, client.pid, "removed", 2);
    wait_for(&node, client.pid, "losses", 0);
    stop_clean(&node);
}

#[test]
fn what_is_larger_than_the_client_accepts_is_skipped_and_counted_as_missed() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let node = node();
    let client = connected(&node, options(&server).with_max_payload(1000_usize));
    let probe = Probe::spawn(&node);
    client.nats.subscribe(probe.pid, "a", None).unwrap();
    for size in [1000, 1001, 500_000, 1] {
        client.nats.publish("a", vec![b'x'; size]).unwrap();
    }
    assert_eq!(message(&probe).data.len(), 1000);
    let next = message(&probe);
    assert_eq!((next.data.len(), next.missed), (1, 2));
    wait_for(&node, client.pid, "oversized", 2);
    wait_for(&node, client.pid, "losses", 0);
    stop_clean(&node);
}

#[test]
fn a_large_message_passes_the_output_limit_of_a_connection_whole() {
    let Some(server) = NatsServer::start("max_payload: 8MB") else {
        return;
    };
    let node = node();
    let client = connected(&node, options(&server));
    let probe = Probe::spawn(&node);
    client.nats.subscribe(probe.pid, "a", None).unwrap();
    let large: Vec<u8> = (0..5_000_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    for data in [b"1".to_vec(), large.clone(), b"2".to_vec()] {
        client.nats.publish("a", data).unwrap();
    }
    // A PING of the server would have to wait for the end of the message.
    client.flush(&Probe::spawn(&node)).unwrap();
    assert_eq!(message(&probe).data, "1");
    assert!(message(&probe).data == large, "other bytes arrived");
    assert_eq!(message(&probe).data, "2");
    stop_clean(&node);
}

#[test]
fn a_slow_subscriber_loses_the_newest_and_learns_how_many() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let node = node();
    let client = connected(&node, options(&server));
    let (slow, quick) = (Probe::spawn(&node), Probe::spawn(&node));
    let limits = SubscribeOptions::default().with_max_messages(10);
    let subscription = client
        .nats
        .subscribe_with(slow.pid, "a", None, limits)
        .unwrap();
    client.nats.subscribe(quick.pid, "a", None).unwrap();
    for number in 0..100 {
        client.nats.publish("a", number.to_string()).unwrap();
    }
    for number in 0..100 {
        assert_eq!(
            message(&quick).data,
            number.to_string(),
            "others lose nothing"
        );
    }
    client.wait_status(|status| match status {
        MessageNatsStatus::Slow { subscription, .. } => Some(subscription),
        _ => None,
    });
    wait_for(&node, client.pid, "dropped", 90);
    // What a process holds is not handled: the probe has passed all ten on.
    let mut held: Vec<_> = (0..10).map(|_| message(&slow)).collect();
    assert!(
        held.iter()
            .all(|message| message.subscription == Some(subscription))
    );
    client.nats.publish("a", "dropped").unwrap();
    assert_eq!(message(&quick).data, "dropped");
    held.clear();
    client.nats.publish("a", "delivered").unwrap();
    let next = message(&slow);
    assert_eq!((next.missed, next.data), (91, "delivered".into()));
    stop_clean(&node);
}

#[test]
fn a_slow_subscriber_is_unsubscribed_if_it_asked_for_that() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let node = node();
    let client = connected(&node, options(&server));
    let slow = Probe::spawn(&node);
    let limits = SubscribeOptions::default()
        .with_max_bytes(1000)
        .with_when_slow(WhenSlow::Unsubscribe);
    let subscription = client
        .nats
        .subscribe_with(slow.pid, "a", None, limits)
        .unwrap();
    for _ in 0..5 {
        client.nats.publish("a", vec![b'x'; 400]).unwrap();
    }
    let (_first, _second) = (message(&slow), message(&slow));
    let end = end(&slow);
    assert_eq!(
        (end.subscription, end.error),
        (subscription, NatsError::Slow)
    );
    wait_for(&node, client.pid, "subscriptions", 0);
    client.flush(&Probe::spawn(&node)).unwrap();
    slow.saw_nothing();
    stop_clean(&node);
}

/// A way to the server that can be blocked on its way back.
fn valve(server: SocketAddr, is_shut: &Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address").to_string();
    let is_shut = Arc::clone(is_shut);
    thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let server = TcpStream::connect(server).expect("a connection");
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || io::copy(&mut from, &mut to));
            let is_shut = Arc::clone(&is_shut);
            thread::spawn(move || {
                let (mut from, mut to) = (server, client);
                let mut bytes = vec![0; 10_000];
                while let Ok(read @ 1..) = from.read(&mut bytes) {
                    while is_shut.load(SeqCst) {
                        thread::park_timeout(Duration::from_millis(1));
                    }
                    if to.write_all(&bytes[..read]).is_err() {
                        break;
                    }
                }
                drop(to.shutdown(Shutdown::Both));
            });
        }
    });
    addr
}

#[test]
fn a_client_that_the_server_finds_slow_is_disconnected_and_comes_back() {
    let config = "max_payload: 100KB\nmax_pending: 100KB\nwrite_deadline: \"100ms\"";
    let Some(server) = NatsServer::start(config) else {
        return;
    };
    let nodes = [node(), node()];
    let is_shut = Arc::new(AtomicBool::new(false));
    let slow = connected(&nodes[0], valve(server.addr, &is_shut));
    let probe = Probe::spawn(&nodes[0]);
    slow.nats.subscribe(probe.pid, "a", None).unwrap();
    slow.flush(&probe).unwrap();
    let quick = connected(&nodes[1], options(&server));
    is_shut.store(true, SeqCst);
    wait_until("the server to find the client slow", || {
        // Refused when as much waits as may.
        drop(quick.nats.publish("a", vec![b'x'; 90_000]));
        server.log().contains("Slow Consumer")
    });
    // What still waits would be too much for the client once more, when it has come back.
    quick.flush(&Probe::spawn(&nodes[1])).unwrap();
    is_shut.store(false, SeqCst);
    let (reason, _) = slow.wait_disconnected();
    println!("the client's words: {reason}");
    slow.wait_connected();
    // The server has the subscription again when it has answered behind it.
    slow.flush(&Probe::spawn(&nodes[0])).unwrap();
    quick.nats.publish("a", "again").unwrap();
    while message(&probe).data != "again" {}
    nodes.iter().for_each(stop_clean);
}

#[test]
fn full_mailbox_neither_refuses_nor_drops_what_its_process_has_asked_for() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let node = node();
    let client = connected(&node, options(&server));
    for policy in [
        MailboxPolicy::Refuse,
        MailboxPolicy::DropNewest,
        MailboxPolicy::DropOldest,
    ] {
        let spawn = SpawnOptions::default().with_mailbox_bound(1);
        let asker = Probe::spawn_with(&node, spawn.with_mailbox_policy(policy));
        let gate = asker.block();
        node.send(asker.pid, "it is full").unwrap();
        client
            .nats
            .request(asker.pid, 1, "none", "", LIMIT)
            .unwrap();
        client.nats.flush(asker.pid, 2).unwrap();
        // The answers to this flush come behind those.
        client.flush(&Probe::spawn(&node)).unwrap();
        drop(gate);
        assert!(asker.next().1.is::<&str>(), "{policy:?}");
        assert_eq!(
            reply(&asker).result.unwrap_err(),
            NatsError::NoResponders,
            "{policy:?}"
        );
        let flushed = asker.next().1.downcast::<MessageNatsFlushed>();
        assert_eq!(flushed.unwrap().label, 2, "{policy:?}");
    }
    stop_clean(&node);
}
