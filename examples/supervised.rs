//! A chat whose rooms crash and come back, while their members stay connected.
//!
//! ```text
//! cargo run --release --example supervised -- 127.0.0.1:7000
//! nc 127.0.0.1 7000            # in several terminals; the first line is your name
//!                              # /join ROOM enters another room, /crash is too much for a room
//!                              # a line that a room has lost with a crash is reported to who said it
//!
//! root ─┬─ rooms ─┬─ lobby     a room for each name; what was said is lost with it
//!       │         └─ …
//!       └─ door                the port, the connections and who is in which room
//! ```

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use longshore::MessageReply;
use longshore::prelude::*;

const LIMIT: Duration = Duration::from_secs(5);
/// What guests choose is bounded: rooms stay as long as the chat does.
const MAX_ROOMS: usize = 100;

/// What the door sends to a room.
enum ToRoom {
    Enter(Alias, String),
    Leave(Alias),
    Crash,
}

/// What the door asks of a room. Without an answer the line is lost.
struct Say(Alias, String);

impl Request for Say {
    type Reply = ();
}

/// What a room sends to the door: a line for one member.
struct Line(Alias, String);

/// What a room sends to the door when it starts.
struct Opened(String);

struct Room {
    name: String,
    members: HashMap<Alias, String>,
    said: usize,
}

impl Room {
    fn child(name: &str) -> Child {
        let room = name.to_owned();
        Child::new(registered(name), move || Self {
            name: room.clone(),
            members: HashMap::new(),
            said: 0,
        })
        .registered()
    }

    fn write_line(&self, cx: &mut Context<'_>, speaker: Alias, text: &str) -> Result<(), Reason> {
        for member in self.members.keys().filter(|member| **member != speaker) {
            cx.send("door", Line(*member, text.to_owned()))?;
        }
        Ok(())
    }
}

impl Actor for Room {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        cx.send("door", Opened(self.name.clone()))?;
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message.downcast::<ToRoom>() {
            Ok(ToRoom::Enter(member, name)) => {
                self.write_line(cx, member, &format!("* {name} is here"))?;
                let greeting = format!("* {}, lines so far: {}", self.name, self.said);
                cx.send("door", Line(member, greeting))?;
                self.members.insert(member, name);
            }
            Ok(ToRoom::Leave(member)) => {
                if let Some(name) = self.members.remove(&member) {
                    self.write_line(cx, member, &format!("* {name} has left"))?;
                }
            }
            Ok(ToRoom::Crash) => panic!("too much for {}", self.name),
            Err(_) => {}
        }
        Ok(())
    }

    fn handle_call(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
        reply: Reply,
    ) -> Result<(), Reason> {
        if let Ok(Say(member, text)) = message.downcast() {
            self.said += 1;
            let name = self.members.get(&member).map_or("?", String::as_str);
            self.write_line(cx, member, &format!("{name}: {text}"))?;
            reply.send(());
        }
        Ok(())
    }
}

/// The name of a room's process, which is that of no other one.
fn registered(room: &str) -> Name {
    Name::from(format!("room {room}"))
}

/// The text of a guest, without what would move the cursor or change the colors on the terminals of the others.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.replace(char::is_control, "?")
}

/// A connected member.
struct Member {
    name: String,
    room: String,
}

struct Door {
    address: String,
    /// With a name as soon as they have said one.
    members: HashMap<Alias, Option<Member>>,
    rooms: HashSet<String>,
}

impl Door {
    fn handle_line(&mut self, cx: &mut Context<'_>, id: Alias, text: String) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        match member {
            None => {
                let room = String::from("lobby");
                *member = Some(Member { name: text, room });
                self.enter(cx, id);
            }
            Some(member) => match text.split_once(' ') {
                Some(("/join", room)) => {
                    let is_name = (1..=32).contains(&room.len())
                        && room.bytes().all(|byte| byte.is_ascii_alphanumeric());
                    if !is_name {
                        return say(
                            cx,
                            id,
                            "* the name of a room has 1 to 32 letters and digits",
                        );
                    }
                    if self.rooms.len() >= MAX_ROOMS && !self.rooms.contains(room) {
                        return say(cx, id, "* there are no more rooms");
                    }
                    to_room(cx, id, &member.room, ToRoom::Leave(id));
                    room.clone_into(&mut member.room);
                    self.enter(cx, id);
                }
                _ if text == "/crash" => to_room(cx, id, &member.room, ToRoom::Crash),
                _ => {
                    let asked =
                        cx.ask(registered(&member.room), Say(id, text), LIMIT, id.to_bits());
                    if asked.is_err() {
                        say_closed(cx, id, &member.room);
                    }
                }
            },
        }
    }

    /// Opens the room if need be; one that opens is entered by all its members.
    fn enter(&mut self, cx: &mut Context<'_>, id: Alias) {
        let Some(Some(member)) = self.members.get(&id) else {
            return;
        };
        let room = &member.room;
        if cx.whereis(registered(room)).is_some() {
            to_room(cx, id, room, ToRoom::Enter(id, member.name.clone()));
        } else if cx.add_child("rooms", Room::child(room), LIMIT).is_err() {
            say_closed(cx, id, room);
        } else {
            self.rooms.insert(room.clone());
        }
    }

    /// A room has answered, or has lost what was said.
    fn handle_reply(&self, cx: &mut Context<'_>, reply: &MessageReply) {
        if let Some(id) = Alias::from_bits(reply.label)
            && reply.result.is_err()
            && let Some(Some(member)) = self.members.get(&id)
        {
            say(cx, id, &format!("* {} has lost your line", member.room));
        }
    }

    fn handle_opened(&self, cx: &mut Context<'_>, room: &str) {
        for (id, member) in &self.members {
            if let Some(member) = member.as_ref().filter(|member| member.room == *room) {
                to_room(cx, *id, room, ToRoom::Enter(*id, member.name.clone()));
            }
        }
    }
}

impl Actor for Door {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let options = TcpServerOptions::from(&self.address)
            .with_framing(Framing::lines().with_max_length(512));
        let server = TcpServer::bind(options)?;
        println!("{}", server.local_addr());
        cx.spawn_meta(server)?;
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message {
            Message::TcpConnect(connect) => {
                self.members.insert(connect.id, None);
                say(cx, connect.id, "what is your name?");
            }
            Message::Tcp(line) => {
                self.handle_line(cx, line.id, printable(&line.data)); // without its line end
            }
            Message::Reply(reply) => self.handle_reply(cx, &reply),
            Message::TcpDisconnect(disconnect) => {
                let id = disconnect.id;
                if let Some(Some(member)) = self.members.remove(&id) {
                    to_room(cx, id, &member.room, ToRoom::Leave(id));
                }
            }
            message => match message.downcast::<Line>() {
                Ok(Line(member, text)) => say(cx, member, &text),
                Err(message) => {
                    if let Ok(Opened(room)) = message.into_message().downcast::<Opened>() {
                        self.handle_opened(cx, &room);
                    }
                }
            },
        }
        Ok(())
    }
}

/// Sends to a room, which may be crashing or starting.
fn to_room(cx: &mut Context<'_>, member: Alias, room: &str, message: ToRoom) {
    if cx.send(registered(room), message).is_err() {
        say_closed(cx, member, room);
    }
}

fn say_closed(cx: &mut Context<'_>, member: Alias, room: &str) {
    say(cx, member, &format!("* {room} is closed for a moment"));
}

/// A member who reads too slowly is disconnected, so that no line is missing unnoticed.
fn say(cx: &mut Context<'_>, member: Alias, text: &str) {
    cx.write(member, format!("{text}\n"));
}

fn main() -> Result<(), longshore::Error> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:7000".into());
    let report = Node::run("chat@localhost", move || {
        Supervisor::one_for_one()
            .with_child(Child::new("rooms", Supervisor::dynamic).registered())
            .with_child(
                Child::new("door", move || Door {
                    address: address.clone(),
                    members: HashMap::new(),
                    rooms: HashSet::new(),
                })
                .registered(),
            )
    })?; // until Ctrl-C
    println!("{report}"); // what was cut off
    Ok(())
}
