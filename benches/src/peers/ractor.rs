//! Ractor: an actor per connection owns the writing half, and a task reads and casts each chunk to it.

use super::{Mode, Options, Served};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

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
                let options = Arc::clone(&options);
                tokio::spawn(async move {
                    Connection::spawn(None, Connection(Arc::clone(&options)), socket).await
                });
            }
        })
        .await?;
        Ok(())
    })
}

struct Connection(Arc<Options>);

impl Actor for Connection {
    type Msg = Vec<u8>;
    type State = OwnedWriteHalf;
    type Arguments = TcpStream;

    async fn pre_start(
        &self,
        myself: ActorRef<Vec<u8>>,
        socket: TcpStream,
    ) -> Result<OwnedWriteHalf, ActorProcessingErr> {
        socket.set_nodelay(true)?;
        let (reader, writer) = socket.into_split();
        tokio::spawn(read(reader, myself, self.0.buffer_bytes));
        Ok(writer)
    }

    async fn handle(
        &self,
        _: ActorRef<Vec<u8>>,
        chunk: Vec<u8>,
        writer: &mut OwnedWriteHalf,
    ) -> Result<(), ActorProcessingErr> {
        self.0.spin.work(&chunk);
        if self.0.echoes() {
            writer.write_all(&chunk).await?;
        }
        Ok(())
    }
}

async fn read(mut reader: OwnedReadHalf, connection: ActorRef<Vec<u8>>, buffer_bytes: usize) {
    let mut buffer = vec![0; buffer_bytes];
    loop {
        match reader.read(&mut buffer).await {
            Ok(count) if count > 0 && connection.cast(buffer[..count].to_vec()).is_ok() => {}
            _ => return connection.stop(None),
        }
    }
}
