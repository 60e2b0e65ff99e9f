//! A chat whose rooms crash and come back, while their members stay connected.
//!
//! ```text
//! cargo run --release --example supervised -- 127.0.0.1:7000
//! nc 127.0.0.1 7000            # in several terminals; the first line is your name
//!                              # /join ROOM enters another room, /crash is too much for a room
//!
//! root ─┬─ rooms ─┬─ lobby     a room for each name; what was said is lost with it
//!       │         └─ …
//!       └─ door                the port, the connections and who is in which room
//! ```

use std::collections::HashMap;
use std::time::Duration;

use longshore::prelude::*;

const LIMIT: Duration = Duration::from_secs(5);

/// What the door sends to a room.
enum ToRoom {
    Enter(Alias, String),
    Leave(Alias),
    Say(Alias, String),
    Crash,
}

/// What a room sends to the door: a line for one member.
struct Line(Alias, String);

/// What a room sends to the door when it starts.
struct Opened(Name);

struct Room {
    name: Name,
    members: HashMap<Alias, String>,
    said: usize,
}

impl Room {
    fn child(name: &Name) -> Child {
        let room = name.clone();
        Child::new(name.clone(), move || Self {
            name: room.clone(),
            members: HashMap::new(),
            said: 0,
        })
        .registered()
    }

    fn tell(&self, cx: &mut Context<'_>, speaker: Alias, text: &str) -> Result<(), Reason> {
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
                self.tell(cx, member, &format!("* {name} is here"))?;
                let greeting = format!("* {}, lines so far: {}", self.name, self.said);
                cx.send("door", Line(member, greeting))?;
                self.members.insert(member, name);
            }
            Ok(ToRoom::Leave(member)) => {
                if let Some(name) = self.members.remove(&member) {
                    self.tell(cx, member, &format!("* {name} has left"))?;
                }
            }
            Ok(ToRoom::Say(member, text)) => {
                self.said += 1;
                let name = self.members.get(&member).map_or("?", String::as_str);
                self.tell(cx, member, &format!("{name}: {text}"))?;
            }
            Ok(ToRoom::Crash) => panic!("too much for {}", self.name),
            Err(_) => {}
        }
        Ok(())
    }
}

/// A connected member.
struct Member {
    name: String,
    room: Name,
}

struct Door {
    address: String,
    /// With a name as soon as they have said one.
    members: HashMap<Alias, Option<Member>>,
}

impl Door {
    fn handle_line(&mut self, cx: &mut Context<'_>, id: Alias, text: String) -> Result<(), Reason> {
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        match member {
            None => {
                let room = Name::from("lobby");
                *member = Some(Member { name: text, room });
                self.enter(cx, id)?;
            }
            Some(member) => match text.split_once(' ') {
                Some(("/join", room)) => {
                    to_room(cx, id, &member.room, ToRoom::Leave(id));
                    member.room = Name::from(room);
                    self.enter(cx, id)?;
                }
                _ if text == "/crash" => to_room(cx, id, &member.room, ToRoom::Crash),
                _ => to_room(cx, id, &member.room, ToRoom::Say(id, text)),
            },
        }
        Ok(())
    }

    /// Opens the room if need be; one that opens is entered by all its members.
    fn enter(&self, cx: &mut Context<'_>, id: Alias) -> Result<(), Reason> {
        let Some(Some(member)) = self.members.get(&id) else {
            return Ok(());
        };
        if cx.whereis(member.room.clone()).is_some() {
            let enter = ToRoom::Enter(id, member.name.clone());
            to_room(cx, id, &member.room, enter);
        } else {
            cx.add_child("rooms", Room::child(&member.room), LIMIT)?;
        }
        Ok(())
    }

    fn handle_opened(&self, cx: &mut Context<'_>, room: &Name) {
        for (id, member) in &self.members {
            if let Some(member) = member.as_ref().filter(|member| member.room == *room) {
                to_room(cx, *id, room, ToRoom::Enter(*id, member.name.clone()));
            }
        }
    }
}

impl Actor for Door {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let options =
            TcpServerOptions::from(&self.address).with_framing(Framing::Lines { max_length: 512 });
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
                let text = String::from_utf8_lossy(&line.data).into_owned(); // without its line end
                self.handle_line(cx, line.id, text)?;
            }
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
fn to_room(cx: &mut Context<'_>, member: Alias, room: &Name, message: ToRoom) {
    if cx.send(room, message).is_err() {
        say(cx, member, &format!("* {room} is closed for a moment"));
    }
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
                })
                .registered(),
            )
    })?; // until Ctrl-C
    println!("{report}"); // what was cut off
    Ok(())
}
