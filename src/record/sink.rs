//! Where records go: [`Logger`].

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

#[cfg(feature = "tracing")]
use super::Summary;
use super::time::Utc;
use super::{Level, Record};

/// Where the records of a node go; for
/// [`NodeOptions::with_logger`](crate::NodeOptions::with_logger).
///
/// The default is [`Logger::stderr`]. A logger is called on a thread of its own, one record after
/// the other: it may block without holding up the node, which then counts what it leaves out. A
/// panic in it is caught.
///
/// ```
/// use longshore::{Logger, NodeOptions, Record};
///
/// let quiet = NodeOptions::default().with_logger(Logger::none());
/// let own = NodeOptions::default().with_logger(|record: &Record| {
///     println!("{} {record}", record.level);
/// });
/// ```
#[derive(Clone)]
pub struct Logger(Sink);

#[derive(Clone)]
enum Sink {
    None,
    Stderr,
    #[cfg(feature = "log")]
    Log,
    #[cfg(feature = "tracing")]
    Tracing,
    Call(Arc<dyn Fn(&Record) + Send + Sync>),
}

impl Logger {
    /// Lines on standard error: time, level, text, fields. A write that fails loses its line.
    ///
    /// ```
    /// use longshore::{Level, Logger, NodeOptions};
    ///
    /// // More than the default, which is `Warn` and above.
    /// let options = NodeOptions::default()
    ///     .with_logger(Logger::stderr())
    ///     .with_log_level(Level::Debug);
    /// ```
    pub const fn stderr() -> Self {
        Self(Sink::Stderr)
    }

    /// No records at all.
    ///
    /// ```
    /// use longshore::{Logger, NodeOptions};
    ///
    /// let options = NodeOptions::default().with_logger(Logger::none());
    /// ```
    pub const fn none() -> Self {
        Self(Sink::None)
    }

    /// Records for the `log` crate, with the target `longshore`.
    ///
    /// ```
    /// use longshore::{Logger, NodeOptions};
    ///
    /// let options = NodeOptions::default().with_logger(Logger::log());
    /// ```
    #[cfg(feature = "log")]
    pub const fn log() -> Self {
        Self(Sink::Log)
    }

    /// Events for the `tracing` crate, with the target `longshore` and the fields of the
    /// [`Record`]. They go to the global default subscriber, because they come from a thread of
    /// the node.
    ///
    /// ```
    /// use longshore::{Logger, NodeOptions};
    ///
    /// let options = NodeOptions::default().with_logger(Logger::tracing());
    /// ```
    #[cfg(feature = "tracing")]
    pub const fn tracing() -> Self {
        Self(Sink::Tracing)
    }

    /// The level of a node that sets none: `Warn` for standard error, `Info` for the others.
    pub(crate) const fn default_level(&self) -> Level {
        match self.0 {
            Sink::Stderr => Level::Warn,
            _ => Level::Info,
        }
    }

    /// Whether records go anywhere.
    pub(super) const fn is_some(&self) -> bool {
        !matches!(self.0, Sink::None)
    }

    /// Writes one record; may block.
    pub(super) fn write(&self, record: &Record) {
        match &self.0 {
            Sink::None => {}
            Sink::Stderr => write_line(record),
            #[cfg(feature = "log")]
            Sink::Log => write_log(record),
            #[cfg(feature = "tracing")]
            Sink::Tracing => write_tracing(record),
            Sink::Call(call) => call(record),
        }
    }
}

/// One write for a line, so that lines of several programs on one terminal do not mix.
fn write_line(record: &Record) {
    let line = format!("{} {:5} {record}\n", Utc(record.time), record.level);
    // There is no other place where this error could be reported.
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

#[cfg(feature = "log")]
fn write_log(record: &Record) {
    let level = match record.level {
        Level::Error => log::Level::Error,
        Level::Warn => log::Level::Warn,
        Level::Info => log::Level::Info,
        Level::Debug => log::Level::Debug,
        Level::Trace => log::Level::Trace,
    };
    log::log!(target: "longshore", level, "{record}");
}

#[cfg(feature = "tracing")]
fn write_tracing(record: &Record) {
    // The level of an event is part of its static description, so each level has its own.
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(
                target: "longshore",
                tracing::Level::$level,
                kind = record.kind,
                pid = record.pid.map(tracing::field::display),
                name = record.name.as_ref().map(tracing::field::display),
                alias = record.alias.map(tracing::field::display),
                actor = record.actor,
                message_type = record.message,
                lifetime_ms = record.lifetime.map(|lifetime| lifetime.as_millis() as u64),
                "{}",
                Summary(record),
            )
        };
    }
    match record.level {
        Level::Error => event!(ERROR),
        Level::Warn => event!(WARN),
        Level::Info => event!(INFO),
        Level::Debug => event!(DEBUG),
        Level::Trace => event!(TRACE),
    }
}

impl Default for Logger {
    fn default() -> Self {
        Self::stderr()
    }
}

impl<F: Fn(&Record) + Send + Sync + 'static> From<F> for Logger {
    fn from(call: F) -> Self {
        Self(Sink::Call(Arc::new(call)))
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.0 {
            Sink::None => "none",
            Sink::Stderr => "stderr",
            #[cfg(feature = "log")]
            Sink::Log => "log",
            #[cfg(feature = "tracing")]
            Sink::Tracing => "tracing",
            Sink::Call(_) => "closure",
        };
        write!(f, "Logger({name})")
    }
}
