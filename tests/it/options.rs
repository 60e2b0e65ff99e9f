//! Every option of every options type with its edge values: accepted and works, or refused at once, naming the field.
//!
//! A row has the name of the option, the options, and the field that is refused; `WORKS` for none. Options that are
//! accepted are used: bytes go back and forth. The unit test `every_option_has_a_row` looks for the names in this file,
//! so that a new option without a row does not pass.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use longshore::prelude::*;
use longshore::{
    AtLimit, BindError, BufferPool, ConnectError, CustomFraming, EventOptions, Frame, FrameDecoder,
    FrameError, HeaderFraming, MailboxPolicy, Overflow, ProxyHeader, ProxyProtocol,
    ReconnectPolicy, SocketOptions, StopOptions, TcpLimits,
};

use crate::support::*;

/// No field is refused.
const WORKS: &str = "";
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// The largest output limit.
const LIMIT_BYTES: u32 = (1 << 29) - 1;

type Rows<T> = Vec<(&'static str, T, &'static str)>;

/// The rows of the limits of connections, whichever options they are in.
fn limits() -> Rows<TcpLimits> {
    let new = TcpLimits::default;
    let marks = |low, high, limit| {
        new()
            .with_low_water_mark(low)
            .with_high_water_mark(high)
            .with_output_limit(limit)
    };
    let mut rows = vec![
        ("output_limit", marks(0, 0, 0), "output_limit"),
        ("output_limit", marks(0, 0, 16), WORKS),
        ("output_limit", marks(0, 0, LIMIT_BYTES), WORKS),
        ("output_limit", marks(0, 0, LIMIT_BYTES + 1), "output_limit"),
        ("output_limit", marks(0, 0, u32::MAX), "output_limit"),
        ("high_water_mark", marks(0, 1, 16), WORKS),
        ("high_water_mark", marks(0, 16, 16), WORKS),
        ("high_water_mark", marks(0, 17, 16), "high_water_mark"),
        ("high_water_mark", marks(0, u32::MAX, 16), "high_water_mark"),
        ("low_water_mark", marks(16, 16, 16), WORKS),
        ("low_water_mark", marks(2, 1, 16), "low_water_mark"),
        ("low_water_mark", marks(u32::MAX, 1, 16), "low_water_mark"),
        ("overflow", new().with_overflow(Overflow::Close), WORKS),
        ("overflow", new().with_overflow(Overflow::DropNewest), WORKS),
        ("read_above_high", new().with_read_above_high(true), WORKS),
        ("input_window", new().with_input_window(0), "input_window"),
        ("input_window", new().with_input_window(1), WORKS),
        ("input_window", new().with_input_window(u32::MAX), WORKS),
        (
            "window_follows_buffers",
            new().with_window_follows_buffers(true),
            WORKS,
        ),
    ];
    type Setter = fn(TcpLimits, Duration) -> TcpLimits;
    let timeouts: [(&'static str, Setter); 7] = [
        ("handshake_timeout", |limits, time| {
            limits.with_handshake_timeout(time)
        }),
        ("first_byte_timeout", |limits, time| {
            limits.with_first_byte_timeout(time)
        }),
        ("idle_timeout", |limits, time| {
            limits.with_idle_timeout(time)
        }),
        ("write_timeout", |limits, time| {
            limits.with_write_timeout(time)
        }),
        ("frame_timeout", |limits, time| {
            limits.with_frame_timeout(time)
        }),
        ("close_timeout", |limits, time| {
            limits.with_close_timeout(time)
        }),
        ("linger_timeout", |limits, time| {
            limits.with_linger_timeout(time)
        }),
    ];
    for (field, set) in timeouts {
        rows.push((field, set(new(), Duration::ZERO), field));
        rows.push((field, set(new(), Duration::from_nanos(999_999)), field));
        rows.push((field, set(new(), Duration::MAX), WORKS));
    }
    rows
}

/// The rows of the options of sockets that hold for streams.
fn stream_sockets() -> Rows<SocketOptions> {
    let new = SocketOptions::default;
    vec![
        ("nodelay", new().with_nodelay(false), WORKS),
        ("backlog", new().with_backlog(0), "backlog"),
        ("backlog", new().with_backlog(1), WORKS),
        ("backlog", new().with_backlog(i32::MAX as u32), WORKS),
        ("backlog", new().with_backlog(1 << 31), "backlog"),
        ("backlog", new().with_backlog(u32::MAX), "backlog"),
        ("reuse_port", new().with_reuse_port(true), WORKS),
        ("only_v6", new().with_only_v6(true), "only_v6"),
        (
            "keep_alive_interval",
            new().with_keep_alive_interval(SECOND),
            "keep_alive_interval",
        ),
        (
            "keep_alive_count",
            new().with_keep_alive_count(1),
            "keep_alive_count",
        ),
        ("reset_on_close", new().with_reset_on_close(true), WORKS),
        (
            "user_timeout",
            new().with_user_timeout(Duration::ZERO),
            "user_timeout",
        ),
        (
            "user_timeout",
            new().with_user_timeout(MS * i32::MAX as u32),
            WORKS,
        ),
        (
            "user_timeout",
            new().with_user_timeout(MS * (1 << 31)),
            "user_timeout",
        ),
        (
            "user_timeout",
            new().with_user_timeout(Duration::MAX),
            "user_timeout",
        ),
        (
            "recv_buffer_size",
            new().with_recv_buffer_size(0),
            "recv_buffer_size",
        ),
        ("recv_buffer_size", new().with_recv_buffer_size(1), WORKS),
        (
            "recv_buffer_size",
            new().with_recv_buffer_size(i32::MAX as usize),
            WORKS,
        ),
        (
            "recv_buffer_size",
            new().with_recv_buffer_size(1 << 31),
            "recv_buffer_size",
        ),
        (
            "recv_buffer_size",
            new().with_recv_buffer_size(usize::MAX),
            "recv_buffer_size",
        ),
        (
            "send_buffer_size",
            new().with_send_buffer_size(0),
            "send_buffer_size",
        ),
        ("send_buffer_size", new().with_send_buffer_size(1), WORKS),
        (
            "send_buffer_size",
            new().with_send_buffer_size(i32::MAX as usize),
            WORKS,
        ),
        (
            "send_buffer_size",
            new().with_send_buffer_size(1 << 31),
            "send_buffer_size",
        ),
    ]
}

/// Keep-alive options that hold with a period.
fn keep_alive_sockets() -> Rows<SocketOptions> {
    let new = SocketOptions::default;
    let interval = |time| new().with_keep_alive_interval(time);
    vec![
        (
            "keep_alive_interval",
            interval(Duration::ZERO),
            "keep_alive_interval",
        ),
        (
            "keep_alive_interval",
            interval(SECOND - MS),
            "keep_alive_interval",
        ),
        ("keep_alive_interval", interval(SECOND), WORKS),
        ("keep_alive_interval", interval(SECOND * 32_767), WORKS),
        (
            "keep_alive_interval",
            interval(SECOND * 32_768),
            "keep_alive_interval",
        ),
        (
            "keep_alive_interval",
            interval(Duration::MAX),
            "keep_alive_interval",
        ),
        (
            "keep_alive_count",
            new().with_keep_alive_count(0),
            "keep_alive_count",
        ),
        ("keep_alive_count", new().with_keep_alive_count(1), WORKS),
        ("keep_alive_count", new().with_keep_alive_count(127), WORKS),
        (
            "keep_alive_count",
            new().with_keep_alive_count(128),
            "keep_alive_count",
        ),
        (
            "keep_alive_count",
            new().with_keep_alive_count(u32::MAX),
            "keep_alive_count",
        ),
    ]
}

struct Whole;

impl FrameDecoder for Whole {
    fn decode(&mut self, bytes: &[u8]) -> Result<Frame, FrameError> {
        let consumed = bytes.len();
        Ok(Frame::Complete {
            consumed,
            payload: 0..consumed,
        })
    }
}

/// Framings under which the four bytes `0003abc\n` are at least one frame, and others that are refused.
fn framings() -> Rows<Framing> {
    const MOST: usize = (1 << 31) - 1;
    let header = HeaderFraming::default;
    let lines = |max_length| Framing::lines().with_max_length(max_length);
    let until =
        |delimiter: &[u8], max_length| Framing::delimiter(delimiter).with_max_length(max_length);
    let custom =
        |length| Framing::Custom(CustomFraming::new(|| Box::new(Whole)).with_max_length(length));
    vec![
        ("length", Framing::fixed(0), "length"),
        ("length", Framing::fixed(1), WORKS),
        ("length", Framing::fixed(MOST + 1), "length"),
        ("length", Framing::fixed(usize::MAX), "length"),
        ("max_length", lines(0), "max_length"),
        ("max_length", lines(MOST), WORKS),
        ("max_length", lines(MOST + 1), "max_length"),
        ("max_length", lines(usize::MAX), "max_length"),
        ("delimiter", until(b"", 8), "delimiter"),
        ("delimiter", until(b"\n", 8), WORKS),
        ("delimiter", until(&[0; 257], 8), "delimiter"),
        ("max_length", until(b"\n", 0), "max_length"),
        ("max_length", until(b"\n", MOST + 1), "max_length"),
        ("max_length", custom(0), "max_length"),
        ("max_length", custom(MOST), WORKS),
        ("max_length", custom(MOST + 1), "max_length"),
        (
            "length_size",
            Framing::header(header().with_length_size(0)),
            "length_size",
        ),
        (
            "length_size",
            Framing::header(header().with_length_size(5)),
            "length_size",
        ),
        (
            "length_size",
            Framing::header(header().with_length_size(usize::MAX)),
            "length_size",
        ),
        (
            "header_size",
            Framing::header(header().with_header_size(0)),
            "header_size",
        ),
        (
            "header_size",
            Framing::header(header().with_header_size(3)),
            "header_size",
        ),
        (
            "header_size",
            Framing::header(header().with_header_size(usize::MAX)),
            "max_length",
        ),
        (
            "length_position",
            Framing::header(header().with_length_position(1)),
            "length_position",
        ),
        (
            "length_position",
            Framing::header(header().with_length_position(usize::MAX)),
            "length_position",
        ),
        (
            "max_length",
            Framing::header(header().with_max_length(3)),
            "max_length",
        ),
        (
            "max_length",
            Framing::header(header().with_max_length(MOST + 1)),
            "max_length",
        ),
        (
            "length_includes_header",
            Framing::header(
                header()
                    .with_header_size(256)
                    .with_length_size(1)
                    .with_length_includes_header(true),
            ),
            "length_size",
        ),
        (
            "byte_order",
            Framing::header(
                header()
                    .with_byte_order(ByteOrder::Little)
                    .with_length_size(1)
                    .with_length_position(3),
            ),
            WORKS,
        ),
        (
            "strip_header",
            Framing::header(header().with_strip_header(true)),
            WORKS,
        ),
    ]
}

/// What listeners and clients have in common, as a change of either.
macro_rules! stream_rows {
    ($new:expr) => {{
        let new = $new;
        let mut rows = vec![
            ("limits", new().with_limits(TcpLimits::default()), WORKS),
            ("socket", new().with_socket(SocketOptions::default()), WORKS),
            ("framing", new().with_framing(Framing::Raw), WORKS),
            (
                "read_buffer_size",
                new().with_read_buffer_size(0),
                "read_buffer_size",
            ),
            ("read_buffer_size", new().with_read_buffer_size(1), WORKS),
            (
                "read_buffer_size",
                new().with_read_buffer_size(64 << 10),
                WORKS,
            ),
            (
                "read_buffer_size",
                new().with_read_buffer_size((64 << 10) + 1),
                "read_buffer_size",
            ),
            (
                "read_buffer_size",
                new().with_read_buffer_size(usize::MAX),
                "read_buffer_size",
            ),
            (
                "buffer_pool",
                new().with_buffer_pool(BufferPool::new()),
                WORKS,
            ),
            (
                "keep_alive_period",
                new().with_keep_alive_period(Duration::ZERO),
                "keep_alive_period",
            ),
            (
                "keep_alive_period",
                new().with_keep_alive_period(SECOND - MS),
                "keep_alive_period",
            ),
            (
                "keep_alive_period",
                new().with_keep_alive_period(SECOND),
                WORKS,
            ),
            (
                "keep_alive_period",
                new().with_keep_alive_period(SECOND * 32_767),
                WORKS,
            ),
            (
                "keep_alive_period",
                new().with_keep_alive_period(SECOND * 32_768),
                "keep_alive_period",
            ),
            (
                "keep_alive_period",
                new().with_keep_alive_period(Duration::MAX),
                "keep_alive_period",
            ),
            ("half_open", new().with_half_open(true), WORKS),
            (
                "close_on_full_mailbox",
                new().with_close_on_full_mailbox(true),
                WORKS,
            ),
        ];
        for (time, bytes, field) in [
            (Duration::ZERO, 1, "write_keep_alive"),
            (SECOND, 0, "write_keep_alive"),
            (Duration::MAX, 1, WORKS),
            (SECOND * 60, (4 << 20) + 1, "write_keep_alive"),
            (SECOND * 60, 4 << 20, WORKS),
        ] {
            let bytes = vec![0; bytes];
            rows.push((
                "write_keep_alive",
                new().with_write_keep_alive((time, bytes)),
                field,
            ));
        }
        for (name, limits, field) in limits() {
            rows.push((name, new().with_limits(limits), field));
        }
        for (name, socket, field) in stream_sockets() {
            rows.push((name, new().with_socket(socket), field));
        }
        for (name, socket, field) in keep_alive_sockets() {
            let options = new().with_keep_alive_period(SECOND).with_socket(socket);
            rows.push((name, options, field));
        }
        for (name, framing, field) in framings() {
            rows.push((name, new().with_framing(framing), field));
        }
        rows
    }};
}

fn refused_bind<T: std::fmt::Debug>(result: Result<T, BindError>) -> Result<T, &'static str> {
    match result {
        Ok(bound) => Ok(bound),
        Err(BindError::Option(error)) => Err(error.field()),
        Err(other) => panic!("not refused by name: {other:?}"),
    }
}

/// Compares what was refused with the row, and returns what was accepted.
#[track_caller]
fn judge<T>(name: &str, shown: &str, result: Result<T, &'static str>, expected: &str) -> Option<T> {
    match result {
        Ok(value) => {
            assert_eq!(WORKS, expected, "{name} is accepted: {shown}");
            Some(value)
        }
        Err(field) => {
            assert_eq!(field, expected, "{name}: {shown}");
            None
        }
    }
}

/// A frame under each framing that works, and as many bytes back.
const BYTES: &[u8] = b"\0\0\0\x04abc\n";

#[test]
fn every_option_of_a_listener_works_or_is_refused_by_name() {
    let node = node();
    let probe = Probe::named(&node, "probe");
    let new = || TcpServerOptions::from("127.0.0.1:0");
    let mut rows = stream_rows!(new);
    rows.extend([
        ("host", new().with_host("127.0.0.1:80"), "host"),
        ("host", new().with_host("a b"), "host"),
        ("host", new().with_host("a".repeat(255)), "host"),
        ("host", TcpServerOptions::from("127.0.0.1:65536"), "host"),
        ("host", new().with_host(""), WORKS),
        ("port", new().with_port(0), WORKS),
        (
            "process_pool",
            new().with_process_pool(["probe", ""]),
            "process_pool",
        ),
        (
            "process_pool",
            new().with_process_pool(["probe", "absent"]),
            WORKS,
        ),
        (
            "insecure_skip_verify",
            new().with_insecure_skip_verify(true),
            "insecure_skip_verify",
        ),
        (
            "max_connections",
            new().with_max_connections(0),
            "max_connections",
        ),
        ("max_connections", new().with_max_connections(1), WORKS),
        (
            "max_connections",
            new().with_max_connections(usize::MAX),
            WORKS,
        ),
        ("at_limit", new().with_at_limit(AtLimit::Refuse), WORKS),
        ("accept_rate", new().with_accept_rate(0), "accept_rate"),
        ("accept_rate", new().with_accept_rate(1), WORKS),
        ("accept_rate", new().with_accept_rate(u32::MAX), WORKS),
        (
            "max_connections_per_ip",
            new().with_max_connections_per_ip(0),
            "max_connections_per_ip",
        ),
        (
            "max_connections_per_ip",
            new().with_max_connections_per_ip(1),
            WORKS,
        ),
        (
            "per_ip_v6_prefix",
            new().with_per_ip_v6_prefix(0),
            "per_ip_v6_prefix",
        ),
        ("per_ip_v6_prefix", new().with_per_ip_v6_prefix(1), WORKS),
        ("per_ip_v6_prefix", new().with_per_ip_v6_prefix(128), WORKS),
        (
            "per_ip_v6_prefix",
            new().with_per_ip_v6_prefix(129),
            "per_ip_v6_prefix",
        ),
        (
            "max_connections_per_ip",
            new().with_max_connections_per_ip(usize::MAX),
            WORKS,
        ),
        (
            "proxy_protocol",
            new().with_proxy_protocol(ProxyProtocol::Off),
            WORKS,
        ),
        (
            "proxy_protocol",
            new().with_proxy_protocol(ProxyProtocol::required([])),
            "proxy_protocol",
        ),
    ]);
    for (name, options, field) in rows {
        let shown = format!("{options:?}");
        let Some(server) = judge(name, &shown, refused_bind(TcpServer::bind(options)), field)
        else {
            continue;
        };
        let addr = server.local_addr();
        let listener = probe.spawn_meta(server);
        let mut peer = client(SocketAddr::from((Ipv4Addr::LOCALHOST, addr.port())));
        serve_one(&probe, &mut peer);
        probe.run(move |cx| cx.close(listener)).expect("listening");
    }
    stop_clean(&node);
}

/// Sends the bytes in both directions.
#[track_caller]
fn serve_one(probe: &Probe, peer: &mut std::net::TcpStream) {
    use std::io::Write;

    let id = probe.connect().id;
    peer.write_all(BYTES).expect("written");
    let frame = probe.tcp().data;
    let sent = frame.len().min(16);
    probe.write(id, &frame[..sent]);
    assert_eq!(read(peer, sent), frame[..sent]);
    // What is left of the bytes is of no interest.
    probe.run(move |cx| cx.abort(id)).expect("open");
    while !matches!(probe.next().1, Message::TcpDisconnect(_)) {}
}

#[test]
fn every_option_of_a_client_works_or_is_refused_by_name() {
    let node = node();
    let probe = Probe::named(&node, "probe");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let to = listener.local_addr().expect("an address");
    let new = || TcpConnectionOptions::from(to);
    let policy = ReconnectPolicy::default;
    let with = |policy: ReconnectPolicy| new().with_reconnect(policy);
    let mut rows = stream_rows!(new);
    let mut nameless = new();
    nameless.process = Some(Name::from(""));
    rows.extend([
        ("host", new().with_host(""), "host"),
        ("host", new().with_host("[::1"), "host"),
        ("host", new().with_host("localhost"), WORKS),
        ("host", new().with_host("LOCALHOST."), WORKS),
        ("port", new().with_port(0), "port"),
        ("process", new().with_process(""), WORKS),
        ("process", new().with_process("probe"), WORKS),
        ("process", nameless, "process"),
        (
            "connect_timeout",
            new().with_connect_timeout(Duration::ZERO),
            "connect_timeout",
        ),
        (
            "connect_timeout",
            new().with_connect_timeout(Duration::MAX),
            WORKS,
        ),
        ("connect_timeout", new().with_connect_timeout(None), WORKS),
        (
            "local_addr",
            new().with_local_addr(SocketAddr::from(([127, 0, 0, 1], 0))),
            WORKS,
        ),
        ("reconnect", new().with_reconnect(policy()), WORKS),
        ("first", with(policy().with_first(Duration::ZERO)), "first"),
        ("first", with(policy().with_first(MS)), WORKS),
        ("max", with(policy().with_max(MS)), "max"),
        ("max", with(policy().with_first(MS).with_max(MS)), WORKS),
        ("jitter", with(policy().with_jitter(0.0)), WORKS),
        ("jitter", with(policy().with_jitter(1.0)), WORKS),
        ("jitter", with(policy().with_jitter(1.1)), "jitter"),
        ("jitter", with(policy().with_jitter(f64::NAN)), "jitter"),
        (
            "give_up_after",
            with(policy().with_give_up_after(MS)),
            WORKS,
        ),
        (
            "give_up_after",
            with(policy().with_give_up_after(Duration::ZERO)),
            "give_up_after",
        ),
        ("proxy_header", new().with_proxy_header(None), WORKS),
        (
            "proxy_header",
            new().with_proxy_header(ProxyHeader::local().with_checksum()),
            "proxy_header",
        ),
    ]);
    for (name, options, field) in rows {
        let shown = format!("{options:?}");
        let attempt = match TcpConnection::connect(options) {
            Ok(attempt) => Ok(attempt),
            Err(ConnectError::Option(error)) => Err(error.field()),
            Err(other) => panic!("not refused by name: {other:?}: {shown}"),
        };
        let Some(connection) = judge(name, &shown, attempt, field) else {
            continue;
        };
        probe.spawn_meta(connection);
        let (mut peer, _) = listener.accept().expect("a connection");
        bounded(&peer);
        serve_one(&probe, &mut peer);
    }
    stop_clean(&node);
}

#[test]
fn every_option_of_datagrams_works_or_is_refused_by_name() {
    let node = node();
    let probe = Probe::named(&node, "probe");
    let new = || UdpServerOptions::from("127.0.0.1:0");
    let v6 = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let groups = |groups: &[&str]| {
        let groups = groups
            .iter()
            .map(|group| group.parse().expect("an address"));
        new().with_multicast(groups.collect::<Vec<IpAddr>>())
    };
    let mut nameless = new();
    nameless.process = Some(Name::from(""));
    let mut rows = vec![
        ("host", new().with_host("127.0.0.1:80"), "host"),
        ("host", new().with_host(""), WORKS),
        ("port", new().with_port(0), WORKS),
        ("process", new().with_process("probe"), WORKS),
        ("process", nameless, "process"),
        ("buffer_size", new().with_buffer_size(0), "buffer_size"),
        ("buffer_size", new().with_buffer_size(1), WORKS),
        ("buffer_size", new().with_buffer_size(usize::MAX), WORKS),
        (
            "buffer_pool",
            new().with_buffer_pool(BufferPool::new()),
            WORKS,
        ),
        ("peer", new().with_peer(v6("127.0.0.1:0")), "peer"),
        ("peer", new().with_peer(v6("[::1]:7")), "peer"),
        (
            "peer",
            new().with_host("::1").with_peer(v6("127.0.0.1:7")),
            "peer",
        ),
        ("broadcast", new().with_broadcast(true), WORKS),
        ("multicast", groups(&["127.0.0.1"]), "multicast"),
        (
            "multicast",
            groups(&["224.0.0.251", "224.0.0.251"]),
            "multicast",
        ),
        ("multicast", groups(&["ff02::fb"]), "multicast"),
        // A datagram counts as 64 bytes at least.
        ("output_limit", new().with_output_limit(0), "output_limit"),
        ("output_limit", new().with_output_limit(63), "output_limit"),
        ("output_limit", new().with_output_limit(64), WORKS),
        ("output_limit", new().with_output_limit(LIMIT_BYTES), WORKS),
        (
            "output_limit",
            new().with_output_limit(LIMIT_BYTES + 1),
            "output_limit",
        ),
        ("report_errors", new().with_report_errors(true), WORKS),
        (
            "segmentation_offload",
            new().with_segmentation_offload(false),
            WORKS,
        ),
    ];
    // Those of streams hold here as well, and mean nothing; keep-alive is a matter of streams alone.
    for (name, socket, field) in stream_sockets() {
        let of_streams = ["keep_alive_interval", "keep_alive_count"].contains(&field);
        let field = if of_streams { WORKS } else { field };
        rows.push((name, new().with_socket(socket), field));
    }
    for (name, options, field) in rows {
        let shown = format!("{options:?}");
        let Some(server) = judge(name, &shown, refused_bind(UdpServer::bind(options)), field)
        else {
            continue;
        };
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, server.local_addr().port()));
        let socket = probe.spawn_meta(server);
        let peer = udp_client();
        peer.send_to(b"x", addr).expect("sent");
        let packet = probe.udp();
        probe
            .run(move |cx| cx.send_alias(socket, packet))
            .expect("accepted");
        assert_eq!(receive(&peer), b"x", "{name}: {shown}");
        probe.run(move |cx| cx.close(socket)).expect("open");
    }
    stop_clean(&node);
}

#[cfg(unix)]
mod unix {
    use super::*;
    use longshore::{
        UnixConnection, UnixConnectionOptions, UnixDatagramOptions, UnixDatagramServer, UnixServer,
        UnixServerOptions,
    };

    /// A path of its own, free and without a file at the end.
    struct Place(std::path::PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("longshore-options-{}-{name}.sock", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            drop(std::fs::remove_file(&self.0));
        }
    }

    /// What a socket in the file system does not have, and what it has.
    fn sockets() -> Rows<SocketOptions> {
        let new = SocketOptions::default;
        vec![
            ("nodelay", new().with_nodelay(false), "nodelay"),
            ("backlog", new().with_backlog(0), "backlog"),
            ("backlog", new().with_backlog(1), WORKS),
            ("reuse_port", new().with_reuse_port(true), "reuse_port"),
            ("only_v6", new().with_only_v6(true), "only_v6"),
            (
                "keep_alive_interval",
                new().with_keep_alive_interval(SECOND),
                "keep_alive_interval",
            ),
            (
                "keep_alive_count",
                new().with_keep_alive_count(1),
                "keep_alive_count",
            ),
            (
                "reset_on_close",
                new().with_reset_on_close(true),
                "reset_on_close",
            ),
            (
                "user_timeout",
                new().with_user_timeout(SECOND),
                "user_timeout",
            ),
            (
                "recv_buffer_size",
                new().with_recv_buffer_size(0),
                "recv_buffer_size",
            ),
            ("recv_buffer_size", new().with_recv_buffer_size(1), WORKS),
            (
                "send_buffer_size",
                new().with_send_buffer_size(1 << 31),
                "send_buffer_size",
            ),
            ("send_buffer_size", new().with_send_buffer_size(1), WORKS),
        ]
    }

    #[test]
    fn every_option_of_streams_in_the_file_system_works_or_is_refused_by_name() {
        let node = node();
        let probe = Probe::named(&node, "probe");
        let place = Place::new("stream");
        let new = UnixServerOptions::default;
        let mut servers = vec![
            ("file_mode", new().with_file_mode(0o600), WORKS),
            ("file_mode", new().with_file_mode(0o777), WORKS),
            ("file_mode", new().with_file_mode(0o1000), "file_mode"),
            ("file_mode", new().with_file_mode(u32::MAX), "file_mode"),
            ("remove_stale", new().with_remove_stale(true), WORKS),
            ("process_pool", new().with_process_pool(["probe"]), WORKS),
            (
                "process_pool",
                new().with_process_pool([""]),
                "process_pool",
            ),
            (
                "max_connections",
                new().with_max_connections(0),
                "max_connections",
            ),
            ("max_connections", new().with_max_connections(1), WORKS),
            ("at_limit", new().with_at_limit(AtLimit::Refuse), WORKS),
            ("accept_rate", new().with_accept_rate(0), "accept_rate"),
            ("accept_rate", new().with_accept_rate(1), WORKS),
            (
                "keep_alive_period",
                new().with_keep_alive_period(SECOND),
                "keep_alive_period",
            ),
        ];
        let new = UnixConnectionOptions::default;
        let mut clients = vec![
            ("process", new().with_process("probe"), WORKS),
            (
                "connect_timeout",
                new().with_connect_timeout(Duration::ZERO),
                "connect_timeout",
            ),
            ("connect_timeout", new().with_connect_timeout(SECOND), WORKS),
            ("server_name", new().with_server_name("a b"), "server_name"),
            ("server_name", new().with_server_name("a.test"), WORKS),
            (
                "keep_alive_period",
                new().with_keep_alive_period(SECOND),
                "keep_alive_period",
            ),
        ];
        for (name, socket, field) in sockets() {
            let server = UnixServerOptions::default().with_socket(socket.clone());
            servers.push((name, server, field));
            clients.push((name, new().with_socket(socket), field));
        }
        let clients = clients
            .into_iter()
            .map(|row| (UnixServerOptions::default(), row));
        let servers = servers.into_iter().map(|(name, server, field)| {
            let client = ("", UnixConnectionOptions::default(), WORKS);
            let shown = format!("{server:?}");
            let bound = refused_bind(UnixServer::bind(&place.0, server.clone()));
            judge(name, &shown, bound, field);
            (if field == WORKS { server } else { new_server() }, client)
        });
        for (server, (name, client, field)) in servers.chain(clients) {
            let shown = format!("{client:?}");
            let server = UnixServer::bind(&place.0, server).expect("bound");
            let result = UnixConnection::connect(&place.0, client).map_err(|error| match error {
                ConnectError::Option(error) => error.field(),
                other => panic!("not refused by name: {other:?}"),
            });
            let Some(client) = judge(name, &shown, result, field) else {
                continue;
            };
            let listener = probe.spawn_meta(server);
            let client = probe.spawn_meta(client);
            for _ in 0..2 {
                probe.connect();
            }
            probe.write(client, "x");
            assert_eq!(probe.tcp().data, "x", "{name}: {shown}");
            probe.run(move |cx| cx.close(client)).expect("open");
            for _ in 0..2 {
                probe.disconnect();
            }
            probe.run(move |cx| cx.close(listener)).expect("open");
            wait_until("the file to be removed", || !place.0.exists());
        }
        stop_clean(&node);
    }

    fn new_server() -> UnixServerOptions {
        UnixServerOptions::default()
    }

    #[test]
    fn every_option_of_datagrams_in_the_file_system_works_or_is_refused_by_name() {
        let node = node();
        let probe = Probe::named(&node, "probe");
        let place = Place::new("datagram");
        let new = UnixDatagramOptions::default;
        let mut nameless = new();
        nameless.process = Some(Name::from(""));
        let rows = [
            ("file_mode", new().with_file_mode(0o600), WORKS),
            ("file_mode", new().with_file_mode(0o1000), "file_mode"),
            ("remove_stale", new().with_remove_stale(true), WORKS),
            ("process", new().with_process("probe"), WORKS),
            ("process", nameless, "process"),
            ("buffer_size", new().with_buffer_size(0), "buffer_size"),
            ("buffer_size", new().with_buffer_size(1), WORKS),
            ("buffer_size", new().with_buffer_size(usize::MAX), WORKS),
            (
                "buffer_pool",
                new().with_buffer_pool(BufferPool::new()),
                WORKS,
            ),
            ("output_limit", new().with_output_limit(63), "output_limit"),
            ("output_limit", new().with_output_limit(64), WORKS),
            (
                "output_limit",
                new().with_output_limit(LIMIT_BYTES + 1),
                "output_limit",
            ),
            ("report_errors", new().with_report_errors(true), WORKS),
            (
                "recv_buffer_size",
                new().with_recv_buffer_size(0),
                "recv_buffer_size",
            ),
            ("recv_buffer_size", new().with_recv_buffer_size(1), WORKS),
            (
                "send_buffer_size",
                new().with_send_buffer_size(1 << 31),
                "send_buffer_size",
            ),
            (
                "send_buffer_size",
                new().with_send_buffer_size(9_000),
                WORKS,
            ),
        ];
        for (name, options, field) in rows {
            let shown = format!("{options:?}");
            let bound = refused_bind(UnixDatagramServer::bind(&place.0, options));
            let Some(server) = judge(name, &shown, bound, field) else {
                continue;
            };
            let socket = probe.spawn_meta(server);
            let peer = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
            peer.send_to(b"x", &place.0).expect("sent");
            let Message::UnixDatagram(packet) = probe.next().1 else {
                panic!("a datagram")
            };
            assert_eq!(packet.data, "x", "{name}: {shown}");
            probe.run(move |cx| cx.close(socket)).expect("open");
            wait_until("the file to be removed", || !place.0.exists());
        }
        stop_clean(&node);
    }
}

#[test]
fn every_option_of_a_node_works_or_is_refused_by_name() {
    let new = NodeOptions::default;
    let rows: Rows<NodeOptions> = vec![
        ("name", NodeOptions::from(""), "name"),
        ("workers", new().with_workers(0), "workers"),
        ("workers", new().with_workers(1), WORKS),
        ("workers", new().with_workers(1_025), "workers"),
        ("workers", new().with_workers(usize::MAX), "workers"),
        ("resolver", new().with_resolver(|_| Ok(Vec::new())), WORKS),
        ("max_blocked_calls", new().with_max_blocked_calls(0), WORKS),
        (
            "max_blocked_calls",
            new().with_max_blocked_calls(4_096),
            WORKS,
        ),
        (
            "max_blocked_calls",
            new().with_max_blocked_calls(4_097),
            "max_blocked_calls",
        ),
        (
            "blocking_threads",
            new().with_blocking_threads(0),
            "blocking_threads",
        ),
        ("blocking_threads", new().with_blocking_threads(1), WORKS),
        (
            "blocking_threads",
            new().with_blocking_threads(4_096),
            WORKS,
        ),
        (
            "blocking_threads",
            new().with_blocking_threads(4_097),
            "blocking_threads",
        ),
        ("environment", new().with_environment("name", 1), WORKS),
        ("max_own_threads", new().with_max_own_threads(0), WORKS),
        (
            "max_own_threads",
            new().with_max_own_threads(usize::MAX),
            "max_own_threads",
        ),
        ("blocking_queue", new().with_blocking_queue(0), WORKS),
        (
            "blocking_queue",
            new().with_blocking_queue(usize::MAX),
            WORKS,
        ),
        ("slow_handler", new().with_slow_handler(None), WORKS),
        (
            "slow_handler",
            new().with_slow_handler(Duration::from_millis(9)),
            "slow_handler",
        ),
        (
            "slow_handler",
            new().with_slow_handler(Duration::MAX),
            WORKS,
        ),
        ("stripes", new().with_workers(1).with_stripes(0), "stripes"),
        ("stripes", new().with_workers(1).with_stripes(256), WORKS),
        (
            "stripes",
            new().with_workers(1).with_stripes(257),
            "stripes",
        ),
        ("stripes", new().with_stripes(usize::MAX), "stripes"),
        (
            "max_processes",
            new().with_max_processes(0),
            "max_processes",
        ),
        ("max_processes", new().with_max_processes(1), WORKS),
        (
            "max_processes",
            new().with_max_processes(u32::MAX),
            "max_processes",
        ),
        (
            "mailbox_bound",
            new().with_mailbox_bound(0),
            "mailbox_bound",
        ),
        ("mailbox_bound", new().with_mailbox_bound(1), WORKS),
        ("mailbox_bound", new().with_mailbox_bound(u32::MAX), WORKS),
        ("data_bound", new().with_data_bound(0), "data_bound"),
        ("data_bound", new().with_data_bound(1), WORKS),
        ("data_bound", new().with_data_bound(u32::MAX), WORKS),
        (
            "logger",
            new().with_logger(|_: &longshore::Record| ()),
            WORKS,
        ),
        (
            "log_level",
            new().with_log_level(longshore::Level::Trace),
            WORKS,
        ),
        (
            "buffer_pool",
            new().with_buffer_pool(BufferPool::new()),
            WORKS,
        ),
    ];
    for (name, options, field) in rows {
        let shown = format!("{options:?}");
        let started = match Node::start(options) {
            Ok(node) => Ok(node),
            Err(longshore::Error::Option(error)) => Err(error.field()),
            Err(other) => panic!("not refused by name: {other:?}: {shown}"),
        };
        if let Some(node) = judge(name, &shown, started, field) {
            let probe = Probe::spawn(&node);
            let (addr, _) = probe.listen(TcpServerOptions::default());
            let mut peer = client(addr);
            serve_one(&probe, &mut peer);
            stop_clean(&node);
        }
    }
}

#[test]
fn every_option_of_a_spawn_works_or_is_refused_by_name() {
    let node = node();
    let new = SpawnOptions::default;
    let rows: Rows<SpawnOptions> = vec![
        (
            "log_level",
            new().with_log_level(longshore::Level::Trace),
            WORKS,
        ),
        ("name", new().with_name(""), "name"),
        ("name", new().with_name("n".repeat(100_000)), WORKS),
        (
            "mailbox_bound",
            new().with_mailbox_bound(0),
            "mailbox_bound",
        ),
        ("mailbox_bound", new().with_mailbox_bound(1), WORKS),
        ("mailbox_bound", new().with_mailbox_bound(u32::MAX), WORKS),
        (
            "mailbox_policy",
            new().with_mailbox_policy(MailboxPolicy::DropOldest),
            "mailbox_policy",
        ),
        (
            "mailbox_policy",
            new()
                .with_mailbox_policy(MailboxPolicy::DropNewest)
                .with_mailbox_bound(1),
            WORKS,
        ),
        ("environment", new().with_environment("", ()), WORKS),
        ("own_thread", new().with_own_thread(), WORKS),
        ("data_bound", new().with_data_bound(0), "data_bound"),
        ("data_bound", new().with_data_bound(1), WORKS),
        ("data_bound", new().with_data_bound(u32::MAX), WORKS),
    ];
    for (name, options, field) in rows {
        let shown = format!("{:.200}", format!("{options:?}"));
        let spawned = match Probe::try_spawn(&node, options, |_| Ok(())) {
            Ok(probe) => Ok(probe),
            Err(longshore::SpawnError::Option(error)) => Err(error.field()),
            Err(other) => panic!("not refused by name: {other:?}: {shown}"),
        };
        if let Some(probe) = judge(name, &shown, spawned, field) {
            assert_eq!(probe.run(|_| 7), 7);
        }
    }
    let probe = Probe::spawn(&node);
    let refused = probe.run(|cx| cx.register("")).expect_err("refused");
    assert!(matches!(refused, longshore::SpawnError::Option(error) if error.field() == "name"));
    // The row of "link": it needs a process that spawns.
    let linked = probe.run(|cx| cx.spawn_with(SpawnOptions::default().with_link(), || Nothing));
    linked.expect("spawned");
    stop_clean(&node);
}

#[test]
fn every_option_of_an_event_works() {
    let node = node();
    let probe = Probe::spawn(&node);
    for kept in [0, 1, usize::MAX] {
        let rows = [("kept", EventOptions::default().with_kept(kept))];
        for (name, options) in rows {
            let registered = probe.run(move |cx| cx.register_event::<u8>(name, options));
            let event = registered.expect("registered");
            node.publish(&event, 7).expect("published");
            assert_eq!(node.events()[0].kept, kept.min(1));
            probe.run(move |cx| cx.end_event(&event));
        }
    }
    stop_clean(&node);
}

struct Nothing;

impl Actor for Nothing {}

#[test]
fn every_deadline_of_a_stop_works() {
    for timeout in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        let rows = [
            ("drain_timeout", {
                let mut options = StopOptions::default();
                options.drain_timeout = timeout;
                options
            }),
            ("flush_timeout", {
                let mut options = StopOptions::default();
                options.flush_timeout = timeout;
                options
            }),
            ("exit_timeout", {
                let mut options = StopOptions::default();
                options.exit_timeout = timeout;
                options
            }),
            ("kill_timeout", {
                let mut options = StopOptions::default();
                options.kill_timeout = timeout;
                options
            }),
            ("all of them", StopOptions::default().with_timeout(timeout)),
        ];
        for (name, options) in rows {
            let node = node();
            let _probe = Probe::spawn(&node);
            within_limit(name, move || drop(node.stop_with(options)));
        }
    }
}
