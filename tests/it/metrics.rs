//! Figures, sockets and the dump: every figure moves, and the text is what Prometheus takes.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use longshore::prelude::*;
use longshore::{Level, Logger, Metrics, Record};

use crate::support::*;

struct Ends;

impl Actor for Ends {
    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message.downcast::<Reason>() {
            Ok(Reason::Panic(_)) => panic!("as the test asked"),
            Ok(reason) => Err(reason),
            Err(_) => Ok(()),
        }
    }
}

/// A node that throws its records away after it has counted them.
fn quiet() -> Node {
    node_with(
        NodeOptions::from("test@localhost")
            .with_workers(2)
            .with_logger(|_: &Record| ()),
    )
}

#[track_caller]
fn moves(node: &Node, name: &str, value: impl Fn(&Metrics) -> Option<u64>, by: impl FnOnce()) {
    let before = value(&node.metrics()).expect(name);
    by();
    wait_until(&format!("{name} to move"), || {
        value(&node.metrics()).expect(name) > before
    });
}

#[test]
fn every_figure_has_a_test_that_moves_it() {
    let page = concat!(include_str!("metrics.rs"), include_str!("calls.rs"));
    let node = quiet();
    for name in node.metrics().names() {
        let short = name.strip_prefix("longshore_").expect("the prefix");
        let short = short.strip_suffix("_total").unwrap_or(short);
        // The workers are fixed; the others are moved below, and by the calls.
        assert!(
            page.contains(&format!("\"{short}\"")),
            "nothing moves {name}"
        );
    }
    stop_clean(&node);
}

#[test]
fn figures_of_the_documentation_are_those_of_the_text() {
    let page = include_str!("../../src/node/metrics.rs");
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("/// | `longshore_"));
    let mut documented: Vec<String> = rows
        .map(|row| {
            let columns: Vec<&str> = row.split('|').map(str::trim).collect();
            // Name, unit, meaning, when it grows, and what is behind the last bar.
            assert_eq!(columns.len(), 5, "{row}");
            assert!(columns[..4].iter().all(|text| !text.is_empty()), "{row}");
            let name = columns[0].trim_end_matches('`');
            format!("longshore_{}", name.split('{').next().expect("a name"))
        })
        .collect();
    let node = quiet();
    let text = node.metrics().to_string();
    let helped = text.lines().filter_map(|line| line.strip_prefix("# HELP "));
    let mut written: Vec<String> = helped
        .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
        .collect();
    documented.sort();
    written.sort();
    assert_eq!(documented, written);
    assert!(written.len() > 10, "{text}");
    stop_clean(&node);
}

#[track_caller]
fn moves_count(node: &Node, name: &str, by: impl FnOnce()) {
    moves(
        node,
        name,
        |metrics| {
            let gauge = metrics.get(&format!("longshore_{name}"));
            gauge.or_else(|| metrics.get(&format!("longshore_{name}_total")))
        },
        by,
    );
}

#[test]
fn figures_of_processes_and_sockets_move() {
    silence_expected_panics();
    let node = quiet();
    assert_eq!(count(&node, "workers"), 2);
    moves_count(&node, "processes", || {
        _ = node.spawn(|| Ends).expect("spawned")
    });
    for (class, reason) in [
        ("normal", Reason::Normal),
        ("shutdown", Reason::Shutdown),
        ("kill", Reason::Kill),
        ("panic", Reason::Panic("".into())),
        ("error", Reason::error("no paper")),
        ("no_process", Reason::NoProcess),
    ] {
        let value =
            |metrics: &Metrics| metrics.get_labeled("longshore_processes_ended_total", class);
        moves(&node, class, value, || {
            let pid = node.spawn(|| Ends).expect("spawned");
            node.send(pid, reason).expect("delivered");
        });
    }
    moves_count(&node, "processes_ended", || {
        let pid = node.spawn(|| Ends).expect("spawned");
        node.send(pid, Reason::Normal).expect("delivered");
    });
    let probe = Probe::spawn(&node);
    moves_count(&node, "meta_processes", || {
        _ = probe.listen(TcpServerOptions::default())
    });
    moves_count(&node, "timers", || {
        probe.run(|cx| _ = cx.send_after(cx.pid(), (), LIMIT));
    });
    let mut held = None;
    moves_count(&node, "buffers", || {
        held = Some(node.buffer_pool().get(512))
    });
    drop(held);
    let reader = Probe::spawn_with(&node, SpawnOptions::default().with_mailbox_bound(1));
    let options = longshore::EventOptions::default();
    let event = probe
        .run(|cx| cx.register_event("full", options))
        .expect("registered");
    reader.run(|cx| cx.subscribe("full")).expect("subscribed");
    let gate = reader.block();
    moves_count(&node, "events_dropped", || {
        for _ in 0..2 {
            node.publish(&event, ()).expect("the event is there");
        }
    });
    drop(gate);
    let options = SpawnOptions::default()
        .with_mailbox_bound(1)
        .with_mailbox_policy(longshore::MailboxPolicy::DropNewest);
    let dropping = Probe::spawn_with(&node, options);
    let gate = dropping.block();
    moves_count(&node, "messages_dropped", || {
        for _ in 0..2 {
            node.send(dropping.pid, ()).expect("sent");
        }
    });
    drop(gate);
    moves_count(&node, "uptime_seconds", || ());
    drop(node.stop());
}

#[test]
fn figures_of_connections_that_end_early_move() {
    let node = quiet();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default());
    let stream = client(addr);
    let connection = probe.connect().id;
    moves_count(&node, "unsent_bytes", || {
        // More than the sockets take, then an end that does not wait.
        probe.run(move |cx| {
            for _ in 0..8 {
                cx.write(connection, vec![0; 1 << 20]);
            }
            cx.abort(connection).expect("alive");
        });
        probe.disconnect();
    });
    moves_count(&node, "late_writes", || {
        probe.run(move |cx| cx.write(connection, "too late"));
    });
    drop(stream);
    drop(node.stop());
}

#[test]
fn figures_of_handlers_and_records_move() {
    let (gate, opened) = std::sync::mpsc::channel::<()>();
    let opened = std::sync::Mutex::new(opened);
    let options = NodeOptions::from("test@localhost")
        .with_workers(2)
        .with_slow_handler(Duration::from_millis(20))
        .with_logger(move |record: &Record| {
            if record.text == "block" {
                let _ = opened.lock().expect("one thread").recv();
            }
        });
    let node = node_with(options);
    moves_count(&node, "records_written", || node.log(Level::Error, "one"));
    let probe = Probe::spawn(&node);
    let block = probe.block();
    moves_count(&node, "slow_handlers", || ());
    wait_for_count(&node, "workers_stuck", 1);
    drop(block);
    moves_count(&node, "records_left_out", || {
        for _ in 0..20 {
            let pid = node.spawn(|| Ends).expect("spawned");
            node.send(pid, Reason::Kill).expect("delivered");
        }
    });
    moves_count(&node, "records_lost", || {
        node.log(Level::Error, "block");
        for _ in 0..300 {
            node.log(Level::Error, "does not fit");
        }
    });
    drop(gate);
    drop(node.stop());
}

#[test]
fn text_is_what_prometheus_takes() {
    let node = quiet();
    let text = node.metrics().to_string();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        assert!(name.starts_with("longshore_"), "{line}");
        value.parse::<u64>().expect("a number");
    }
    let Ok(mut promtool) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        println!("skipped: this needs promtool");
        return;
    };
    let mut input = promtool.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).expect("written");
    drop(input);
    let output = promtool.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{text}");
    stop_clean(&node);
}

#[test]
fn sockets_and_the_dump_show_what_lives() {
    let node = node_with(NodeOptions::from("test@localhost").with_logger(Logger::none()));
    let probe = Probe::spawn(&node);
    let (addr, listener) = probe.listen(TcpServerOptions::default());
    let mut streams: Vec<_> = (0..150).map(|_| client(addr)).collect();
    let connections: Vec<Alias> = streams.iter().map(|_| probe.connect().id).collect();
    streams[0].write_all(b"12345").expect("sent");
    probe.bytes(5);
    let sockets: Vec<_> = node.sockets().collect();
    assert_eq!(sockets.len(), 151);
    let find = |alias| sockets.iter().find(|socket| socket.alias == alias);
    let shown = find(listener).expect("alive");
    assert_eq!(shown.parent, probe.pid);
    assert!(
        shown.type_name.ends_with("TcpServer"),
        "{}",
        shown.type_name
    );
    assert_eq!(shown.details.number("accepted"), Some(150));
    let received = connections
        .iter()
        .filter_map(|alias| find(*alias)?.details.number("bytes_in"));
    assert_eq!(received.sum::<u64>(), 5);

    let name = "tr\x1b[31mick\n";
    node.spawn_register(name, || Ends).expect("spawned");
    probe
        .run(|cx| cx.register_event::<u64>("prices", longshore::EventOptions::default()))
        .expect("registered");
    let dump = node.dump();
    for part in [
        "== node test@localhost",
        "longshore_meta_processes 151",
        "== events\nprices publisher=",
        "== sockets",
    ] {
        assert!(dump.contains(part), "{part} in {dump}");
    }
    assert!(dump.contains("name=tr\\u{1b}[31mick\\n"), "{dump}");
    assert!(!dump.contains('\x1b'));
    drop(streams);
    stop_clean(&node);
}
