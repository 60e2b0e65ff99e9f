//! Peers that ask for much and read late or never: every byte arrives, or the connection ends, in bounded memory.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use longshore::prelude::*;
use longshore::{DisconnectReason, FrameError, MessageTcpDisconnect, SocketKind, TcpLimits};

use crate::support::*;

const MIB: usize = 1 << 20;

fn local() -> TcpServerOptions {
    TcpServerOptions::from("127.0.0.1:0")
}

/// Answers each byte with a block of one mebibyte.
pub struct Blocks(mpsc::Sender<DisconnectReason>);

impl Session for Blocks {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        let byte = input[0];
        input.advance(1);
        cx.write(vec![byte; MIB]);
        Ok(())
    }

    fn disconnected(&mut self, _: &mut SessionContext<'_>, end: &MessageTcpDisconnect) {
        let _ = self.0.send(end.reason.clone());
    }
}

/// Has the node serve sessions that report to the receiver.
pub fn serve<S: Session, T: Send + 'static>(
    node: &Node,
    options: TcpServerOptions,
    session: impl Fn(mpsc::Sender<T>) -> S + Send + Sync + 'static,
) -> (SocketAddr, mpsc::Receiver<T>) {
    let server = TcpServer::bind(options).unwrap();
    let (addr, (sender, seen)) = (server.local_addr(), mpsc::channel());
    let served = server.serve(move || session(sender.clone()));
    let probe = Probe::spawn(node);
    probe.run(move |cx| cx.spawn_meta(served)).unwrap();
    (addr, seen)
}

/// Has the node serve [`Blocks`], and how its sessions end.
pub fn blocks(
    node: &Node,
    options: TcpServerOptions,
) -> (SocketAddr, mpsc::Receiver<DisconnectReason>) {
    serve(node, options, Blocks)
}

/// Connections whose output has risen above the high mark.
pub fn wait_for_high_marks(node: &Node, connections: usize) {
    wait_until("the outputs are above their high marks", || {
        let above = node.sockets().filter(|socket| {
            matches!(&socket.kind, SocketKind::Connection(info) if info.high_water_events > 0)
        });
        above.count() == connections
    });
}

/// Reads one answer, and checks each byte.
#[track_caller]
pub fn expect_block(stream: &mut impl Read, byte: u8, chunk: &mut [u8]) {
    let mut left = MIB;
    while left > 0 {
        let most = left.min(chunk.len());
        let read = stream.read(&mut chunk[..most]).expect("a part of a block");
        assert!(read > 0, "block {byte} ends {left} bytes too early");
        assert!(
            chunk[..read].iter().all(|found| *found == byte),
            "block {byte} has a hole"
        );
        left -= read;
    }
}

fn status(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with(field));
    let words = line.expect("the field").split_whitespace().nth(1);
    words.expect("a number").parse::<usize>().expect("a number") << 10
}

/// Runs `code`, and returns by how many bytes the resident memory of this process was above its begin at most.
pub fn peak_of(code: impl FnOnce()) -> usize {
    // 5 resets the peak, see proc_pid_clear_refs(5).
    std::fs::write("/proc/self/clear_refs", "5").expect("the peak is reset");
    let before = status("VmRSS:");
    code();
    status("VmHWM:").saturating_sub(before)
}

#[test]
fn pipelined_answers_to_a_late_reader_take_less_than_16_mebibytes() {
    let test = "pipelines::pipelined_answers_to_a_late_reader_take_less_than_16_mebibytes";
    alone(test, || {
        let node = node();
        let (addr, ended) = blocks(&node, local());
        let mut chunk = vec![0; 64 << 10];
        for count in [16, 64, 256] {
            let requests: Vec<u8> = (0..count).map(|number| number as u8).collect();
            let peak = peak_of(|| {
                let mut stream = client(addr);
                stream.write_all(&requests).unwrap();
                wait_for_high_marks(&node, 1);
                for byte in &requests {
                    expect_block(&mut stream, *byte, &mut chunk);
                }
            });
            println!("{count} requests: {} KiB", peak >> 10);
            assert!(peak < 16 * MIB, "{count} requests: {} KiB", peak >> 10);
            ended.recv_timeout(LIMIT).expect("its end");
        }
        stop_clean(&node);
    });
}

#[test]
fn hundred_late_readers_take_less_than_their_limits_and_one_answer_each() {
    let test = "pipelines::hundred_late_readers_take_less_than_their_limits_and_one_answer_each";
    alone(test, || {
        let node = node();
        let (addr, _ended) = blocks(&node, local());
        let mut chunk = vec![0; 64 << 10];
        let peak = peak_of(|| {
            let mut streams: Vec<_> = (0..100).map(|_| client(addr)).collect();
            for stream in &mut streams {
                stream.write_all(&[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
            }
            wait_for_high_marks(&node, 100);
            for stream in &mut streams {
                for byte in 1..=8 {
                    expect_block(stream, byte, &mut chunk);
                }
            }
        });
        println!("100 clients: {} KiB", peak >> 10);
        assert!(peak < 100 * (4 + 1) * MIB, "{} KiB", peak >> 10);
        stop_clean(&node);
    });
}

#[test]
fn hundred_clients_that_never_read_take_less_than_their_limits_and_one_answer_each() {
    let test = "pipelines::hundred_clients_that_never_read_take_less_than_their_limits_and_one_answer_each";
    alone(test, || {
        let node = node();
        let (addr, ended) = blocks(&node, local().with_limits(impatient()));
        let peak = peak_of(|| {
            let mut streams: Vec<_> = (0..100).map(|_| client(addr)).collect();
            for stream in &mut streams {
                // An answer to each is far more than anything holds.
                stream.write_all(&[7; 256]).unwrap();
            }
            for _ in &streams {
                let end = ended.recv_timeout(LIMIT);
                assert_eq!(end, Ok(DisconnectReason::SlowReader));
            }
        });
        println!("100 clients: {} KiB", peak >> 10);
        assert!(peak < 100 * (4 + 1) * MIB, "{} KiB", peak >> 10);
        wait_for_count(&node, "processes", 1);
        stop_clean(&node);
    });
}

#[test]
fn client_that_never_reads_ends_at_the_write_timeout_in_little_memory() {
    let test = "pipelines::client_that_never_reads_ends_at_the_write_timeout_in_little_memory";
    alone(test, || {
        let node = node();
        let (addr, ended) = blocks(&node, local().with_limits(impatient()));
        let peak = peak_of(|| {
            let mut stream = client(addr);
            stream.write_all(&[7; 256]).unwrap();
            let end = ended.recv_timeout(LIMIT);
            assert_eq!(end, Ok(DisconnectReason::SlowReader));
        });
        assert!(peak < 16 * MIB, "{} KiB", peak >> 10);
        wait_for_count(&node, "processes", 1);
        stop_clean(&node);
    });
}

/// Ends a connection soon whose peer reads nothing.
pub fn impatient() -> TcpLimits {
    TcpLimits::default().with_write_timeout(Duration::from_millis(500))
}

/// Writes far more than the buffers between the two sides take, until the other side gives up.
#[track_caller]
pub fn write_until_reset(stream: &mut impl Write) {
    let block = vec![1; MIB];
    let written = (0..64).find_map(|_| stream.write_all(&block).err());
    let kind = written.expect("64 MiB do not fit").kind();
    assert!(
        matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        "{kind:?}"
    );
}

/// Echoes.
pub struct Echo(pub mpsc::Sender<DisconnectReason>);

impl Session for Echo {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        cx.write(input.take());
        Ok(())
    }

    fn disconnected(&mut self, _: &mut SessionContext<'_>, end: &MessageTcpDisconnect) {
        let _ = self.0.send(end.reason.clone());
    }
}

#[test]
fn peer_that_writes_everything_before_it_reads_is_bounded_by_the_write_timeout() {
    let test =
        "pipelines::peer_that_writes_everything_before_it_reads_is_bounded_by_the_write_timeout";
    alone(test, || {
        let node = node();
        let (addr, ended) = serve(&node, local().with_limits(impatient()), Echo);
        let peak = peak_of(|| write_until_reset(&mut client(addr)));
        let end = ended.recv_timeout(LIMIT);
        assert_eq!(end, Ok(DisconnectReason::SlowReader));
        assert!(peak < 16 * MIB, "{} KiB", peak >> 10);
        stop_clean(&node);
    });
}

/// Answers the first byte with a large block and the end of its side, and counts the others.
pub struct Ends(pub mpsc::Sender<usize>, pub bool);

impl Session for Ends {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        if !std::mem::replace(&mut self.1, true) {
            input.advance(1);
            cx.write(vec![9; 16 * MIB]);
            cx.shutdown_write();
        }
        self.0.send(input.take().len())?;
        Ok(())
    }

    fn peer_closed(&mut self, cx: &mut SessionContext<'_>) -> Handled {
        self.0.send(0)?;
        cx.close();
        Ok(())
    }
}

/// Has more input come behind the end of the session's side than it may take above the mark. `finish` ends the peer's.
pub fn send_behind_the_end<S: Read + Write>(
    node: &Node,
    options: TcpServerOptions,
    connect: impl FnOnce(SocketAddr) -> S,
    finish: impl FnOnce(&mut S),
) {
    let limits = TcpLimits::default().with_output_limit(32 << 20);
    let (addr, seen) = serve(node, options.with_limits(limits), |counts| {
        Ends(counts, false)
    });
    let mut stream = connect(addr);
    stream.write_all(b"x").unwrap();
    let first = seen.recv_timeout(LIMIT).expect("the first");
    assert_eq!(first, 0);
    wait_for_high_marks(node, 1);
    stream.write_all(&[b'y'; 10_000]).unwrap();
    finish(&mut stream);
    let mut block = Vec::new();
    stream.read_to_end(&mut block).unwrap();
    assert!(block.len() == 16 * MIB && block.iter().all(|byte| *byte == 9));
    let mut behind = 0;
    while let Ok(count @ 1..) = seen.recv_timeout(LIMIT) {
        behind += count;
    }
    assert_eq!(behind, 10_000);
}

#[test]
fn input_behind_the_end_of_our_side_comes_when_the_output_has_left() {
    let node = node();
    let finish = |stream: &mut Client| stream.shutdown(Shutdown::Write).unwrap();
    send_behind_the_end(&node, local(), client, finish);
    wait_for_count(&node, "processes", 1);
    stop_clean(&node);
}

/// Leaves this many bytes of its input, and counts its calls.
struct Leaves {
    bytes: usize,
    seen: mpsc::Sender<Result<usize, FrameError>>,
}

impl Session for Leaves {
    fn received(&mut self, _: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        let taken = input.len().saturating_sub(self.bytes);
        input.advance(taken);
        self.seen.send(Ok(taken))?;
        Ok(())
    }

    fn malformed(&mut self, cx: &mut SessionContext<'_>, error: &FrameError) {
        let _ = self.seen.send(Err(error.clone()));
        cx.write("too much");
    }
}

#[test]
fn parser_may_leave_up_to_the_limit_and_not_a_byte_more() {
    const LIMIT_BYTES: usize = 1_000;
    for bytes in [0, 1, LIMIT_BYTES, LIMIT_BYTES + 1] {
        let node = node();
        let server = TcpServer::bind(local()).unwrap();
        let (addr, (sender, seen)) = (server.local_addr(), mpsc::channel());
        let served = server
            .serve(move || Leaves {
                bytes,
                seen: sender.clone(),
            })
            .with_input_limit(LIMIT_BYTES);
        let probe = Probe::spawn(&node);
        probe.run(move |cx| cx.spawn_meta(served)).unwrap();
        let mut stream = client(addr);
        stream.write_all(&[1; 3 * LIMIT_BYTES]).unwrap();
        let (mut taken, mut error) = (0, None);
        while taken + bytes < 3 * LIMIT_BYTES && error.is_none() {
            match seen.recv_timeout(LIMIT).expect("a call") {
                Ok(count) => taken += count,
                Err(found) => error = Some(found),
            }
        }
        if bytes > LIMIT_BYTES {
            let end = error.or_else(|| seen.recv_timeout(LIMIT).expect("an error").err());
            assert!(
                matches!(end, Some(FrameError::TooLarge { max, .. }) if max == LIMIT_BYTES),
                "{end:?}"
            );
            assert_eq!(read_to_end(&mut stream), b"too much");
        } else {
            assert_eq!((taken, error), (3 * LIMIT_BYTES - bytes, None));
            stream.write_all(b"more").unwrap();
            assert!(seen.recv_timeout(LIMIT).expect("a call").is_ok());
        }
        drop(stream);
        stop_clean(&node);
    }
}

/// Waits for a request of this length.
struct Request(usize, mpsc::Sender<u32>, u32);

impl Session for Request {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        self.2 += 1;
        if input.len() < self.0 {
            cx.need(self.0);
        } else {
            input.advance(self.0);
            self.1.send(std::mem::take(&mut self.2))?;
        }
        Ok(())
    }
}

/// The processor time of this process.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").expect("procfs");
    let own: u64 = std::fs::read_dir("/proc/self/task")
        .expect("procfs")
        .filter_map(|task| {
            let path = task.ok()?.path().join("schedstat");
            let text = std::fs::read_to_string(path).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        })
        .sum();
    assert!(!stat.is_empty());
    Duration::from_nanos(own)
}

#[test]
fn drips_into_a_large_request_cost_the_same_for_each_byte_with_need() {
    let test = "pipelines::drips_into_a_large_request_cost_the_same_for_each_byte_with_need";
    alone(test, || {
        let cost = |length: usize| {
            let node = node();
            let server = TcpServer::bind(local()).unwrap();
            let (addr, (done, calls)) = (server.local_addr(), mpsc::channel());
            let probe = Probe::spawn(&node);
            let served = server
                .serve(move || Request(length, done.clone(), 0))
                .with_input_limit(2 * MIB);
            probe.run(move |cx| cx.spawn_meta(served)).unwrap();
            let mut stream = client(addr);
            stream.set_nodelay(true).unwrap();
            let before = processor_time();
            for _ in 0..length / 64 {
                stream.write_all(&[5; 64]).unwrap();
            }
            let calls = calls.recv_timeout(LIMIT).expect("the request");
            let time = processor_time() - before;
            // The first bytes, and all of them.
            assert!(calls <= 2, "{calls} calls");
            drop(stream);
            stop_clean(&node);
            time.as_nanos() as f64 / length as f64
        };
        cost(64 << 10);
        let least = |length: usize| {
            let costs = (0..5).map(|_| cost(length));
            costs.fold(f64::INFINITY, f64::min)
        };
        let (small, large) = (least(64 << 10), least(MIB));
        println!("{small:.1} ns for a byte of 64 KiB, {large:.1} of 1 MiB");
        // Copying everything for each drip would cost sixteen times as much. The smaller request fits into the buffers
        // of the sockets, so that it is read in fewer and larger pieces.
        assert!(large < 8.0 * small, "{large:.1} ns, {small:.1} before");
    });
}

#[test]
fn sessions_survive_resets_at_any_moment() {
    let node = node();
    let (addr, _ended) = blocks(&node, local());
    let resets = thread::spawn(move || {
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..500 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let mut stream = TcpStream::connect(addr).unwrap();
            if random & 1 == 0 {
                stream.write_all(&[1; 3]).unwrap();
            }
            let until = Instant::now() + Duration::from_micros(random % 500);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            reset(stream);
        }
    });
    resets.join().unwrap();
    let mut stream = client(addr);
    stream.write_all(&[3]).unwrap();
    expect_block(&mut stream, 3, &mut vec![0; 64 << 10]);
    drop(stream);
    wait_for_count(&node, "processes", 1);
    stop_clean(&node);
}
