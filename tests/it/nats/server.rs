//! A real nats-server for one test, on a port of its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::support::{LIMIT, wait_until};

/// A server, which is killed at the end of the test.
#[derive(Debug)]
pub struct NatsServer {
    pub addr: SocketAddr,
    folder: PathBuf,
    child: Option<Child>,
}

/// Whether nats-server is there. Tests without it are skipped, and say so.
pub fn is_installed() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        let found = Command::new("nats-server").arg("--version").output();
        let is_there = found.is_ok_and(|output| output.status.success());
        if !is_there {
            println!(
                "skipped: nats-server is not installed (on Debian: apt-get install nats-server)"
            );
        }
        is_there
    })
}

/// A port that is free now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

impl NatsServer {
    /// Starts a server with these lines of configuration. `None`: it is not installed.
    pub fn start(config: &str) -> Option<Self> {
        is_installed().then(|| Self::start_on(free_port(), config))
    }

    /// Starts a server on that port.
    #[track_caller]
    pub fn start_on(port: u16, config: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("longshore-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let config = format!("listen: 127.0.0.1:{port}\n{config}\n");
        fs::write(folder.join("server.conf"), config).expect("a configuration");
        let mut server = Self {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            folder,
            child: None,
        };
        server.restart();
        server
    }

    /// Its address as the client takes it.
    pub fn url(&self) -> String {
        self.addr.to_string()
    }

    /// Starts it again, on the same port, and waits until it greets.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        let log = fs::File::create(self.folder.join("log")).expect("a log");
        let child = Command::new("nats-server")
            .arg("-c")
            .arg(self.folder.join("server.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        self.child = Some(child);
        wait_until("the server's greeting", || self.greets());
    }

    fn greets(&mut self) -> bool {
        if let Some(child) = &mut self.child
            && let Ok(Some(status)) = child.try_wait()
        {
            panic!("nats-server has ended, {status}: {}", self.log());
        }
        let Ok(stream) = TcpStream::connect_timeout(&self.addr, LIMIT) else {
            return false;
        };
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let mut line = String::new();
        let read = BufReader::new(stream).read_line(&mut line);
        read.is_ok() && line.starts_with("INFO ")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Ends it without a word.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is ours");
            child.wait().expect("it is ours");
        }
    }

    /// Sends it a signal by name, as nats-server itself does: `ldm`, `reload`.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").id();
        let done = Command::new("nats-server")
            .args(["--signal", &format!("{signal}={pid}")])
            .output()
            .expect("it runs");
        assert!(done.status.success(), "{done:?}");
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- {}: {}", self.addr, self.log());
        }
        self.kill();
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Two servers of one cluster, the second one known to clients of the first by its INFO.
pub fn start_cluster(config: &str) -> Option<[NatsServer; 2]> {
    if !is_installed() {
        return None;
    }
    let ports = [free_port(), free_port(), free_port(), free_port()];
    let member = |client: usize, route: usize, other: usize| {
        let cluster = format!(
            "{config}\ncluster {{ name: test, listen: \"127.0.0.1:{}\", routes: [\"nats://127.0.0.1:{}\"] }}",
            ports[route], ports[other]
        );
        NatsServer::start_on(ports[client], &cluster)
    };
    let servers = [member(0, 2, 3), member(1, 3, 2)];
    for server in &servers {
        wait_until("the cluster", || {
            let mut line = String::new();
            let stream = TcpStream::connect(server.addr).expect("a connection");
            BufReader::new(stream).read_line(&mut line).expect("INFO");
            servers.iter().all(|server| line.contains(&server.url()))
        });
    }
    Some(servers)
}
