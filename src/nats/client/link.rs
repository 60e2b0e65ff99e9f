//! Connections: making one, what the server's greeting asks for, and what the loss of one means.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Client, Drain, Due, NatsError, Then};
use crate::actor::Context;
use crate::base::order::in_order;
use crate::bridge::Timer;
use crate::error::reason::Reason;
use crate::id::Alias;
use crate::memory::buffer::Buffer;
use crate::message::{Flow, StartTlsError, WriteData};
use crate::nats::handle::random;
use crate::nats::message::MessageNatsStatus;
use crate::nats::options::NatsAuth;
use crate::nats::outbox::Chunk;
use crate::nats::protocol::encode::{self, PING};
use crate::nats::protocol::info::{ConnectOptions, ServerInfo};
use crate::nats::protocol::{Limits, ProtocolError};
use crate::nats::session::Session;
use crate::nats::shared::INBOX_SID;
use crate::net::options::{TcpConnectionOptions, TcpLimits};
use crate::net::tcp::TcpConnection;
use crate::tls::StartTls;

/// Bytes of output above which a connection gets no more, until a quarter of it is left.
const HIGH: u32 = 1 << 20;

/// Bytes of one chunk of subscriptions.
const LINES: usize = 64 << 10;

/// One connection, from the attempt on.
pub(super) struct Link {
    pub(super) alias: Alias,
    /// `host:port`.
    pub(super) server: Arc<str>,
    pub(super) session: Session,
    pub(super) info: ServerInfo,
    pub(super) is_tls: bool,
    /// The output is above its high mark; a Writable follows.
    pub(super) is_blocked: bool,
    /// A PONG is to be sent.
    pub(super) owes_pong: bool,
    /// No chunk is sent any more: the server is about to shut down.
    pub(super) is_leaving: bool,
    /// Errors that the server has sent.
    pub(super) errors: u32,
    pub(super) last_error: Option<Arc<str>>,
    deadline: Timer,
}

impl Link {
    /// Gives the connection bytes, or gives them back: the output is full, or the connection has ended and its
    /// Disconnect is on its way.
    pub(super) fn write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: impl Into<Buffer>,
    ) -> Result<(), Buffer> {
        match cx.try_write(self.alias, bytes.into()) {
            Ok(flow) => {
                self.is_blocked = flow == Flow::AboveHigh;
                Ok(())
            }
            Err(refused) => {
                // Refused output counts as blocked: the Writable, or the Disconnect, brings the client back here.
                self.is_blocked = true;
                match refused.into_data() {
                    WriteData::Owned(bytes) => Err(bytes),
                    WriteData::Shared(_) => unreachable!("an owned buffer was given"),
                }
            }
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("server", &self.server)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

fn tcp_limits() -> TcpLimits {
    TcpLimits::default()
        .with_output_limit(HIGH * 4)
        .with_high_water_mark(HIGH)
        .with_low_water_mark(HIGH / 4)
        // A server that is slow to read must not keep the client from reading: both sides stream unasked.
        .with_read_above_high(true)
        .with_input_window(HIGH)
}

impl Client {
    pub(super) fn is_link(&self, alias: Alias) -> bool {
        self.link.as_ref().is_some_and(|link| link.alias == alias)
    }

    /// Begins an attempt on the current server.
    pub(super) fn connect(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let Some(server) = self.servers.current() else {
            return Err(Reason::error("no server accepts the credentials"));
        };
        let address = server.address.clone();
        // The name is kept as text, because the address is gone from the list when the status needs it.
        let name: Arc<str> = Arc::from(format!("{}:{}", address.host, address.port));
        let wait = self.shared.options.connect_timeout;
        let options = TcpConnectionOptions::from((address.host.as_str(), address.port))
            .with_connect_timeout(wait)
            .with_limits(tcp_limits());
        let (options, is_tls) = self.first_tls(options);
        let connection = match TcpConnection::connect(options) {
            Ok(connection) => connection,
            Err(error) => return self.retry(cx, &name, &Reason::from(error).to_string(), 0),
        };
        let alias = cx.spawn_meta(connection)?;
        // The number of the attempt stands in the timer, so that one of an earlier attempt means nothing.
        let deadline = self.after(cx, wait, Due::Deadline(self.attempt));
        self.link = Some(Box::new(Link {
            alias,
            server: name,
            session: Session::new(Limits {
                max_control_line: self.shared.options.max_control_line,
                max_payload: self.shared.options.max_payload,
            }),
            info: ServerInfo::default(),
            is_tls,
            is_blocked: false,
            owes_pong: false,
            is_leaving: false,
            errors: 0,
            last_error: None,
            deadline,
        }));
        Ok(())
    }

    /// TLS from the first byte on, if that is asked for.
    fn first_tls(&self, options: TcpConnectionOptions) -> (TcpConnectionOptions, bool) {
        if self.shared.options.tls_first {
            return (options.with_tls(self.tls_options()), true);
        }
        (options, false)
    }

    /// The options of TLS for the current server.
    fn tls_options(&self) -> Option<crate::tls::TlsClientOptions> {
        let options = self.shared.options.tls.clone()?;
        let name = self
            .servers
            .current()
            .and_then(|server| server.tls_name.clone());
        Some(match name.filter(|_| options.server_name().is_none()) {
            Some(name) => options.with_server_name(name),
            None => options,
        })
    }

    /// The server's first line. `rest` is the input behind it.
    pub(super) fn greeted(
        &mut self,
        cx: &mut Context<'_>,
        link: &mut Link,
        info: ServerInfo,
        rest: &[u8],
    ) -> Result<(), String> {
        self.servers.learn(&info.connect_urls);
        link.info = info;
        let has_tls = self.shared.options.has_tls();
        // With TLS from the first byte on, or without any, nothing comes between the greeting and the introduction.
        if link.is_tls || !(has_tls || link.info.tls_required) {
            return self.introduce(cx, link);
        }
        // A client without TLS options must not send its credentials in plain text to a server that asks for TLS.
        if !has_tls {
            return Err("the server requires TLS and the option tls is not set".into());
        }
        // The option says that credentials leave encrypted or not at all.
        if !(link.info.tls_required || link.info.tls_available) {
            return Err("the option tls is set and the server has no TLS".into());
        }
        // Bytes behind the greeting were not protected, and an attacker may have put them there.
        link.session.upgrade(rest).map_err(describe)?;
        self.upgrade(cx, link)
    }

    /// Begins the handshake of TLS on the live connection; a Secured follows it.
    fn upgrade(&self, cx: &mut Context<'_>, link: &Link) -> Result<(), String> {
        let options = self.tls_options().ok_or("the option tls is not set")?;
        let server = self.servers.current().ok_or("there is no server")?;
        let side =
            StartTls::client(&server.address.host, options).map_err(|error| error.to_string())?;
        match cx.start_tls(link.alias, &side) {
            // If it has ended, its Disconnect is on its way.
            Ok(()) | Err(StartTlsError::Closed(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The handshake of TLS behind the INFO is done.
    pub(super) fn secured(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let Some(mut link) = self.link.take() else {
            return Ok(());
        };
        link.session.secured();
        link.is_tls = true;
        match self.introduce(cx, &mut link) {
            Ok(()) => {
                self.link = Some(link);
                Ok(())
            }
            Err(reason) => self.lose(cx, *link, &reason),
        }
    }

    /// Sends CONNECT and a PING.
    pub(super) fn introduce(&self, cx: &mut Context<'_>, link: &mut Link) -> Result<(), String> {
        let options = &self.shared.options;
        let address = self.servers.current().map(|server| &server.address);
        let (user, password) = address.map_or((None, None), |address| {
            (address.user.as_deref(), address.password.as_deref())
        });
        let mut connect = ConnectOptions {
            name: &options.name,
            echo: options.echo,
            tls: link.is_tls,
            headers: link.info.headers,
            ..ConnectOptions::default()
        };
        let signature;
        match &options.auth {
            NatsAuth::None if password.is_some() => {
                (connect.user, connect.password) = (user, password);
            }
            NatsAuth::None => connect.token = user,
            NatsAuth::User(user, password) => {
                (connect.user, connect.password) = (Some(user.as_str()), Some(password.as_str()));
            }
            NatsAuth::Token(token) => connect.token = Some(token.as_str()),
            NatsAuth::Nkey(nkey) => {
                signature = nkey.sign(&link.info.nonce).ok_or("the nkey cannot sign")?;
                connect.nkey = Some((nkey.public_key(), &signature));
            }
        }
        let mut bytes = Buffer::new();
        connect.encode(&mut bytes);
        // The first PONG shows that the server has accepted the introduction.
        bytes.extend_from_slice(PING);
        link.session.connect();
        // Nothing was written before. Refused only if the connection has ended.
        drop(link.write(cx, bytes));
        Ok(())
    }

    /// The server has accepted CONNECT.
    pub(super) fn ready(&mut self, cx: &mut Context<'_>, link: &Link) {
        // The server has answered, so neither the deadline of the attempt nor that of giving up counts any more.
        cx.cancel_timer(link.deadline);
        if let Some(timer) = self.give_up.take() {
            cx.cancel_timer(timer);
        }
        self.servers.ready();
        self.counters.connects += 1;
        let max_payload = link.info.max_payload;
        let lines = self.subscription_lines();
        let mut state = self.shared.state.lock();
        // The next server may take less than the last one; it would end the connection at the first message that is too
        // large.
        if max_payload < state.max_payload {
            self.counters.removed += state.outbox.remove_larger_than(max_payload);
        }
        state.max_payload = max_payload;
        // The subscriptions come before everything that waits, so that answers to it find them.
        for chunk in lines.into_iter().rev() {
            state.outbox.push_front(chunk);
        }
        drop(state);
        let interval = self.shared.options.ping_interval;
        self.after(cx, interval, Due::Ping(self.attempt));
        let status = MessageNatsStatus::Connected {
            server: Arc::clone(&link.server),
            name: Arc::from(link.info.server_name.as_str()),
            max_payload,
        };
        self.status(cx, &status);
    }

    /// All subscriptions, that of the answers first.
    fn subscription_lines(&self) -> Vec<Chunk> {
        let mut bytes = Buffer::new();
        let inbox = format!("{}*", self.shared.inbox);
        encode::subscribe(&mut bytes, &inbox, "", INBOX_SID);
        let mut chunks = Vec::new();
        // In a drain the server must not send anything new.
        if self.drain == Drain::No {
            for (sid, local) in &self.subscriptions {
                let subscribed = &local.subscribed;
                encode::subscribe(&mut bytes, &subscribed.subject, &subscribed.queue, *sid);
                if bytes.len() >= LINES {
                    chunks.push(Chunk::of_lines(std::mem::take(&mut bytes)));
                }
            }
        }
        chunks.push(Chunk::of_lines(bytes));
        chunks
    }

    /// Ends the connection, if there is one, and goes on with the next server.
    pub(super) fn fail(&mut self, cx: &mut Context<'_>, reason: &str) -> Result<(), Reason> {
        match self.link.take() {
            Some(link) => self.lose(cx, *link, reason),
            None => Ok(()),
        }
    }

    /// The connection is lost; see the page of the module.
    pub(super) fn lose(
        &mut self,
        cx: &mut Context<'_>,
        link: Link,
        reason: &str,
    ) -> Result<(), Reason> {
        cx.cancel_timer(link.deadline);
        // It may have ended already.
        let _ = cx.abort(link.alias);
        let is_ready = link.session.is_ready();
        let taken = self.shared.state.lock().outbox.taken();
        // What was taken and not confirmed may have arrived or not; the count says how many messages are in doubt.
        let uncertain = taken - self.confirmed.min(taken);
        self.confirmed = taken;
        self.counters.uncertain += uncertain;
        self.counters.losses += u64::from(is_ready);
        // The PINGs of this connection get no answer any more; those that wait in the outbox do, on the next one.
        for _ in 0..link.session.pings() {
            let Some(ping) = self.pings.pop_front() else {
                break;
            };
            if let Some(requester) = ping.requester {
                requester.answer_flush(cx, Err(NatsError::Disconnected));
            }
            if ping.then == Then::Drain {
                self.restart_drain_step();
            }
        }
        self.fail_requests(cx, taken);
        let words = link.last_error.as_deref().unwrap_or(reason);
        // A server that refuses the credentials refuses them again; the client ends when all servers have.
        if !is_ready && is_refusal(words) && !self.servers.refused() {
            return Err(Reason::error(words));
        }
        // The time to give up counts from the loss of a connection and not from each attempt.
        if is_ready {
            self.wait_for_server(cx);
        }
        self.retry(cx, &link.server, words, uncertain)
    }

    fn fail_requests(&mut self, cx: &mut Context<'_>, taken: u64) {
        let lost = self
            .requests
            .iter()
            // A request that was not taken yet waits for the next connection.
            .filter(|(_, request)| request.number <= taken);
        for id in in_order(lost.map(|(id, _)| *id)) {
            if let Some(request) = self.requests.remove(&id) {
                cx.cancel_timer(request.timer);
                request
                    .requester
                    .answer_request(cx, Err(NatsError::Disconnected));
            }
        }
    }

    /// Sets the time after which the client gives up.
    pub(super) fn wait_for_server(&mut self, cx: &mut Context<'_>) {
        if let Some(limit) = self.shared.options.give_up_after
            && self.give_up.is_none()
        {
            self.give_up = Some(self.after(cx, limit, Due::GiveUp));
        }
    }

    /// Reports the failure and waits for the next attempt.
    fn retry(
        &mut self,
        cx: &mut Context<'_>,
        server: &Arc<str>,
        reason: &str,
        uncertain: u64,
    ) -> Result<(), Reason> {
        let status = MessageNatsStatus::Disconnected {
            server: Arc::clone(server),
            reason: Arc::from(reason),
            uncertain,
        };
        self.status(cx, &status);
        let options = &self.shared.options;
        let (first, max) = (options.reconnect_first, options.reconnect_max);
        let wait: Duration = self.servers.advance(first, max, random());
        // A timer of the lost connection carries an older number.
        self.attempt += 1;
        self.after(cx, wait, Due::Connect(self.attempt));
        self.look(cx)
    }
}

pub(super) fn describe(error: ProtocolError) -> String {
    error.to_string()
}

/// Whether the server's words say that it does not accept the credentials.
fn is_refusal(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    [
        "authorization violation",
        "authentication",
        "user not found",
    ]
    .iter()
    .any(|refusal| words.contains(refusal))
}
