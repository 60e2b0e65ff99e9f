//! `tokio-kv ADDRESS [--workers N]`: a part of Redis on tokio, with the behavior of `examples/kv.rs`.
//!
//! PING, ECHO, GET, SET with EX and PX, DEL, EXISTS, INCR, EXPIRE, TTL, DBSIZE and FLUSHALL, as arrays of RESP 2.
//! Commands may be pipelined. An argument has at most 1 MiB. An expired key is invisible at once and removed within a
//! second.

use bytes::{Bytes, BytesMut};
use longshore_bench::apps::Arguments;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{io, io::Write};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::{select, signal, time};

const MAX_ARGUMENTS: usize = 64;
const MAX_LENGTH: usize = 1 << 20;
const SYNTAX: &str = "-ERR syntax error\r\n";

struct Entry {
    value: Bytes,
    expires: Option<Instant>,
}

#[derive(Default)]
struct Store {
    entries: HashMap<Bytes, Entry>,
    expiries: BTreeSet<(Instant, Bytes)>,
}

/// A command, or what the input has instead.
enum Parsed {
    Command(Vec<Bytes>),
    Incomplete,
    Invalid,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::read();
    arguments.runtime()?.block_on(async {
        let listener = TcpListener::bind(arguments.address).await?;
        println!("{}", listener.local_addr()?);
        let store = Arc::new(Mutex::new(Store::default()));
        let mut sweep = time::interval(Duration::from_secs(1));
        loop {
            select! {
                accepted = listener.accept() => if let Ok((socket, _)) = accepted {
                    tokio::spawn(serve(socket, Arc::clone(&store)));
                },
                now = sweep.tick() => lock(&store).remove_expired(now.into_std()),
                _ = signal::ctrl_c() => return Ok(()),
            }
        }
    })
}

fn lock(store: &Mutex<Store>) -> std::sync::MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut socket: TcpStream, store: Arc<Mutex<Store>>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (mut input, mut output) = (BytesMut::with_capacity(8 << 10), Vec::new());
    loop {
        if socket.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        // All commands that are here are answered by one write.
        let valid = loop {
            match parse(&mut input) {
                Parsed::Command(command) => lock(&store).run(&command, &mut output)?,
                Parsed::Incomplete => break true,
                Parsed::Invalid => break false,
            }
        };
        if !valid {
            output.extend_from_slice(b"-ERR Protocol error\r\n");
        }
        socket.write_all(&output).await?;
        output.clear();
        if !valid {
            return socket.shutdown().await;
        }
    }
}

/// Takes one command, `*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n`, from the input if it is complete.
fn parse(input: &mut BytesMut) -> Parsed {
    let mut at = 0;
    let count = match number(input, &mut at, b'*', MAX_ARGUMENTS) {
        Ok(Some(count)) => count,
        Ok(None) => return Parsed::Incomplete,
        Err(()) => return Parsed::Invalid,
    };
    let mut ranges = Vec::with_capacity(count);
    for _ in 0..count {
        let length = match number(input, &mut at, b'$', MAX_LENGTH) {
            Ok(Some(length)) => length,
            Ok(None) => return Parsed::Incomplete,
            Err(()) => return Parsed::Invalid,
        };
        if input.len() < at + length + 2 {
            return Parsed::Incomplete;
        }
        ranges.push(at..at + length);
        at += length + 2;
    }
    let command = input.split_to(at).freeze();
    Parsed::Command(
        ranges
            .into_iter()
            .map(|range| command.slice(range))
            .collect(),
    )
}

/// A line of a mark and a number: `$3\r\n`. None if the line is incomplete.
fn number(input: &[u8], at: &mut usize, mark: u8, most: usize) -> Result<Option<usize>, ()> {
    let rest = &input[*at..];
    let Some(end) = rest.iter().take(16).position(|byte| *byte == b'\n') else {
        return if rest.len() < 16 { Ok(None) } else { Err(()) };
    };
    let digits = rest[..end]
        .strip_prefix(&[mark])
        .and_then(|line| line.strip_suffix(b"\r"));
    let number = digits
        .and_then(integer::<usize>)
        .filter(|number| *number <= most);
    *at += end + 1;
    number.map(Some).ok_or(())
}

fn integer<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    str::from_utf8(text).ok()?.parse().ok()
}

impl Store {
    fn run(&mut self, command: &[Bytes], output: &mut Vec<u8>) -> io::Result<()> {
        let Some((name, arguments)) = command.split_first() else {
            return Ok(());
        };
        let now = Instant::now();
        match (name.to_ascii_uppercase().as_slice(), arguments) {
            (b"PING", []) => write!(output, "+PONG\r\n"),
            (b"PING" | b"ECHO", [text]) => bulk(output, Some(text)),
            (b"GET", [key]) => bulk(output, self.live(key, now).map(|entry| &entry.value)),
            (b"SET", [key, value]) => self.set(output, key, value, None),
            (b"SET", [key, value, unit, time]) => match lifetime(unit, time) {
                Some(lifetime) => self.set(output, key, value, Some(now + lifetime)),
                None => write!(output, "{SYNTAX}"),
            },
            (b"DEL", keys) => {
                let count = keys.iter().filter(|key| self.remove(key, now)).count();
                write!(output, ":{count}\r\n")
            }
            (b"EXISTS", keys) => {
                let count = keys
                    .iter()
                    .filter(|key| self.live(key, now).is_some())
                    .count();
                write!(output, ":{count}\r\n")
            }
            (b"INCR", [key]) => self.increment(output, key, now),
            (b"EXPIRE", [key, time]) => match (lifetime(b"EX", time), self.live(key, now)) {
                (None, _) => write!(output, "{SYNTAX}"),
                (_, None) => write!(output, ":0\r\n"),
                (Some(lifetime), Some(entry)) => {
                    let value = entry.value.clone();
                    self.put(key, value, Some(now + lifetime));
                    write!(output, ":1\r\n")
                }
            },
            (b"TTL", [key]) => match self.live(key, now).map(|entry| entry.expires) {
                None => write!(output, ":-2\r\n"),
                Some(None) => write!(output, ":-1\r\n"),
                Some(Some(time)) => write!(output, ":{}\r\n", (time - now).as_secs_f64().round()),
            },
            (b"DBSIZE", []) => write!(output, ":{}\r\n", self.entries.len()),
            (b"FLUSHALL", []) => {
                *self = Self::default();
                write!(output, "+OK\r\n")
            }
            _ => write!(
                output,
                "-ERR unknown command or wrong number of arguments\r\n"
            ),
        }
    }

    fn live(&self, key: &[u8], now: Instant) -> Option<&Entry> {
        let entry = self.entries.get(key)?;
        entry
            .expires
            .is_none_or(|expires| expires > now)
            .then_some(entry)
    }

    fn set(
        &mut self,
        output: &mut Vec<u8>,
        key: &Bytes,
        value: &Bytes,
        expires: Option<Instant>,
    ) -> io::Result<()> {
        self.put(key, value.clone(), expires);
        write!(output, "+OK\r\n")
    }

    fn increment(&mut self, output: &mut Vec<u8>, key: &Bytes, now: Instant) -> io::Result<()> {
        let (value, expires) = match self.live(key, now) {
            Some(entry) => (integer::<i64>(&entry.value), entry.expires),
            None => (Some(0), None),
        };
        let Some(value) = value.and_then(|value| value.checked_add(1)) else {
            return write!(output, "-ERR value is not an integer or out of range\r\n");
        };
        self.put(key, value.to_string().into(), expires);
        write!(output, ":{value}\r\n")
    }

    /// Stores copies, because the bytes of a command share the memory of all that was read with it.
    fn put(&mut self, key: &Bytes, value: Bytes, expires: Option<Instant>) {
        let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(&value));
        self.expiries
            .extend(expires.map(|expires| (expires, key.clone())));
        if let Some(Entry {
            expires: Some(before),
            ..
        }) = self.entries.insert(key.clone(), Entry { value, expires })
            && expires != Some(before)
        {
            self.expiries.remove(&(before, key));
        }
    }

    /// Returns whether the key was there and had not expired.
    fn remove(&mut self, key: &Bytes, now: Instant) -> bool {
        let Some(entry) = self.entries.remove(key) else {
            return false;
        };
        if let Some(expires) = entry.expires {
            self.expiries.remove(&(expires, key.clone()));
        }
        entry.expires.is_none_or(|expires| expires > now)
    }

    fn remove_expired(&mut self, now: Instant) {
        while let Some((expires, key)) = self.expiries.pop_first() {
            if expires > now {
                self.expiries.insert((expires, key));
                return;
            }
            self.entries.remove(&key);
        }
    }
}

fn lifetime(unit: &[u8], time: &[u8]) -> Option<Duration> {
    match unit.to_ascii_uppercase().as_slice() {
        b"EX" => integer::<u32>(time).map(|time| Duration::from_secs(time.into())),
        b"PX" => integer::<u32>(time).map(|time| Duration::from_millis(time.into())),
        _ => None,
    }
}

fn bulk(output: &mut Vec<u8>, value: Option<&Bytes>) -> io::Result<()> {
    let Some(value) = value else {
        return write!(output, "$-1\r\n");
    };
    write!(output, "${}\r\n", value.len())?;
    output.extend_from_slice(value);
    write!(output, "\r\n")
}
