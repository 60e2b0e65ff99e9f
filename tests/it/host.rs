//! What the program around the node decides for the whole process: the action of SIGPIPE, the working directory, the
//! umask.
//!
//! The runtime of Rust ignores SIGPIPE, and a host in C, Python or Go does not. The tests of it install a handler in a
//! process of their own: it is called exactly where a host with the default action would be killed.

#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore::prelude::*;
use longshore::{
    UnixConnection, UnixConnectionOptions, UnixDatagramOptions, UnixDatagramServer, UnixServer,
    UnixServerOptions,
};

use crate::support::*;

/// Becomes true with the first SIGPIPE.
fn sigpipe() -> Arc<AtomicBool> {
    let raised = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::clone(&raised))
        .expect("a handler");
    raised
}

/// Writes until the Disconnect: one write of one buffer, then several buffers at once.
fn write_to_the_end(probe: &Probe, alias: Alias) {
    probe.run(move |cx| {
        for _ in 0..8 {
            // A write to a connection that has ended is the point of the test.
            if cx.send_alias(alias, MessageTcp::new(alias, "x")).is_err() {
                break;
            }
        }
    });
    probe.disconnect();
}

#[test]
fn write_to_a_unix_stream_whose_peer_is_gone_raises_no_signal() {
    alone(
        "host::write_to_a_unix_stream_whose_peer_is_gone_raises_no_signal",
        || {
            let raised = sigpipe();
            let node = node();
            let probe = Probe::spawn(&node);
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            let options = UnixConnectionOptions::default().with_half_open(true);
            let alias =
                probe.spawn_meta(UnixConnection::from_std(ours, options).expect("taken over"));
            probe.connect();
            drop(theirs);
            probe.peer_closed();
            write_to_the_end(&probe, alias);
            assert!(!raised.load(Ordering::SeqCst), "SIGPIPE was raised");
        },
    );
}

#[test]
fn write_of_several_buffers_to_a_tcp_peer_that_is_gone_raises_no_signal() {
    alone(
        "host::write_of_several_buffers_to_a_tcp_peer_that_is_gone_raises_no_signal",
        || {
            let raised = sigpipe();
            let node = node();
            let probe = Probe::spawn(&node);
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
            let stream = std::net::TcpStream::connect(listener.local_addr().expect("an address"))
                .expect("connected");
            // The write side is shut down behind the node's back: the next write gives EPIPE.
            let shut = stream.try_clone().expect("a second handle");
            let options = TcpConnectionOptions::default();
            let alias =
                probe.spawn_meta(TcpConnection::from_std(stream, options).expect("taken over"));
            probe.connect();
            shut.shutdown(std::net::Shutdown::Write).expect("shut down");
            probe.run(move |cx| {
                for _ in 0..8 {
                    cx.send_alias(alias, MessageTcp::new(alias, "x"))
                        .expect("accepted");
                }
            });
            drop(listener);
            probe.disconnect();
            assert!(!raised.load(Ordering::SeqCst), "SIGPIPE was raised");
        },
    );
}

#[test]
fn datagram_to_a_unix_socket_that_is_gone_raises_no_signal() {
    alone(
        "host::datagram_to_a_unix_socket_that_is_gone_raises_no_signal",
        || {
            let raised = sigpipe();
            let node = node();
            let probe = Probe::spawn(&node);
            let (ours, theirs) = UnixDatagram::pair().expect("a pair");
            let options = UnixDatagramOptions::default().with_report_errors(true);
            let alias =
                probe.spawn_meta(UnixDatagramServer::from_std(ours, options).expect("taken over"));
            drop(theirs);
            probe.run(move |cx| {
                let mut packet = longshore::MessageUnixDatagram::new(alias, "", "x");
                packet.path = None;
                cx.send_alias(alias, packet).expect("accepted");
            });
            probe.udp_error();
            assert!(!raised.load(Ordering::SeqCst), "SIGPIPE was raised");
        },
    );
}

/// An empty directory, which becomes the working directory.
fn enter(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("longshore-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a directory");
    std::env::set_current_dir(&folder).expect("entered");
    folder
}

#[test]
fn file_of_a_socket_is_removed_after_the_working_directory_has_changed() {
    alone(
        "host::file_of_a_socket_is_removed_after_the_working_directory_has_changed",
        || {
            let folder = enter("left");
            let server = UnixServer::bind("stream.sock", UnixServerOptions::default());
            let datagrams =
                UnixDatagramServer::bind("datagram.sock", UnixDatagramOptions::default());
            let (server, datagrams) = (server.expect("bound"), datagrams.expect("bound"));
            assert!(folder.join("stream.sock").exists() && folder.join("datagram.sock").exists());
            std::env::set_current_dir("/").expect("left");
            drop((server, datagrams));
            assert!(
                !folder.join("stream.sock").exists(),
                "the file is left behind"
            );
            assert!(
                !folder.join("datagram.sock").exists(),
                "the file is left behind"
            );
            std::fs::remove_dir(folder).expect("an empty directory");
        },
    );
}

#[test]
fn socket_with_a_full_backlog_is_reached_after_the_working_directory_has_changed() {
    alone(
        "host::socket_with_a_full_backlog_is_reached_after_the_working_directory_has_changed",
        || {
            let folder = enter("full");
            let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)
                .expect("a socket");
            let address = socket2::SockAddr::unix("full.sock").expect("an address");
            socket.bind(&address).expect("bound");
            socket.listen(0).expect("listening");
            let _first = UnixStream::connect("full.sock").expect("the only place");
            let waits = UnixConnection::connect("full.sock", UnixConnectionOptions::default())
                .expect("an attempt");
            std::env::set_current_dir("/").expect("left");
            let node = node();
            let probe = Probe::spawn(&node);
            probe.spawn_meta(waits);
            let listener =
                std::os::unix::net::UnixListener::from(std::os::fd::OwnedFd::from(socket));
            for _ in 0..2 {
                listener.accept().expect("a connection");
            }
            probe.connect();
            std::fs::remove_dir_all(folder).expect("removed");
        },
    );
}

#[test]
fn relative_path_is_waited_for_in_a_directory_too_deep_for_an_address() {
    alone(
        "host::relative_path_is_waited_for_in_a_directory_too_deep_for_an_address",
        || {
            let folder = enter(&"deep".repeat(30));
            let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)
                .expect("a socket");
            let address = socket2::SockAddr::unix("full.sock").expect("an address");
            socket.bind(&address).expect("bound");
            socket.listen(0).expect("listening");
            let _first = UnixStream::connect("full.sock").expect("the only place");
            let waits = UnixConnection::connect("full.sock", UnixConnectionOptions::default());
            let node = node();
            let probe = Probe::spawn(&node);
            let alias = probe.spawn_meta(waits.expect("an attempt"));
            wait_for(&node, alias, "state", "connecting");
            let listener =
                std::os::unix::net::UnixListener::from(std::os::fd::OwnedFd::from(socket));
            for _ in 0..2 {
                listener.accept().expect("a connection");
            }
            probe.connect();
            std::fs::remove_dir_all(folder).expect("removed");
        },
    );
}

#[cfg(feature = "tls")]
#[test]
fn certificates_are_read_again_after_the_working_directory_has_changed() {
    alone(
        "host::certificates_are_read_again_after_the_working_directory_has_changed",
        || {
            let folder = enter("certificates");
            let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("made");
            std::fs::write("a.pem", made.cert.pem()).expect("written");
            std::fs::write("a.key", made.signing_key.serialize_pem()).expect("written");
            let certs =
                longshore::tls::CertManager::from_pem_files("a.pem", "a.key").expect("loaded");
            std::env::set_current_dir("/").expect("left");
            assert_eq!(certs.reload().expect("read again"), 1);
            std::fs::remove_dir_all(folder).expect("removed");
        },
    );
}

#[test]
fn mode_of_a_socket_file_does_not_hang_on_the_umask() {
    for umask in ["0", "077"] {
        let command = format!("umask {umask}; exec \"$0\" \"$@\"");
        alone_under(
            &[&["sh", "-c", &command]],
            "host::mode_of_a_socket_file_does_not_hang_on_the_umask",
            || {
                let folder = enter("umask");
                let options = UnixServerOptions::default().with_file_mode(0o640);
                let server = UnixServer::bind("stream.sock", options).expect("bound");
                let options = UnixDatagramOptions::default().with_file_mode(0o640);
                let datagrams = UnixDatagramServer::bind("datagram.sock", options).expect("bound");
                for file in ["stream.sock", "datagram.sock"] {
                    let mode = std::fs::metadata(file).expect("there").permissions().mode();
                    assert_eq!(mode & 0o777, 0o640, "{file}");
                }
                drop((server, datagrams));
                std::fs::remove_dir_all(folder).expect("removed");
            },
        );
    }
}
