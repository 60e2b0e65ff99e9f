//! Where the secrets of sessions are written, for tools that decrypt a capture.

use std::fmt::{self, Write};
use std::sync::Arc;

use rustls::KeyLogFile;

/// Writes the secrets of each session down, in the format that Wireshark, tcpdump and others read (NSS key log).
///
/// **Insecure**: a line is enough to read and to forge everything of its session. For debugging.
///
/// Cloning is cheap, and a clone writes to the same place.
///
/// ```
/// use longshore::tls::{KeyLog, TlsClientOptions};
///
/// let options = TlsClientOptions::default().with_key_log(KeyLog::from_env());
/// let lines = KeyLog::new(|line| eprintln!("{line}"));
/// # let _ = (options, lines);
/// ```
#[derive(Clone)]
pub struct KeyLog(Arc<dyn rustls::KeyLog>);

impl KeyLog {
    /// Appends to the file that the environment variable `SSLKEYLOGFILE` names now. Without it, or if the file cannot
    /// be opened, nothing is written. The file is written where the handshake is computed, and may block it.
    pub fn from_env() -> Self {
        Self(Arc::new(KeyLogFile::new()))
    }

    /// Calls `sink` with each line, without its end. It runs where the handshake is computed, so it must not block.
    pub fn new(sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Sink(sink)))
    }

    pub(super) fn as_rustls(&self) -> Arc<dyn rustls::KeyLog> {
        Arc::clone(&self.0)
    }
}

impl From<Arc<dyn rustls::KeyLog>> for KeyLog {
    fn from(log: Arc<dyn rustls::KeyLog>) -> Self {
        Self(log)
    }
}

impl fmt::Debug for KeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyLog")
    }
}

struct Sink<F>(F);

impl<F: Fn(&str) + Send + Sync> rustls::KeyLog for Sink<F> {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line = String::from(label);
        for bytes in [client_random, secret] {
            line.push(' ');
            for byte in bytes {
                // Writing to a string does not fail.
                let _ = write!(line, "{byte:02x}");
            }
        }
        (self.0)(&line);
    }
}

impl<F> fmt::Debug for Sink<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}
