//! Blocking calls in a codec: where a remote encodes and decodes, and in the process that publishes a name.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};

use longshore::nats::{Codec, Nats, Registry, Remote, RemoteError};

use super::*;

/// Numbers of one byte; does the deed in one direction.
struct Bytes {
    encodes: Once,
    decodes: Once,
}

impl Codec<u8> for Bytes {
    fn encode(&self, value: &u8, out: &mut Buffer) -> Handled {
        self.encodes.run();
        out.extend_from_slice(&[*value]);
        Ok(())
    }

    fn decode(&self, data: &[u8]) -> Result<u8, Reason> {
        self.decodes.run();
        let number = data.first().copied();
        number.ok_or_else(|| Reason::error("an empty message"))
    }
}

fn encoding(once: Once) -> Bytes {
    Bytes {
        encodes: once,
        decodes: Once::new(|| ()),
    }
}

fn decoding(once: Once) -> Bytes {
    Bytes {
        encodes: Once::new(|| ()),
        decodes: once,
    }
}

/// Answers each request with its message.
struct Echo;

impl Actor for Echo {
    fn handle_call(
        &mut self,
        _: &mut Context<'_>,
        _: Pid,
        message: Message,
        reply: Reply,
    ) -> Handled {
        reply.send(message.downcast::<u8>().expect("a number"));
        Ok(())
    }
}

/// A server of one connection that sends a request of one byte to each subscription of a name.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        bounded(&stream);
        // An error: the stop of the node has ended the connection.
        drop(converse(stream));
    });
    addr
}

fn converse(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(b"INFO {\"max_payload\":1048576,\"headers\":true}\r\n")?;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        let fields: Vec<&str> = line.split(' ').collect();
        match fields[..] {
            ["PING"] => stream.write_all(b"PONG\r\n")?,
            ["SUB", subject, .., sid] if subject.contains(".name.") => {
                write!(stream, "MSG {subject} {sid} answers 1\r\n7\r\n")?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Publishes a process that answers, under a name for which the server has a request.
fn publish(node: &Node, codec: Bytes) -> Kept {
    let nats = Nats::new(serve()).expect("valid options");
    let registry = Registry::new(nats.clone(), codec);
    node.spawn(move || nats.client()).expect("spawned");
    let echo = node.spawn(|| Echo).expect("spawned");
    let publication = registry.publication::<u8, u8>("echo", echo);
    let publication = publication.expect("a name");
    Box::new(node.spawn(|| publication).expect("spawned"))
}

/// A call that encodes.
type Encode = fn(&Remote<u8, u8, Bytes>, &mut Context<'_>) -> Result<(), RemoteError>;

/// Encodes in a handler, by way of a client that has no server.
fn encode(node: &Node, once: Once, encode: Encode) -> Kept {
    let nats = Nats::new("127.0.0.1:1").expect("valid options");
    let registry = Registry::new(nats, encoding(once));
    let remote = Remote::new(&registry, "echo").expect("a name");
    inside(node, move |cx| drop(encode(&remote, cx)))
}

const CODECS: &[(&str, &str, Place)] = &[
    ("decode of a request", WORKER, |node, once| {
        publish(node, decoding(once))
    }),
    ("encode of an answer", WORKER, |node, once| {
        publish(node, encoding(once))
    }),
    ("encode of a message", WORKER, |node, once| {
        encode(node, once, |remote, _| remote.send(&7))
    }),
    ("encode of a question", WORKER, |node, once| {
        encode(node, once, |remote, cx| remote.ask(cx.pid(), 0, &7, LIMIT))
    }),
    ("codec, dropped", WORKER, |node, once| {
        /// A codec that does the deed when it is dropped.
        struct Dropped(#[allow(dead_code, reason = "dropped")] OnDrop);
        impl Codec<u8> for Dropped {
            fn encode(&self, _: &u8, _: &mut Buffer) -> Handled {
                Ok(())
            }

            fn decode(&self, _: &[u8]) -> Result<u8, Reason> {
                Ok(0)
            }
        }
        let nats = Nats::new("127.0.0.1:1").expect("valid options");
        let registry = Registry::new(nats, Dropped(OnDrop(once)));
        inside(node, move |_| drop(registry))
    }),
];

#[test]
fn calls_of_codecs_return_at_once() {
    try_all_in(CODECS);
}
