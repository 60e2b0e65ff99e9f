//! Kameo: an actor per connection owns the writing half, and a task reads and sends each chunk to it. The mailbox has
//! kameo's default bound, so a slow writer stops its reader.

use super::{Mode, Options, Served};
use ::kameo::Actor;
use ::kameo::actor::{ActorRef, Spawn};
use ::kameo::message::{Context, Message};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Serves until the process is killed.
pub fn serve(options: Options) -> Served {
    options.require(&[Mode::Echo, Mode::Sink]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.workers)
        .enable_all()
        .build()?;
    let options = Arc::new(options);
    runtime.block_on(async {
        let listener = TcpListener::bind(options.addr).await?;
        options.announce(listener.local_addr()?)?;
        tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else {
                    continue;
                };
                let _ = socket.set_nodelay(true);
                let (reader, writer) = socket.into_split();
                let connection = Connection::spawn(Connection {
                    writer,
                    options: Arc::clone(&options),
                });
                tokio::spawn(read(reader, connection, options.buffer_bytes));
            }
        })
        .await?;
        Ok(())
    })
}

#[derive(Actor)]
struct Connection {
    writer: OwnedWriteHalf,
    options: Arc<Options>,
}

struct Chunk(Vec<u8>);

impl Message<Chunk> for Connection {
    type Reply = ();

    async fn handle(&mut self, Chunk(chunk): Chunk, context: &mut Context<Self, Self::Reply>) {
        self.options.spin.work(&chunk);
        if self.options.echoes() && self.writer.write_all(&chunk).await.is_err() {
            context.stop();
        }
    }
}

async fn read(mut reader: OwnedReadHalf, connection: ActorRef<Connection>, buffer_bytes: usize) {
    let mut buffer = vec![0; buffer_bytes];
    loop {
        match reader.read(&mut buffer).await {
            Ok(count)
                if count > 0
                    && connection
                        .tell(Chunk(buffer[..count].to_vec()))
                        .await
                        .is_ok() => {}
            _ => break,
        }
    }
    let _ = connection.stop_gracefully().await;
}
