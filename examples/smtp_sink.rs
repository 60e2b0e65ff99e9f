//! An SMTP server that takes every mail and keeps none: one session for each connection, STARTTLS (RFC 3207), limits.
//!
//! It prints one line for each mail, and one for each session that begins TLS. With `--require-tls` it takes mail over
//! TLS only. It makes its certificate on the first run.
//!
//! ```text
//! cargo run --release --example smtp_sink -- 127.0.0.1:2525 [--require-tls] [--certs FOLDER]
//!
//! C=target/smtp_sink/server.pem
//! openssl s_client -starttls smtp -connect 127.0.0.1:2525 -CAfile $C -crlf
//! curl --ssl-reqd --cacert $C smtp://localhost:2525 --mail-from a@example.com \
//!     --mail-rcpt b@example.com --upload-file mail.txt
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore::prelude::*;
use longshore::tls::{CertManager, StartTls, TlsServerOptions};
use longshore::{AtLimit, FrameError, MessageTcpSecured, TcpLimits};

/// Bytes of a mail, recipients of one, and commands of a session that are not understood (RFC 5321 sections 4.5.3.1 and
/// 4.3.2 leave the last to the server).
const MAX_SIZE: usize = 10 << 20;
const MAX_RECIPIENTS: usize = 100;
const MAX_ERRORS: u32 = 10;
/// The longest line, with room for clients that do not keep to 1,000 bytes.
const MAX_LINE: usize = 8 << 10;

/// The mail that a client is sending.
#[derive(Default)]
struct Mail {
    from: Option<String>,
    recipients: usize,
    size: usize,
    is_data: bool,
}

struct Smtp {
    tls: StartTls,
    requires_tls: bool,
    is_secure: bool,
    has_greeted: bool,
    errors: u32,
    mail: Mail,
}

impl Session for Smtp {
    fn connected(
        &mut self,
        cx: &mut SessionContext<'_>,
        _: &MessageTcpConnect,
    ) -> Result<(), Reason> {
        cx.write("220 localhost longshore smtp_sink\r\n");
        Ok(())
    }

    fn received(&mut self, cx: &mut SessionContext<'_>, line: &mut Buffer) -> Result<(), Reason> {
        if self.mail.is_data {
            self.data(cx, line);
            return Ok(());
        }
        let line = String::from_utf8_lossy(line);
        let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match verb.to_ascii_uppercase().as_str() {
            "EHLO" => self.hello(true),
            "HELO" => self.hello(false),
            "STARTTLS" if self.is_secure => "503 TLS is on",
            "STARTTLS" if !argument.is_empty() => "501 no argument",
            "STARTTLS" => {
                cx.write("220 go ahead\r\n");
                return Ok(cx.start_tls(&self.tls)?);
            }
            "NOOP" => "250 ok",
            "VRFY" => "252 send a mail and see",
            "RSET" => {
                self.mail = Mail::default();
                "250 ok"
            }
            "QUIT" => {
                cx.write("221 goodbye\r\n");
                cx.close();
                return Ok(());
            }
            "MAIL" | "RCPT" | "DATA" if self.requires_tls && !self.is_secure => {
                "530 STARTTLS first"
            }
            "MAIL" => self.begin_mail(argument),
            "RCPT" => self.add_recipient(argument),
            "DATA" if self.mail.recipients == 0 => "503 no recipient",
            "DATA" => {
                self.mail.is_data = true;
                "354 end with a line that is a dot"
            }
            _ => {
                self.errors += 1;
                "500 not known"
            }
        };
        cx.write(format!("{answer}\r\n"));
        if self.errors > MAX_ERRORS {
            cx.write("421 too many errors\r\n");
            cx.close();
        }
        Ok(())
    }

    /// What the client said in plain text may have been said by another (RFC 3207 section 4.2).
    fn secured(
        &mut self,
        _: &mut SessionContext<'_>,
        secured: &MessageTcpSecured,
    ) -> Result<(), Reason> {
        println!("secured {:?}", secured.tls.protocol_version);
        (self.is_secure, self.has_greeted) = (true, false);
        self.mail = Mail::default();
        Ok(())
    }

    fn malformed(&mut self, cx: &mut SessionContext<'_>, _: &FrameError) {
        cx.write("500 line too long\r\n"); // then the connection closes
    }
}

impl Smtp {
    fn hello(&mut self, is_extended: bool) -> &'static str {
        self.has_greeted = true;
        self.mail = Mail::default();
        match (is_extended, self.is_secure) {
            (false, _) => "250 localhost",
            (true, true) => "250-localhost\r\n250-PIPELINING\r\n250 SIZE 10485760",
            (true, false) => "250-localhost\r\n250-PIPELINING\r\n250-SIZE 10485760\r\n250 STARTTLS",
        }
    }

    fn begin_mail(&mut self, argument: &str) -> &'static str {
        if !self.has_greeted || self.mail.from.is_some() {
            return "503 bad sequence";
        }
        let Some((address, parameters)) = path(argument, "FROM:") else {
            return "501 MAIL FROM:<address>";
        };
        // RFC 1870: a client says how long its mail is.
        let size = parameters
            .split(' ')
            .find_map(|parameter| parameter.strip_prefix("SIZE="));
        if size.is_some_and(|size| size.parse().is_ok_and(|size: usize| size > MAX_SIZE)) {
            return "552 too large";
        }
        self.mail.from = Some(address.to_owned());
        "250 ok"
    }

    fn add_recipient(&mut self, argument: &str) -> &'static str {
        if self.mail.from.is_none() {
            return "503 bad sequence";
        }
        if path(argument, "TO:").is_none() {
            return "501 RCPT TO:<address>";
        }
        if self.mail.recipients == MAX_RECIPIENTS {
            return "452 too many recipients";
        }
        self.mail.recipients += 1;
        "250 ok"
    }

    /// One line of a mail: it is counted and dropped.
    fn data(&mut self, cx: &mut SessionContext<'_>, line: &Buffer) {
        if *line != "." {
            // A dot in front of a line that begins with one is no part of it.
            let dot = usize::from(line.starts_with(b"."));
            self.mail.size += line.len() - dot + 2;
            return;
        }
        let Mail {
            from,
            recipients,
            size,
            ..
        } = std::mem::take(&mut self.mail);
        if size > MAX_SIZE {
            cx.write("552 too large\r\n");
            return;
        }
        let from = from.unwrap_or_default();
        let how = if self.is_secure { "TLS" } else { "plain" };
        println!("mail from {from:?} to {recipients}, {size} bytes, {how}");
        cx.write("250 taken\r\n");
    }
}

/// The address in `FROM:<address> parameters`, and the parameters.
fn path<'a>(argument: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let (front, rest) = argument.split_at_checked(word.len())?;
    let rest = front
        .eq_ignore_ascii_case(word)
        .then(|| rest.trim_start())?;
    rest.strip_prefix('<')?.split_once('>')
}

struct Root {
    address: String,
    tls: StartTls,
    requires_tls: bool,
}

impl Actor for Root {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        // RFC 5321 section 4.5.3.2.7: a client has five minutes for its next command.
        let limits = TcpLimits::default()
            .with_idle_timeout(Duration::from_secs(300))
            .with_frame_timeout(Duration::from_secs(60))
            .with_write_timeout(Duration::from_secs(60));
        // Lines end with CR LF and nothing else, so that a dot between two LF ends no mail.
        let framing = Framing::delimiter(b"\r\n").with_max_length(MAX_LINE);
        let options = TcpServerOptions::from(&self.address)
            .with_framing(framing)
            .with_limits(limits)
            .with_max_connections(10_000)
            .with_max_connections_per_ip(1_000)
            .with_at_limit(AtLimit::Refuse);
        let server = TcpServer::bind(options)?;
        println!("{}", server.local_addr());
        let (tls, requires_tls) = (self.tls.clone(), self.requires_tls);
        cx.spawn_meta(server.serve(move || Smtp {
            tls: tls.clone(),
            requires_tls,
            is_secure: false,
            has_greeted: false,
            errors: 0,
            mail: Mail::default(),
        }))?;
        Ok(())
    }
}

/// Makes a certificate for `localhost`, if there is none yet.
fn certificate(folder: &Path) -> Result<CertManager, Box<dyn std::error::Error>> {
    let (chain, key) = (folder.join("server.pem"), folder.join("server.key"));
    if !chain.exists() {
        fs::create_dir_all(folder)?;
        let made = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()])?;
        fs::write(&chain, made.cert.pem())?;
        fs::write(&key, made.signing_key.serialize_pem())?;
    }
    Ok(CertManager::from_pem_files(chain, key)?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut address = String::from("127.0.0.1:2525");
    let mut folder = PathBuf::from("target/smtp_sink");
    let mut requires_tls = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--require-tls" => requires_tls = true,
            "--certs" => folder = arguments.next().ok_or("--certs wants a folder")?.into(),
            _ => address = argument,
        }
    }
    let tls = StartTls::server(certificate(&folder)?, TlsServerOptions::default())?;
    let report = Node::run("smtp-sink@localhost", || Root {
        address,
        tls,
        requires_tls,
    })?;
    println!("{report}"); // what was cut off
    Ok(())
}
