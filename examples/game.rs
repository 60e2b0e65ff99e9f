//! A game over UDP: the server moves the world at a fixed rate and sends it to the players; one enum is all that it
//! handles.
//!
//! ```text
//! cargo run --release --example game -- 127.0.0.1:7000
//! nc -u 127.0.0.1 7000            # `join`, then `left`, `right`, `up` and `down`, a line each
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use longshore::prelude::*;
use longshore::{MessageUdp, Typed, TypedActor};

/// The rate of the world.
const TICK: Duration = Duration::from_millis(50);
/// The world is a square with this many places on a side.
const SIDE: i32 = 100;
const MAX_PLAYERS: usize = 64;
/// A player who was not heard for this many ticks has left. It also bounds what a datagram with a false address makes
/// the server send there.
const PATIENCE: u64 = 100;

/// Everything that happens to the game.
#[derive(Clone)]
enum Input {
    Datagram(MessageUdp),
    Tick,
}

struct Player {
    place: (i32, i32),
    /// Where it wants to go; the last word before a tick counts.
    step: (i32, i32),
    heard_at: u64,
}

struct Game {
    address: String,
    socket: Option<Alias>,
    tick: u64,
    players: BTreeMap<SocketAddr, Player>,
}

impl TypedActor for Game {
    type Message = Input;

    fn translate(message: Message) -> Result<Input, Message> {
        match message {
            Message::Udp(datagram) => Ok(Input::Datagram(datagram)),
            other => other.downcast().map_err(Message::from),
        }
    }

    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let server = UdpServer::bind(&self.address)?;
        println!("{}", server.local_addr());
        self.socket = Some(cx.spawn_meta(server)?);
        cx.send_every(cx.pid(), Input::Tick, TICK)?;
        Ok(())
    }

    fn handle(&mut self, cx: &mut Context<'_>, _: Pid, input: Input) -> Result<(), Reason> {
        match input {
            Input::Datagram(datagram) => self.order(datagram.addr, &datagram.data),
            Input::Tick => self.advance(cx),
        }
        Ok(())
    }
}

impl Game {
    fn order(&mut self, from: SocketAddr, order: &[u8]) {
        let step = match order.trim_ascii() {
            b"join" if self.players.len() < MAX_PLAYERS => {
                self.players.entry(from).or_insert(Player {
                    place: (SIDE / 2, SIDE / 2),
                    step: (0, 0),
                    heard_at: self.tick,
                });
                (0, 0)
            }
            b"left" => (-1, 0),
            b"right" => (1, 0),
            b"up" => (0, -1),
            b"down" => (0, 1),
            _ => return,
        };
        if let Some(player) = self.players.get_mut(&from) {
            player.step = step;
            player.heard_at = self.tick;
        }
    }

    /// One tick: all move, and all see the same world.
    fn advance(&mut self, cx: &mut Context<'_>) {
        self.tick += 1;
        let now = self.tick;
        self.players
            .retain(|_, player| now - player.heard_at <= PATIENCE);
        let mut world = format!("tick {now}:");
        for player in self.players.values_mut() {
            let (x, y) = player.place;
            let (dx, dy) = std::mem::take(&mut player.step);
            player.place = ((x + dx).clamp(0, SIDE - 1), (y + dy).clamp(0, SIDE - 1));
            write!(world, " {},{}", player.place.0, player.place.1).ok(); // a String takes it
        }
        world.push('\n');
        let Some(socket) = self.socket else { return };
        for addr in self.players.keys() {
            // A datagram that the socket has no room for is dropped, and the next tick sends the world again.
            cx.send_datagram(socket, *addr, world.as_str());
        }
    }
}

fn main() -> Result<(), longshore::Error> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:7000".into());
    let report = Node::run("game@localhost", || {
        Typed::new(Game {
            address,
            socket: None,
            tick: 0,
            players: BTreeMap::new(),
        })
    })?; // until Ctrl-C
    println!("{report}"); // what was cut off
    Ok(())
}
