//! A key-value service on several nodes behind one name: any of them can end, and clients go on.
//!
//! ```text
//! nats-server &
//! cargo run --release --example cluster -- serve 127.0.0.1:4222 one   # and two, and three
//! cargo run --release --example cluster -- client 127.0.0.1:4222
//! put color blue
//! get color
//! ```
//!
//! Each node has a copy of all values. A request goes to one of them, a change to all; a node that starts asks another
//! one for what is there. This is as consistent as NATS is reliable: a node that misses a change keeps the old value.

use std::collections::HashMap;
use std::io::BufRead;
use std::time::Duration;

use longshore::nats::{
    Codec, MessageNats, MessageNatsReply, Nats, NatsError, Registry, Remote, RemoteError,
};
use longshore::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Any type of serde, in the format of postcard.
struct Postcard;

impl<T: Serialize + DeserializeOwned> Codec<T> for Postcard {
    fn encode(&self, value: &T, out: &mut Buffer) -> Result<(), Reason> {
        out.extend_from_slice(&postcard::to_stdvec(value)?);
        Ok(())
    }

    fn decode(&self, data: &[u8]) -> Result<T, Reason> {
        Ok(postcard::from_bytes(data)?)
    }
}

#[derive(Serialize, Deserialize)]
enum Request {
    Put(String, String),
    Get(String),
    Everything,
}

#[derive(Serialize, Deserialize)]
enum Answer {
    /// Which node it was, and the value.
    Value(String, Option<String>),
    Everything(HashMap<String, String>),
}

const NAME: &str = "kv";
const CHANGES: &str = "kv.changes";
const TIMEOUT: Duration = Duration::from_secs(2);

/// One copy. Its requests come from other nodes as ordinary requests.
struct Store {
    node: String,
    nats: Nats,
    registry: Registry<Postcard>,
    others: Remote<Request, Answer, Postcard>,
    values: HashMap<String, String>,
}

impl Store {
    /// Asks another copy for everything; the answer is the beginning of this one.
    fn catch_up(&self, cx: &Context<'_>) -> Result<(), Reason> {
        Ok(self
            .others
            .ask(cx.pid(), 0, &Request::Everything, TIMEOUT)?)
    }

    fn caught_up(&mut self, cx: &mut Context<'_>, reply: MessageNatsReply) -> Result<(), Reason> {
        match self.others.answer(reply.result) {
            Ok(Answer::Everything(values)) => {
                // What has changed meanwhile is newer.
                for (key, value) in values {
                    self.values.entry(key).or_insert(value);
                }
            }
            // The first copy of all.
            Ok(_) | Err(RemoteError::NoProcess) => {}
            Err(_) => return self.catch_up(cx),
        }
        self.registry
            .publish::<Request, Answer>(cx, NAME, cx.pid())?;
        println!("{} serves", self.node);
        Ok(())
    }
}

impl Actor for Store {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let nats = self.nats.clone();
        cx.spawn_with(SpawnOptions::default().with_link(), move || nats.client())?;
        // Without a queue group every copy gets every change.
        self.nats.subscribe(cx.pid(), CHANGES, None)?;
        self.catch_up(cx)
    }

    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message.downcast::<MessageNats>() {
            Ok(change) => {
                if let Ok((key, value)) = Postcard.decode(&change.data) {
                    self.values.insert(key, value);
                }
                Ok(())
            }
            Err(other) => match other.into_message().downcast::<MessageNatsReply>() {
                Ok(reply) => self.caught_up(cx, reply),
                Err(_) => Ok(()),
            },
        }
    }

    /// A reply that is dropped says that there is no answer.
    fn handle_call(
        &mut self,
        _: &mut Context<'_>,
        _: Pid,
        message: Message,
        reply: Reply,
    ) -> Result<(), Reason> {
        let value = match message.downcast::<Request>() {
            Ok(Request::Get(key)) => self.values.get(&key).cloned(),
            Ok(Request::Everything) => {
                reply.send(Answer::Everything(self.values.clone()));
                return Ok(());
            }
            Ok(Request::Put(key, value)) => {
                let (pair, mut change) = ((key, value), Buffer::new());
                Postcard.encode(&pair, &mut change)?;
                if self.nats.publish(CHANGES, change).is_err() {
                    return Ok(());
                }
                self.values.insert(pair.0, pair.1.clone());
                Some(pair.1)
            }
            Err(_) => return Ok(()),
        };
        reply.send(Answer::Value(self.node.clone(), value));
        Ok(())
    }
}

fn serve(nats: Nats, node: String) -> Result<(), longshore::Error> {
    let registry = Registry::new(nats.clone(), Postcard);
    let others = Remote::new(&registry, NAME).expect("a valid name");
    let report = Node::run("kv@localhost", || Store {
        node,
        nats,
        registry,
        others,
        values: HashMap::new(),
    })?; // until Ctrl-C
    println!("{report}"); // what was cut off
    Ok(())
}

/// Reads commands and asks until there is an answer: all requests may be repeated.
fn client(nats: &Nats) -> Result<(), longshore::Error> {
    let node = Node::start("client@localhost")?;
    let handle = nats.clone();
    let pid = node.spawn(move || handle.client())?;
    let registry = Registry::new(nats.clone(), Postcard);
    let kv = Remote::<Request, Answer, _>::new(&registry, NAME).expect("a valid name");
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let request = match words[..] {
            ["put", key, value] => Request::Put(key.into(), value.into()),
            ["get", key] => Request::Get(key.into()),
            _ => {
                println!("put NAME VALUE, or get NAME");
                continue;
            }
        };
        loop {
            let asked = kv.request(&request, TIMEOUT).expect("postcard takes it");
            let answer = node.call(pid, asked, TIMEOUT * 2);
            let answer = answer.ok().and_then(|answer| answer.downcast().ok());
            match kv.answer(answer.unwrap_or(Err(NatsError::Timeout))) {
                Ok(Answer::Value(node, value)) => {
                    println!("{node}: {}", value.as_deref().unwrap_or("nothing"));
                    break;
                }
                Ok(Answer::Everything(_)) => break,
                Err(error) => eprintln!("again: {error}"),
            }
        }
    }
    Ok(())
}

fn main() -> Result<(), longshore::Error> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", server, node] => serve(Nats::new(server)?, node.to_owned()),
        ["client", server] => client(&Nats::new(server)?),
        _ => {
            eprintln!("cluster serve SERVER NODE | cluster client SERVER");
            std::process::exit(2);
        }
    }
}
