use super::*;

fn v6(text: &str, zone: u32) -> Option<SocketAddr> {
    let ip = text.parse().expect("an address");
    Some(SocketAddr::V6(SocketAddrV6::new(ip, 7, 0, zone)))
}

#[test]
fn hosts_and_ports_are_split_as_written() {
    for (text, host, port) in [
        ("127.0.0.1:7000", "127.0.0.1", 7000),
        ("127.0.0.1", "127.0.0.1", 0),
        ("[::1]:7000", "::1", 7000),
        ("[::1]", "::1", 0),
        ("::1", "::1", 0),
        ("[fe80::1%2]:7000", "fe80::1%2", 7000),
        ("[fe80::1%lo]:7000", "fe80::1%lo", 7000),
        ("fe80::1%lo", "fe80::1%lo", 0),
        ("[::ffff:1.2.3.4]:7000", "::ffff:1.2.3.4", 7000),
        (":7000", "", 7000),
        ("", "", 0),
        ("localhost:80", "localhost", 80),
        ("localhost", "localhost", 0),
    ] {
        let (found, found_port) = Host::split(text);
        assert_eq!(
            (found.to_string().as_str(), found_port),
            (host, port),
            "{text}"
        );
        assert_eq!(found, host, "{text}");
        assert_eq!(found.validate(), Ok(()), "{text}");
    }
}

#[test]
fn host_gives_back_the_address_it_was_made_of() {
    let scoped = SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().expect("ip"), 7, 9, 3));
    for address in [
        SocketAddr::from(([127, 0, 0, 1], 7)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, 7)),
        SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 7)),
        scoped,
    ] {
        assert_eq!(Host::from(address).address(7), Some(Ok(address)));
        let (host, port) = Host::split(&HostAndPort(&Host::from(address), 7).to_string());
        let again = host
            .address(port)
            .expect("a literal")
            .expect("a zone by number");
        assert_eq!((again.ip(), again.port()), (address.ip(), 7));
    }
    assert_eq!(
        Host::from("fe80::1%3").address(7).and_then(Result::ok),
        v6("fe80::1", 3)
    );
    assert_eq!(Host::from("example.com").address(7), None);
    assert_eq!(Host::default().address(7), None);
}

#[test]
fn text_that_is_no_host_is_refused_by_name() {
    let long = "a".repeat(LONGEST_NAME + 1);
    for text in [
        "host:99999",
        "host:port",
        "[::1]:99999",
        "[::1",
        "::1]",
        "[127.0.0.1]",
        "127.0.0.1%lo",
        "localhost%lo",
        "fe80::1%",
        "fe80::1%../../../etc",
        "fe80::1%a-name-longer-than-15",
        "two words",
        "a\0b",
        "http://host",
        // A sign is no part of a number, and an old notation of an address no name.
        "127.0.0.1:+80",
        "[::1]:+80",
        "localhost:-1",
        "8080",
        "0",
        "127.1",
        "010.0.0.1",
        "1.2.3.4.5",
        "0x7f000001",
        "0x7f.1.",
        "host.0X1",
        &long,
    ] {
        for host in [Host::split(text).0, Host::from(text)] {
            let error = host.validate().expect_err(text);
            assert_eq!(error.field(), "host", "{text}");
        }
    }
    assert_eq!(Host::from("a".repeat(LONGEST_NAME)).validate(), Ok(()));
}

#[cfg(target_os = "linux")]
#[test]
fn zone_by_name_is_the_number_of_the_interface() {
    let number = interface_number("lo").expect("every Linux has it");
    assert_eq!(
        Host::from("fe80::1%lo").address(7).and_then(Result::ok),
        v6("fe80::1", number)
    );
    let unknown = Host::from("fe80::1%nope").address(7).expect("a literal");
    assert_eq!(unknown.expect_err("unknown").field(), "host");
}

#[test]
fn localhost_needs_no_resolver() {
    for name in ["localhost", "LocalHost.", "a.localhost"] {
        let known = Host::from(name)
            .known_addresses(7)
            .expect("known")
            .expect("no zone");
        assert_eq!(
            known,
            [
                SocketAddr::from((Ipv4Addr::LOCALHOST, 7)),
                SocketAddr::from((Ipv6Addr::LOCALHOST, 7)),
            ]
        );
    }
    assert_eq!(Host::from("notlocalhost").known_addresses(7), None);
}

#[cfg(feature = "tls")]
#[test]
fn name_to_verify_has_no_zone_no_brackets_and_no_mapping() {
    for (host, name) in [
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("fe80::1%lo", "fe80::1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("example.com", "example.com"),
    ] {
        assert_eq!(Host::from(host).tls_name(), name, "{host}");
    }
}
