//! The edges of the surface: conversions, small verbs and attributes whose absence costs a user time, one test for each
//! line of the table.
//!
//! | Edge | Test |
//! |---|---|
//! | `#[must_use]` on servers, pools, replies, reports | [`what_is_nothing_until_it_is_used_says_so`] |
//! | errors turn into [`Error`] by `?` | [`errors_of_every_verb_turn_into_the_error_of_main`] |
//! | texts turn into names, targets and buffers | [`texts_turn_into_names_targets_and_buffers`] |
//! | addresses of every kind turn into options | [`addresses_of_every_kind_turn_into_options`] |
//! | setters take the value or the option | [`setters_of_options_take_the_value_or_the_option`] |
//! | verbs of sockets on `Context` and on `Node` | [`node_has_the_verbs_of_a_context_for_sockets`] |
//! | `queued_bytes` borrows | [`queued_bytes_need_no_mutable_context`] |
//! | verbs of a buffer | [`buffer_has_the_traits_of_a_vector`] |
//! | identifiers as text and as bits | [`identifiers_come_back_from_text_and_bits`] |
//! | `Error::Stopped` carries the report | [`error_of_a_stop_carries_the_report`] |
//! | errors keep the number of the system | [`errors_keep_the_number_of_the_system`] |
//! | reasons have names for metrics | [`reasons_of_a_disconnect_have_names`] |
//! | IPv4 is shown as IPv4 | [`ipv4_is_shown_as_ipv4_on_a_socket_of_both_families`] |
//! | a node needs no name | [`node_needs_no_name`] |
//! | every `main` of an example is `Node::run` | [`every_main_of_an_example_is_node_run`] |
//! | programs are as short as on tokio | [`examples_are_at_most_a_tenth_longer_than_on_tokio`] |
//! | the first program of the README fits a page | [`first_program_of_the_readme_has_at_most_24_lines`] |

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use longshore::prelude::*;
use longshore::{
    BindError, ConnectError, Error, OsError, RequestError, SpawnError, StopOptions, StopReport,
};

use crate::support::*;

/// The sources below a folder, one after the other.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).expect("a text");
                found.push((path.display().to_string(), text));
            }
        }
    }
    found
}

#[test]
fn what_is_nothing_until_it_is_used_says_so() {
    let sources = sources("src");
    for name in [
        "TcpServer",
        "TcpConnection",
        "UdpServer",
        "UnixServer",
        "UnixConnection",
        "UnixDatagramServer",
        "Serve",
        "Pool",
        "Supervisor",
        "Reply",
        "PendingReply",
        "Answer",
        "Monitor",
    ] {
        let is_head = |line: &str| {
            let rest = line.strip_prefix(&format!("pub struct {name}"));
            rest.is_some_and(|rest| rest.starts_with(['<', '(', ' ']))
        };
        let attributes = sources.iter().find_map(|(_, text)| {
            let lines: Vec<&str> = text.lines().collect();
            let head = lines.iter().position(|line| is_head(line))?;
            let above = lines[..head].iter().rev();
            let attributes = above.take_while(|line| line.starts_with("#["));
            Some(attributes.copied().collect::<Vec<_>>().join("\n"))
        });
        let attributes = attributes.unwrap_or_else(|| panic!("there is no {name}"));
        assert!(attributes.contains("#[must_use"), "{name}: {attributes}");
    }
    for verb in ["stop", "stop_with"] {
        let head = format!("    pub fn {verb}(&self");
        let of_node = sources
            .iter()
            .find(|(path, _)| path.ends_with("node/mod.rs"));
        let (before, _) = of_node.expect("a file").1.split_once(&head).expect(verb);
        let line = before.trim_end().lines().next_back().expect("a line");
        assert!(line.contains("#[must_use"), "{verb}: {line}");
    }
}

#[test]
fn errors_of_every_verb_turn_into_the_error_of_main() {
    let refused = |kind: SendErrorKind| -> Result<(), Error> { Err(kind)? };
    assert!(matches!(
        refused(SendErrorKind::Closing),
        Err(Error::Refused(SendErrorKind::Closing))
    ));
    let errors: Vec<Error> = vec![
        SendErrorKind::NoName.into(),
        SpawnError::Stopping.into(),
        RequestError::Timeout.into(),
        BindError::from(Framing::fixed(0).validate().expect_err("wrong")).into(),
        ConnectError::from(Framing::fixed(0).validate().expect_err("wrong")).into(),
        std::io::Error::from(ErrorKind::NotFound).into(),
    ];
    for error in errors {
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn texts_turn_into_names_targets_and_buffers() {
    let text = String::from("clerk");
    for target in [
        Target::from("clerk"),
        Target::from(text.clone()),
        Target::from(&text),
        Target::from(Name::from("clerk")),
        Target::from(&Name::from("clerk")),
    ] {
        assert_eq!(target.to_string(), "clerk");
    }
    for buffer in [
        Buffer::from("clerk"),
        Buffer::from(text.clone()),
        Buffer::from(&text),
        Buffer::from(b"clerk"),
        Buffer::from(text.clone().into_bytes()),
        Buffer::from(std::borrow::Cow::from("clerk")),
    ] {
        assert_eq!(buffer, "clerk");
    }
    let name = Name::from("clerk");
    let (as_ref, by_deref): (&str, &str) = (name.as_ref(), &name);
    assert_eq!((as_ref, by_deref, name.len()), ("clerk", "clerk", 5));
    let node = node();
    assert_eq!(node.whereis("clerk"), None, "by a borrowed text");
    stop_clean(&node);
}

#[test]
fn addresses_of_every_kind_turn_into_options() {
    let v4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7);
    let all: Vec<TcpConnectionOptions> = vec![
        "127.0.0.1:7".into(),
        String::from("127.0.0.1:7").into(),
        (&String::from("127.0.0.1:7")).into(),
        v4.into(),
        SocketAddr::V4(v4).into(),
        ("127.0.0.1", 7).into(),
        (String::from("127.0.0.1"), 7).into(),
        (Ipv4Addr::LOCALHOST, 7).into(),
        (IpAddr::V4(Ipv4Addr::LOCALHOST), 7).into(),
    ];
    for options in all {
        assert_eq!((options.host, options.port), ("127.0.0.1".into(), 7));
    }
    let udp = UdpServerOptions::from((IpAddr::V6(Ipv6Addr::LOCALHOST), 7));
    assert_eq!((udp.host, udp.port), ("::1".into(), 7));
}

#[test]
fn setters_of_options_take_the_value_or_the_option() {
    let second = Duration::from_secs(1);
    let limits = TcpLimits::default().with_idle_timeout(second);
    assert_eq!(limits.idle_timeout, Some(second));
    assert_eq!(limits.with_idle_timeout(None).idle_timeout, None);
    let server = TcpServerOptions::default().with_max_connections(7);
    assert_eq!(server.max_connections, Some(7));
    assert_eq!(server.with_max_connections(None).max_connections, None);
    let node = NodeOptions::default().with_workers(2);
    assert_eq!(node.workers, Some(2));
    assert_eq!(node.with_workers(None).workers, None);
    // Every setter of every option whose value may be absent: none takes an `Option` as it is.
    for (path, text) in sources("src") {
        let plain = text.lines().find(|line| {
            (line.contains("fn with_") && line.contains(": Option<"))
                || line.contains(": plain Option<")
        });
        let is_public = plain.is_some_and(|line| !line.contains("pub(crate)"));
        assert!(!is_public, "{path}: {plain:?}");
    }
}

#[test]
fn node_has_the_verbs_of_a_context_for_sockets() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, listener) = probe.listen(TcpServerOptions::default());
    let mut peer = client(addr);
    let id = probe.connect().id;
    node.write(id, "a");
    node.broadcast([id], "b");
    assert!(node.try_write(id, "c").is_ok());
    assert_eq!(read(&mut peer, 3), b"abc");
    wait_until("all to be sent", || node.queued_bytes(id) == 0);

    node.pause_reading(id).expect("open");
    node.set_framing(id, Framing::lines()).expect("open");
    assert!(node.set_framing(id, Framing::fixed(0)).is_err());
    // Both are in force when the connection answers.
    inspect(&node, id);
    peer.write_all(b"one\ntwo\n").expect("written");
    node.resume_reading(id).expect("open");
    assert_eq!(probe.tcp().data, "one");
    assert_eq!(probe.tcp().data, "two");

    node.shutdown_write(id).expect("open");
    assert_eq!(read_to_end(&mut peer), b"");
    node.abort(id).expect("open");
    probe.disconnect();

    node.pause_accepting(listener).expect("open");
    node.resume_accepting(listener).expect("open");
    let _peer = client(addr);
    node.close(probe.connect().id).expect("open");
    node.close(listener).expect("open");
    wait_until("the listener to end", || {
        node.pause_accepting(listener) == Err(SendErrorKind::NoMeta)
    });
    stop_clean(&node);
}

#[test]
fn queued_bytes_need_no_mutable_context() {
    fn queued(cx: &Context<'_>, id: Alias) -> usize {
        cx.queued_bytes(id)
    }
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default());
    let _peer = client(addr);
    let id = probe.connect().id;
    assert_eq!(probe.run(move |cx| queued(cx, id)), 0);
    stop_clean(&node);
}

#[test]
fn buffer_has_the_traits_of_a_vector() {
    let mut buffer = Buffer::new();
    buffer.put_u16(0x0102);
    buffer.put_u32(0x0304_0506);
    buffer.put_u16_le(0x0807);
    buffer.put_u32_le(0x0c0b_0a09);
    assert_eq!(&buffer[..], (1..=12).collect::<Vec<u8>>());
    assert_eq!(&buffer.split_to(2)[..], [1, 2]);
    assert_eq!(&buffer.split_off(8)[..], [11, 12]);
    let mut first = [0; 3];
    assert_eq!(buffer.read(&mut first).expect("bytes"), 3);
    assert_eq!((first, &buffer[..]), ([3, 4, 5], &[6, 7, 8, 9, 10][..]));

    let mut text = Buffer::new();
    let shown = std::fmt::Write::write_fmt(&mut text, format_args!("{}-{}", 1, "b"));
    shown.expect("a buffer takes all");
    assert_eq!(text, "1-b");
    text.write_all(b"!").expect("a buffer takes all");
    assert_eq!(text, "1-b!");
    let collected: Buffer = b"xyz".iter().copied().collect();
    assert_eq!(collected, "xyz");
    let mut sorted = ["b", "a", "ab"].map(Buffer::from);
    sorted.sort();
    assert_eq!(sorted, ["a", "ab", "b"]);
}

#[test]
fn identifiers_come_back_from_text_and_bits() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (_, alias) = probe.listen_udp(UdpServerOptions::default());
    let pid = probe.run(|cx| cx.pid());
    assert_eq!(pid.to_string().parse(), Ok(pid));
    assert_eq!(Pid::from_bits(pid.to_bits()), pid);
    assert_eq!(alias.to_string().parse(), Ok(alias));
    assert_eq!(Alias::from_bits(alias.to_bits()), Some(alias));
    stop_clean(&node);
}

#[test]
fn error_of_a_stop_carries_the_report() {
    let report: fn(StopReport) -> Error = Error::Stopped;
    let report = report(StopReport::default());
    let Error::Stopped(inner) = &report else {
        panic!("{report:?}")
    };
    assert_eq!(inner, &StopReport::default());
    assert!(report.to_string().starts_with("the node stopped: "));
    let _ = StopOptions::default();
}

#[test]
fn errors_keep_the_number_of_the_system() {
    // EMSGSIZE and ENOBUFS of Linux: std has no kind for either.
    let [long, buffers] = [90, 105].map(|number| {
        let error = std::io::Error::from_raw_os_error(number);
        OsError::from(error)
    });
    assert_ne!(long, buffers);
    assert_eq!(long.raw_os_error(), Some(90));
    assert_eq!(std::io::Error::from(long).raw_os_error(), Some(90));

    let node = node();
    let probe = Probe::spawn(&node);
    let options = UdpServerOptions::default().with_report_errors(true);
    let (addr, id) = probe.listen_udp(options);
    let packet = MessageUdp::new(id, addr, vec![0; 65_508]);
    probe
        .run(move |cx| cx.send_alias(id, packet))
        .expect("accepted");
    let report = probe.udp_error();
    if cfg!(target_os = "linux") {
        assert_eq!(report.error, long, "{}", report.error);
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("an address");
    probe.connect_to(("localhost", closed.port()));
    let end = probe.disconnect();
    let error = end.reason.os_error().expect("an error of the system");
    assert_eq!(error, ErrorKind::ConnectionRefused);
    assert!(error.raw_os_error().is_some());
    assert_eq!(
        end.failed_attempts.last().map(|last| last.error),
        Some(error)
    );
    stop_clean(&node);
}

#[test]
fn reasons_of_a_disconnect_have_names() {
    for (reason, name) in [
        (DisconnectReason::ClosedByPeer, "closed_by_peer"),
        (DisconnectReason::Io(ErrorKind::Other.into()), "io"),
        (DisconnectReason::Overflow, "overflow"),
    ] {
        assert_eq!(reason.name(), name);
    }
}

#[test]
fn ipv4_is_shown_as_ipv4_on_a_socket_of_both_families() {
    let node = node();
    let probe = Probe::spawn(&node);
    let tcp = TcpServer::bind("[::]:0").expect("bound");
    let udp = UdpServer::bind("[::]:0").expect("bound");
    let (tcp_port, udp_port) = (tcp.local_addr().port(), udp.local_addr().port());
    probe.spawn_meta(tcp);
    probe.spawn_meta(udp);
    let _peer = client((Ipv4Addr::LOCALHOST, tcp_port).into());
    let connect = probe.connect();
    assert!(connect.remote_addr.is_ipv4() && connect.local_addr.is_ipv4());
    let peer = udp_client();
    peer.send_to(b"x", (Ipv4Addr::LOCALHOST, udp_port).into())
        .expect("sent");
    let packet = probe.udp();
    assert!(packet.addr.is_ipv4(), "{}", packet.addr);
    assert!(packet.local_addr().is_none_or(|local| local.is_ipv4()));
    stop_clean(&node);
}

#[test]
fn node_needs_no_name() {
    let node = Node::start(NodeOptions::default()).expect("started");
    let pid = node.spawn(|| Idle).expect("spawned");
    assert!(node.process(pid).is_some());
    stop_clean(&node);
}

struct Idle;

impl Actor for Idle {}

#[test]
fn every_main_of_an_example_is_node_run() {
    for (path, text) in sources("examples") {
        if !text.contains("\nfn main(") {
            continue;
        }
        // The world of a simulation starts its nodes itself.
        let is_simulation = path.ends_with("simulation.rs");
        assert!(text.contains("Node::run") || is_simulation, "{path}");
    }
}

/// Lines that are neither empty nor comments.
fn code_lines(text: &str) -> usize {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

#[test]
fn examples_are_at_most_a_tenth_longer_than_on_tokio() {
    let lines_of = |path: String| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        code_lines(&std::fs::read_to_string(path).expect("a program"))
    };
    for program in ["http", "proxy"] {
        let ours = lines_of(format!("examples/{program}.rs"));
        let theirs = lines_of(format!("benches/src/bin/tokio-{program}.rs"));
        println!("{program}: {ours} lines, {theirs} on tokio");
        assert!(ours * 10 <= theirs * 11, "{program}: {ours} to {theirs}");
    }
}

#[test]
fn first_program_of_the_readme_has_at_most_24_lines() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).expect("a text");
    let (_, rest) = readme.split_once("```rust,no_run\n").expect("a program");
    let (program, _) = rest.split_once("```").expect("its end");
    assert!(code_lines(program) <= 24, "{}", code_lines(program));
    let widest = program.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(90), "{widest:?}");
}
