//! Topics: clients subscribe and publish by lines. Each topic is an event, and each client a process.
//!
//! ```text
//! cargo run --release --example pubsub -- 127.0.0.1:7000
//! nc 127.0.0.1 7000            # in several terminals: `sub weather`, `pub weather It rains`, `unsub weather`
//! ```

use std::collections::{HashMap, HashSet};

use longshore::prelude::*;
use longshore::{Event, EventOptions};

/// Topics that one client may subscribe to.
const MAX_TOPICS: usize = 100;
/// Lines of a topic that a later subscriber gets first.
const KEPT: usize = 3;

/// What clients ask the broker for.
enum Order {
    /// There is to be such a topic; the answer is `Opened`.
    Open(String),
    Publish(String, String),
}

struct Opened(String);

/// A topic, and the client that it was opened for, until it has a subscriber.
struct Topic(Event<String>, Option<Pid>);

/// Publishes for all. A topic is there while it has subscribers, so that their number bounds that of the topics.
struct Broker {
    address: String,
    topics: HashMap<String, Topic>,
    /// Those that are monitored.
    clients: HashSet<Pid>,
}

impl Broker {
    fn end(&mut self, cx: &mut Context<'_>, topic: &str) {
        if let Some(Topic(event, _)) = self.topics.remove(topic) {
            cx.end_event(&event);
        }
    }
}

impl Actor for Broker {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        cx.register("broker")?;
        let options = TcpServerOptions::from(&self.address)
            .with_framing(Framing::lines().with_max_length(512));
        let server = TcpServer::bind(options)?;
        println!("{}", server.local_addr());
        cx.spawn_meta(server.serve(Client::default))?;
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match &message {
            Message::EventSubscribers(change) if change.has_subscribers => {
                if let Some(topic) = self.topics.get_mut(change.event.as_str()) {
                    topic.1 = None;
                }
            }
            Message::EventSubscribers(change) => self.end(cx, change.event.as_str()),
            // A client that left before it could subscribe.
            Message::Down(down) => {
                self.clients
                    .retain(|client| down.target != Target::Pid(*client));
                let is_left = |topic: &Topic| topic.1.map(Target::Pid) == Some(down.target.clone());
                let left = self.topics.iter().filter(|(_, topic)| is_left(topic));
                for name in left.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
                    self.end(cx, &name);
                }
            }
            _ => {}
        }
        match message.downcast() {
            Ok(Order::Open(topic)) => {
                if !self.topics.contains_key(&topic) {
                    let options = EventOptions::default().with_kept(KEPT);
                    let event = cx.register_event(&topic, options)?;
                    if self.clients.insert(from) {
                        cx.monitor(from);
                    }
                    self.topics.insert(topic.clone(), Topic(event, Some(from)));
                }
                cx.send(from, Opened(topic)).ok(); // the client may have left
            }
            Ok(Order::Publish(topic, text)) => {
                if let Some(Topic(event, _)) = self.topics.get(&topic) {
                    cx.publish(event, text)?;
                }
            }
            Err(_) => {}
        }
        Ok(())
    }
}

/// One client. A topic has a subscription once it is open.
#[derive(Default)]
struct Client {
    topics: HashMap<String, Option<Ref>>,
}

impl Session for Client {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Result<(), Reason> {
        let line = String::from_utf8_lossy(&input.take()).into_owned();
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match (verb, rest.split_once(' ')) {
            ("pub", Some((topic, text))) => {
                let text = text.escape_debug().to_string(); // nothing that moves a cursor
                cx.send("broker", Order::Publish(topic.into(), text))?;
            }
            ("sub", None) if !rest.is_empty() => self.open(cx, rest)?,
            ("unsub", None) if !rest.is_empty() => {
                let had = self.topics.remove(rest);
                if let Some(Some(subscription)) = had {
                    cx.unsubscribe(subscription);
                }
                let not = if had.is_some() { "no longer" } else { "not" };
                cx.write(format!("{not} subscribed to {rest}\n"));
            }
            _ => cx.write("? sub TOPIC, unsub TOPIC, pub TOPIC TEXT\n"),
        }
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut SessionContext<'_>,
        _: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message {
            Message::Event(event) => {
                if let Some(text) = event.downcast_ref::<String>() {
                    cx.write(format!("{}: {text}\n", event.event()));
                }
            }
            message => {
                if let Ok(Opened(topic)) = message.downcast() {
                    self.subscribe(cx, topic)?;
                }
            }
        }
        Ok(())
    }
}

impl Client {
    fn open(&mut self, cx: &mut SessionContext<'_>, topic: &str) -> Result<(), Reason> {
        if self.topics.contains_key(topic) {
            cx.write(format!("subscribed to {topic} already\n"));
        } else if self.topics.len() == MAX_TOPICS {
            cx.write(format!("no more than {MAX_TOPICS} topics\n"));
        } else {
            self.topics.insert(topic.into(), None);
            cx.send("broker", Order::Open(topic.into()))?;
        }
        Ok(())
    }

    fn subscribe(&mut self, cx: &mut SessionContext<'_>, topic: String) -> Result<(), Reason> {
        // The client may have changed its mind meanwhile.
        let Some(subscription @ None) = self.topics.get_mut(&topic) else {
            return Ok(());
        };
        match cx.subscribe(&topic) {
            Ok(own) => {
                *subscription = Some(own);
                cx.write(format!("subscribed to {topic}\n"));
            }
            // It has lost its last subscriber since, and was ended: once more.
            Err(_) => cx.send("broker", Order::Open(topic))?,
        }
        Ok(())
    }
}

fn main() -> Result<(), longshore::Error> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:7000".into());
    let report = Node::run("pubsub@localhost", || Broker {
        address,
        topics: HashMap::new(),
        clients: HashSet::new(),
    })?; // until Ctrl-C
    println!("{report}"); // what was cut off
    Ok(())
}
