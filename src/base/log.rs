//! Log records of the runtime: few, each for something an operator may want to act on.
//!
//! They go to the function given in [`NodeOptions`](crate::NodeOptions), or nowhere. The crate never writes to standard
//! output or standard error by itself.

use std::fmt;
use std::sync::Arc;

use crate::base::unwind::{catch_panic, drop_catching};

/// How serious a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Level {
    /// Something was lost or refused.
    Warning,
    /// Something of interest happened.
    Info,
}

type Sink = dyn Fn(Level, fmt::Arguments<'_>) + Send + Sync;

/// Where records go.
#[derive(Clone, Default)]
pub(crate) struct Logger(Option<Arc<Sink>>);

impl Logger {
    pub(crate) fn new(sink: impl Fn(Level, fmt::Arguments<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(sink)))
    }

    pub(crate) fn warning(&self, text: fmt::Arguments<'_>) {
        self.log(Level::Warning, text);
    }

    pub(crate) fn info(&self, text: fmt::Arguments<'_>) {
        self.log(Level::Info, text);
    }

    fn log(&self, level: Level, text: fmt::Arguments<'_>) {
        if let Some(sink) = &self.0 {
            // What records trouble makes none: its own panic ends nothing.
            drop_catching(catch_panic(|| sink(level, text)));
        }
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Logger")
    }
}
