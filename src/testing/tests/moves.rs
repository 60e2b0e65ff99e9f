//! Connections that are handed over or relayed at any moment, while a peer resets, an owner ends or the node stops:
//! order is kept, nothing comes twice, nothing is lost of an orderly stream, and there is one last message.

use super::Handled;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::prelude::*;
use crate::testing::*;

const BYTES: usize = 20_000;
const STEPS: u64 = 25;
const NAMES: [&str; 2] = ["one", "other"];

fn addr() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7000))
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[derive(Debug)]
enum Note {
    Bytes(Vec<u8>),
    End,
    RelayEnd,
    /// Input of a connection that was given away.
    Wrong,
}

type Notes = Arc<Mutex<Vec<Note>>>;

/// Hands its connection to the process of that name.
struct Pass(&'static str);

/// Relays the two connections that it has.
struct Join;

struct Owner {
    notes: Notes,
    listens: Option<TcpServerOptions>,
    owned: Vec<Alias>,
    is_relayed: bool,
}

impl Owner {
    fn new(notes: &Notes, listens: Option<TcpServerOptions>) -> Self {
        Self {
            notes: Arc::clone(notes),
            listens,
            owned: Vec::new(),
            is_relayed: false,
        }
    }

    fn note(&self, note: Note) {
        self.notes.lock().expect("no panic").push(note);
    }
}

impl Actor for Owner {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        if let Some(options) = self.listens.take() {
            cx.spawn_meta(TcpServer::bind(options)?)?;
        }
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message {
            Message::TcpConnect(connect) => self.owned.push(connect.id),
            Message::Tcp(packet) if self.owned.contains(&packet.id) && !self.is_relayed => {
                self.note(Note::Bytes(packet.data.to_vec()));
            }
            Message::Tcp(_) => self.note(Note::Wrong),
            Message::TcpDisconnect(_) => self.note(Note::End),
            Message::RelayEnd(_) => self.note(Note::RelayEnd),
            message if message.is::<Join>() => {
                if let [first, second] = self.owned[..] {
                    self.is_relayed |= cx.relay(first, second).is_ok();
                }
            }
            message => {
                if let Ok(Pass(to)) = message.downcast::<Pass>()
                    && let Some(id) = self.owned.last().copied()
                    && let Some(to) = cx.whereis(to)
                    && cx.hand_over(id, to).is_ok()
                {
                    self.owned.clear();
                }
            }
        }
        Ok(())
    }
}

/// What disturbs a run, by its seed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Disturbance {
    None,
    Reset,
    Crash,
    Stop,
}

impl Disturbance {
    fn of(world: &World) -> Self {
        match world.seed() % 4 {
            0 => Self::None,
            1 => Self::Reset,
            2 => Self::Crash,
            _ => Self::Stop,
        }
    }
}

fn some_time(world: &World) {
    world.advance(Duration::from_millis(world.draw(5)));
}

/// Writes a random part behind what was `sent`.
fn write_some(world: &World, client: &TestClient, bytes: &[u8], sent: &mut usize) {
    let most = (bytes.len() - *sent).min(world.draw(1_500) as usize);
    client.write(&bytes[*sent..*sent + most]);
    *sent += most;
}

/// The bytes of the notes, and how many last messages there are; nothing follows the last one.
fn judge(notes: &Notes) -> (Vec<u8>, usize) {
    let (mut got, mut ends) = (Vec::new(), 0);
    for note in notes.lock().expect("no panic").iter() {
        match note {
            Note::Bytes(bytes) => {
                assert_eq!(ends, 0, "bytes behind the last message");
                got.extend_from_slice(bytes);
            }
            Note::End | Note::RelayEnd => ends += 1,
            Note::Wrong => panic!("input of a connection that was given away"),
        }
    }
    (got, ends)
}

fn hands_over(world: &World) {
    let node = TestNode::start(world);
    let notes = Notes::default();
    let pids = NAMES.map(|name| {
        let owner = Owner::new(&notes, None);
        let options = SpawnOptions::default().with_name(name);
        node.spawn_with(options, move || owner).expect("spawned")
    });
    let options = TcpServerOptions::from(addr())
        .with_process_pool([NAMES[0]])
        .with_read_buffer_size(200);
    let listener = Owner::new(&notes, Some(options));
    node.spawn(move || listener).expect("spawned");
    let client = node.connect(addr());
    world.run_until(|| client.is_connected());
    world.advance(Duration::from_secs(1));
    let bytes = pattern(BYTES);
    let (disturbance, at) = (Disturbance::of(world), world.draw(STEPS));
    let mut sent = 0;
    for step in 0..STEPS {
        write_some(world, &client, &bytes, &mut sent);
        for (index, pid) in pids.into_iter().enumerate() {
            if world.draw(2) == 0 {
                // One that has ended passes nothing on.
                let _ = node.send(pid, Pass(NAMES[1 - index]));
            }
        }
        some_time(world);
        if step == at && disturbance != Disturbance::None {
            break;
        }
    }
    match disturbance {
        Disturbance::None => {
            world.run_until(|| client.unwritten() == 0);
            client.close();
        }
        Disturbance::Reset => client.reset(),
        Disturbance::Crash => {
            node.crash(pids[world.draw(2) as usize]).expect("it lives");
        }
        Disturbance::Stop => {}
    }
    if disturbance != Disturbance::Stop {
        world.advance(Duration::from_secs(20));
    }
    drop(node.stop());
    let (got, ends) = judge(&notes);
    assert!(bytes.starts_with(&got), "other bytes than were sent");
    match disturbance {
        Disturbance::None => assert_eq!((got.len(), ends), (sent, 1)),
        Disturbance::Reset => assert_eq!(ends, 1, "one Disconnect"),
        // The end of an owner may be the end of the connection, without a process to learn of it.
        Disturbance::Crash | Disturbance::Stop => assert!(ends <= 1, "{ends} Disconnects"),
    }
}

fn relays(world: &World) {
    let node = TestNode::start(world);
    let notes = Notes::default();
    let options = TcpServerOptions::from(addr()).with_read_buffer_size(200);
    let owner = Owner::new(&notes, Some(options));
    let pid = node.spawn(move || owner).expect("spawned");
    let clients = [node.connect(addr()), node.connect(addr())];
    world.run_until(|| clients.iter().all(TestClient::is_connected));
    world.advance(Duration::from_secs(1));
    let bytes = pattern(BYTES);
    let (disturbance, at) = (Disturbance::of(world), 1 + world.draw(STEPS - 1));
    let joins_at = world.draw(at);
    let mut sent = 0;
    for step in 0..STEPS {
        write_some(world, &clients[0], &bytes, &mut sent);
        if step == joins_at {
            node.send(pid, Join).expect("it lives");
        }
        some_time(world);
        if step == at && disturbance != Disturbance::None {
            break;
        }
    }
    match disturbance {
        Disturbance::None => {
            world.run_until(|| clients[0].unwritten() == 0);
            clients[0].half_close();
            world.advance(Duration::from_secs(1));
            clients[1].half_close();
        }
        Disturbance::Reset => clients[world.draw(2) as usize].reset(),
        Disturbance::Crash => node.crash(pid).expect("it lives"),
        Disturbance::Stop => {}
    }
    if disturbance != Disturbance::Stop {
        world.advance(Duration::from_secs(20));
    }
    drop(node.stop());
    world.advance(Duration::from_secs(1));
    let (mut got, ends) = judge(&notes);
    // What the owner had handled before is not relayed.
    got.extend_from_slice(&clients[1].take_received());
    assert!(bytes.starts_with(&got), "other bytes than were sent");
    match disturbance {
        Disturbance::None => assert_eq!((got.len(), ends), (sent, 1)),
        Disturbance::Reset => assert_eq!(ends, 1, "one end of the relay"),
        Disturbance::Crash | Disturbance::Stop => assert!(ends <= 1, "{ends} ends"),
    }
}

#[test]
fn connections_are_handed_over_at_any_moment_by_seeds() {
    explore(0..400, hands_over);
}

#[test]
fn connections_are_relayed_at_any_moment_by_seeds() {
    explore(0..400, relays);
}
