//! Longshore: one actor owns every connection; the message it gets, sent back, is the write.
//!
//! TLS goes through a `CertManager`; datagrams through a `UdpServer`. The handler computes inside the actor, so a
//! second worker helps only if connections are spread over a pool of actors: with more than one worker there is one
//! actor per worker and a process pool.

use super::{Mode, Options, Served, certificate};
use longshore::prelude::*;
use longshore::tls::CertManager;
use std::{net::SocketAddr, sync::Arc, sync::mpsc};

/// Serves until the process is killed.
pub fn serve(options: Options) -> Served {
    let node = Node::start(NodeOptions::from("bench@localhost").with_workers(options.workers))?;
    let options = Arc::new(options);
    let pool = match options.workers {
        1 => Vec::new(),
        count => (0..count)
            .map(|index| start_worker(&node, index, &options))
            .collect::<Result<_, _>>()?,
    };
    let (bound, was_bound) = mpsc::channel();
    let owner = Owner {
        options: Arc::clone(&options),
        pool,
        bound,
    };
    node.spawn(move || owner.clone())?;
    let ports = if options.plain { 2 } else { 1 };
    for addr in was_bound.iter().take(ports) {
        options.announce(addr)?;
    }
    Ok(node.wait()?)
}

fn start_worker(
    node: &Node,
    index: usize,
    options: &Arc<Options>,
) -> Result<Name, longshore::Error> {
    let name = Name::from(format!("worker{index}"));
    let options = Arc::clone(options);
    node.spawn_register(name.clone(), move || Worker(Arc::clone(&options)))?;
    Ok(name)
}

/// Binds the socket and, without a pool, owns the connections.
#[derive(Clone)]
struct Owner {
    options: Arc<Options>,
    pool: Vec<Name>,
    bound: mpsc::Sender<SocketAddr>,
}

impl Actor for Owner {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let addr = match self.options.mode {
            Mode::Udp => {
                let server = UdpServer::bind(UdpServerOptions::from(self.options.addr))?;
                let addr = server.local_addr();
                cx.spawn_meta(server)?;
                addr
            }
            Mode::Echo | Mode::Sink | Mode::Tls => {
                if let Some(plain) = self.options.plain_beside() {
                    self.bind_tcp(cx, &plain)?;
                }
                return self.bind_tcp(cx, &self.options);
            }
        };
        self.bound.send(addr).map_err(|_| Reason::Shutdown)
    }

    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        answer(&self.options, cx, message)
    }
}

impl Owner {
    fn bind_tcp(&self, cx: &mut Context<'_>, options: &Options) -> Result<(), Reason> {
        let mut server = TcpServerOptions::from(options.addr).with_process_pool(self.pool.clone());
        if options.mode == Mode::Tls {
            let (chain, key) =
                certificate::identity(options).map_err(|error| Reason::error(error))?;
            server = server.with_cert_manager(CertManager::from_der(chain, key)?);
        }
        let server = TcpServer::bind(server)?;
        let addr = server.local_addr();
        cx.spawn_meta(server)?;
        self.bound.send(addr).map_err(|_| Reason::Shutdown)
    }
}

/// Owns the connections that the pool gives it.
struct Worker(Arc<Options>);

impl Actor for Worker {
    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        answer(&self.0, cx, message)
    }
}

fn answer(options: &Options, cx: &mut Context<'_>, message: Message) -> Result<(), Reason> {
    match message {
        Message::Tcp(packet) => {
            options.spin.work(&packet.data);
            if options.echoes() {
                // The send fails if this client's connection has closed; the others go on.
                let _ = cx.send_alias(packet.id, packet);
            }
        }
        Message::Udp(packet) => drop(cx.send_alias(packet.id, packet)),
        _ => {}
    }
    Ok(())
}
