//! Servers that end, come back, make place for others, and clients that wait for them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

use longshore::nats::{NatsFlush, SubscribeOptions};

use super::*;

#[test]
fn after_a_restart_subscriptions_are_there_again_and_what_waited_is_delivered_in_order() {
    let Some(mut server) = NatsServer::start("") else {
        return;
    };
    let node = node();
    let client = connected(&node, options(&server));
    let nats = &client.nats;
    let (probe, asker) = (Probe::spawn(&node), Probe::spawn(&node));
    nats.subscribe(probe.pid, "a", "group").unwrap();
    nats.publish("a", "before").unwrap();
    assert_eq!(message(&probe).data, "before");
    // A responder that never answers.
    nats.subscribe(Probe::spawn(&node).pid, "silent", None)
        .unwrap();
    nats.request(asker.pid, 1, "silent", "?", LIMIT * 10)
        .unwrap();
    client.flush(&Probe::spawn(&node)).unwrap();
    server.kill();
    let (_, uncertain) = client.wait_disconnected();
    assert_eq!(uncertain, 0, "all of it was confirmed by the flush");
    assert_eq!(reply(&asker).result.unwrap_err(), NatsError::Disconnected);
    for number in 0..100 {
        nats.publish("a", number.to_string()).unwrap();
    }
    nats.request(asker.pid, 2, "late", "?", LIMIT).unwrap();
    nats.subscribe(asker.pid, "late", None).unwrap();
    assert!(nats.pending_bytes() > 0);
    server.restart();
    client.wait_connected();
    for number in 0..100 {
        assert_eq!(message(&probe).data, number.to_string());
    }
    // Subscriptions are made again before anything else is sent, those made meanwhile included.
    let asked = message(&asker);
    nats.respond(&asked, "!").unwrap();
    assert_eq!(reply(&asker).result.unwrap().data, "!");
    wait_for(&node, client.pid, "losses", 1);
    stop_clean(&node);
}

#[test]
fn a_client_that_starts_before_its_server_connects_when_the_server_is_there() {
    if !is_installed() {
        return;
    }
    let port = free_port();
    let node = node();
    let options = NatsOptions::from(format!("127.0.0.1:{port}"))
        .with_reconnect_first(Duration::from_millis(10))
        .with_reconnect_max(Duration::from_millis(50));
    let client = start(&node, options);
    let probe = Probe::spawn(&node);
    client.nats.subscribe(probe.pid, "a", None).unwrap();
    client.nats.publish("a", "early").unwrap();
    client.wait_disconnected();
    let _server = NatsServer::start_on(port, "");
    client.wait_connected();
    assert_eq!(message(&probe).data, "early");
    stop_clean(&node);
}

#[test]
fn publishes_without_a_server_wait_up_to_the_limit_and_then_come_back() {
    if !is_installed() {
        return;
    }
    let port = free_port();
    let node = node();
    let options = NatsOptions::from(format!("127.0.0.1:{port}"))
        .with_pending_limit(10_000_usize)
        .with_reconnect_first(Duration::from_millis(10))
        .with_reconnect_max(Duration::from_millis(50));
    let client = start(&node, options);
    let probe = Probe::spawn(&node);
    client.nats.subscribe(probe.pid, "a", None).unwrap();
    let mut accepted = 0;
    let refused = loop {
        match client.nats.publish("a", vec![b'x'; 1000]) {
            Ok(()) => accepted += 1,
            Err(refused) => break refused,
        }
        assert!(accepted < 20, "it has no limit");
    };
    assert_eq!(refused.error, NatsError::Full);
    assert_eq!(refused.data, vec![b'x'; 1000], "the bytes come back");
    assert!(accepted >= 9, "the limit is 10,000 bytes: {accepted}");
    let refused = client
        .nats
        .request(probe.pid, 1, "a", "q", LIMIT)
        .unwrap_err();
    assert_eq!((refused.error, refused.data), (NatsError::Full, "q".into()));
    let _server = NatsServer::start_on(port, "");
    client.wait_status(|status| (status == MessageNatsStatus::Writable).then_some(()));
    for _ in 0..accepted {
        assert_eq!(message(&probe).data.len(), 1000);
    }
    client.nats.publish("a", "again").unwrap();
    assert_eq!(message(&probe).data, "again");
    stop_clean(&node);
}

#[test]
fn a_client_goes_to_the_second_server_which_it_learnt_from_the_first() {
    let Some([mut first, second]) = start_cluster("") else {
        return;
    };
    let node = node();
    let client = connected(&node, options(&first));
    let probe = Probe::spawn(&node);
    client.nats.subscribe(probe.pid, "a", None).unwrap();
    client.flush(&Probe::spawn(&node)).unwrap();
    first.kill();
    assert_eq!(client.wait_connected(), second.url());
    client.nats.publish("a", "over there").unwrap();
    assert_eq!(message(&probe).data, "over there");
    stop_clean(&node);
}

#[test]
fn a_lame_duck_is_left_for_another_server_and_nothing_is_uncertain() {
    let Some([first, second]) = start_cluster("lame_duck_duration: 30s") else {
        return;
    };
    let node = node();
    let client = connected(&node, options(&first));
    let probe = Probe::spawn(&node);
    client.nats.subscribe(probe.pid, "a", None).unwrap();
    client.flush(&Probe::spawn(&node)).unwrap();
    for number in 0..1000 {
        client.nats.publish("a", number.to_string()).unwrap();
    }
    first.signal("ldm");
    client.wait_status(|status| (status == MessageNatsStatus::LameDuck).then_some(()));
    let (reason, uncertain) = client.wait_disconnected();
    assert_eq!((reason.as_str(), uncertain), ("lame duck mode", 0));
    assert_eq!(client.wait_connected(), second.url());
    client.nats.publish("a", "1000").unwrap();
    for number in 0..=1000 {
        assert_eq!(message(&probe).data, number.to_string());
    }
    stop_clean(&node);
}

#[test]
fn a_client_without_a_server_gives_up_at_its_limit() {
    let node = node();
    let options = NatsOptions::from(format!("127.0.0.1:{}", free_port()))
        .with_give_up_after(Duration::from_millis(50));
    let client = start(&node, options);
    let asker = Probe::spawn(&node);
    client
        .nats
        .request(asker.pid, 1, "a", "", LIMIT * 10)
        .unwrap();
    let reason = client.wait_status(|status| match status {
        MessageNatsStatus::Ended(reason) => Some(reason),
        _ => None,
    });
    assert_eq!(&*reason, "no server was reached in time");
    assert_eq!(reply(&asker).result.unwrap_err(), NatsError::Closed);
    assert_eq!(
        client.nats.publish("a", "").unwrap_err().error,
        NatsError::Closed
    );
    stop_clean(&node);
}

#[test]
fn a_client_that_is_spawned_again_goes_on_with_its_subscriptions() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let node = node();
    let client = connected(&node, options(&server));
    let probe = Probe::spawn(&node);
    client.nats.subscribe(probe.pid, "a", None).unwrap();
    let second = client.nats.clone();
    node.spawn(move || second.client())
        .expect_err("one process at a time");
    node.send_exit(client.pid, Reason::Kill).unwrap();
    client.wait_status(|status| matches!(status, MessageNatsStatus::Ended(_)).then_some(()));
    let handle = client.nats.clone();
    let pid = node
        .spawn(move || handle.client())
        .expect("its place is free");
    client.wait_connected();
    wait_for(&node, pid, "subscriptions", 1);
    client.nats.publish("a", "again").unwrap();
    assert_eq!(message(&probe).data, "again");
    stop_clean(&node);
}

/// Receives numbers, which must grow.
struct Receiver {
    nats: Nats,
    received: Arc<Mutex<Vec<u64>>>,
    count: Arc<AtomicU64>,
}

impl Actor for Receiver {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        let options = SubscribeOptions::default().with_max_messages(1_u64 << 20);
        self.nats.subscribe_with(cx.pid(), "load", None, options)?;
        self.nats.subscribe(cx.pid(), "ask", None)?;
        Ok(())
    }

    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        let Ok(message) = message.downcast::<MessageNats>() else {
            return Ok(());
        };
        if message.reply.is_some() {
            // Full only while there is no server; then the asker learns of the loss.
            drop(self.nats.respond(&message, "yes"));
            return Ok(());
        }
        let number = std::str::from_utf8(&message.data)?.parse()?;
        self.received.lock().unwrap().push(number);
        self.count.fetch_add(1, SeqCst);
        Ok(())
    }
}

/// Keeps eight requests under way and counts the answers to each.
struct Asker {
    nats: Nats,
    asked: u64,
    answers: Arc<Mutex<HashMap<u64, u32>>>,
    stops: Arc<AtomicBool>,
}

struct AskMore;

impl Asker {
    fn ask(&mut self, cx: &mut Context<'_>) {
        if self.stops.load(SeqCst) {
            return;
        }
        match self
            .nats
            .request(cx.pid(), self.asked, "ask", "?", LIMIT * 10)
        {
            Ok(()) => {
                self.answers.lock().unwrap().insert(self.asked, 0);
                self.asked += 1;
            }
            Err(_) => drop(cx.send_after(cx.pid(), AskMore, Duration::from_millis(5))),
        }
    }
}

impl Actor for Asker {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        (0..8).for_each(|_| self.ask(cx));
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        if let Ok(answer) = message.downcast::<MessageNatsReply>() {
            *self
                .answers
                .lock()
                .unwrap()
                .entry(answer.label)
                .or_default() += 1;
            assert_ne!(answer.result.err(), Some(NatsError::Timeout));
        }
        self.ask(cx);
        Ok(())
    }
}

#[test]
fn fifty_kills_under_load_lose_only_what_is_counted_and_repeat_nothing() {
    let Some(mut server) = NatsServer::start("") else {
        return;
    };
    let node = node();
    let options = options(&server).with_pending_limit(256_000_usize);
    let client = connected(&node, options);
    let received = Arc::new(Mutex::new(Vec::new()));
    let count = Arc::new(AtomicU64::new(0));
    let receiver = Receiver {
        nats: client.nats.clone(),
        received: Arc::clone(&received),
        count: Arc::clone(&count),
    };
    node.spawn(move || receiver).unwrap();
    let (answers, stops) = (
        Arc::new(Mutex::new(HashMap::new())),
        Arc::new(AtomicBool::new(false)),
    );
    let asker = Asker {
        nats: client.nats.clone(),
        asked: 0,
        answers: Arc::clone(&answers),
        stops: Arc::clone(&stops),
    };
    node.spawn(move || asker).unwrap();

    let published = Arc::new(AtomicU64::new(0));
    let publisher = {
        let (nats, published) = (client.nats.clone(), Arc::clone(&published));
        let stops = Arc::clone(&stops);
        thread::spawn(move || {
            while !stops.load(SeqCst) {
                let number = published.load(SeqCst);
                match nats.publish("load", number.to_string()) {
                    Ok(()) => {
                        published.store(number + 1, SeqCst);
                        if number % 100 == 99 {
                            // The subscriber keeps up: what is dropped for a slow one is another test.
                            thread::park_timeout(Duration::from_millis(1));
                        }
                    }
                    Err(refused) => {
                        assert_eq!(refused.error, NatsError::Full);
                        thread::park_timeout(Duration::from_micros(200));
                    }
                }
            }
        })
    };
    let windows = Arc::new(AtomicU64::new(0));
    let killer = {
        let (node, pid, windows) = (node.clone(), client.pid, Arc::clone(&windows));
        let count = Arc::clone(&count);
        thread::spawn(move || {
            for losses in 0..50 {
                wait_for(&node, pid, "losses", losses);
                wait_for(&node, pid, "ready", true);
                let (window, received) = (windows.load(SeqCst), count.load(SeqCst));
                wait_until("traffic, and two flushes", || {
                    windows.load(SeqCst) > window && count.load(SeqCst) > received + 500
                });
                server.restart();
            }
            wait_for(&node, pid, "losses", 50);
            server
        })
    };

    // Between two flushes that succeed without a loss in between, everything arrives.
    let losses = || {
        inspect(&node, client.pid)
            .number("losses")
            .expect("a count")
    };
    let flush = || {
        let flushed = node.call(client.pid, NatsFlush, LIMIT).expect("an answer");
        flushed
            .downcast::<Result<(), NatsError>>()
            .expect("a result")
    };
    let mut safe = Vec::new();
    let mut last: Option<(u64, u64)> = None;
    while !killer.is_finished() {
        let now = (published.load(SeqCst), losses());
        let is_flushed = flush().is_ok();
        // No loss since before the first of the two.
        if let Some((from, before)) = last
            && is_flushed
            && losses() == before
        {
            // The first one may have been published, and lost, just before it was counted.
            safe.push((from + 1).min(now.0)..now.0);
            windows.fetch_add(1, SeqCst);
        }
        last = is_flushed.then_some(now);
    }
    let _server = killer.join().expect("no panic");
    stops.store(true, SeqCst);
    publisher.join().expect("no panic");
    wait_until("a last flush", || flush().is_ok());
    wait_for(&node, client.pid, "unhandled", 0);
    wait_for(&node, client.pid, "requests", 0);
    let inspection = inspect(&node, client.pid);
    let number = |name| inspection.number(name).expect(name);
    let received = received.lock().unwrap();
    assert!(
        received.is_sorted_by(|a, b| a < b),
        "in order, and none twice"
    );
    let published = published.load(SeqCst);
    let lost = published - received.len() as u64;
    println!(
        "{published} published, {} lost, {} uncertain, {} losses of the connection, {} safe windows, {} requests",
        lost,
        number("uncertain"),
        number("losses"),
        safe.len(),
        answers.lock().unwrap().len()
    );
    assert_eq!(number("losses"), 50);
    assert!(lost <= number("uncertain"), "all that is lost is counted");
    assert_eq!(
        number("dropped") + number("undecodable") + number("oversized"),
        0
    );
    for window in &safe {
        let first = received.partition_point(|number| *number < window.start);
        let arrived = received[first..]
            .iter()
            .take_while(|number| **number < window.end)
            .count();
        assert_eq!(arrived as u64, window.end - window.start, "{window:?}");
    }
    assert!(safe.len() >= 50, "one for each life of the server");
    // The last answers may still be in the mailbox.
    let answered = |times: fn(u32) -> bool| {
        let answers = answers.lock().unwrap();
        answers.values().all(|answer| times(*answer))
    };
    wait_until("an answer each", || answered(|times| times > 0));
    assert!(answered(|times| times == 1), "one answer each");
    drop(received);
    stop_clean(&node);
}
