//! Longshore with a process for each connection.
//!
//! It stands beside the binary and not among the other peers: the gate counts the instructions of the crate that has
//! those, and one more instance of the session code there moves the counts of scenarios that have no session.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};

use longshore::prelude::*;
use longshore_bench::peers::{Mode, Options, Served};

/// Serves until the process is killed.
pub fn serve(options: Options) -> Served {
    options.require(&[Mode::Echo, Mode::Sink]);
    let node = Node::start(NodeOptions::from("bench@localhost").with_workers(options.workers))?;
    let (bound, was_bound) = mpsc::channel();
    let options = Arc::new(options);
    let listener = Listener {
        options: Arc::clone(&options),
        bound,
    };
    node.spawn(move || listener.clone())?;
    if let Some(addr) = was_bound.iter().next() {
        options.announce(addr)?;
    }
    Ok(node.wait()?)
}

/// Binds the socket.
#[derive(Clone)]
struct Listener {
    options: Arc<Options>,
    bound: mpsc::Sender<SocketAddr>,
}

impl Actor for Listener {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let server = TcpServer::bind(self.options.addr)?;
        let addr = server.local_addr();
        let options = Arc::clone(&self.options);
        cx.spawn_meta(server.serve(move || Connection(Arc::clone(&options))))?;
        self.bound.send(addr).map_err(|_| Reason::Shutdown)
    }
}

/// Serves one connection.
struct Connection(Arc<Options>);

impl Session for Connection {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Result<(), Reason> {
        self.0.spin.work(input);
        let data = input.take();
        if self.0.echoes() {
            cx.write(data);
        }
        Ok(())
    }
}
