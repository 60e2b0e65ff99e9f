//! TLS as the server's INFO asks for it, and TLS first.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::thread;

use longshore::tls::{CertManager, CertSource, Roots, TlsClientOptions};

use super::*;

/// A certificate for 127.0.0.1 that signs itself, and its key, in PEM.
fn certificate() -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params =
        rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned(), "nats.test".to_owned()]);
    let cert = params
        .expect("valid names")
        .self_signed(&key)
        .expect("signed");
    (cert.pem(), key.serialize_pem())
}

fn trusting(pem: &str) -> TlsClientOptions {
    TlsClientOptions::default().with_roots(Roots::from_pem(pem.as_bytes()).expect("a root"))
}

/// A server that requires TLS behind its INFO, and its certificate.
fn tls_server(more: &str) -> Option<(NatsServer, String)> {
    if !is_installed() {
        return None;
    }
    let (cert, key) = certificate();
    let port = free_port();
    let folder = std::env::temp_dir().join(format!("longshore-tls-{}-{port}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let (cert_file, key_file) = (folder.join("cert.pem"), folder.join("key.pem"));
    fs::write(&cert_file, &cert).expect("written");
    fs::write(&key_file, key).expect("written");
    let config = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\" }}\n{more}",
        cert_file.display(),
        key_file.display()
    );
    let server = NatsServer::start_on(port, &config);
    fs::remove_dir_all(folder).expect("the server has read it");
    Some((server, cert))
}

#[test]
fn the_client_upgrades_when_the_info_asks_for_it() {
    let Some((server, cert)) = tls_server("authorization { token: \"t\" }") else {
        return;
    };
    let node = node();
    let auth = longshore::nats::NatsAuth::Token("t".into());
    let options = options(&server).with_tls(trusting(&cert)).with_auth(auth);
    let client = connected(&node, options);
    let probe = Probe::spawn(&node);
    client.nats.subscribe(probe.pid, "a", None).unwrap();
    for number in 0..2000 {
        client.nats.publish("a", number.to_string()).unwrap();
    }
    for number in 0..2000 {
        assert_eq!(message(&probe).data, number.to_string());
    }
    stop_clean(&node);
}

#[test]
fn a_certificate_that_is_not_trusted_ends_the_attempt_before_a_word_of_the_client() {
    let Some((server, _)) = tls_server("") else {
        return;
    };
    let node = node();
    let (other, _) = certificate();
    let client = start(&node, options(&server).with_tls(trusting(&other)));
    let (reason, _) = client.wait_disconnected();
    assert!(reason.contains("certificate"), "{reason}");
    stop_clean(&node);
}

#[test]
fn a_server_that_requires_tls_and_a_client_without_it_part_with_the_reason() {
    let Some((server, _)) = tls_server("") else {
        return;
    };
    let node = node();
    let client = start(&node, options(&server));
    let (reason, _) = client.wait_disconnected();
    assert!(reason.contains("requires TLS"), "{reason}");
    stop_clean(&node);
}

#[test]
fn a_client_with_tls_does_not_go_on_with_a_server_without_it() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let node = node();
    let (cert, _) = certificate();
    let client = start(&node, options(&server).with_tls(trusting(&cert)));
    let (reason, _) = client.wait_disconnected();
    assert!(reason.contains("has no TLS"), "{reason}");
    stop_clean(&node);
}

#[test]
fn plain_text_behind_the_info_ends_the_connection_before_the_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let info = b"INFO {\"tls_required\":true}\r\nINFO {\"connect_urls\":[\"evil:1\"]}\r\n";
        stream.write_all(info).expect("written");
        drop(BufReader::new(stream).read_line(&mut String::new()));
    });
    let node = node();
    let (cert, _) = certificate();
    let client = start(&node, NatsOptions::from(addr).with_tls(trusting(&cert)));
    let (reason, _) = client.wait_disconnected();
    assert!(reason.contains("plain text behind INFO"), "{reason}");
    let _ = node.stop();
}

/// The server of Debian 12 has no `handshake_first`: a listener of this crate stands for one that has.
struct TlsFirst(TcpServer, Vec<u8>);

impl Actor for TlsFirst {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        let placeholder = TcpServer::bind("127.0.0.1:0")?;
        cx.spawn_meta(std::mem::replace(&mut self.0, placeholder))?;
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message {
            Message::TcpConnect(connect) => {
                assert!(connect.tls.is_some());
                cx.send_alias(connect.id, MessageTcp::new(connect.id, "INFO {}\r\n"))?;
            }
            Message::Tcp(packet) => {
                self.1.extend_from_slice(&packet.data);
                if self.1.ends_with(b"PING\r\n") {
                    assert!(self.1.starts_with(b"CONNECT "));
                    cx.send_alias(packet.id, MessageTcp::new(packet.id, "PONG\r\n"))?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[test]
fn a_client_begins_with_the_handshake_if_it_was_asked_to() {
    let (cert, key) = certificate();
    let certs = CertManager::new(CertSource::pem(cert.clone(), key)).expect("a certificate");
    let options = TcpServerOptions::from("127.0.0.1:0").with_cert_manager(certs);
    let server = TcpServer::bind(options).expect("a listener");
    let addr = server.local_addr().to_string();
    let node = node();
    node.spawn(|| TlsFirst(server, Vec::new()))
        .expect("a server");
    let options = NatsOptions::from(addr)
        .with_tls(trusting(&cert))
        .with_tls_first(true);
    connected(&node, options);
    let _ = node.stop();
}
