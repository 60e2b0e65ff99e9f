//! Longshore: processes of one node, each client a process of its own.

use super::{ASKERS, BURST, IDLE_CLIENTS, PAYLOAD, SERVICE, SUBJECT, Subject, TIMEOUT, WINDOW};
use longshore::Monitor;
use longshore::nats::{MessageNats, MessageNatsFlushed, MessageNatsReply, Nats};
use longshore::prelude::*;
use std::sync::mpsc::{Sender, channel};

/// A node with two workers.
#[derive(Debug)]
pub struct Longshore(Node);

impl Longshore {
    /// Starts the workers.
    pub fn new() -> Self {
        let options = NodeOptions::from("bench@localhost").with_workers(2);
        Self(Node::start(options).expect("a node starts"))
    }

    fn client(&self, url: &str) -> Running {
        let nats = Nats::new(url).expect("valid options");
        let handle = nats.clone();
        let pid = self.0.spawn(move || handle.client()).expect("a client");
        let monitor = self.0.monitor(pid);
        Running { nats, monitor }
    }
}

/// A client and what reports its end.
struct Running {
    nats: Nats,
    monitor: Monitor,
}

impl Running {
    /// Ends the client, so that the server sends it nothing while the next run is measured.
    fn end(self) {
        self.nats.drain();
        let ended = self.monitor.wait();
        assert!(matches!(ended, Ok(Reason::Normal)), "{ended:?}");
    }
}

impl Default for Longshore {
    fn default() -> Self {
        Self::new()
    }
}

/// Publishes and receives.
struct Courier {
    nats: Nats,
    published: u64,
    received: u64,
    count: u64,
    done: Sender<()>,
}

impl Courier {
    fn publish(&mut self) -> Result<(), Reason> {
        while self.published < self.count && self.published + BURST <= self.received + WINDOW {
            for _ in 0..BURST.min(self.count - self.published) {
                self.nats.publish(SUBJECT, PAYLOAD.as_slice())?;
                self.published += 1;
            }
        }
        Ok(())
    }
}

impl Actor for Courier {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        self.nats.subscribe(cx.pid(), SUBJECT, None)?;
        self.publish()
    }

    fn handle_message(
        &mut self,
        _: &mut Context<'_>,
        _: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        let message = message.downcast::<MessageNats>().expect("a message");
        assert_eq!((message.data.len(), message.missed), (PAYLOAD.len(), 0));
        self.received += 1;
        if self.received == self.count {
            // The measurement may be over.
            let _ = self.done.send(());
            return Err(Reason::Normal);
        }
        self.publish()
    }
}

/// Answers with what it is asked.
struct Responder {
    nats: Nats,
    ready: Sender<()>,
}

impl Actor for Responder {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        self.nats.subscribe(cx.pid(), SERVICE, None)?;
        Ok(self.nats.flush(cx.pid(), 0)?)
    }

    fn handle_message(
        &mut self,
        _: &mut Context<'_>,
        _: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message.downcast::<MessageNats>() {
            Ok(mut request) => {
                let data = request.data.take();
                self.nats.respond(&request, data)?;
            }
            Err(message) => {
                let Ok(flushed) = message.into_message().downcast::<MessageNatsFlushed>() else {
                    // The client has ended.
                    return Err(Reason::Normal);
                };
                flushed.result?;
                // The measurement may be over.
                let _ = self.ready.send(());
            }
        }
        Ok(())
    }
}

/// Asks, one request after the other.
struct Asker {
    nats: Nats,
    left: u64,
    done: Sender<()>,
}

impl Asker {
    fn ask(&self, pid: Pid) -> Result<(), Reason> {
        Ok(self
            .nats
            .request(pid, 0, SERVICE, PAYLOAD.as_slice(), TIMEOUT)?)
    }
}

impl Actor for Asker {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        self.ask(cx.pid())
    }

    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        let reply = message.downcast::<MessageNatsReply>().expect("a reply");
        assert_eq!(reply.result?.data.len(), PAYLOAD.len());
        self.left -= 1;
        if self.left > 0 {
            return self.ask(cx.pid());
        }
        // The measurement may be over.
        let _ = self.done.send(());
        Err(Reason::Normal)
    }
}

/// Reports the answer to its flush.
struct Waiter {
    nats: Nats,
    done: Sender<()>,
}

impl Actor for Waiter {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        Ok(self.nats.flush(cx.pid(), 0)?)
    }

    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Result<(), Reason> {
        // The measurement may be over.
        let _ = self.done.send(());
        Err(Reason::Normal)
    }
}

/// A factory for a process that is never restarted.
fn once<A: Actor + Send>(actor: A) -> impl FnMut() -> A + Send {
    let mut actor = Some(actor);
    move || actor.take().expect("started once")
}

impl Subject for Longshore {
    fn publish(&self, url: &str, count: u64) {
        let (done, end) = channel();
        let client = self.client(url);
        let courier = Courier {
            nats: client.nats.clone(),
            published: 0,
            received: 0,
            count,
            done,
        };
        self.0.spawn(once(courier)).expect("a process starts");
        end.recv().expect("all messages");
        client.end();
    }

    fn request(&self, url: &str, count: u64) {
        let ((done, end), (ready, started)) = (channel(), channel());
        let (answering, asking) = (self.client(url), self.client(url));
        let responder = Responder {
            nats: answering.nats.clone(),
            ready,
        };
        self.0.spawn(once(responder)).expect("a process starts");
        started.recv().expect("the responder is there");
        for _ in 0..ASKERS {
            let asker = Asker {
                nats: asking.nats.clone(),
                left: count / ASKERS,
                done: done.clone(),
            };
            self.0.spawn(once(asker)).expect("a process starts");
        }
        for _ in 0..ASKERS {
            end.recv().expect("all answers");
        }
        asking.end();
        answering.end();
    }

    fn idle(&self, url: &str) {
        let (done, end) = channel();
        for _ in 0..IDLE_CLIENTS {
            let waiter = Waiter {
                nats: self.client(url).nats,
                done: done.clone(),
            };
            self.0.spawn(once(waiter)).expect("a process starts");
            end.recv().expect("a connection");
        }
    }
}
