//! One connection to a server: which operations may come when.
//!
//! ```text
//!  Greeting ─ INFO, 1 ─▶ Upgrading ─ secured, 2 ─▶ Greeted
//!     └─────────── INFO without an upgrade ────────────▲
//!  Greeted ─ connect, 3 ─▶ Confirming ─ PONG, 4 ─▶ Ready
//! ```
//!
//! 1. The first operation is INFO; any other ends the connection. Bytes behind an INFO that is answered with a
//!    handshake end it as well: they may be another's.
//! 2. The client's handshake is done.
//! 3. CONNECT and a PING have been sent.
//! 4. The server accepted CONNECT. Messages may come from here on, and each PONG answers one PING.

use super::protocol::info::ServerInfo;
use super::protocol::{Limits, Msg, Op, Parser, ProtocolError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handshake {
    Greeting,
    Upgrading,
    Greeted,
    Confirming,
    Ready,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    parser: Parser,
    phase: Handshake,
    /// PINGs without an answer.
    pings: u32,
}

/// What the server said.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// The first INFO. The caller goes on with [`Session::upgrade`] or [`Session::connect`].
    Greeting(ServerInfo),
    /// A later INFO.
    Info(ServerInfo),
    /// CONNECT was accepted.
    Ready,
    Message(Msg<'a>),
    /// A message of that subscription was skipped.
    Oversized(u64),
    Ping,
    Pong,
    /// An OK that was not asked for.
    Ok,
    Error(&'a [u8]),
}

impl Session {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            parser: Parser::new(limits),
            phase: Handshake::Greeting,
            pings: 0,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.phase == Handshake::Ready
    }

    /// PINGs without an answer.
    pub(super) fn pings(&self) -> u32 {
        self.pings
    }

    /// Returns the next event and takes its bytes off the input. `None`: the input is used up. A table with an arm for
    /// each operation, longer than other functions so that it can be read as one.
    ///
    /// # Errors
    ///
    /// The server broke the protocol, and the connection is to be aborted.
    pub(super) fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        // Plain text behind an INFO that asks for TLS is what an attacker in between could have put there.
        if self.phase == Handshake::Upgrading && !input.is_empty() {
            return Err(ProtocolError::OutOfOrder("plain text behind INFO"));
        }
        let phase = self.phase;
        let Some(op) = self.parser.next(input)? else {
            return Ok(None);
        };
        Ok(Some(match (op, phase) {
            (Op::Info(json), Handshake::Greeting) => {
                self.phase = Handshake::Greeted;
                Event::Greeting(ServerInfo::parse(json)?)
            }
            // In every phase: a server may refuse before CONNECT, and the text says why it ends the connection.
            (Op::Err(text), _) => Event::Error(text),
            (_, Handshake::Greeting) => {
                return Err(ProtocolError::OutOfOrder("the first line is not INFO"));
            }
            (Op::Info(json), _) => Event::Info(ServerInfo::parse(json)?),
            (Op::Ping, _) => Event::Ping,
            (Op::Ok, _) => Event::Ok,
            (Op::Pong, Handshake::Confirming) => {
                self.phase = Handshake::Ready;
                Event::Ready
            }
            // A PONG without a PING would be counted as an answer to a later one, and that flush would report too
            // early.
            (Op::Pong, Handshake::Ready) if self.pings > 0 => {
                self.pings -= 1;
                Event::Pong
            }
            (Op::Pong, _) => return Err(ProtocolError::OutOfOrder("PONG without a PING")),
            // Subscriptions follow CONNECT, so a message before its acceptance belongs to none of them.
            (Op::Msg(message), Handshake::Ready) => Event::Message(message),
            (Op::Oversized { sid, .. }, Handshake::Ready) => Event::Oversized(sid),
            (Op::Msg(_) | Op::Oversized { .. }, _) => {
                return Err(ProtocolError::OutOfOrder(
                    "a message before CONNECT is accepted",
                ));
            }
        }))
    }

    /// The handshake of TLS begins. `rest` is the input behind the INFO.
    ///
    /// # Errors
    ///
    /// There is any.
    pub(super) fn upgrade(&mut self, rest: &[u8]) -> Result<(), ProtocolError> {
        self.phase = Handshake::Upgrading;
        if rest.is_empty() {
            Ok(())
        } else {
            Err(ProtocolError::OutOfOrder("plain text behind INFO"))
        }
    }

    /// The handshake of TLS is done.
    pub(super) fn secured(&mut self) {
        self.phase = Handshake::Greeted;
    }

    /// CONNECT and a PING have been sent.
    pub(super) fn connect(&mut self) {
        self.phase = Handshake::Confirming;
    }

    /// Further PINGs have been sent.
    pub(super) fn pinged(&mut self, pings: u32) {
        self.pings += pings;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session::new(Limits {
            max_control_line: 128,
            max_payload: 100,
        })
    }

    /// The events of that input, by name, or the error.
    fn feed(session: &mut Session, mut input: &[u8]) -> Result<Vec<&'static str>, ProtocolError> {
        let mut names = Vec::new();
        loop {
            match session.next(&mut input)? {
                None => return Ok(names),
                Some(event) => names.push(match event {
                    Event::Greeting(_) => "greeting",
                    Event::Info(_) => "info",
                    Event::Ready => "ready",
                    Event::Message(_) => "message",
                    Event::Oversized(_) => "oversized",
                    Event::Ping => "ping",
                    Event::Pong => "pong",
                    Event::Ok => "ok",
                    Event::Error(_) => "error",
                }),
            }
        }
    }

    #[test]
    fn a_connection_goes_from_info_to_ready_and_answers_come_one_for_each_ping() {
        let mut session = session();
        assert_eq!(
            feed(&mut session, b"INFO {}\r\nPING\r\n"),
            Ok(vec!["greeting", "ping"])
        );
        session.connect();
        assert_eq!(
            feed(&mut session, b"+OK\r\nPONG\r\n"),
            Ok(vec!["ok", "ready"])
        );
        session.pinged(2);
        let input = b"MSG a 1 1\r\nx\r\nPONG\r\nMSG a 1 101\r\n";
        assert_eq!(
            feed(&mut session, input),
            Ok(vec!["message", "pong", "oversized"])
        );
        assert_eq!(session.pings(), 1);
    }

    #[test]
    fn operations_out_of_order_are_errors() {
        let message = b"MSG a 1 1\r\nx\r\n";
        for first in [&message[..], b"PING\r\n", b"PONG\r\n", b"+OK\r\n"] {
            assert!(feed(&mut session(), first).is_err(), "before INFO");
        }
        assert_eq!(feed(&mut session(), b"-ERR 'x'\r\n"), Ok(vec!["error"]));
        let mut greeted = session();
        assert!(
            feed(&mut greeted, b"INFO {}\r\nPONG\r\n").is_err(),
            "nothing was asked"
        );
        let mut confirming = session();
        feed(&mut confirming, b"INFO {}\r\n").expect("a greeting");
        confirming.connect();
        assert!(
            feed(&mut confirming, message).is_err(),
            "nothing is subscribed"
        );
        let mut ready = session();
        feed(&mut ready, b"INFO {}\r\n").expect("a greeting");
        ready.connect();
        assert!(
            feed(&mut ready, b"PONG\r\nPONG\r\n").is_err(),
            "one PING, two answers"
        );
    }

    #[test]
    fn plain_text_behind_the_info_that_asks_for_tls_is_an_error() {
        let mut session = session();
        let mut input = &b"INFO {\"tls_required\":true}\r\n+OK\r\n"[..];
        assert!(matches!(
            session.next(&mut input),
            Ok(Some(Event::Greeting(_)))
        ));
        assert!(session.upgrade(input).is_err());
        assert!(session.next(&mut input).is_err());
    }

    #[test]
    fn a_later_info_is_read_and_a_malformed_one_is_an_error() {
        let mut session = session();
        assert_eq!(
            feed(&mut session, b"INFO {}\r\nINFO {\"ldm\":true}\r\n"),
            Ok(vec!["greeting", "info"])
        );
        assert!(feed(&mut session, b"INFO {]\r\n").is_err());
    }
}
