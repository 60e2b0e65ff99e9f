//! What a process does with records.

use std::fmt;

use super::Context;
use crate::message::Message;
use crate::record::Level;

impl Context<'_> {
    /// Makes a record of this process, with its pid, its name and the type of the message in
    /// hand. It is made only if the level of the process, or else of the node, allows it.
    ///
    /// The text is escaped and cut at about 1 KiB. Records of programs are not limited in rate;
    /// more than the logger can write are counted and lost.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// let (open, limit) = (95, 100);
    /// cx.log(longshore::Level::Warn, format_args!("{open} of {limit} tables are taken"));
    /// # Ok(()) }) }
    /// ```
    pub fn log(&mut self, level: Level, text: impl fmt::Display) {
        let env = self.env();
        env.processes.record_own(env.control, level, &text);
    }

    /// Makes the record of a message that is not expected.
    pub(super) fn record_unknown(&mut self, message: &Message) {
        let env = self.env();
        env.processes.record_unknown(env.control, message);
    }

    /// Sets the level of the records of this process and of its sockets; `None`: the node's.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// cx.set_log_level(longshore::Level::Trace);
    /// # Ok(()) }) }
    /// ```
    pub fn set_log_level(&mut self, level: impl Into<Option<Level>>) {
        let env = self.env();
        env.processes.set_log_level(env.control.pid, level.into());
    }
}
