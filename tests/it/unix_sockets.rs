//! Sockets in the file system: their files, and sessions over them.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;

use longshore::prelude::*;
use longshore::{
    UnixConnection, UnixConnectionOptions, UnixDatagramOptions, UnixDatagramServer, UnixServer,
    UnixServerOptions,
};

use crate::support::*;

/// A path of its own, without a file at the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("longshore-unix-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// Binds a stream or a datagram socket; the kind of the error, if there is one.
type Bind = fn(&Place, bool) -> Result<Box<dyn std::any::Any>, Option<ErrorKind>>;

const BINDS: [Bind; 2] = [
    |place, remove_stale| {
        let options = UnixServerOptions::default().with_remove_stale(remove_stale);
        let server = UnixServer::bind(&place.0, options).map_err(|error| error.kind())?;
        Ok(Box::new(server))
    },
    |place, remove_stale| {
        let options = UnixDatagramOptions::default().with_remove_stale(remove_stale);
        let server = UnixDatagramServer::bind(&place.0, options).map_err(|error| error.kind())?;
        Ok(Box::new(server))
    },
];

#[test]
fn file_that_a_killed_program_has_left_is_removed_on_request_only() {
    for bind in BINDS {
        for leave in [
            |place: &Place| drop(UnixListener::bind(&place.0).expect("bound")),
            |place: &Place| drop(UnixDatagram::bind(&place.0).expect("bound")),
        ] {
            let place = Place::new("stale");
            leave(&place);
            assert!(place.0.exists(), "std leaves it");
            let kind = bind(&place, false).expect_err("in the way");
            assert_eq!(kind, Some(ErrorKind::AddrInUse));
            drop(bind(&place, true).expect("bound in its place"));
            assert!(!place.0.exists(), "its own file is removed");
        }
    }
}

#[test]
fn file_that_is_used_or_no_socket_is_never_removed() {
    for bind in BINDS {
        let place = Place::new("used");
        let (listener, datagrams) = (Place::new("listener"), Place::new("datagrams"));
        let served = UnixListener::bind(&listener.0).expect("bound");
        let received = UnixDatagram::bind(&datagrams.0).expect("bound");
        std::fs::write(&place.0, "a file").expect("written");
        let folder = Place::new("folder");
        std::fs::create_dir(&folder.0).expect("made");
        for taken in [&place, &listener, &datagrams, &folder] {
            let kind = bind(taken, true).expect_err("taken");
            assert_eq!(kind, Some(ErrorKind::AddrInUse), "{:?}", taken.0);
        }
        std::fs::remove_dir(&folder.0).expect("still there");
        assert_eq!(std::fs::read(&place.0).expect("still there"), b"a file");
        UnixStream::connect(&listener.0).expect("still served");
        served.accept().map(drop).expect("one of the two that came");
        let sender = UnixDatagram::unbound().expect("a socket");
        sender.send_to(b"x", &datagrams.0).expect("still there");
        received.recv(&mut [0; 8]).expect("a datagram");
    }
}

struct Echo;

impl Session for Echo {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        cx.write(input.take());
        Ok(())
    }
}

/// Says hello and reports the answer.
struct Client(std::sync::mpsc::Sender<Vec<u8>>);

impl Session for Client {
    fn connected(&mut self, cx: &mut SessionContext<'_>, _: &MessageTcpConnect) -> Handled {
        cx.write("hello");
        Ok(())
    }

    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        if input.len() == 5 {
            self.0.send(input.take().to_vec())?;
            cx.close();
        }
        Ok(())
    }
}

#[test]
fn sessions_serve_and_connect_over_a_path() {
    let node = node();
    let probe = Probe::spawn(&node);
    let place = Place::new("sessions");
    let server = UnixServer::bind(&place.0, UnixServerOptions::default()).expect("bound");
    probe.spawn_meta(server.serve(|| Echo));
    let mut stream = UnixStream::connect(&place.0).expect("connected");
    stream.write_all(b"one").expect("written");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("shut down");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("read");
    assert_eq!(all, b"one");
    let options = UnixConnectionOptions::default();
    let client = UnixConnection::connect(&place.0, options).expect("an attempt");
    let (sender, answers) = std::sync::mpsc::channel();
    probe.spawn_meta(client.serve(move || Client(sender)));
    assert_eq!(answers.recv_timeout(LIMIT).expect("an answer"), b"hello");
    stop_clean(&node);
}

/// What fails each time is asked a bounded number of times for each event, and not without end.
#[cfg(target_os = "linux")]
#[test]
fn receiving_that_keeps_failing_waits_for_the_next_event() {
    let fault = "inject=recvfrom,recvmsg:error=EIO";
    alone_under(
        &[&["strace", "-f", "-qq", "-o", "/dev/null", "-e", fault]],
        "unix_sockets::receiving_that_keeps_failing_waits_for_the_next_event",
        || {
            let node = node();
            let probe = Probe::spawn(&node);
            let (ours, theirs) = UnixDatagram::pair().expect("a pair");
            let options = UnixDatagramOptions::default();
            let server = UnixDatagramServer::from_std(ours, options);
            let alias = probe.spawn_meta(server.expect("taken over"));
            theirs.send(b"x").expect("sent");
            wait_for(&node, alias, "receive_errors", 64);
            // A spin would have gone on meanwhile.
            pass(std::time::Duration::from_millis(200));
            assert_eq!(inspect(&node, alias).number("receive_errors"), Some(64));
            stop_clean(&node);
        },
    );
}
