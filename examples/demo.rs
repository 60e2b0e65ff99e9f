//! A tour: a TCP server whose connections are assigned to named workers round robin, a UDP server whose datagrams a
//! pool spreads, and a client connection that talks to the first.
//!
//! ```text
//! cargo run --release --example demo -- 127.0.0.1:7000
//! nc 127.0.0.1 7000            # twice: one is answered by handler2, the next by handler1
//! nc -u 127.0.0.1 7000         # a worker of the pool answers
//! ```

use longshore::prelude::*;

/// Owns TCP connections: all messages of a connection come to the same process.
struct Handler;

impl Actor for Handler {
    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        let me = cx.name().map(ToString::to_string).unwrap_or_default();
        match message {
            Message::TcpConnect(connect) => {
                println!("{me}: {} came from {}", connect.id, connect.remote_addr)
            }
            Message::Tcp(packet) => {
                let mut answer = Buffer::from(format!("{me}: "));
                answer.extend_from_slice(&packet.data);
                cx.write(packet.id, answer);
            }
            Message::TcpDisconnect(end) => println!("{me}: {} has ended: {}", end.id, end.reason),
            _ => {}
        }
        Ok(())
    }
}

/// A worker of the pool: answers every datagram it gets.
struct Answerer;

impl Actor for Answerer {
    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        if let Message::Udp(mut packet) = message {
            packet
                .data
                .extend_from_slice(format!("(from worker {})\n", cx.pid()).as_bytes());
            cx.send_datagram(packet.id, packet.addr, packet.data); // back to where it came from
        }
        Ok(())
    }
}

/// Opens a connection to the server and sends a line.
struct Client {
    server: std::net::SocketAddr,
}

impl Actor for Client {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        cx.spawn_meta(TcpConnection::connect(self.server)?)?;
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message {
            Message::TcpConnect(connect) => cx.write(connect.id, "hi\n"),
            Message::Tcp(packet) => {
                print!("client: got {}", String::from_utf8_lossy(&packet.data));
                cx.close(packet.id).ok(); // its Disconnect comes when everything is sent
            }
            Message::TcpDisconnect(end) => {
                println!("client: {}", end.reason);
                return Err(Reason::Normal); // done
            }
            _ => {}
        }
        Ok(())
    }
}

/// The parent of both servers.
struct Demo {
    address: String,
}

impl Actor for Demo {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        cx.spawn_register("handler1", || Handler)?;
        cx.spawn_register("handler2", || Handler)?;
        cx.spawn_register("answerers", || Pool::new(3, || Answerer))?;

        let options =
            TcpServerOptions::from(&self.address).with_process_pool(["handler1", "handler2"]);
        let tcp = TcpServer::bind(options)?;
        let server = tcp.local_addr();
        println!("{server}");
        let udp = UdpServer::bind(UdpServerOptions::from(server).with_process("answerers"))?;
        cx.spawn_meta(tcp)?;
        cx.spawn_meta(udp)?;
        cx.spawn(|| Client { server })?;
        Ok(())
    }
}

fn main() -> Result<(), longshore::Error> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:7000".into());
    let report = Node::run("demo@localhost", || Demo { address })?; // until Ctrl-C
    println!("{report}"); // what was cut off
    Ok(())
}
