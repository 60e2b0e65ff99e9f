//! The same random scripts on simulated sockets and on the loopback of the operating system: each call has the same
//! result on both, as far as Linux promises it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::*;
use crate::simulation::random::{Generator, Stream};

/// What a step is.
#[derive(Clone, Copy, Debug)]
enum Step {
    Write(usize, usize),
    Read(usize, usize),
    ShutdownWrite(usize),
    Close(usize),
    Reset(usize),
}

/// What a call has given: bytes read, or a count, or the kind of an error.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Bytes(Vec<u8>),
    Count(usize),
    Done,
    Failed(ErrorKind),
}

impl Outcome {
    fn of(result: io::Result<Self>) -> Self {
        result.unwrap_or_else(|error| Self::Failed(error.kind()))
    }
}

fn draw(random: &mut Generator) -> Step {
    let side = random.below(2) as usize;
    let length = random.between(1, 400) as usize;
    match random.below(100) {
        0..40 => Step::Write(side, length),
        40..85 => Step::Read(side, length),
        85..93 => Step::ShutdownWrite(side),
        93..97 => Step::Close(side),
        _ => Step::Reset(side),
    }
}

fn simulated(machines: &Machines, ends: &mut [Option<StreamSocket>; 2], step: Step) -> Outcome {
    let (Step::Write(side, _)
    | Step::Read(side, _)
    | Step::ShutdownWrite(side)
    | Step::Close(side)
    | Step::Reset(side)) = step;
    let Some(end) = &ends[side] else {
        return Outcome::Done;
    };
    let outcome = match step {
        Step::Write(_, length) => {
            Outcome::of(write(end, &vec![length as u8; length]).map(Outcome::Count))
        }
        Step::Read(_, length) => {
            let mut bytes = vec![0; length];
            Outcome::of(
                end.read(&mut bytes)
                    .map(|read| Outcome::Bytes(bytes[..read].to_vec())),
            )
        }
        Step::ShutdownWrite(_) => Outcome::of(end.shutdown_write().map(|()| Outcome::Done)),
        Step::Reset(_) => {
            end.reset_on_close();
            Outcome::Done
        }
        Step::Close(_) => Outcome::Done,
    };
    if matches!(step, Step::Close(_) | Step::Reset(_)) {
        ends[side] = None;
    }
    machines.run_dry();
    outcome
}

fn real(ends: &mut [Option<TcpStream>; 2], step: Step, expected: &Outcome) -> Outcome {
    let (Step::Write(side, _)
    | Step::Read(side, _)
    | Step::ShutdownWrite(side)
    | Step::Close(side)
    | Step::Reset(side)) = step;
    let Some(end) = &mut ends[side] else {
        return Outcome::Done;
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    let outcome = loop {
        let outcome = match step {
            Step::Write(_, length) => {
                Outcome::of(end.write(&vec![length as u8; length]).map(Outcome::Count))
            }
            Step::Read(_, length) => {
                let mut bytes = vec![0; length];
                Outcome::of(
                    end.read(&mut bytes)
                        .map(|read| Outcome::Bytes(bytes[..read].to_vec())),
                )
            }
            Step::ShutdownWrite(_) => {
                Outcome::of(end.shutdown(Shutdown::Write).map(|()| Outcome::Done))
            }
            Step::Reset(_) => {
                let linger = socket2::SockRef::from(&*end).set_linger(Some(Duration::ZERO));
                Outcome::of(linger.map(|()| Outcome::Done))
            }
            Step::Close(_) => Outcome::Done,
        };
        // The kernel may take a moment to carry what was sent.
        let is_early = outcome == Outcome::Failed(ErrorKind::WouldBlock) && outcome != *expected;
        if !is_early || Instant::now() > deadline {
            break outcome;
        }
        std::thread::yield_now();
    };
    if matches!(step, Step::Close(_) | Step::Reset(_)) {
        ends[side] = None;
    }
    outcome
}

#[test]
#[cfg(target_os = "linux")]
fn random_scripts_give_the_same_results_on_simulated_and_on_loopback_sockets() {
    for seed in 0..400 {
        let mut random = Generator::new(seed, Stream::User);
        let machines = Machines::new(seed);
        let (client, server) = machines.pair();
        let mut simulated_ends = [Some(client), Some(server)];
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let server = listener.accept().expect("connected").0;
        for end in [&client, &server] {
            end.set_nonblocking(true).expect("set");
            end.set_nodelay(true).expect("set");
        }
        let mut real_ends = [Some(client), Some(server)];
        let mut script = Vec::new();
        for _ in 0..40 {
            let step = draw(&mut random);
            script.push(step);
            let expected = simulated(&machines, &mut simulated_ends, step);
            let got = real(&mut real_ends, step, &expected);
            assert_eq!(
                got, expected,
                "seed {seed}: loopback, simulation after {script:?}"
            );
        }
    }
}
