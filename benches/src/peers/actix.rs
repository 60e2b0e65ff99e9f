//! Actix: an actor per connection that handles a stream of chunks and owns a framed writer. Workers are arbiters.

use super::{Mode, Options, Served};
use actix::io::{FramedWrite, WriteHandler};
use actix::prelude::*;
use std::{io, sync::Arc};
use tokio::io::{WriteHalf, split};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::bytes::{Bytes, BytesMut};
use tokio_util::codec::{BytesCodec, FramedRead};

/// Serves until the process is killed.
pub fn serve(options: Options) -> Served {
    options.require(&[Mode::Echo, Mode::Sink]);
    let options = Arc::new(options);
    System::new().block_on(async move {
        // The first worker is the system's own thread, which accepts as well.
        let others: Vec<Arbiter> = (1..options.workers).map(|_| Arbiter::new()).collect();
        let arbiters: Vec<ArbiterHandle> = std::iter::once(Arbiter::current())
            .chain(others.iter().map(Arbiter::handle))
            .collect();
        let listener = TcpListener::bind(options.addr).await?;
        options.announce(listener.local_addr()?)?;
        for arbiter in arbiters.iter().cycle() {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            start(arbiter, socket, Arc::clone(&options))?;
        }
        Ok(())
    })
}

/// A socket belongs to the reactor of the thread that opened it, so it moves as a plain descriptor.
fn start(arbiter: &ArbiterHandle, socket: TcpStream, options: Arc<Options>) -> io::Result<()> {
    let socket = socket.into_std()?;
    arbiter.spawn_fn(move || {
        if let Ok(socket) = TcpStream::from_std(socket) {
            Connection::start(socket, options);
        }
    });
    Ok(())
}

struct Connection {
    writer: FramedWrite<Bytes, WriteHalf<TcpStream>, BytesCodec>,
    options: Arc<Options>,
}

impl Connection {
    fn start(socket: TcpStream, options: Arc<Options>) {
        let (reader, writer) = split(socket);
        Self::create(|context| {
            Self::add_stream(
                FramedRead::with_capacity(reader, BytesCodec::new(), options.buffer_bytes),
                context,
            );
            Self {
                writer: FramedWrite::new(writer, BytesCodec::new(), context),
                options,
            }
        });
    }
}

impl Actor for Connection {
    type Context = Context<Self>;
}

impl WriteHandler<io::Error> for Connection {}

impl StreamHandler<io::Result<BytesMut>> for Connection {
    fn handle(&mut self, chunk: io::Result<BytesMut>, context: &mut Self::Context) {
        let Ok(chunk) = chunk else {
            return context.stop();
        };
        self.options.spin.work(&chunk);
        if self.options.echoes() {
            self.writer.write(chunk.freeze());
        }
    }
}
