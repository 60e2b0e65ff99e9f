//! TLS in volume: certificate swaps under load, a large stream to a slow reader, records cut at every byte.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::*;

/// Makes a thousand handshakes, beside open sessions and a hundred swaps. `swap` gets a number, a certificate, and a
/// closure that it must call just before handshakes may see that certificate.
fn handshake_beside_swaps(
    site: &Site,
    first: &Issued,
    mut swap: impl FnMut(usize, &Issued, &dyn Fn()),
) {
    const SWAPS: usize = 100;
    const CLIENTS: usize = 4;
    const EACH: usize = 250;
    let mut shown = vec![first.certificate.der().to_vec()];
    let certificates: Vec<Issued> = (0..SWAPS).map(|_| site.authority.issue(NAME)).collect();
    shown.extend(
        certificates
            .iter()
            .map(|issued| issued.certificate.der().to_vec()),
    );
    let addr = echo(&site.node, site.server());
    let config = Arc::new(site.rustls(&TLS13));
    let mut live: Vec<Raw> = (0..5).map(|_| raw(addr, &config)).collect();
    // The newest certificate that a handshake can find, and the oldest.
    let (begun, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let handshakes = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                // Sessions are resumed, and a ticket of an old certificate must not bring that certificate back.
                let config = Arc::new(site.rustls(&TLS13));
                for _ in 0..EACH {
                    let oldest = done.load(Ordering::SeqCst);
                    let mut raw = raw(addr, &config);
                    let newest = begun.load(Ordering::SeqCst);
                    round_trip(&mut raw, b"hi");
                    let peer = raw.conn.peer_certificates().unwrap()[0].to_vec();
                    let at = shown
                        .iter()
                        .position(|one| *one == peer)
                        .expect("one of ours");
                    assert!(
                        (oldest..=newest).contains(&at),
                        "{at} is not in {oldest}..={newest}"
                    );
                    handshakes.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for (number, issued) in (1..).zip(&certificates) {
            // The swaps are spread over all handshakes.
            while handshakes.load(Ordering::SeqCst) < number * CLIENTS * EACH / (SWAPS + 1) {
                thread::park_timeout(Duration::from_micros(200));
            }
            swap(number, issued, &|| begun.store(number, Ordering::SeqCst));
            done.store(number, Ordering::SeqCst);
            for raw in &mut live {
                round_trip(raw, b"alive");
            }
        }
    });
    assert_eq!(handshakes.load(Ordering::SeqCst), CLIENTS * EACH);
    stop_clean(&site.node);
}

#[test]
fn handshakes_during_swaps_see_the_old_or_the_new_certificate_and_live_sessions_go_on() {
    let site = Site::new();
    let first = site.authority.issue(NAME);
    site.certs.update(first.source()).unwrap();
    handshake_beside_swaps(&site, &first, |_, issued, begin| {
        begin();
        site.certs.update(issued.source()).unwrap();
    });
}

#[test]
fn handshakes_during_reloads_from_disk_see_the_old_or_the_new_certificate_and_never_half_of_a_pair()
{
    let site = Site::new();
    let (files, first) = (Files::new(&site, "reloads"), site.authority.issue(NAME));
    files.store("live", &first);
    let (chain, key) = (files.0.join("live.pem"), files.0.join("live.key"));
    site.certs
        .update(CertSource::pem_files(&chain, &key))
        .unwrap();
    let refused_by_name = |words: [&str; 2]| {
        let error = site.certs.reload().unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    handshake_beside_swaps(&site, &first, |number, issued, begin| {
        // A handshake that finds the new certificate before `begin` is a failure.
        if number % 2 == 0 {
            files.store("next", issued);
            std::fs::rename(files.0.join("next.pem"), &chain).unwrap();
            refused_by_name(["live.pem", "live.key"]);
            std::fs::rename(files.0.join("next.key"), &key).unwrap();
        } else {
            // An empty file, as `fs::write` leaves it for a moment.
            std::fs::write(&key, "").unwrap();
            refused_by_name(["live.key", "no private key"]);
            std::fs::write(&key, issued.key.serialize_pem()).unwrap();
            refused_by_name(["live.pem", "live.key"]);
            let text = issued.certificate.pem();
            std::fs::write(&chain, &text[..text.len() / 2]).unwrap();
            refused_by_name(["live.pem", "pem"]);
            std::fs::write(&chain, text).unwrap();
        }
        begin();
        assert_eq!(site.certs.reload().unwrap(), 1);
    });
}

/// The resident memory of this process, in bytes.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
#[cfg(target_os = "linux")]
fn large_stream_past_a_slow_reader_is_whole_and_takes_little_memory() {
    alone(
        "tls::volume::large_stream_past_a_slow_reader_is_whole_and_takes_little_memory",
        || {
            const TOTAL: u64 = if cfg!(debug_assertions) {
                32 << 20
            } else {
                1 << 30
            };
            let options = NodeOptions::from("test@localhost")
                .with_workers(2)
                .with_data_bound(32);
            let site = Site::with_options(options, |authority| authority.issue(NAME));
            let addr = echo(&site.node, site.server());
            let raw = raw(addr, &Arc::new(site.rustls(&TLS13)));
            let (mut tls, mut writer) = (raw.conn, raw.sock);
            let mut reader = writer.try_clone().unwrap();
            writer.set_nonblocking(true).unwrap();
            let before = resident();
            let (mut highest, mut sent, mut got) = (0, 0u64, 0u64);
            let (mut block, mut expected) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
            while got < TOTAL {
                // Writes while the socket takes bytes, and then reads, a little at a time.
                while sent < TOTAL {
                    if !tls.wants_write() {
                        let length = block.len().min((TOTAL - sent) as usize);
                        pattern(sent, &mut block[..length]);
                        sent += tls.writer().write(&block[..length]).unwrap() as u64;
                    }
                    match tls.write_tls(&mut writer) {
                        Ok(_) => {}
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                        Err(error) => panic!("{error}"),
                    }
                }
                if tls.wants_write() {
                    let _ = tls.write_tls(&mut writer);
                }
                highest = highest.max(resident());
                match tls.read_tls(&mut reader) {
                    Ok(0) => panic!("ended after {got} bytes"),
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        thread::park_timeout(Duration::from_micros(100));
                    }
                    Err(error) => panic!("{error}"),
                }
                tls.process_new_packets().unwrap();
                while let Ok(read) = tls.reader().read(&mut block) {
                    if read == 0 {
                        break;
                    }
                    pattern(got, &mut expected[..read]);
                    assert!(block[..read] == expected[..read], "other bytes at {got}");
                    got += read as u64;
                }
            }
            let grown = highest.saturating_sub(before);
            println!(
                "{} MiB, resident memory grew by at most {} KiB",
                TOTAL >> 20,
                grown >> 10
            );
            // 4 MiB of output, 32 messages of 64 KiB in the mailbox, and the client's own buffers; the rest is the
            // allocator's.
            assert!(grown < 32 << 20, "{grown}");
            drop((tls, reader, writer));
            stop_clean(&site.node);
        },
    );
}

/// Carries one connection, in each direction with a cut at this byte.
fn carry_cut_at(listener: &TcpListener, to: SocketAddr, at: usize) {
    let (down, _) = listener.accept().unwrap();
    let up = client(to);
    bounded(&down);
    let pump = |mut from: TcpStream, mut to: TcpStream| {
        move || {
            let (mut passed, mut block) = (0, [0; 16 * 1024]);
            loop {
                let Ok(read @ 1..) = from.read(&mut block) else {
                    let _ = to.shutdown(std::net::Shutdown::Write);
                    return;
                };
                let cut = at.saturating_sub(passed).min(read);
                passed += read;
                let (first, second) = block[..read].split_at(cut);
                if to.write_all(first).is_err() {
                    return;
                }
                if !first.is_empty() && !second.is_empty() {
                    // Gives the server time to read the first part alone; if it does not, this cut is not tested.
                    thread::park_timeout(Duration::from_micros(500));
                }
                if to.write_all(second).is_err() {
                    return;
                }
            }
        }
    };
    let upward = thread::spawn(pump(down.try_clone().unwrap(), up.try_clone().unwrap()));
    pump(up.into_std(), down)();
    upward.join().unwrap();
}

#[test]
fn stream_cut_at_every_byte_carries_the_same_session() {
    for version in VERSIONS {
        let site = Site::new();
        let server = echo(&site.node, site.server());
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = proxy.local_addr().unwrap();
        // A handshake and its data take about 1,500 bytes in the direction of the client.
        const CUTS: usize = 1_600;
        const STEP: usize = if cfg!(debug_assertions) { 4 } else { 1 };
        let carrier = thread::spawn(move || {
            (1..=CUTS)
                .step_by(STEP)
                .for_each(|at| carry_cut_at(&proxy, server, at))
        });
        let user = Probe::spawn(&site.node);
        let config = {
            let mut config = site.rustls(version);
            config.resumption = rustls::client::Resumption::disabled();
            TlsClientOptions::default()
                .with_config(config.into())
                .with_server_name(NAME)
        };
        let mut most = (0, 0);
        for at in (1..=CUTS).step_by(STEP) {
            let here = dial(&user, addr, &config);
            let bytes: Vec<u8> = (0..60).map(|byte| byte ^ at as u8).collect();
            user.write(here, bytes.clone());
            user.connect();
            assert_eq!(user.bytes(60), bytes, "cut at {at}");
            user.run(move |cx| cx.close(here)).unwrap();
            let ended = user.disconnect();
            assert_eq!(
                (ended.reason, ended.unsent),
                (DisconnectReason::LocalClose, 0),
                "cut at {at}"
            );
            most = most.max((ended.bytes_in, ended.bytes_out));
        }
        carrier.join().unwrap();
        assert_eq!(most, (60, 60));
        stop_clean(&site.node);
    }
}

/// More hellos at once than a stripe computes inline: some are deferred there, the others are offloaded.
#[test]
fn handshakes_that_begin_all_at_once_are_all_done_and_a_session_goes_on_meanwhile() {
    const AT_ONCE: usize = 60;
    let site = Site::new();
    let addr = echo(&site.node, site.server());
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(site.rustls(version));
        let mut live = raw(addr, &config);
        let mut crowd: Vec<Raw> = (0..AT_ONCE)
            .map(|_| raw_unfinished(addr, &config))
            .collect();
        for raw in &mut crowd {
            raw.conn.write_tls(&mut raw.sock).unwrap();
        }
        round_trip(&mut live, b"meanwhile");
        for raw in &mut crowd {
            round_trip(raw, b"done");
        }
        round_trip(&mut live, b"afterwards");
    }
    stop_clean(&site.node);
}

/// Reads every byte without answering.
struct Sum(u64);

impl Actor for Sum {
    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        if let Message::Tcp(packet) = message {
            self.0 = packet.data.iter().fold(self.0, |sum, byte| {
                std::hint::black_box(sum + u64::from(*byte))
            });
        }
        Ok(())
    }
}

#[test]
fn handshake_is_done_while_uploads_fill_every_activation() {
    let site = Site::with_options(
        NodeOptions::from("test@localhost").with_workers(1),
        |authority| authority.issue(NAME),
    );
    site.node.spawn_register("sum", || Sum(0)).unwrap();
    let encrypted = echo(&site.node, site.server());
    let parent = Probe::spawn(&site.node);
    let (plain, _) = parent.listen(TcpServerOptions::default().with_process_pool(["sum"]));
    let uploads: Vec<Client> = (0..3).map(|_| client(plain)).collect();
    let writers: Vec<_> = uploads
        .iter()
        .map(|upload| upload.try_clone().unwrap())
        .map(|mut upload| thread::spawn(move || while upload.write_all(&[1; 256 << 10]).is_ok() {}))
        .collect();
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(site.rustls(version));
        for _ in 0..20 {
            round_trip(&mut raw(encrypted, &config), b"hello");
        }
    }
    for upload in uploads {
        upload
            .shutdown(std::net::Shutdown::Both)
            .expect("the upload goes on until here");
    }
    writers
        .into_iter()
        .for_each(|writer| writer.join().unwrap());
    stop_clean(&site.node);
}
