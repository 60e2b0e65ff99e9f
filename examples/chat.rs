//! A chat room: one actor, one TCP port, and each line is a message.
//!
//! ```text
//! cargo run --release --example chat -- 127.0.0.1:7000
//! nc 127.0.0.1 7000            # in several terminals; the first line is your name
//! ```

use std::collections::HashMap;

use longshore::prelude::*;

struct Room {
    address: String,
    /// The connected guests; a guest has a name after the first line.
    guests: HashMap<Alias, Option<String>>,
}

impl Actor for Room {
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
                self.guests.insert(connect.id, None);
                cx.write(connect.id, "what is your name?\n");
            }
            Message::Tcp(line) => {
                let text = printable(&line.data); // without its line end
                let Some(guest) = self.guests.get_mut(&line.id) else {
                    return Ok(());
                };
                let shown = match guest {
                    Some(name) => format!("{name}: {text}\n"),
                    None => format!("* {} is here\n", guest.insert(text)),
                };
                self.send_to_others(cx, line.id, &shown);
            }
            Message::TcpDisconnect(disconnect) => {
                if let Some(Some(name)) = self.guests.remove(&disconnect.id) {
                    self.send_to_others(
                        cx,
                        disconnect.id,
                        &format!("* {name} has left: {}\n", disconnect.reason),
                    );
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Room {
    fn send_to_others(&self, cx: &mut Context<'_>, speaker: Alias, text: &str) {
        let others = self
            .guests
            .iter()
            .filter(|(guest, name)| **guest != speaker && name.is_some());
        // The line is stored once. A guest who reads too slowly is disconnected, and the others do not wait.
        cx.broadcast(others.map(|(guest, _)| *guest), text);
    }
}

/// The text of a guest, without what would move the cursor or change the colors on the terminals of the others, or show
/// the text in another order than it has.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for character in String::from_utf8_lossy(bytes).chars() {
        let is_direction = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || is_direction {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

fn main() -> Result<(), longshore::Error> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:7000".into());
    let report = Node::run("chat@localhost", || Room {
        address,
        guests: HashMap::new(),
    })?; // until Ctrl-C
    println!("{report}"); // what was cut off
    Ok(())
}
