//! Records: what an operator should know, one line each.
//!
//! ```text
//!  worker, stripe, monitor … ── Log::record ──▶ level? ──▶ rate limit ──▶ ring of 256 ──▶ sink's thread ──▶ Logger
//!                                                 │ no          │ no         │ full          │ blocks
//!                                                 ▼             ▼            ▼               ▼
//!                                               nothing      counted      counted      only this thread
//! ```
//!
//! A [`Record`] is made on the thread where something happened and written by a thread of its
//! own, which the first record starts and the node's stop flushes and ends. So a sink that
//! blocks, such as a full pipe behind standard error, holds up neither sockets nor processes.
//!
//! Text from outside (a reason, an address, a name) is [escaped](escape), so that a peer can
//! neither forge a line nor send sequences to a terminal.
//!
//! What it does not do: it does not decide what is worth a record; the modules that make one do.

mod escape;
mod kind;
mod level;
mod limit;
mod log;
mod sink;
mod time;

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::error::Reason;
use crate::id::{Alias, Name, Pid};
use escape::Escape;

pub(crate) use kind::Kind;
pub use level::{Level, ParseLevelError};
pub(crate) use log::Log;
pub use sink::Logger;

/// Something an operator should know. A [`Logger`] gets it.
///
/// Its `Display` is one line without time and level: the text, then the fields that it has.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Record {
    /// How serious it is.
    pub level: Level,
    /// When it was made.
    pub time: SystemTime,
    /// What it is about: a stable name such as `process_ended`, for filters and counters. A
    /// record from [`Context::log`](crate::Context::log) is `program`.
    pub kind: &'static str,
    /// What happened, escaped: a single line of at most about 1 KiB.
    pub text: String,
    /// The process that it is about; for a meta-process, its parent.
    pub pid: Option<Pid>,
    /// The registered name of that process.
    pub name: Option<Name>,
    /// The meta-process that it is about.
    pub alias: Option<Alias>,
    /// Type of the actor, or of the meta-process: `my_program::Echo`.
    pub actor: Option<&'static str>,
    /// Type of the message in hand: what the process or meta-process was handling.
    pub message: Option<&'static str>,
    /// Why something ended. Its text is not escaped; `Display` of the record escapes it.
    pub reason: Option<Reason>,
    /// How long it had lived.
    pub lifetime: Option<Duration>,
}

impl Record {
    fn new(level: Level, kind: Kind) -> Self {
        Self {
            level,
            time: SystemTime::now(),
            kind: kind.name(),
            text: String::new(),
            pid: None,
            name: None,
            alias: None,
            actor: None,
            message: None,
            reason: None,
            lifetime: None,
        }
    }

    /// Sets the text, escaped.
    pub(crate) fn set_text(&mut self, text: impl fmt::Display) {
        // Set once more, it replaces the text.
        self.text.clear();
        // A `Display` that fails leaves what it has written.
        let _ = Escape::new(&mut self.text).write(text);
    }
}

/// The text and the reason of a record, escaped.
struct Summary<'a>(&'a Record);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)?;
        if let Some(reason) = &self.0.reason {
            f.write_str(": ")?;
            Escape::new(f).write(reason)?;
        }
        Ok(())
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Summary(self).fmt(f)?;
        if let Some(pid) = self.pid {
            write!(f, " pid={pid}")?;
        }
        if let Some(name) = &self.name {
            f.write_str(" name=")?;
            Escape::new(f).write(name)?;
        }
        if let Some(alias) = self.alias {
            write!(f, " alias={alias}")?;
        }
        if let Some(actor) = self.actor {
            write!(f, " actor={actor}")?;
        }
        if let Some(message) = self.message {
            write!(f, " message={message}")?;
        }
        if let Some(lifetime) = self.lifetime {
            write!(f, " lifetime={:.3}s", lifetime.as_secs_f64())?;
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn line_has_the_text_the_reason_and_the_fields_that_are_there() {
        let mut record = Record::new(Level::Error, Kind::ProcessEnded);
        record.set_text("process ended");
        record.reason = Some(Reason::error("no paper\nfatal: \x1b[31m"));
        record.pid = Some(Pid::NODE);
        record.name = Some(Name::from("printer"));
        record.actor = Some("office::Printer");
        record.message = Some("office::Job");
        record.lifetime = Some(Duration::from_millis(1_234));
        assert_eq!(
            record.to_string(),
            "process ended: no paper\\nfatal: \\u{1b}[31m pid=<0.0> name=printer \
             actor=office::Printer message=office::Job lifetime=1.234s"
        );
    }
}
