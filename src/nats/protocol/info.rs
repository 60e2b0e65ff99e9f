//! INFO, what a server says about itself, and CONNECT, the client's answer.

use super::ProtocolError;
use super::json::{self, Value};
use crate::memory::buffer::Buffer;

/// The most peers of a cluster that are kept of one INFO.
// Far above the size of a cluster, and a limit to what a server can make a client remember.
const MAX_URLS: usize = 256;

/// The part of an INFO that a client uses. What a server leaves out has the default of the protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerInfo {
    pub(crate) server_name: String,
    pub(crate) version: String,
    /// The largest headers and payload together that this server accepts, in bytes.
    pub(crate) max_payload: usize,
    pub(crate) headers: bool,
    pub(crate) auth_required: bool,
    pub(crate) tls_required: bool,
    pub(crate) tls_available: bool,
    /// What an nkey signs.
    pub(crate) nonce: String,
    /// `host:port` of the servers of the cluster.
    pub(crate) connect_urls: Vec<String>,
    /// The server is about to shut down.
    pub(crate) lame_duck: bool,
}

impl ServerInfo {
    /// Reads the JSON of an INFO. Unknown fields are ignored.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Info`]: not JSON, not an object, or a field with a value of another type.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let value = json::parse(bytes).map_err(ProtocolError::Info)?;
        if !matches!(value, Value::Object(_)) {
            return Err(ProtocolError::Info("not an object"));
        }
        let text = |name| match value.field(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(ProtocolError::Info("a field is not a string")),
        };
        let flag = |name| match value.field(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(ProtocolError::Info("a field is not a boolean")),
        };
        Ok(Self {
            server_name: text("server_name")?,
            version: text("version")?,
            max_payload: max_payload(&value)?,
            headers: flag("headers")?,
            auth_required: flag("auth_required")?,
            tls_required: flag("tls_required")?,
            tls_available: flag("tls_available")?,
            nonce: text("nonce")?,
            connect_urls: connect_urls(&value)?,
            lame_duck: flag("ldm")?,
        })
    }
}

fn max_payload(info: &Value<'_>) -> Result<usize, ProtocolError> {
    match info.field("max_payload") {
        // The default of nats-server.
        None | Some(Value::Null) => Ok(1 << 20),
        Some(Value::Number(digits)) => digits
            .parse()
            .map_err(|_| ProtocolError::Info("max_payload is out of range")),
        Some(_) => Err(ProtocolError::Info("max_payload is not a number")),
    }
}

fn connect_urls(info: &Value<'_>) -> Result<Vec<String>, ProtocolError> {
    let values = match info.field("connect_urls") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(values)) => values,
        Some(_) => return Err(ProtocolError::Info("connect_urls is not an array")),
    };
    let urls = values.iter().take(MAX_URLS).map(|value| match value {
        Value::String(url) => Ok(url.clone()),
        _ => Err(ProtocolError::Info("connect_urls has other than strings")),
    });
    urls.collect()
}

/// What CONNECT says.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectOptions<'a> {
    /// A name for the server's monitoring.
    pub(crate) name: &'a str,
    pub(crate) user: Option<&'a str>,
    pub(crate) password: Option<&'a str>,
    pub(crate) token: Option<&'a str>,
    /// The public key, and the signature of the nonce.
    pub(crate) nkey: Option<(&'a str, &'a str)>,
    /// Whether messages that this client publishes come back to its own subscriptions.
    pub(crate) echo: bool,
    pub(crate) tls: bool,
    /// Whether the server said that it knows headers.
    pub(crate) headers: bool,
}

impl ConnectOptions<'_> {
    /// Appends CONNECT.
    pub(crate) fn encode(&self, out: &mut Buffer) {
        // With `verbose` the server would answer each operation with +OK, which confirms less than the PONG that
        // flushes ask for.
        let mut json = String::from(r#"{"verbose":false,"pedantic":false,"lang":"rust""#);
        let version = env!("CARGO_PKG_VERSION");
        let texts = [
            ("version", Some(version)),
            ("name", Some(self.name).filter(|name| !name.is_empty())),
            ("user", self.user),
            ("pass", self.password),
            ("auth_token", self.token),
            ("nkey", self.nkey.map(|(key, _)| key)),
            ("sig", self.nkey.map(|(_, signature)| signature)),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                json.push(',');
                json::write_string(&mut json, name);
                json.push(':');
                json::write_string(&mut json, text);
            }
        }
        let flags = [
            ("echo", self.echo),
            ("tls_required", self.tls),
            ("headers", self.headers),
            // The answer is a status in a header, so a server refuses the wish for it without the one for headers.
            ("no_responders", self.headers),
        ];
        for (name, flag) in flags {
            json.push(',');
            json::write_string(&mut json, name);
            json.push_str(if flag { ":true" } else { ":false" });
        }
        // The level that makes the server send further INFO lines, with its cluster and its lame duck mode.
        json.push_str(r#","protocol":1}"#);
        out.extend_from_slice(b"CONNECT ");
        out.extend_from_slice(json.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}
