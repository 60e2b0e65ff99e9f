//! A small busy shop, and a page that shows what its node does.
//!
//! ```text
//! cargo run --release --example observer -- [127.0.0.1:8080] [--crash-every SECONDS]
//! # then open http://127.0.0.1:8080/ in a browser
//!
//! root ─┬─ customers            a process for each customer, with a connection of its own
//!       ├─ observer             the page
//!       └─ shop ─┬─ printer     crashes now and then, and is started again
//!                ├─ clerks      a pool
//!                └─ door        takes orders over TCP
//! ```

mod observer;

use std::net::SocketAddr;
use std::time::Duration;

use longshore::prelude::*;
use longshore::{Level, MessageTcp};
use observer::{LogTail, Observer};

const CUSTOMERS: usize = 8;

/// An order on its way to the printer.
#[derive(Clone)]
struct Order;

/// Prints orders until it is out of paper.
struct Printer {
    paper: u32,
}

#[derive(Clone)]
struct OutOfPaper;

impl Actor for Printer {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        if self.paper > 0 {
            let wait = Duration::from_secs(self.paper.into());
            cx.send_after(cx.pid(), OutOfPaper, wait);
        }
        cx.log(Level::Info, "the printer is ready");
        Ok(())
    }

    fn handle_message(
        &mut self,
        _: &mut Context<'_>,
        _: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        if message.is::<OutOfPaper>() {
            return Err(Reason::error("out of paper"));
        }
        Ok(())
    }
}

/// Has each order printed.
struct Clerk;

impl Actor for Clerk {
    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        if message.is::<Order>() && cx.whereis("printer").is_some() {
            // The printer may have ended since: then the order is lost.
            cx.send("printer", Order).ok();
        }
        Ok(())
    }
}

/// Takes orders over TCP: a session for each customer.
struct Door;

struct Counter;

impl Session for Counter {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Result<(), Reason> {
        if cx.whereis("clerks").is_some() {
            cx.send("clerks", Order).ok();
        }
        cx.write(input.take());
        Ok(())
    }
}

impl Actor for Door {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let server = TcpServer::bind("127.0.0.1:0")?;
        let address = server.local_addr();
        cx.spawn_meta(server.serve(|| Counter))?;
        for number in 0..CUSTOMERS {
            let name = Name::from(format!("customer-{number}"));
            let customer = Child::new(name, move || Customer { address, number });
            cx.add_child(
                "customers",
                customer.temporary().registered(),
                Duration::from_secs(5),
            )?;
        }
        Ok(())
    }
}

/// Orders, and waits a little.
struct Customer {
    address: SocketAddr,
    number: usize,
}

#[derive(Clone)]
struct Hungry(Alias);

impl Actor for Customer {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let connection = cx.spawn_meta(TcpConnection::connect(self.address)?)?;
        let pause = Duration::from_millis(40 + 10 * self.number as u64);
        cx.send_every(cx.pid(), Hungry(connection), pause)?;
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message {
            Message::Tcp(MessageTcp { .. }) => Ok(()),
            Message::TcpDisconnect(_) => Err(Reason::Normal),
            message => {
                if let Ok(Hungry(connection)) = message.downcast() {
                    cx.write(connection, "a sandwich\n");
                }
                Ok(())
            }
        }
    }
}

fn main() -> Result<(), longshore::Error> {
    let (mut address, mut paper) = (String::from("127.0.0.1:8080"), 15);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--crash-every" => {
                paper = arguments
                    .next()
                    .and_then(|seconds| seconds.parse().ok())
                    .unwrap_or(0);
            }
            _ => address = argument,
        }
    }
    let log = LogTail::default();
    let options = NodeOptions::from("shop@localhost").with_logger(log.logger());
    let root = SpawnOptions::default().with_name("root");
    let report = Node::run_with(options, root, move || {
        let shop = move || {
            Supervisor::one_for_one()
                .with_intensity(1_000, Duration::from_secs(60))
                .with_child(Child::new("printer", move || Printer { paper }).registered())
                .with_child(Child::new("clerks", || Pool::new(4, || Clerk)).registered())
                .with_child(Child::new("door", || Door))
        };
        let (address, log) = (address.clone(), log.clone());
        let observer = move || {
            Observer::new(&address, log.clone()).when_bound(|address| println!("{address}"))
        };
        Supervisor::one_for_one()
            .with_child(Child::new("customers", Supervisor::dynamic).registered())
            .with_child(Child::new("observer", observer))
            .with_child(Child::new("shop", shop))
    })?; // until Ctrl-C
    println!("{report}"); // what was cut off
    Ok(())
}
