//! The processor time of a relay: `Context::relay` beside a hand-written epoll relay.
//!
//! ```text
//!  relay [MiB] [rounds]           the contest: each measurement is a process of its own, rounds interleaved
//!  relay serve one|across|epoll   a relay between the first two connections, for strace(1)
//! ```
//!
//! Each of two clients sends that many MiB and reads as many. What is measured is the processor time of the relay's
//! process, so other programs move it little. `one` has both connections on one stripe and one worker, `across` has
//! them on two. The hand-written relay reads up to 64 KiB, writes them, and goes on when the socket has taken all; it
//! does not splice.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use longshore::prelude::*;
use mio::{Events, Interest, Poll, Token};

const MIB: usize = 1 << 20;
const BLOCK: usize = 64 << 10;
const KINDS: [&str; 3] = ["epoll", "one", "across"];

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("serve") => serve(arguments.get(1).map_or("one", String::as_str)),
        first => {
            let number = |text: Option<&str>, default| {
                text.and_then(|text| text.parse().ok()).unwrap_or(default)
            };
            let mib = number(first, 1024);
            let rounds = number(arguments.get(1).map(String::as_str), 9);
            contest(mib, rounds)
        }
    }
}

// ---- The contest ----

fn contest(mib: usize, rounds: usize) -> io::Result<()> {
    let mut times: [Vec<f64>; 3] = Default::default();
    let mut rates: [Vec<f64>; 3] = Default::default();
    for round in 0..rounds {
        for (offset, _) in KINDS.iter().enumerate() {
            let index = (round + offset) % KINDS.len();
            let (processor, wall) = measure(KINDS[index], mib)?;
            times[index].push(processor);
            rates[index].push(2.0 * mib as f64 / wall);
        }
    }
    let ratio = |index: usize| {
        let pairs = times[index].iter().zip(&times[0]);
        pairs.map(|(own, epoll)| own / epoll).collect()
    };
    println!("{mib} MiB each way, median of {rounds} rounds");
    for (index, kind) in KINDS.iter().enumerate() {
        let [quarter, middle, upper] = quartiles(ratio(index));
        println!(
            "{kind:>7}: {:.2} s of processor time, {:.0} MiB/s, {middle:.2} ({quarter:.2}–{upper:.2}) of epoll",
            quartiles(times[index].clone())[1],
            quartiles(rates[index].clone())[1],
        );
    }
    Ok(())
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

/// The processor time of a relay's process, and the time that the transfer took, in seconds.
fn measure(kind: &str, mib: usize) -> io::Result<(f64, f64)> {
    let mut relay = Command::new(std::env::current_exe()?)
        .args(["serve", kind])
        .stdout(Stdio::piped())
        .spawn()?;
    let outcome = transfer(&mut relay, mib);
    let killed = relay.kill();
    relay.wait()?;
    killed?;
    outcome
}

fn transfer(relay: &mut Child, mib: usize) -> io::Result<(f64, f64)> {
    let output = relay.stdout.take().ok_or(io::ErrorKind::NotFound)?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let addr: SocketAddr = line.trim().parse().map_err(io::Error::other)?;
    let clients = [TcpStream::connect(addr)?, TcpStream::connect(addr)?];
    // Each gets a byte when the relay begins.
    for mut client in &clients {
        client.read_exact(&mut [0])?;
    }
    let (before, start) = (processor_time(relay)?, Instant::now());
    std::thread::scope(|scope| {
        let transfers: Vec<_> = clients
            .iter()
            .flat_map(|client| {
                [
                    scope.spawn(move || write(client, mib)),
                    scope.spawn(move || read(client, mib)),
                ]
            })
            .collect();
        transfers
            .into_iter()
            .try_for_each(|transfer| transfer.join().expect("no panic"))
    })?;
    let wall = start.elapsed().as_secs_f64();
    Ok((processor_time(relay)? - before, wall))
}

fn write(mut client: &TcpStream, mib: usize) -> io::Result<()> {
    let block = vec![0x5a; BLOCK];
    (0..mib * (MIB / BLOCK)).try_for_each(|_| client.write_all(&block))
}

fn read(mut client: &TcpStream, mib: usize) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    let mut left = mib * MIB;
    while left > 0 {
        match client.read(&mut block)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => left -= read,
        }
    }
    Ok(())
}

/// The processor time that the threads of a process have used, in seconds; see proc_pid_schedstat(5).
fn processor_time(process: &Child) -> io::Result<f64> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{}/task", process.id()))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let first = text.split(' ').next().unwrap_or_default();
        nanoseconds += first.parse::<u64>().map_err(io::Error::other)?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

// ---- longshore ----

fn serve(kind: &str) -> io::Result<()> {
    match kind {
        "epoll" => epoll(),
        "one" => relay_by_node(1).map_err(io::Error::other),
        _ => relay_by_node(2).map_err(io::Error::other),
    }
}

/// Relays the first two connections.
struct Relay(Vec<Alias>);

impl Actor for Relay {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let server = TcpServer::bind("127.0.0.1:0")?;
        println!("{}", server.local_addr());
        cx.spawn_meta(server)?;
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message {
            Message::TcpConnect(connect) => {
                self.0.push(connect.id);
                if let [first, second] = self.0[..] {
                    cx.broadcast([first, second], "r");
                    cx.relay(first, second)?;
                }
            }
            Message::RelayEnd(_) => return Err(Reason::Normal),
            _ => {}
        }
        Ok(())
    }
}

fn relay_by_node(workers: usize) -> Result<(), longshore::Error> {
    let options = NodeOptions::from("relay@localhost")
        .with_workers(workers)
        .with_stripes(workers);
    Node::run(options, || Relay(Vec::new())).map(|_| ())
}

// ---- By hand ----

/// One direction.
struct Pipe {
    bytes: Box<[u8]>,
    /// What was read and not written.
    waiting: std::ops::Range<usize>,
    has_ended: bool,
}

impl Pipe {
    fn new() -> Self {
        Self {
            bytes: vec![0; BLOCK].into_boxed_slice(),
            waiting: 0..0,
            has_ended: false,
        }
    }

    /// Moves bytes until one of the sockets would block.
    fn pump(
        &mut self,
        from: &mut mio::net::TcpStream,
        to: &mut mio::net::TcpStream,
    ) -> io::Result<()> {
        while !self.has_ended || !self.waiting.is_empty() {
            while !self.waiting.is_empty() {
                match to.write(&self.bytes[self.waiting.clone()]) {
                    Ok(written) => self.waiting.start += written,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            match from.read(&mut self.bytes) {
                Ok(0) => {
                    self.has_ended = true;
                    to.shutdown(Shutdown::Write)?;
                }
                Ok(read) => self.waiting = 0..read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn epoll() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    let mut sockets = VecDeque::new();
    for index in 0..2 {
        let (stream, _) = listener.accept()?;
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(index), both)?;
        sockets.push_back(stream);
    }
    let (Some(mut one), Some(mut other)) = (sockets.pop_front(), sockets.pop_front()) else {
        return Ok(());
    };
    one.write_all(b"r")?;
    other.write_all(b"r")?;
    let mut pipes = [Pipe::new(), Pipe::new()];
    let mut events = Events::with_capacity(16);
    while !pipes.iter().all(|pipe| pipe.has_ended) {
        poll.poll(&mut events, None)?;
        pipes[0].pump(&mut one, &mut other)?;
        pipes[1].pump(&mut other, &mut one)?;
    }
    Ok(())
}
