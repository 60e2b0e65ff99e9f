//! The example `custom_meta`, which runs a program for each connection, past clients that reset, stall and half-close.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::support::{alone, connect, eventually, example, reset, round_trip, scaled};

const THREADS: usize = 8;

/// The example, which runs `cat` for each connection.
struct Inetd {
    child: Child,
    address: SocketAddr,
    /// Lines that it has printed, which are read so that it never waits for a reader.
    reading: Option<JoinHandle<usize>>,
}

impl Inetd {
    fn start() -> Self {
        let mut child = Command::new(example("custom_meta"))
            .args(["127.0.0.1:0", "cat"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.next().unwrap().unwrap();
        Self {
            child,
            address: address.parse().unwrap(),
            reading: Some(thread::spawn(move || lines.count())),
        }
    }

    fn proc(&self, path: &str) -> std::path::PathBuf {
        Path::new("/proc")
            .join(self.child.id().to_string())
            .join(path)
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// Programs that run, and those that have ended and were not waited for.
    fn programs(&self) -> usize {
        let tasks = std::fs::read_dir(self.proc("task")).unwrap();
        let children = tasks.map(|task| {
            let children = std::fs::read_to_string(task.unwrap().path().join("children"));
            children.unwrap_or_default().split_whitespace().count()
        });
        children.sum()
    }

    fn resident_bytes(&self) -> i64 {
        let statm = std::fs::read_to_string(self.proc("statm")).unwrap();
        let pages = statm.split(' ').nth(1).unwrap();
        pages.parse::<i64>().unwrap() * 4096
    }
}

impl Drop for Inetd {
    fn drop(&mut self) {
        // It has ended, unless the test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Uses a connection in one of several ways, most of them rude.
fn visit(address: SocketAddr, random: u64) {
    let mut stream = connect(address);
    // A reset of the other side may come while this one writes.
    let write = |stream: &mut TcpStream, bytes: &[u8]| drop(stream.write_all(bytes));
    match random % 8 {
        0 => reset(stream),
        1 => {
            write(&mut stream, b"half a li");
            reset(stream);
        }
        2 => {
            write(&mut stream, b"a question\n?\n");
            spin(random >> 32);
            reset(stream);
        }
        3 => {
            write(&mut stream, b"a line\n");
            stream.shutdown(Shutdown::Write).unwrap();
            let mut got = Vec::new();
            if stream.read_to_end(&mut got).is_ok() {
                assert!(b"a line\n".starts_with(&got), "{got:?}");
            }
        }
        4 => {
            // Asks for much, and reads none of it.
            write(&mut stream, &[b'x'; 200_000]);
            spin(random >> 32);
        }
        5 => {
            round_trip(&mut stream, b"a line\n");
            stream.write_all(b"?\n").unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            assert_eq!(line, "1 lines\n");
        }
        6 => {
            round_trip(&mut stream, b"a line\n");
            reset(stream);
        }
        _ => {
            for _ in 0..3 {
                round_trip(&mut stream, b"a line\n");
            }
        }
    }
}

/// For up to half a millisecond.
fn spin(random: u64) {
    let until = Instant::now() + std::time::Duration::from_nanos(random % 500_000);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

#[test]
fn example_custom_meta_outlives_ten_thousand_connections() {
    let _turn = alone();
    let count = scaled(10_000, 400);
    let mut inetd = Inetd::start();
    let address = inetd.address;
    round_trip(&mut connect(address), b"the first\n");
    eventually("the first program has ended", || inetd.programs() == 0);
    let (descriptors, resident) = (inetd.descriptors(), inetd.resident_bytes());
    // These send and never read, all the time.
    let stalled: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = connect(address);
            stream.write_all(&[b'x'; 100_000]).unwrap();
            stream
        })
        .collect();
    let begun = Instant::now();
    let visitors: Vec<_> = (0..THREADS)
        .map(|number| {
            thread::spawn(move || {
                let mut random = 0x9E37_79B9_7F4A_7C15_u64 ^ (number as u64 + 1);
                for _ in 0..count / THREADS {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    visit(address, random);
                }
            })
        })
        .collect();
    for visitor in visitors {
        visitor.join().unwrap();
    }
    println!("{count} connections in {:?}", begun.elapsed());
    assert!(inetd.child.try_wait().unwrap().is_none(), "it has ended");
    drop(stalled);
    round_trip(&mut connect(address), b"the last\n");
    eventually("every program has ended", || inetd.programs() == 0);
    eventually("every descriptor is closed", || {
        inetd.descriptors() <= descriptors
    });
    let grown = inetd.resident_bytes() - resident;
    println!("resident memory grew by {} KiB", grown >> 10);
    assert!(grown < 32 << 20, "{} KiB", grown >> 10);
    // SIGTERM stops it in its phases.
    let pid = inetd.child.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    assert!(inetd.child.wait().unwrap().success());
    let lines = inetd.reading.take().unwrap().join().unwrap();
    // One for each program, and the report.
    assert!(lines > count, "{lines} lines");
}
