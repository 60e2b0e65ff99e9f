//! Echoes TCP and UDP on one port, in one process.
//!
//! ```text
//! cargo run --release --example echo -- 127.0.0.1:7000 [--workers N]
//! nc 127.0.0.1 7000            # TCP
//! nc -u 127.0.0.1 7000         # UDP
//! socat - TCP:127.0.0.1:7000
//! ```

use longshore::prelude::*;

struct Echo {
    address: String,
}

impl Actor for Echo {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let tcp = TcpServer::bind(&self.address)?; // a port conflict shows here
        let udp = UdpServer::bind(tcp.local_addr())?; // the same port, also if the system chose it
        println!("{}", tcp.local_addr());
        cx.spawn_meta(tcp)?; // this process owns the connections
        cx.spawn_meta(udp)?;
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message {
            Message::Tcp(packet) => cx.write(packet.id, packet.data),
            Message::Udp(packet) => cx.send_datagram(packet.id, packet.addr, packet.data),
            _ => {}
        }
        Ok(())
    }
}

fn main() -> Result<(), longshore::Error> {
    let (mut address, mut options) = (
        String::from("127.0.0.1:7000"),
        NodeOptions::from("echo@localhost"),
    );
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--workers" => {
                options.workers = arguments.next().and_then(|workers| workers.parse().ok())
            }
            _ => address = argument,
        }
    }
    let report = Node::run(options, || Echo { address })?; // until Ctrl-C
    println!("{report}"); // what was cut off
    Ok(())
}
