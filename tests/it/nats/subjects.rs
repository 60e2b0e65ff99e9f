//! Subjects, queue groups, headers, requests and drains against a real server.

use std::collections::HashMap;

use longshore::nats::{Headers, NatsFlush, NatsRequest};

use super::*;

#[test]
fn wildcards_and_their_order_are_those_of_nats() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let node = node();
    let client = connected(&node, options(&server));
    let nats = &client.nats;
    let (exact, token, rest) = (
        Probe::spawn(&node),
        Probe::spawn(&node),
        Probe::spawn(&node),
    );
    nats.subscribe(exact.pid, "a.b", None).unwrap();
    nats.subscribe(token.pid, "a.*", None).unwrap();
    nats.subscribe(rest.pid, "a.>", None).unwrap();
    for subject in ["a.b", "a.c", "a.b.c", "a", "b.a"] {
        nats.publish(subject, subject).unwrap();
    }
    nats.publish("a.b", "last").unwrap();
    client.flush(&Probe::spawn(&node)).unwrap();
    for (probe, expected) in [
        (&exact, &["a.b", "last"][..]),
        (&token, &["a.b", "a.c", "last"]),
        (&rest, &["a.b", "a.c", "a.b.c", "last"]),
    ] {
        for data in expected {
            let message = message(probe);
            assert_eq!(message.data, *data);
            let subject = if *data == "last" { "a.b" } else { data };
            assert_eq!(&*message.subject, subject);
            assert_eq!((message.reply, message.missed), (None, 0));
        }
        probe.saw_nothing();
    }
    stop_clean(&node);
}

#[test]
fn of_a_queue_group_one_process_gets_each_message_across_nodes() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let nodes = [node(), node()];
    let clients = [0, 1].map(|at| connected(&nodes[at], options(&server)));
    let members = [0, 0, 1, 1].map(|at| {
        let probe = Probe::spawn(&nodes[at]);
        clients[at]
            .nats
            .subscribe(probe.pid, "work", "crew")
            .unwrap();
        (at, probe)
    });
    let all = Probe::spawn(&nodes[1]);
    clients[1].nats.subscribe(all.pid, "work", None).unwrap();
    for (at, client) in clients.iter().enumerate() {
        client.flush(&Probe::spawn(&nodes[at])).unwrap();
    }
    for number in 0..400 {
        clients[0].nats.publish("work", number.to_string()).unwrap();
    }
    for number in 0..400 {
        assert_eq!(
            message(&all).data,
            number.to_string(),
            "in order without a group"
        );
    }
    // The server has spread all of them by now; what it sent the other node before is there after a flush of that node.
    for (at, client) in clients.iter().enumerate() {
        client.flush(&Probe::spawn(&nodes[at])).unwrap();
    }
    let mut seen = HashMap::new();
    for (_, probe) in &members {
        let mut count = 0;
        while let Some(Seen::Message(_, got)) = probe.seen_by_now() {
            let got = got.downcast::<MessageNats>().expect("a message");
            *seen.entry(got.data.to_vec()).or_insert(0) += 1;
            count += 1;
        }
        assert!(count > 20, "each member has a share: {count}");
    }
    assert_eq!(seen.len(), 400);
    assert!(seen.values().all(|times| *times == 1));
    nodes.iter().for_each(stop_clean);
}

#[test]
fn headers_and_payload_arrive_as_they_were_sent() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let node = node();
    let client = connected(&node, options(&server));
    let probe = Probe::spawn(&node);
    client.nats.subscribe(probe.pid, "h", None).unwrap();
    let headers = Headers::new()
        .with("Trace", "1")
        .unwrap()
        .with("trace", "ä")
        .unwrap();
    let payload: Vec<u8> = (0..=255).collect();
    let nats = &client.nats;
    nats.publish_with("h", Some("back"), &headers, payload.clone())
        .unwrap();
    nats.publish("h", "").unwrap();
    let first = message(&probe);
    assert_eq!(first.data, payload);
    assert_eq!(first.headers, headers);
    assert_eq!(first.reply.as_deref(), Some("back"));
    let second = message(&probe);
    assert!(second.data.is_empty() && second.headers.is_empty());
    stop_clean(&node);
}

#[test]
fn a_request_has_one_answer_and_no_responders_is_an_error_at_once() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let node = node();
    let client = connected(&node, options(&server));
    let nats = &client.nats;
    let (asker, one, two) = (
        Probe::spawn(&node),
        Probe::spawn(&node),
        Probe::spawn(&node),
    );
    nats.request(asker.pid, 1, "nothing.there", "?", LIMIT * 10)
        .unwrap();
    let none = reply(&asker);
    assert_eq!(
        (none.label, none.result.unwrap_err()),
        (1, NatsError::NoResponders)
    );
    for probe in [&one, &two] {
        nats.subscribe(probe.pid, "ask", None).unwrap();
    }
    nats.request(asker.pid, 2, "ask", "?", LIMIT).unwrap();
    for probe in [&one, &two] {
        let asked = message(probe);
        nats.respond(&asked, format!("from {}", probe.pid)).unwrap();
    }
    let answer = reply(&asker);
    assert_eq!(answer.label, 2);
    assert_eq!(answer.result.unwrap().data, format!("from {}", one.pid));
    // The second answer is counted and goes nowhere.
    wait_for(&node, client.pid, "late_answers", 1);
    asker.saw_nothing();
    nats.request(asker.pid, 3, "ask", "?", Duration::from_millis(20))
        .unwrap();
    let late = reply(&asker);
    assert_eq!(
        (late.label, late.result.unwrap_err()),
        (3, NatsError::Timeout)
    );
    wait_for(&node, client.pid, "requests", 0);
    stop_clean(&node);
}

#[test]
fn a_caller_that_is_no_process_asks_and_flushes_through_the_client() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let node = node();
    let client = connected(&node, options(&server));
    let echo = Probe::spawn(&node);
    client.nats.subscribe(echo.pid, "echo", None).unwrap();
    let flushed = node.call(client.pid, NatsFlush, LIMIT).unwrap();
    assert_eq!(flushed.downcast::<Result<(), NatsError>>().unwrap(), Ok(()));
    let request =
        NatsRequest::new("echo", "hi", LIMIT).with_headers(Headers::new().with("A", "b").unwrap());
    let waiting = node.request(client.pid, request).unwrap();
    let asked = message(&echo);
    assert_eq!(asked.headers.get("a"), Some("b"));
    client.nats.respond(&asked, asked.data.clone()).unwrap();
    let answer = waiting
        .wait_until(std::time::Instant::now() + LIMIT)
        .unwrap();
    let answer = answer.downcast::<Result<MessageNats, NatsError>>().unwrap();
    assert_eq!(answer.unwrap().data, "hi");
    let refused = node
        .call(client.pid, NatsRequest::new("a b", "", LIMIT), LIMIT)
        .unwrap();
    let refused = refused
        .downcast::<Result<MessageNats, NatsError>>()
        .unwrap();
    assert_eq!(refused.unwrap_err(), NatsError::Subject);
    stop_clean(&node);
}

#[test]
fn unsubscribed_and_ended_processes_get_nothing_more() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let node = node();
    let client = connected(&node, options(&server));
    let nats = &client.nats;
    let (stays, leaves, ends) = (
        Probe::spawn(&node),
        Probe::spawn(&node),
        Probe::spawn(&node),
    );
    nats.subscribe(stays.pid, "a", None).unwrap();
    let subscription = nats.subscribe(leaves.pid, "a", None).unwrap();
    nats.subscribe(ends.pid, "a", None).unwrap();
    nats.subscribe(ends.pid, "b", None).unwrap();
    nats.publish("a", "1").unwrap();
    for probe in [&stays, &leaves, &ends] {
        assert_eq!(message(probe).data, "1");
    }
    nats.unsubscribe(subscription);
    node.send_exit(ends.pid, Reason::Normal).unwrap();
    wait_for(&node, client.pid, "subscriptions", 1);
    nats.publish("a", "2").unwrap();
    assert_eq!(message(&stays).data, "2");
    leaves.saw_nothing();
    // The server knows it too: a request finds no responder.
    nats.request(stays.pid, 1, "b", "", LIMIT).unwrap();
    assert_eq!(reply(&stays).result.unwrap_err(), NatsError::NoResponders);
    stop_clean(&node);
}

#[test]
fn a_drain_delivers_what_is_there_waits_for_the_subscribers_and_ends_the_client() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let nodes = [node(), node()];
    let [client, other] = [0, 1].map(|at| connected(&nodes[at], options(&server)));
    let (worker, results) = (Probe::spawn(&nodes[0]), Probe::spawn(&nodes[1]));
    client.nats.subscribe(worker.pid, "in", None).unwrap();
    other.nats.subscribe(results.pid, "out", None).unwrap();
    other.flush(&Probe::spawn(&nodes[1])).unwrap();
    client.flush(&Probe::spawn(&nodes[0])).unwrap();
    for number in 0..10 {
        other.nats.publish("in", number.to_string()).unwrap();
    }
    other.flush(&Probe::spawn(&nodes[1])).unwrap();
    client.nats.drain();
    let refused = client.nats.subscribe(worker.pid, "more", None).unwrap_err();
    assert_eq!(refused, NatsError::Closed);
    for number in 0..10 {
        let taken = message(&worker);
        assert_eq!(taken.data, number.to_string());
        // The subscriber has not handled it before it drops it, and may publish until it has handled the last one.
        client.nats.publish("out", taken.data.clone()).unwrap();
        drop(taken);
    }
    let ended = client.wait_status(|status| match status {
        MessageNatsStatus::Ended(reason) => Some(reason),
        _ => None,
    });
    assert_eq!(&*ended, "normal");
    for number in 0..10 {
        assert_eq!(message(&results).data, number.to_string());
    }
    assert_eq!(end(&worker).error, NatsError::Closed);
    let refused = client.nats.publish("out", "late").unwrap_err();
    assert_eq!(
        (refused.error, refused.data),
        (NatsError::Closed, "late".into())
    );
    nodes.iter().for_each(stop_clean);
}
