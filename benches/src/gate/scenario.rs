//! The scenarios of the gate, each with as little else as possible: one thread does the work, and one waits for it.

use super::client::Client;
use crate::actors::{self, Flow, Subject};
use crate::peers::{self, Mode, Options};
use crate::spin::Spin;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::channel;
use std::thread;

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name in the file.
    pub name: &'static str,
    /// The operations of a short window and of a long one.
    pub windows: (u64, u64),
    /// What is done.
    pub work: Work,
}

/// Where the operations come from.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// A server of this name runs in the counted process, bound to this address, and a client in another process sends
    /// to it.
    Serve(&'static str, Ipv4Addr, Client),
    /// Messages are passed inside the counted process.
    Pass(&'static str, fn(&dyn Subject, u64)),
    /// One thread sends itself one word without any library or scheduler, which counts the tools alone.
    Channel,
}

/// A scenario that is ready to run.
#[expect(missing_debug_implementations, reason = "a subject is a whole runtime")]
pub enum Stage {
    /// The server serves its client.
    Serving(SocketAddr),
    /// The runtime runs.
    Passing(Box<dyn Subject>, fn(&dyn Subject, u64)),
    /// The scenario needs no runtime.
    Channel,
}

/// Windows of messages that come one at a time.
const ECHO: (u64, u64) = (100, 600);
/// Windows of rounds of 50.
const BUSY_ECHO: (u64, u64) = (500, 2_000);
/// Windows of rounds of 16.
const DEEP_ECHO: (u64, u64) = (320, 1_600);

/// All scenarios; the gate runs those that the file names, and all if asked to.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "std-channel",
        windows: (1_000, 6_000),
        work: Work::Channel,
    },
    serve(
        "epoll-tcp-echo",
        ECHO,
        "epoll",
        Client::Tcp { connections: 1 },
    ),
    serve("mio-tcp-echo", ECHO, "mio", Client::Tcp { connections: 1 }),
    serve(
        "tokio-tcp-echo",
        ECHO,
        "tokio-ct",
        Client::Tcp { connections: 1 },
    ),
    serve(
        "tcp-echo",
        ECHO,
        "longshore",
        Client::Tcp { connections: 1 },
    ),
    serve(
        "epoll-tcp-echo-50",
        BUSY_ECHO,
        "epoll",
        Client::Tcp { connections: 50 },
    ),
    serve(
        "mio-tcp-echo-50",
        BUSY_ECHO,
        "mio",
        Client::Tcp { connections: 50 },
    ),
    serve(
        "tokio-tcp-echo-50",
        BUSY_ECHO,
        "tokio-ct",
        Client::Tcp { connections: 50 },
    ),
    serve(
        "tcp-echo-50",
        BUSY_ECHO,
        "longshore",
        Client::Tcp { connections: 50 },
    ),
    serve("tokio-tls-echo", ECHO, "tokio-rustls-ct", Client::Tls),
    serve("tls-echo", ECHO, "longshore", Client::Tls),
    serve(
        "epoll-udp-echo",
        ECHO,
        "epoll",
        Client::Udp { in_flight: 1 },
    ),
    serve("mio-udp-echo", ECHO, "mio", Client::Udp { in_flight: 1 }),
    serve(
        "tokio-udp-echo",
        ECHO,
        "tokio-ct",
        Client::Udp { in_flight: 1 },
    ),
    serve("udp-echo", ECHO, "longshore", Client::Udp { in_flight: 1 }),
    serve(
        "epoll-udp-echo-16",
        DEEP_ECHO,
        "epoll",
        Client::Udp { in_flight: 16 },
    ),
    serve(
        "mio-udp-echo-16",
        DEEP_ECHO,
        "mio",
        Client::Udp { in_flight: 16 },
    ),
    serve(
        "tokio-udp-echo-16",
        DEEP_ECHO,
        "tokio-ct",
        Client::Udp { in_flight: 16 },
    ),
    serve(
        "udp-echo-16",
        DEEP_ECHO,
        "longshore",
        Client::Udp { in_flight: 16 },
    ),
    // What the feature `pktinfo` costs: the same count without it, and with it.
    serve(
        "udp-echo-all",
        ECHO,
        "longshore",
        Client::Udp { in_flight: 1 },
    )
    .on_all_addresses(),
    serve(
        "udp-echo-all-16",
        DEEP_ECHO,
        "longshore",
        Client::Udp { in_flight: 16 },
    )
    .on_all_addresses(),
    pass("tokio-ping-pong", (1_000, 6_000), "tokio", ping_pong),
    pass("ping-pong", (1_000, 6_000), "longshore", ping_pong),
    pass("tokio-flood", (4_096, 20_480), "tokio", flood),
    pass("flood", (4_096, 20_480), "longshore", flood),
    pass("tokio-spawn-end", (500, 2_500), "tokio", spawn_end),
    pass("spawn-end", (500, 2_500), "longshore", spawn_end),
];

const fn serve(
    name: &'static str,
    windows: (u64, u64),
    peer: &'static str,
    client: Client,
) -> Scenario {
    Scenario {
        name,
        windows,
        work: Work::Serve(peer, Ipv4Addr::LOCALHOST, client),
    }
}

impl Scenario {
    /// The same with a server that is bound to all addresses.
    const fn on_all_addresses(mut self) -> Self {
        if let Work::Serve(_, ip, _) = &mut self.work {
            *ip = Ipv4Addr::UNSPECIFIED;
        }
        self
    }
}

const fn pass(
    name: &'static str,
    windows: (u64, u64),
    subject: &'static str,
    play: fn(&dyn Subject, u64),
) -> Scenario {
    Scenario {
        name,
        windows,
        work: Work::Pass(subject, play),
    }
}

/// Finds a scenario by name.
pub fn find(name: &str) -> Option<Scenario> {
    SCENARIOS
        .iter()
        .find(|scenario| scenario.name == name)
        .copied()
}

impl Scenario {
    /// Starts the server or the runtime.
    pub fn set_up(&self) -> Stage {
        match self.work {
            Work::Serve(peer, ip, client) => {
                let bound = start(peer, ip, client.mode());
                Stage::Serving((Ipv4Addr::LOCALHOST, bound.port()).into())
            }
            Work::Pass(name, play) => {
                let (_, build) = actors::SUBJECTS
                    .iter()
                    .find(|(known, _)| *known == name)
                    .expect("a known subject");
                Stage::Passing(build(1), play)
            }
            Work::Channel => Stage::Channel,
        }
    }
}

impl Stage {
    /// Where the server listens, if there is one.
    pub fn addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Serving(addr) => Some(*addr),
            Self::Passing(..) | Self::Channel => None,
        }
    }

    /// Runs `n` operations, unless a client does that from outside.
    pub fn play(&mut self, n: u64) {
        match self {
            Self::Serving(_) => {}
            Self::Passing(subject, play) => play(&**subject, n),
            Self::Channel => std_channel(n),
        }
    }
}

fn start(peer: &str, ip: Ipv4Addr, mode: Mode) -> SocketAddr {
    let (bound, was_bound) = channel();
    let options = Options {
        addr: (ip, 0).into(),
        workers: 1,
        buffer_bytes: 8_192,
        spin: Spin::default(),
        plain: false,
        mode,
        files: None,
        bound: Some(bound),
    };
    let (_, serve) = peers::PEERS
        .iter()
        .find(|(name, _)| *name == peer)
        .expect("a known peer");
    // The thread ends with the process.
    thread::spawn(move || serve(options).map_err(|error| eprintln!("{error}")));
    was_bound.recv().expect("the server binds")
}

fn std_channel(n: u64) {
    let (sender, receiver) = channel();
    for number in 0..n {
        sender.send(number).expect("the receiver lives");
        assert_eq!(receiver.recv(), Ok(number));
    }
}

fn ping_pong(subject: &dyn Subject, n: u64) {
    subject.ping_pong(n).expect("every subject plays");
}

fn flood(subject: &dyn Subject, n: u64) {
    subject
        .flow(
            Flow {
                producers: 1,
                consumers: 1,
            },
            n,
        )
        .expect("every subject floods");
}

fn spawn_end(subject: &dyn Subject, n: u64) {
    subject.spawn_end(n).expect("every subject spawns");
}
