use proptest::prelude::*;

use super::encode::{self, Publish};
use super::info::{ConnectOptions, ServerInfo};
use super::json::{self, Value};
use super::reference::{Owned, fuzz_parser, in_reads, one_shot};
use super::{Limits, MAX_INFO, ProtocolError};
use crate::memory::buffer::Buffer;

const LIMITS: Limits = Limits {
    max_control_line: 256,
    max_payload: 64,
};

fn message(subject: &str, sid: u64, reply: Option<&str>, headers: &str, payload: &str) -> Owned {
    Owned::Msg {
        subject: subject.into(),
        sid,
        reply: reply.map(Into::into),
        headers: headers.into(),
        payload: payload.into(),
    }
}

#[test]
fn every_operation_is_found_whatever_the_cut() {
    let stream = b"INFO {\"a\":1} \r\nPING\r\npong\r\n+OK\r\n-ERR 'Slow Consumer'\r\n-ERR bare\r\n\
        MSG a.b 7 3\r\nx\ry\r\nMSG a 18446744073709551615  r.1\t0\r\n\r\n\
        HMSG h 2 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\nHMSG h 2 12 12\r\nNATS/1.0\r\n\r\n\r\n\
        MSG big 3 65\r\nPING\r\n_______________________________________________________________\r\nPING\r\n";
    let expected = [
        Owned::Info(b"{\"a\":1}".to_vec()),
        Owned::Ping,
        Owned::Pong,
        Owned::Ok,
        Owned::Err(b"Slow Consumer".to_vec()),
        Owned::Err(b"bare".to_vec()),
        message("a.b", 7, None, "", "x\ry"),
        message("a", u64::MAX, Some("r.1"), "", ""),
        message("h", 2, Some("r"), "NATS/1.0\r\n\r\n", "hi"),
        message("h", 2, None, "NATS/1.0\r\n\r\n", ""),
        Owned::Oversized(3, 65),
    ];
    for size in 0..=255 {
        let sizes = if size == 0 { vec![] } else { vec![size] };
        let (found, end) = in_reads(LIMITS, &sizes, stream);
        assert_eq!(found[..11], expected, "in reads of {size}");
        assert_eq!(
            end,
            Err(ProtocolError::UnknownOperation),
            "the rest of the skipped"
        );
    }
}

#[test]
fn what_breaks_the_protocol_is_an_error_whatever_the_cut() {
    let long = format!("MSG {} 1 0\r\n", "a".repeat(300));
    let long_info = format!("INFO {}", "a".repeat(MAX_INFO));
    for (stream, error) in [
        ("PING\n", ProtocolError::LineEnd),
        ("\n", ProtocolError::LineEnd),
        ("\r\n", ProtocolError::UnknownOperation),
        ("HELLO\r\n", ProtocolError::UnknownOperation),
        ("PUB a 1\r\n", ProtocolError::UnknownOperation),
        ("PING x\r\n", ProtocolError::Fields),
        ("MSG a 1\r\n", ProtocolError::Fields),
        ("MSG a 1 b c 1\r\n", ProtocolError::Fields),
        ("MSG a 1 b c d e 1\r\n", ProtocolError::Fields),
        ("HMSG a 1 5\r\n", ProtocolError::Fields),
        ("MSG a x 1\r\n", ProtocolError::Number),
        ("MSG a 1 -1\r\n", ProtocolError::Number),
        ("MSG a 1 2147483648\r\n", ProtocolError::Number),
        ("MSG a 1 99999999999999999999999\r\n", ProtocolError::Number),
        ("MSG a 18446744073709551616 1\r\n", ProtocolError::Number),
        ("HMSG a 1 5 4\r\nxxxx\r\n", ProtocolError::Number),
        ("MSG a 1 1\r\nabc", ProtocolError::PayloadEnd),
        ("MSG a 1 1\r\na\n\n", ProtocolError::PayloadEnd),
        (&long, ProtocolError::LineTooLong),
        (&long[..290], ProtocolError::LineTooLong),
        (&long_info, ProtocolError::LineTooLong),
    ] {
        for sizes in [&[][..], &[1], &[2], &[3, 5], &[255]] {
            let (found, end) = in_reads(LIMITS, sizes, stream.as_bytes());
            assert_eq!(
                (found, end),
                (vec![], Err(error)),
                "{stream:?} by {sizes:?}"
            );
        }
    }
}

#[test]
fn an_oversized_message_is_skipped_and_its_bytes_are_no_operations() {
    let body = format!("PING\r\n{}", "PONG\r\n".repeat(20));
    let stream = format!("MSG a 9 {}\r\n{body}\r\nPING\r\n", body.len());
    for sizes in [&[][..], &[1], &[7], &[13, 2]] {
        let (found, end) = in_reads(LIMITS, sizes, stream.as_bytes());
        assert_eq!(found, [Owned::Oversized(9, body.len()), Owned::Ping]);
        assert_eq!(end, Ok(()));
    }
}

/// Bytes that are often an operation, or nearly one.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"PING\r\n".to_vec()),
        Just(b"+OK\r\n".to_vec()),
        Just(b"INFO {}\r\n".to_vec()),
        Just(b"-ERR 'x'\r\n".to_vec()),
        (
            "[a-c.]{1,4}",
            0_u64..20,
            proptest::option::of("[r.]{1,3}"),
            "[ -~\r\n]{0,80}"
        )
            .prop_map(|(subject, sid, reply, body)| {
                let reply = reply.map(|reply| format!("{reply} ")).unwrap_or_default();
                format!("MSG {subject} {sid} {reply}{}\r\n{body}\r\n", body.len()).into_bytes()
            }),
        (0_usize..20, "[ -~]{0,20}").prop_map(|(head, body)| {
            format!("HMSG h 1 {head} {}\r\n{body}\r\n", body.len()).into_bytes()
        }),
        proptest::collection::vec(any::<u8>(), 0..8),
        "[A-Z+ -]{1,5}[ 0-9]{0,6}\r?\n".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_cut_of_any_stream_gives_what_one_reading_gives(
        line in any::<u8>(),
        payload in any::<u8>(),
        sizes in proptest::collection::vec(any::<u8>(), 0..16),
        stream in stream(),
    ) {
        let script = [&[line, payload, sizes.len() as u8][..], &sizes, &stream].concat();
        fuzz_parser(&script);
    }

    #[test]
    fn what_is_published_is_what_a_reader_of_the_protocol_finds(
        reply in prop_oneof![Just(""), Just("_INBOX.x.1")],
        headers in prop_oneof![Just(""), Just("NATS/1.0\r\nA: b\r\n\r\n")],
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let publish = Publish { subject: "a.b", reply, headers: headers.as_bytes(), payload: &payload };
        let mut out = Buffer::new();
        publish.encode(&mut out);
        prop_assert!(out.len() <= publish.size());
        // The server's MSG is the client's PUB with a subscription id.
        let text = if headers.is_empty() { "PUB a.b " } else { "HPUB a.b " };
        prop_assert!(out.starts_with(text.as_bytes()));
        let verb = if headers.is_empty() { "MSG a.b 5 " } else { "HMSG a.b 5 " };
        let stream = [verb.as_bytes(), &out[text.len()..]].concat();
        let limits = Limits { max_control_line: 100, max_payload: 500 };
        let (found, end) = one_shot(limits, &stream);
        let reply = Some(reply.as_bytes().to_vec()).filter(|reply| !reply.is_empty());
        let expected = Owned::Msg {
            subject: b"a.b".to_vec(), sid: 5, reply, headers: headers.into(), payload,
        };
        prop_assert_eq!((found, end), (vec![expected], Ok(())));
    }

    #[test]
    fn a_string_survives_its_json(text in any::<String>()) {
        let mut out = String::new();
        json::write_string(&mut out, &text);
        prop_assert_eq!(json::parse(out.as_bytes()), Ok(Value::String(text)));
    }

    #[test]
    fn no_bytes_make_the_json_reader_panic(bytes in "[\\[\\]{}\",:0-9eE.+-tfn\\\\u]{0,40}") {
        drop(json::parse(bytes.as_bytes()));
    }
}

#[test]
fn subscriptions_are_written_as_the_protocol_says() {
    let mut out = Buffer::new();
    encode::subscribe(&mut out, "a.*", "", 1);
    encode::subscribe(&mut out, "a.>", "workers", u64::MAX);
    encode::unsubscribe(&mut out, 10);
    assert_eq!(
        out,
        "SUB a.* 1\r\nSUB a.> workers 18446744073709551615\r\nUNSUB 10\r\n"
    );
}

#[test]
fn json_is_read_strictly() {
    let text = r#" { "a" : [ 1 , -0.5e+3 , true , null , { } ] , "b\u00e9\ud83d\ude00" : "\"\\\/\b\f\n\r\t" , "a" : [] } "#;
    let value = json::parse(text.as_bytes()).expect("valid");
    assert_eq!(
        value.field("a"),
        Some(&Value::Array(vec![])),
        "the last one counts"
    );
    assert_eq!(
        value.field("bé😀"),
        Some(&Value::String("\"\\/\u{8}\u{c}\n\r\t".into()))
    );
    for wrong in [
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\"}",
        "{\"a\":1,}",
        "{a:1}",
        "[1 2]",
        "01",
        "1.",
        ".5",
        "-",
        "1e",
        "+1",
        "tru",
        "nul",
        "\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "\"\n\"",
        "1 1",
        "NaN",
        "'a'",
    ] {
        assert!(json::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
    assert!(json::parse(b"\"\xff\"").is_err());
    let deep = |levels| "[".repeat(levels) + &"]".repeat(levels);
    assert!(json::parse(deep(16).as_bytes()).is_ok());
    assert!(json::parse(deep(60_000).as_bytes()).is_err());
}

#[test]
fn info_of_a_server_is_read_and_wrong_types_are_refused() {
    let text = br#"{"server_id":"N","server_name":"one","version":"2.9.10","proto":1,"go":"go1.19","host":"127.0.0.1",
        "port":4222,"headers":true,"max_payload":1048576,"client_id":5,"nonce":"abc","tls_required":true,
        "auth_required":true,"connect_urls":["127.0.0.1:4222","[::1]:4223"],"ldm":true}"#;
    let info = ServerInfo::parse(text).expect("valid");
    assert_eq!(info.server_name, "one");
    assert_eq!(info.max_payload, 1 << 20);
    assert!(info.headers && info.auth_required && info.tls_required && info.lame_duck);
    assert_eq!(info.connect_urls, ["127.0.0.1:4222", "[::1]:4223"]);
    assert_eq!(info.nonce, "abc");
    let empty = ServerInfo::parse(b"{}").expect("all fields have defaults");
    assert_eq!(empty.max_payload, 1 << 20);
    assert!(!empty.lame_duck);
    for wrong in [
        "[]",
        "1",
        "",
        "{\"headers\":1}",
        "{\"nonce\":true}",
        "{\"max_payload\":\"1\"}",
        "{\"max_payload\":-1}",
        "{\"max_payload\":1e9}",
        "{\"connect_urls\":{}}",
        "{\"connect_urls\":[1]}",
    ] {
        assert!(
            matches!(
                ServerInfo::parse(wrong.as_bytes()),
                Err(ProtocolError::Info(_))
            ),
            "{wrong}"
        );
    }
}

#[test]
fn connect_says_what_was_asked_and_nothing_else() {
    let mut out = Buffer::new();
    let options = ConnectOptions {
        name: "a \"name\"",
        user: Some("u"),
        password: Some("p\n"),
        echo: true,
        headers: true,
        ..ConnectOptions::default()
    };
    options.encode(&mut out);
    let json = out
        .strip_prefix(b"CONNECT ")
        .and_then(|rest| rest.strip_suffix(b"\r\n"))
        .expect("a line");
    assert!(!json.contains(&b'\n'), "no value can end the line");
    let value = json::parse(json).expect("valid JSON");
    let text = |text: &str| Value::String(text.into());
    for (name, expected) in [
        ("verbose", Some(Value::Bool(false))),
        ("name", Some(text("a \"name\""))),
        ("user", Some(text("u"))),
        ("pass", Some(text("p\n"))),
        ("auth_token", None),
        ("nkey", None),
        ("echo", Some(Value::Bool(true))),
        ("no_responders", Some(Value::Bool(true))),
        ("tls_required", Some(Value::Bool(false))),
        ("protocol", Some(Value::Number("1"))),
    ] {
        assert_eq!(value.field(name), expected.as_ref(), "{name}");
    }
}
