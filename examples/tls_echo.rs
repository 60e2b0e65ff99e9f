//! Echoes over TLS. It makes its certificates on the first run, or takes yours, and replaces them while it runs.
//!
//! ```text
//! cargo run --release --example tls_echo -- 127.0.0.1:7443 [--certs FOLDER]
//!     [--cert CHAIN.pem --key KEY.pem] [--client-ca CA.pem] [--alpn NAME]... [--workers N]
//!
//! F=target/tls_echo                # ca.pem, server.pem, other.pem, client.pem and keys
//! C="openssl s_client -connect 127.0.0.1:7443 -CAfile $F/ca.pem"
//! $C -verify_return_error
//! $C -servername other.test        # SNI: another certificate
//! $C -alpn echo                    # with --alpn echo
//! $C -cert $F/client.pem -key $F/client.key  # with --client-ca target/tls_echo/ca.pem
//! ```
//!
//! The line `reload` on standard input reads the certificate files again; `renew` first makes new ones of the same
//! authority. Open connections stay open.

use std::fs;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::thread;

use longshore::Level;
use longshore::prelude::*;
use longshore::tls::{CertManager, CertSource, ClientAuth, Roots, TlsServerOptions};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose,
};

struct Echo {
    options: TcpServerOptions,
}

impl Actor for Echo {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let server = TcpServer::bind(self.options.clone())?; // a port conflict, or options that contradict each other
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
            Message::Tcp(packet) => cx.write(packet.id, packet.data),
            // Arrives after the handshake. A handshake that fails is logged instead.
            Message::TcpConnect(connect) => {
                if let Some(tls) = &connect.tls {
                    let alpn = tls
                        .alpn
                        .as_deref()
                        .map(String::from_utf8_lossy)
                        .unwrap_or_default();
                    eprintln!(
                        "{}: {:?} {:?} sni={:?} alpn={alpn:?} client_certificates={} resumed={}",
                        connect.remote_addr,
                        tls.protocol_version,
                        tls.cipher_suite,
                        tls.server_name.as_deref().unwrap_or_default(),
                        tls.peer_certificates.len(),
                        tls.resumed,
                    );
                }
            }
            Message::TcpDisconnect(end) => eprintln!("{}: {}", end.id, end.reason),
            _ => {}
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut node = NodeOptions::from("tls-echo@localhost");
    let mut server = TcpServerOptions::from("127.0.0.1:7443");
    let (mut tls, mut alpn) = (TlsServerOptions::default(), Vec::new());
    let (mut folder, mut chain, mut key, mut client_ca) =
        (PathBuf::from("target/tls_echo"), None, None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("{argument} wants a value"))
        };
        match argument.as_str() {
            "--certs" => folder = value()?.into(),
            "--cert" => chain = Some(value()?),
            "--key" => key = Some(value()?),
            "--client-ca" => client_ca = Some(value()?),
            "--alpn" => alpn.push(value()?),
            "--workers" => node = node.with_workers(value()?.parse::<usize>()?),
            address => server = TcpServerOptions::from(address),
        }
    }

    let certs = if let (Some(chain), Some(key)) = (chain, key) {
        CertManager::from_pem_files(chain, key)?
    } else {
        if !folder.join("server.pem").exists() {
            make_certificates(&folder)?;
        }
        let source = |name: &str| {
            CertSource::pem_files(
                folder.join(format!("{name}.pem")),
                folder.join(format!("{name}.key")),
            )
        };
        CertManager::new(source("server"))?.with_name("other.test", source("other"))?
    };
    if let Some(file) = client_ca {
        tls = tls.with_client_auth(ClientAuth::Required(Roots::from_pem_file(file)?));
    }

    let options = server
        .with_cert_manager(certs.clone())
        .with_tls(tls.with_alpn(alpn));
    thread::spawn(move || handle_commands(&folder, &certs));
    // Failed handshakes are records of level `Info`.
    Node::run(node.with_log_level(Level::Info), || Echo { options })?;
    Ok(())
}

/// Does what the lines of standard input say, until it ends; the server goes on without it.
fn handle_commands(folder: &Path, certs: &CertManager) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let outcome = match line.trim() {
            "reload" => reload(certs),
            "renew" => make_certificates(folder).and_then(|()| reload(certs)),
            _ => Ok("the lines `reload` and `renew` mean something here".into()),
        };
        // A bad file leaves the certificates as they were.
        eprintln!("{}", outcome.unwrap_or_else(|error| error.to_string()));
    }
}

fn reload(certs: &CertManager) -> Result<String, Box<dyn std::error::Error>> {
    Ok(format!("{} certificates read again", certs.reload()?))
}

/// Writes an authority, if there is none yet, and certificates of it for two servers and a client.
fn make_certificates(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    fs::create_dir_all(folder)?;
    let key = match fs::read_to_string(folder.join("ca.key")) {
        Ok(key) => KeyPair::from_pem(&key)?,
        Err(_) => KeyPair::generate()?,
    };
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name = named("tls_echo authority");
    let authority = CertifiedIssuer::self_signed(authority, key)?;
    fs::write(folder.join("ca.key"), authority.key().serialize_pem())?;
    fs::write(folder.join("ca.pem"), authority.pem())?;
    for (file, names) in [
        ("server", &["localhost", "127.0.0.1", "::1"][..]),
        ("other", &["other.test"]),
        ("client", &["client.test"]),
    ] {
        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = named(file); // what `s_client` shows as the subject
        // Strict clients want to see which key of the authority signed (RFC 5280 section 4.2.1.1).
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        fs::write(
            folder.join(format!("{file}.pem")),
            params.signed_by(&key, &authority)?.pem(),
        )?;
        fs::write(folder.join(format!("{file}.key")), key.serialize_pem())?;
    }
    Ok(())
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
