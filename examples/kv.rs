//! A part of Redis: one session for each connection, commands parsed off the front of its input, values in memory.
//!
//! PING, ECHO, GET, SET with EX and PX, DEL, EXISTS, INCR, EXPIRE, TTL, DBSIZE, FLUSHALL and QUIT, as arrays of RESP 2
//! with at most 64 arguments and 2 MiB. Commands may be pipelined. An expired key is invisible at once and removed
//! within a second. Keys and values take at most `--max-memory` bytes; a command that would exceed them is refused.
//!
//! ```text
//! cargo run --release --example kv -- 127.0.0.1:6380 [--workers N] [--max-memory BYTES]
//! redis-cli -p 6380 set color blue ex 10
//! redis-benchmark -p 6380 -t get,set -P 16
//! ```

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use longshore::prelude::*;

const MAX_ARGUMENTS: usize = 64;
const MAX_COMMAND: usize = 2 << 20;
/// Answers that one write takes together.
const BATCH: usize = 64 << 10;
const SYNTAX: &str = "-ERR syntax error\r\n";
const FULL: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";

/// The arguments of a command at the front of the input, and the bytes that it takes.
type Command<'i> = (Vec<&'i [u8]>, usize);

/// The input is no command.
struct Invalid;

/// Parses `*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n`. `Ok(Err(n))`: it is not complete and takes at least `n` bytes.
fn parse(input: &[u8]) -> Result<Result<Command<'_>, usize>, Invalid> {
    let mut at = 0;
    let Some(count) = number(input, &mut at, b'*', MAX_ARGUMENTS)? else {
        return Ok(Err(input.len() + 1));
    };
    let mut arguments = Vec::with_capacity(count);
    for _ in 0..count {
        let Some(length) = number(input, &mut at, b'$', MAX_COMMAND)? else {
            return Ok(Err(input.len() + 1));
        };
        let end = at + length + 2;
        if end > MAX_COMMAND {
            return Err(Invalid);
        }
        let Some(argument) = input.get(at..end) else {
            return Ok(Err(end));
        };
        arguments.push(argument.strip_suffix(b"\r\n").ok_or(Invalid)?);
        at = end;
    }
    Ok(Ok((arguments, at)))
}

/// A line of a mark and a number: `$3\r\n`. `None`: the line is not complete.
fn number(input: &[u8], at: &mut usize, mark: u8, most: usize) -> Result<Option<usize>, Invalid> {
    let rest = &input[*at..];
    let Some(end) = rest.iter().take(16).position(|byte| *byte == b'\n') else {
        return if rest.len() < 16 {
            Ok(None)
        } else {
            Err(Invalid)
        };
    };
    let line = rest[..end].strip_suffix(b"\r").ok_or(Invalid)?;
    let number = integer(line.strip_prefix(&[mark]).ok_or(Invalid)?).ok_or(Invalid)?;
    *at += end + 1;
    if number > most {
        Err(Invalid)
    } else {
        Ok(Some(number))
    }
}

fn integer<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// One connection.
struct Client {
    store: Arc<Mutex<Store>>,
}

impl Session for Client {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Result<(), Reason> {
        let (mut output, mut taken, mut is_last) = (Buffer::new(), 0, false);
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        // What is left after a batch comes again once the connection has room for more answers.
        while output.len() < BATCH && !is_last {
            match parse(&input[taken..]) {
                Ok(Ok((command, length))) => {
                    is_last = store.run(&command, &mut output);
                    taken += length;
                }
                Ok(Err(least)) => {
                    cx.need(least);
                    break;
                }
                Err(Invalid) => {
                    output.extend_from_slice(b"-ERR Protocol error\r\n");
                    is_last = true;
                }
            }
        }
        drop(store);
        input.advance(taken);
        if !output.is_empty() {
            cx.write(output);
        }
        if is_last {
            cx.close();
        }
        Ok(())
    }
}

struct Entry {
    value: Box<[u8]>,
    expires: Option<Instant>,
}

struct Store {
    entries: HashMap<Box<[u8]>, Entry>,
    expiries: BTreeSet<(Instant, Box<[u8]>)>,
    bytes: usize,
    max_bytes: usize,
}

impl Store {
    fn new(max_bytes: usize) -> Self {
        Self {
            entries: HashMap::new(),
            expiries: BTreeSet::new(),
            bytes: 0,
            max_bytes,
        }
    }

    /// Appends the answer; returns whether it is the last one.
    fn run(&mut self, command: &[&[u8]], output: &mut Buffer) -> bool {
        let Some((name, arguments)) = command.split_first() else {
            return false;
        };
        let now = Instant::now();
        match (name.to_ascii_uppercase().as_slice(), arguments) {
            (b"PING", []) => text(output, "+PONG\r\n"),
            (b"PING" | b"ECHO", [value]) => bulk(output, Some(value)),
            (b"GET", [key]) => bulk(output, self.live(key, now).map(|entry| &*entry.value)),
            (b"SET", [key, value]) => self.set(output, key, value, None),
            (b"SET", [key, value, unit, time]) => match lifetime(unit, time) {
                Some(lifetime) => self.set(output, key, value, Some(now + lifetime)),
                None => text(output, SYNTAX),
            },
            (b"DEL", keys) => {
                let removed = keys.iter().filter(|key| self.remove(key, now));
                integer_answer(output, removed.count());
            }
            (b"EXISTS", keys) => {
                let live = keys.iter().filter(|key| self.live(key, now).is_some());
                integer_answer(output, live.count());
            }
            (b"INCR", [key]) => self.increment(output, key, now),
            (b"EXPIRE", [key, time]) => match lifetime(b"EX", time) {
                Some(lifetime) => {
                    let found = self.expire(key, now, now + lifetime);
                    integer_answer(output, usize::from(found));
                }
                None => text(output, SYNTAX),
            },
            (b"TTL", [key]) => match self.live(key, now).map(|entry| entry.expires) {
                None => text(output, ":-2\r\n"),
                Some(None) => text(output, ":-1\r\n"),
                Some(Some(time)) => {
                    integer_answer(output, (time - now).as_secs_f64().round() as usize);
                }
            },
            (b"DBSIZE", []) => integer_answer(output, self.entries.len()),
            (b"FLUSHALL", []) => {
                *self = Self::new(self.max_bytes);
                text(output, "+OK\r\n");
            }
            (b"QUIT", []) => {
                text(output, "+OK\r\n");
                return true;
            }
            _ => text(
                output,
                "-ERR unknown command or wrong number of arguments\r\n",
            ),
        }
        false
    }

    fn live(&self, key: &[u8], now: Instant) -> Option<&Entry> {
        let entry = self.entries.get(key)?;
        let is_live = entry.expires.is_none_or(|expires| expires > now);
        is_live.then_some(entry)
    }

    fn set(&mut self, output: &mut Buffer, key: &[u8], value: &[u8], expires: Option<Instant>) {
        text(
            output,
            if self.put(key, value, expires) {
                "+OK\r\n"
            } else {
                FULL
            },
        );
    }

    fn increment(&mut self, output: &mut Buffer, key: &[u8], now: Instant) {
        let (value, expires) = match self.live(key, now) {
            Some(entry) => (integer::<i64>(&entry.value), entry.expires),
            None => (Some(0), None),
        };
        match value.and_then(|value| value.checked_add(1)) {
            None => text(output, "-ERR value is not an integer or out of range\r\n"),
            Some(value) if self.put(key, value.to_string().as_bytes(), expires) => {
                text(output, &format!(":{value}\r\n"));
            }
            Some(_) => text(output, FULL),
        }
    }

    /// Returns whether there is room.
    fn put(&mut self, key: &[u8], value: &[u8], expires: Option<Instant>) -> bool {
        let before = self.entries.get(key);
        let freed = before.map_or(0, |entry| key.len() + entry.value.len());
        let bytes = self.bytes - freed + key.len() + value.len();
        if bytes > self.max_bytes {
            return false;
        }
        self.bytes = bytes;
        if let Some(time) = before.and_then(|entry| entry.expires) {
            self.expiries.remove(&(time, key.into()));
        }
        self.expiries.extend(expires.map(|time| (time, key.into())));
        let value = value.into();
        match self.entries.get_mut(key) {
            Some(entry) => *entry = Entry { value, expires },
            None => drop(self.entries.insert(key.into(), Entry { value, expires })),
        }
        true
    }

    /// Returns whether the key is there.
    fn expire(&mut self, key: &[u8], now: Instant, at: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        if entry.expires.is_some_and(|expires| expires <= now) {
            return false;
        }
        if let Some(before) = entry.expires.replace(at) {
            self.expiries.remove(&(before, key.into()));
        }
        self.expiries.insert((at, key.into()));
        true
    }

    /// Returns whether the key was there and had not expired.
    fn remove(&mut self, key: &[u8], now: Instant) -> bool {
        let Some(entry) = self.entries.remove(key) else {
            return false;
        };
        self.bytes -= key.len() + entry.value.len();
        if let Some(expires) = entry.expires {
            self.expiries.remove(&(expires, key.into()));
        }
        entry.expires.is_none_or(|expires| expires > now)
    }

    fn remove_expired(&mut self, now: Instant) {
        while let Some((expires, key)) = self.expiries.pop_first() {
            if expires > now {
                self.expiries.insert((expires, key));
                return;
            }
            self.remove(&key, now);
        }
    }
}

fn lifetime(unit: &[u8], time: &[u8]) -> Option<Duration> {
    let time = integer::<u32>(time)?.into();
    match unit.to_ascii_uppercase().as_slice() {
        b"EX" => Some(Duration::from_secs(time)),
        b"PX" => Some(Duration::from_millis(time)),
        _ => None,
    }
}

fn text(output: &mut Buffer, text: &str) {
    output.extend_from_slice(text.as_bytes());
}

fn integer_answer(output: &mut Buffer, number: usize) {
    write!(output, ":{number}\r\n").expect("a buffer takes all");
}

fn bulk(output: &mut Buffer, value: Option<&[u8]>) {
    let Some(value) = value else {
        return text(output, "$-1\r\n");
    };
    write!(output, "${}\r\n", value.len()).expect("a buffer takes all");
    output.extend_from_slice(value);
    text(output, "\r\n");
}

struct Root {
    address: String,
    store: Arc<Mutex<Store>>,
}

/// It is time to remove what has expired.
#[derive(Clone)]
struct Sweep;

impl Actor for Root {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let server = TcpServer::bind(&self.address)?;
        println!("{}", server.local_addr());
        let store = Arc::clone(&self.store);
        let sessions = server.serve(move || Client {
            store: Arc::clone(&store),
        });
        cx.spawn_meta(sessions.with_input_limit(MAX_COMMAND))?;
        cx.send_every(cx.pid(), Sweep, Duration::from_secs(1))?;
        Ok(())
    }

    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Result<(), Reason> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.remove_expired(Instant::now());
        Ok(())
    }
}

fn main() -> Result<(), longshore::Error> {
    let mut address = String::from("127.0.0.1:6380");
    let mut options = NodeOptions::from("kv@localhost");
    let mut max_memory = 1 << 30;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next()?.parse::<usize>().ok();
        match argument.as_str() {
            "--workers" => options.workers = number(),
            "--max-memory" => max_memory = number().unwrap_or(max_memory),
            _ => address = argument,
        }
    }
    let store = Arc::new(Mutex::new(Store::new(max_memory)));
    let report = Node::run(options, || Root { address, store })?; // until Ctrl-C
    println!("{report}"); // what was cut off
    Ok(())
}
