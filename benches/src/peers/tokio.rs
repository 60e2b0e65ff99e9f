//! Tokio: one task per connection, `read` and `write_all` in a loop; the same with tokio-rustls.
//!
//! There are two flavors of runtime. The datagram server is one task, because one socket has one reader.

use super::{Mode, Options, Served, certificate};
use std::{error::Error, sync::Arc};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// Serves on the work-stealing runtime until the process is killed.
pub fn serve_multi_thread(options: Options) -> Served {
    let runtime = Builder::new_multi_thread()
        .worker_threads(options.workers)
        .enable_all()
        .build()?;
    run(&runtime, options)
}

/// Serves on the runtime of one thread until the process is killed.
pub fn serve_current_thread(options: Options) -> Served {
    run(
        &Builder::new_current_thread().enable_all().build()?,
        options,
    )
}

fn run(runtime: &Runtime, options: Options) -> Served {
    let options = Arc::new(options);
    let plain = options.plain_beside().map(Arc::new);
    // The acceptor is a task, as in `#[tokio::main]` servers that also wait for a signal.
    runtime.block_on(async move {
        match options.mode {
            Mode::Udp => {
                tokio::spawn(
                    async move { serve_udp(&options).await.map_err(|error| error.to_string()) },
                )
            }
            _ => tokio::spawn(async move {
                if let Some(plain) = plain {
                    let (bound, is_bound) = oneshot::channel();
                    tokio::spawn(async move {
                        accept(plain, Some(bound))
                            .await
                            .map_err(|error| error.to_string())
                    });
                    is_bound.await.map_err(|error| error.to_string())?;
                }
                accept(options, None)
                    .await
                    .map_err(|error| error.to_string())
            }),
        }
        .await??;
        Ok(())
    })
}

async fn accept(options: Arc<Options>, bound: Option<oneshot::Sender<()>>) -> Served {
    let tls = (options.mode == Mode::Tls)
        .then(|| certificate::server_config(&options))
        .transpose()?;
    let tls = tls.map(TlsAcceptor::from);
    let listener = TcpListener::bind(options.addr).await?;
    options.announce(listener.local_addr()?)?;
    if let Some(bound) = bound {
        let _ = bound.send(());
    }
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            continue;
        };
        let (options, tls) = (Arc::clone(&options), tls.clone());
        tokio::spawn(async move {
            socket.set_nodelay(true)?;
            match tls {
                Some(tls) => converse(tls.accept(socket).await?, &options).await,
                None => converse(socket, &options).await,
            }
        });
    }
}

async fn converse(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    options: &Options,
) -> std::io::Result<()> {
    let mut buffer = vec![0; options.buffer_bytes];
    loop {
        let count = socket.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        options.spin.work(&buffer[..count]);
        if options.echoes() {
            socket.write_all(&buffer[..count]).await?;
            socket.flush().await?;
        }
    }
}

async fn serve_udp(options: &Options) -> Result<(), Box<dyn Error>> {
    let socket = UdpSocket::bind(options.addr).await?;
    options.announce(socket.local_addr()?)?;
    let mut buffer = vec![0; 65_536];
    loop {
        let (count, from) = socket.recv_from(&mut buffer).await?;
        options.spin.work(&buffer[..count]);
        socket.send_to(&buffer[..count], from).await?;
    }
}
