//! async-nats: tasks of one tokio runtime.

use super::{ASKERS, BURST, IDLE_CLIENTS, PAYLOAD, SERVICE, SUBJECT, Subject, WINDOW};
use async_nats::Client;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::runtime::{Builder, Runtime};

/// A runtime with two workers.
#[derive(Debug)]
pub struct AsyncNats(Runtime);

impl AsyncNats {
    /// Starts the workers.
    pub fn new() -> Self {
        let mut builder = Builder::new_multi_thread();
        Self(
            builder
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime"),
        )
    }
}

impl Default for AsyncNats {
    fn default() -> Self {
        Self::new()
    }
}

async fn connect(url: &str) -> Client {
    async_nats::connect(url).await.expect("a connection")
}

async fn publish(url: &str, count: u64) {
    let client = connect(url).await;
    let mut messages = client.subscribe(SUBJECT).await.expect("a subscription");
    let (mut published, mut received) = (0, 0);
    while received < count {
        while published < count && published + BURST <= received + WINDOW {
            for _ in 0..BURST.min(count - published) {
                let payload = Bytes::from_static(PAYLOAD);
                client.publish(SUBJECT, payload).await.expect("published");
                published += 1;
            }
        }
        let message = messages.next().await.expect("a message");
        assert_eq!(message.payload.len(), PAYLOAD.len());
        received += 1;
    }
}

async fn request(url: &str, count: u64) {
    let (asking, answering) = (connect(url).await, connect(url).await);
    let mut requests = answering.subscribe(SERVICE).await.expect("a subscription");
    let responder = tokio::spawn(async move {
        while let Some(message) = requests.next().await {
            let reply = message.reply.expect("it asks for an answer");
            let answered = answering.publish(reply, message.payload).await;
            answered.expect("published");
        }
    });
    // Its flush does not wait for the server, so the first answer shows that the subscription is there.
    while asking.request(SERVICE, Bytes::new()).await.is_err() {}
    let ask = |_| {
        let client = asking.clone();
        tokio::spawn(async move {
            for _ in 0..count / ASKERS {
                let payload = Bytes::from_static(PAYLOAD);
                let answer = client.request(SERVICE, payload).await.expect("an answer");
                assert_eq!(answer.payload.len(), PAYLOAD.len());
            }
        })
    };
    let askers: Vec<_> = (0..ASKERS).map(ask).collect();
    for asker in askers {
        asker.await.expect("it ends");
    }
    responder.abort();
}

impl Subject for AsyncNats {
    fn publish(&self, url: &str, count: u64) {
        self.0.block_on(publish(url, count));
    }

    fn request(&self, url: &str, count: u64) {
        self.0.block_on(request(url, count));
    }

    fn idle(&self, url: &str) {
        self.0.block_on(async {
            for _ in 0..IDLE_CLIENTS {
                let client = connect(url).await;
                client.flush().await.expect("a connection");
                std::mem::forget(client);
            }
        });
    }
}
