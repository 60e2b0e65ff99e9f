//! The `openssl` program as client and as server. Without it the tests print that they were skipped.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use longshore::tls::{ClientAuth, TlsServerOptions};

use super::*;

/// Returns whether openssl is installed, and prints a line if not.
fn is_missing() -> bool {
    let missing = !Command::new("openssl")
        .arg("version")
        .output()
        .is_ok_and(|output| output.status.success());
    if missing {
        println!("skipped: the program openssl is not installed");
    }
    missing
}

impl Files {
    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new("openssl");
        command
            .current_dir(&self.0)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `s_client`, which sends one line and exits when that line has come back, or earlier. Returns all that it
    /// prints.
    fn client(&self, addr: SocketAddr, arguments: &str) -> String {
        let mut command = self.command("s_client");
        command.arg("-connect").arg(addr.to_string()).args([
            "-CAfile",
            "ca.pem",
            "-verify_return_error",
            "-servername",
            NAME,
        ]);
        let mut child = command.args(arguments.split_whitespace()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // It may have exited without reading the line.
        let _ = stdin.write_all(b"there and back\n");
        let (stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let reader = std::thread::spawn(move || {
            let mut stdin = Some(stdin);
            let mut printed = String::new();
            for line in BufReader::new(stdout).split(b'\n') {
                let line = String::from_utf8_lossy(&line.unwrap()).into_owned();
                // The line may follow text without an end of line.
                if line.ends_with("there and back") {
                    stdin = None; // close_notify, then the end
                }
                printed.push_str(&line);
                printed.push('\n');
            }
            drop(stdin);
            let mut errors = String::new();
            stderr.read_to_string(&mut errors).unwrap();
            printed + &errors
        });
        let deadline = std::time::Instant::now() + LIMIT;
        while child.try_wait().unwrap().is_none() {
            if std::time::Instant::now() > deadline {
                child.kill().unwrap();
                panic!("s_client hangs:\n{}", reader.join().unwrap());
            }
            std::thread::park_timeout(std::time::Duration::from_millis(2));
        }
        reader.join().unwrap()
    }

    /// Starts `s_server`, which sends each line back reversed.
    fn server(&self, arguments: &str) -> Server {
        let mut command = self.command("s_server");
        command.args([
            "-accept",
            "127.0.0.1:0",
            "-cert",
            "server.pem",
            "-key",
            "server.key",
            "-CAfile",
            "ca.pem",
            "-rev",
        ]);
        let mut child = command
            .stderr(Stdio::null())
            .args(arguments.split_whitespace())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let addr = lines.find_map(|line| {
            line.unwrap()
                .strip_prefix("ACCEPT ")
                .map(|addr| addr.trim().parse().unwrap())
        });
        // Later output must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Server {
            child,
            addr: addr.expect("it listens"),
        }
    }
}

struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn assert_prints(printed: &str, words: &[&str]) {
    for word in words {
        assert!(printed.contains(word), "`{word}` is not in:\n{printed}");
    }
}

#[test]
fn openssl_client_gets_its_echo_in_both_versions_with_name_and_protocol() {
    if is_missing() {
        return;
    }
    let site = Site::new();
    let files = Files::new(&site, "client");
    site.certs
        .add("other.test", site.authority.issue("other.test").source())
        .unwrap();
    let addr = echo(
        &site.node,
        site.server()
            .with_tls(TlsServerOptions::default().with_alpn(["h2", "echo"])),
    );
    for (version, shown) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let printed = files.client(
            addr,
            &format!("{version} -alpn other,echo -verify_hostname {NAME}"),
        );
        assert_prints(
            &printed,
            &[
                "there and back",
                "Verification: OK",
                "ALPN protocol: echo",
                shown,
            ],
        );
        let printed = files.client(
            addr,
            &format!("{version} -servername other.test -verify_hostname other.test"),
        );
        assert_prints(
            &printed,
            &[
                "there and back",
                "Verified peername: other.test",
                "No ALPN negotiated",
            ],
        );
        let printed = files.client(addr, &format!("{version} -alpn other"));
        assert_prints(&printed, &["alert no application protocol"]);
        site.logged(&["not established", "nothing in common"]);
        let printed = files.client(addr, &format!("{version} -verify_hostname wrong.test"));
        assert_prints(&printed, &["ostname mismatch"]);
        site.logged(&["not established", "peer refused"]);
    }
    for old in ["-tls1", "-tls1_1"] {
        let printed = files.client(addr, &format!("{old} -cipher DEFAULT@SECLEVEL=0"));
        assert_prints(&printed, &["alert "]);
        site.logged(&["not established", "nothing in common"]);
    }
    stop_clean(&site.node);
}

#[test]
fn openssl_client_uses_every_suite() {
    if is_missing() {
        return;
    }
    for (rsa, suites) in [
        (
            false,
            [
                "ECDHE-ECDSA-AES256-GCM-SHA384",
                "ECDHE-ECDSA-AES128-GCM-SHA256",
                "ECDHE-ECDSA-CHACHA20-POLY1305",
            ],
        ),
        (
            true,
            [
                "ECDHE-RSA-AES256-GCM-SHA384",
                "ECDHE-RSA-AES128-GCM-SHA256",
                "ECDHE-RSA-CHACHA20-POLY1305",
            ],
        ),
    ] {
        let site = Site::with(|authority| match rsa {
            true => authority.issue_with(NAME, KeyPair::from_pem(RSA_KEY).unwrap(), (2020, 2100)),
            false => authority.issue(NAME),
        });
        let files = Files::new(&site, if rsa { "rsa" } else { "ecdsa" });
        let addr = echo(&site.node, site.server());
        for suite in suites {
            let printed = files.client(addr, &format!("-tls1_2 -cipher {suite}"));
            assert_prints(&printed, &["there and back", &format!("Cipher is {suite}")]);
        }
        for suite in [
            "TLS_AES_256_GCM_SHA384",
            "TLS_AES_128_GCM_SHA256",
            "TLS_CHACHA20_POLY1305_SHA256",
        ] {
            let printed = files.client(addr, &format!("-tls1_3 -ciphersuites {suite}"));
            assert_prints(&printed, &["there and back", &format!("Cipher is {suite}")]);
        }
        stop_clean(&site.node);
    }
}

#[test]
fn openssl_client_resumes_its_session_until_the_certificate_is_swapped() {
    if is_missing() {
        return;
    }
    let site = Site::new();
    let files = Files::new(&site, "resume");
    let addr = echo(&site.node, site.server());
    for version in ["-tls1_2", "-tls1_3"] {
        assert_prints(
            &files.client(addr, &format!("{version} -sess_out session")),
            &["there and back", "\nNew, "],
        );
        assert_prints(
            &files.client(addr, &format!("{version} -sess_in session")),
            &["there and back", "\nReused, "],
        );
        site.certs
            .update(site.authority.issue(NAME).source())
            .unwrap();
        assert_prints(
            &files.client(addr, &format!("{version} -sess_in session")),
            &["there and back", "\nNew, "],
        );
    }
    stop_clean(&site.node);
}

#[test]
fn openssl_client_needs_its_certificate_where_one_is_required() {
    if is_missing() {
        return;
    }
    let site = Site::new();
    let files = Files::new(&site, "mutual");
    files.store("client", &site.authority.issue("client.test"));
    let auth = ClientAuth::Required(site.authority.roots());
    let addr = echo(
        &site.node,
        site.server()
            .with_tls(TlsServerOptions::default().with_client_auth(auth)),
    );
    for version in ["-tls1_2", "-tls1_3"] {
        let printed = files.client(addr, &format!("{version} -cert client.pem -key client.key"));
        assert_prints(&printed, &["there and back"]);
        let printed = files.client(addr, version);
        assert_prints(&printed, &["alert"]);
        assert!(!printed.contains("there and back"), "{printed}");
        site.logged(&["not established", "certificate was not accepted"]);
    }
    stop_clean(&site.node);
}

/// Sends a line to `s_server -rev` and closes; returns whether the session was resumed.
#[track_caller]
fn talk(user: &Probe, addr: SocketAddr, tls: &TlsClientOptions) -> bool {
    let here = dial(user, addr, tls);
    let connected = user.connect();
    user.write(here, "hello\n");
    assert_eq!(user.bytes(6), b"olleh\n");
    user.run(move |cx| cx.close(here)).unwrap();
    assert_eq!(user.disconnect().reason, DisconnectReason::LocalClose);
    connected.tls.unwrap().resumed
}

#[test]
fn openssl_server_serves_our_client_and_resumes_its_session() {
    if is_missing() {
        return;
    }
    let site = Site::new();
    let files = Files::new(&site, "server");
    files.store("server", &site.authority.issue(NAME));
    let user = Probe::spawn(&site.node);
    for version in ["-tls1_2", "-tls1_3"] {
        let server = files.server(version);
        let tls = site.client();
        assert_eq!(
            [
                talk(&user, server.addr, &tls),
                talk(&user, server.addr, &tls)
            ],
            [false, true],
            "{version}"
        );
        let suites = [
            "-cipher ECDHE-ECDSA-CHACHA20-POLY1305",
            "-ciphersuites TLS_CHACHA20_POLY1305_SHA256",
        ];
        let server = files.server(&format!(
            "{version} {}",
            suites[usize::from(version == "-tls1_3")]
        ));
        talk(&user, server.addr, &site.client());
    }
    stop_clean(&site.node);
}

#[test]
fn openssl_server_is_refused_for_a_reason() {
    if is_missing() {
        return;
    }
    let site = Site::new();
    let files = Files::new(&site, "refused");
    files.store("server", &site.authority.issue(NAME));
    let user = Probe::spawn(&site.node);
    let refused = |addr, tls: &TlsClientOptions| {
        dial(&user, addr, tls);
        tls_text(&user.disconnect())
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let server = files.server(version);
        assert_prints(
            &refused(server.addr, &site.client().with_server_name("wrong.test")),
            &["wrong.test", NAME],
        );
        let stranger = TlsClientOptions::default()
            .with_roots(Authority::new("else").roots())
            .with_server_name(NAME);
        assert_prints(&refused(server.addr, &stranger), &["UnknownIssuer"]);
        talk(&user, server.addr, &site.client());
    }
    let server = files.server("-alpn h2");
    assert_prints(
        &refused(server.addr, &site.client().with_alpn(["echo"])),
        &["peer refused", "NoApplicationProtocol"],
    );
    let server = files.server("-tls1_1 -cipher DEFAULT@SECLEVEL=0");
    assert_prints(
        &refused(server.addr, &site.client()),
        &["peer refused", "ProtocolVersion"],
    );
    stop_clean(&site.node);
}

#[test]
fn openssl_server_that_requires_a_certificate_gets_ours() {
    if is_missing() {
        return;
    }
    let site = Site::new();
    let files = Files::new(&site, "requires");
    files.store("server", &site.authority.issue(NAME));
    let user = Probe::spawn(&site.node);
    let own = site.authority.issue("client.test").manager();
    for version in ["-tls1_2", "-tls1_3"] {
        let server = files.server(&format!("{version} -Verify 2 -verify_return_error"));
        talk(
            &user,
            server.addr,
            &site.client().with_certificate(own.clone()),
        );
        dial(&user, server.addr, &site.client());
        loop {
            match user.next().1 {
                Message::TcpConnect(_) => {
                    assert_eq!(version, "-tls1_3", "only there it learns late")
                }
                Message::TcpDisconnect(ended) => {
                    assert_prints(&tls_text(&ended), &["peer refused", "alert"]);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    stop_clean(&site.node);
}
