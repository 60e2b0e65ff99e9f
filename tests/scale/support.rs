//! Shared by the tests of this binary: the lock that runs one at a time, counts of resources, an owner that keeps
//! records.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore::HeaderFraming;
use longshore::prelude::*;

/// Long enough for every wait on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a callback of a process or of a meta-process returns.
pub(crate) type Handled = Result<(), Reason>;

/// Holds the lock that keeps the other tests of this binary from running.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The larger count with optimization, the smaller without.
pub(crate) const fn scaled<T: Copy>(release: T, debug: T) -> T {
    if cfg!(debug_assertions) {
        debug
    } else {
        release
    }
}

/// Raises the limit of descriptors to this number. Returns `false`, and prints the reason, where that is not allowed.
pub(crate) fn descriptors_allowed(needed: u64) -> bool {
    let (soft, hard) = rlimit::Resource::NOFILE.get().unwrap();
    if soft >= needed {
        return true;
    }
    let raised = rlimit::Resource::NOFILE.set(needed, hard.max(needed));
    if let Err(error) = &raised {
        println!(
            "skipped: {needed} descriptors are needed, {soft} (hard {hard}) are allowed: {error}"
        );
    }
    raised.is_ok()
}

/// Open descriptors of this program.
pub(crate) fn descriptors() -> usize {
    // One of them is the directory being read.
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() - 1)
}

/// Threads of this program.
pub(crate) fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// Bytes allocated and not freed.
pub(crate) fn heap_bytes() -> i64 {
    let stats = crate::HEAP.stats();
    stats.bytes_allocated as i64 - stats.bytes_deallocated as i64
}

/// Allocated blocks.
pub(crate) fn heap_blocks() -> i64 {
    let stats = crate::HEAP.stats();
    stats.allocations as i64 - stats.deallocations as i64
}

/// Resident memory of the program, in bytes.
pub(crate) fn resident_bytes() -> i64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<i64>().ok())
        .unwrap_or(0)
        * 4096
}

/// Processor time of a thread, by its directory in /proc. `None`: it has ended.
fn cpu_of(thread: &Path) -> Option<Duration> {
    let stat = std::fs::read_to_string(thread.join("schedstat")).ok()?;
    // Nanoseconds on a processor, then those in the queue.
    let ns = stat.split(' ').next().and_then(|ns| ns.parse().ok());
    Some(Duration::from_nanos(ns.expect("a kernel with schedstat")))
}

/// Processor time of the threads of this program that live and whose name begins so.
fn cpu_of_threads(name: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let tasks = tasks.map(|task| task.path());
    let named = tasks.filter(|task| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.starts_with(name))
    });
    named.filter_map(|task| cpu_of(&task)).sum()
}

/// Processor time of this program's threads.
pub(crate) fn cpu_of_this_program() -> Duration {
    cpu_of_threads("")
}

/// Processor time of the threads of nodes.
pub(crate) fn cpu_of_the_runtime() -> Duration {
    cpu_of_threads("longshore")
}

/// Processor time of the calling thread.
pub(crate) fn cpu_of_this_thread() -> Duration {
    cpu_of(Path::new("/proc/thread-self")).expect("this thread lives")
}

/// Returns whether other programs use this machine, and prints it: then times mean little.
pub(crate) fn is_loaded() -> bool {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load
        .split(' ')
        .next()
        .and_then(|load| load.parse().ok())
        .unwrap_or(0.0);
    let processors = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
    let is_loaded = load > processors * 1.5;
    if is_loaded {
        println!(
            "the machine is loaded ({load} on {processors} processors): bounds of time are higher"
        );
    }
    is_loaded
}

/// Waits for a condition that no event reports.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A node for a test.
pub(crate) fn node(workers: usize) -> Node {
    Node::start(NodeOptions::from("scale@localhost").with_workers(workers)).unwrap()
}

/// Frames of the tests: a length of two bytes, then that many.
pub(crate) fn frames() -> Framing {
    Framing::header(
        HeaderFraming::default()
            .with_header_size(2)
            .with_length_size(2),
    )
}

/// The records of an [`Owner`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    pub(crate) connected: u64,
    pub(crate) disconnected: u64,
    pub(crate) messages: u64,
    pub(crate) open: usize,
    /// The first violation of an invariant.
    pub(crate) wrong: Option<String>,
}

/// Echoes, and checks for each connection: Connect first, Disconnect last, an alias that was never seen before, and the
/// order of frames that carry a number in bytes 6..10.
pub(crate) struct Owner {
    pub(crate) name: Option<&'static str>,
    pub(crate) numbered: bool,
    pub(crate) echo: bool,
    books: Books,
    next: HashMap<Alias, u32>,
    seen: HashSet<Alias>,
    waiting: Option<(Until, Reply)>,
}

/// Makes an [`Owner`] forget the aliases it has seen.
pub(crate) struct Forget;

/// A request that an [`Owner`] answers when it has reached these counts.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    Open(usize),
    Disconnected(u64),
}

impl Until {
    fn holds(self, books: &Books) -> bool {
        match self {
            Self::Open(connections) => books.open == connections,
            Self::Disconnected(connections) => books.disconnected == connections,
        }
    }
}

impl Owner {
    pub(crate) fn new() -> Self {
        Self {
            name: None,
            numbered: false,
            echo: true,
            books: Books::default(),
            next: HashMap::new(),
            seen: HashSet::new(),
            waiting: None,
        }
    }

    pub(crate) fn numbered(name: &'static str) -> Self {
        Self {
            name: Some(name),
            numbered: true,
            ..Self::new()
        }
    }

    fn answer(&mut self) {
        if let Some((_, reply)) = self.waiting.take_if(|(until, _)| until.holds(&self.books)) {
            reply.send(self.books.clone());
        }
    }

    fn wrong(&mut self, what: String) {
        self.books.wrong.get_or_insert(what);
    }

    fn receive(&mut self, packet: &MessageTcp) {
        self.books.messages += 1;
        let Some(next) = self.next.get_mut(&packet.id) else {
            return self.wrong(format!(
                "data of {} before its Connect or after its Disconnect",
                packet.id
            ));
        };
        if self.numbered {
            let number = packet
                .data
                .get(6..10)
                .map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap()));
            let expected = *next;
            *next += 1;
            if number != Some(expected) {
                self.wrong(format!(
                    "{}: frame {number:?} where {expected} was expected",
                    packet.id
                ));
            }
        }
    }
}

impl Actor for Owner {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        if let Some(name) = self.name {
            cx.register(name)?;
        }
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, _from: Pid, message: Message) -> Handled {
        match message {
            Message::Tcp(packet) => {
                self.receive(&packet);
                if self.echo {
                    // The send returns the message if the connection has closed meanwhile.
                    let _ = cx.send_alias(packet.id, packet);
                }
            }
            Message::TcpConnect(connect) => {
                self.books.connected += 1;
                if !self.seen.insert(connect.id) {
                    self.wrong(format!("{} repeats", connect.id));
                }
                self.next.insert(connect.id, 0);
            }
            Message::TcpDisconnect(disconnect) => {
                self.books.disconnected += 1;
                if self.next.remove(&disconnect.id).is_none() {
                    self.wrong(format!(
                        "{} disconnected without Connect, or twice",
                        disconnect.id
                    ));
                }
            }
            message if message.is::<Forget>() => {
                self.seen = HashSet::new();
                self.next = HashMap::new();
            }
            message => {
                let server = message.downcast::<TcpServer>()?;
                cx.spawn_meta(server)?;
            }
        }
        self.books.open = self.next.len();
        self.answer();
        Ok(())
    }

    fn handle_call(
        &mut self,
        _: &mut Context<'_>,
        _: Pid,
        message: Message,
        reply: Reply,
    ) -> Handled {
        match message.downcast::<Until>() {
            Ok(until) => {
                self.waiting = Some((until, reply));
                self.answer();
            }
            Err(_) => reply.send(self.books.clone()),
        }
        Ok(())
    }
}

/// The sum of the owners' records by now.
pub(crate) fn books(node: &Node, owners: &[Pid]) -> Books {
    ask(node, owners, ())
}

/// The sum of the owners' records when each of them has reached these counts.
pub(crate) fn books_until(node: &Node, owners: &[Pid], until: Until) -> Books {
    ask(node, owners, until)
}

fn ask(node: &Node, owners: &[Pid], question: impl Copy + Send + 'static) -> Books {
    let mut sum = Books::default();
    for owner in owners {
        let books: Books = node
            .call(*owner, question, PATIENCE)
            .unwrap()
            .downcast()
            .unwrap();
        sum.connected += books.connected;
        sum.disconnected += books.disconnected;
        sum.messages += books.messages;
        sum.open += books.open;
        sum.wrong = sum.wrong.or(books.wrong);
    }
    sum
}

/// Spawns a process that runs `job` in its only message.
pub(crate) fn spawn_job(node: &Node, job: impl FnOnce() + Send + 'static) -> Pid {
    struct Job;
    type Work = Box<dyn FnOnce() + Send>;
    impl Actor for Job {
        fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
            message.downcast::<Work>()?();
            Ok(())
        }
    }
    let pid = node.spawn(|| Job).unwrap();
    let work: Work = Box::new(job);
    node.send(pid, work).unwrap();
    pid
}

/// A process that sends the number of each message to a channel.
pub(crate) struct Witness(Sender<u64>);

impl Witness {
    pub(crate) fn spawn(node: &Node) -> (Pid, Receiver<u64>) {
        let (sender, receiver) = mpsc::channel();
        (node.spawn(|| Self(sender)).unwrap(), receiver)
    }
}

impl Actor for Witness {
    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        // The receiver is dropped because the test has ended.
        let _ = self.0.send(message.downcast()?);
        Ok(())
    }
}

/// The path of an example, which is built like this test.
pub(crate) fn example(name: &str) -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    build.args([
        "build",
        "--quiet",
        "--example",
        name,
        "--manifest-path",
        concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
    ]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(
        build.stderr(Stdio::null()).status().unwrap().success(),
        "cargo build --example {name}"
    );
    let test = std::env::current_exe().unwrap();
    test.parent()
        .and_then(Path::parent)
        .unwrap()
        .join("examples")
        .join(name)
}

/// Connects a client.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends bytes and reads them back.
pub(crate) fn round_trip(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, bytes);
}

/// Closes with a reset, so that no port stays in TIME-WAIT.
pub(crate) fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
}

/// A certificate for `localhost`, and clients that trust it.
#[cfg(feature = "ring")]
pub(crate) mod tls {
    use std::net::TcpStream;
    use std::sync::Arc;

    use longshore::tls::{CertManager, CertSource};
    use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
    use rustls::{ClientConfig, ClientConnection};

    pub(crate) fn pair() -> (CertManager, Arc<ClientConfig>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let root = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let certs = CertManager::new(CertSource::der(vec![root.clone()], key.into())).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(root).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let config = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (certs, Arc::new(config))
    }

    pub(crate) fn client(config: &Arc<ClientConfig>) -> ClientConnection {
        let name = ServerName::try_from("localhost").unwrap();
        ClientConnection::new(Arc::clone(config), name).unwrap()
    }

    /// Makes a handshake, up to its end on this side.
    pub(crate) fn handshake(stream: &mut TcpStream, config: &Arc<ClientConfig>) {
        let mut client = client(config);
        while client.is_handshaking() {
            client.complete_io(stream).unwrap();
        }
    }
}
