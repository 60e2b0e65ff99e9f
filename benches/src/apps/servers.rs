//! One application as a process on core 0, killed when dropped.
//!
//! Longshore's examples and the binaries of this crate print their address as the first line. The others get a free
//! port and a configuration with one worker and no log, and are waited for until they accept a connection.

use crate::table::tools::tool;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a server may take until it accepts.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// An example of the library.
    Example(&'static str),
    /// A binary of this crate.
    Own(&'static str),
    /// nginx, which answers every request with a greeting.
    Nginx,
    /// Redis without persistence.
    Redis,
    /// haproxy in TCP mode.
    Haproxy,
}

/// A running application.
#[derive(Debug)]
pub struct App {
    child: Child,
    /// Where it listens.
    pub addr: SocketAddr,
    directory: PathBuf,
}

/// Where the library's examples are: `--examples`, else the target directory of the library.
pub fn examples_directory(chosen: Option<PathBuf>) -> PathBuf {
    chosen.unwrap_or_else(|| {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let target =
            target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"));
        target.join("release/examples")
    })
}

/// Builds the library's examples that are there, if this process was started by cargo.
///
/// # Errors
///
/// If they do not build.
pub fn build_examples(names: &[&str]) -> io::Result<()> {
    let Some(cargo) = std::env::var_os("CARGO") else {
        return Ok(());
    };
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for name in names {
        if !library.join(format!("examples/{name}.rs")).exists() {
            continue;
        }
        let status = Command::new(&cargo)
            .args(["build", "--quiet", "--release", "--example", name])
            .arg("--manifest-path")
            .arg(library.join("Cargo.toml"))
            .status()?;
        if !status.success() {
            return Err(io::Error::other(format!(
                "the example {name} does not build"
            )));
        }
    }
    Ok(())
}

impl App {
    /// Starts a program; a proxy connects its clients to `upstream`.
    ///
    /// # Errors
    ///
    /// If the program is not installed or does not accept in time.
    pub fn start(
        program: Program,
        examples: &Path,
        upstream: Option<SocketAddr>,
        core: usize,
    ) -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("apps-{}-{number}", process::id()));
        fs::create_dir_all(&directory)?;
        let own = |path: PathBuf| {
            let mut command = pinned(core, &path);
            command.args(["127.0.0.1:0", "--workers", "1"]);
            if let Some(upstream) = upstream {
                command.args(["--to", &upstream.to_string()]);
            }
            command
        };
        match program {
            Program::Example(name) => {
                let path = examples.join(name);
                match path.exists() {
                    true => Self::announced(own(path), directory),
                    false => Err(io::Error::other(format!("there is no {}", path.display()))),
                }
            }
            Program::Own(name) => {
                let path = PathBuf::from(tool(name)?.get_program());
                Self::announced(own(path), directory)
            }
            Program::Nginx | Program::Redis | Program::Haproxy => {
                let addr = free_port()?;
                let command = configured(program, addr, upstream, &directory, core)?;
                Self::waited_for(command, addr, directory)
            }
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn announced(mut command: Command, directory: PathBuf) -> io::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a piped output")).read_line(&mut line)?;
        // The guard kills the process if the address is wrong.
        let mut app = Self {
            child,
            addr: SocketAddr::from(([0; 4], 0)),
            directory,
        };
        let wrong = |_| io::Error::other(format!("{line:?} is no address"));
        app.addr = line.trim().parse().map_err(wrong)?;
        Ok(app)
    }

    fn waited_for(mut command: Command, addr: SocketAddr, directory: PathBuf) -> io::Result<Self> {
        let child = command.stdout(Stdio::null()).spawn()?;
        let app = Self {
            child,
            addr,
            directory,
        };
        let began = Instant::now();
        while TcpStream::connect(addr).is_err() {
            if began.elapsed() > PATIENCE {
                return Err(io::Error::other("the server does not accept"));
            }
            sleep(Duration::from_millis(10));
        }
        Ok(app)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // An error means that the process has ended already, or that the directory is gone.
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.directory).ok();
    }
}

/// A command that runs on one core.
pub fn pinned(core: usize, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("taskset");
    command
        .args(["-c", &core.to_string()])
        .arg(program.as_ref());
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn configured(
    program: Program,
    addr: SocketAddr,
    upstream: Option<SocketAddr>,
    directory: &Path,
    core: usize,
) -> io::Result<Command> {
    let file = directory.join("configuration");
    let place = directory.display();
    let (text, name) = match program {
        Program::Nginx => {
            let text = format!(
                "daemon off; master_process off; worker_processes 1; pid {place}/pid; error_log {place}/log;\n\
                 events {{ worker_connections 1024; }}\n\
                 http {{ access_log off; keepalive_requests 1000000000; server {{ listen {addr};\n\
                 location / {{ default_type text/plain; return 200 \"Hello, world!\\n\"; }} }} }}\n"
            );
            (text, "nginx")
        }
        Program::Haproxy => {
            let upstream = upstream.ok_or_else(|| io::Error::other("a proxy has an upstream"))?;
            let text = format!(
                "global\n nbthread 1\n maxconn 1000\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n \
                 timeout server 30s\nlisten all\n bind {addr}\n server one {upstream}\n"
            );
            (text, "haproxy")
        }
        _ => {
            let port = addr.port();
            let text = format!(
                "bind 127.0.0.1\nport {port}\ndaemonize no\nsave \"\"\nappendonly no\ndir {place}\nlogfile {place}/log\n"
            );
            (text, "redis-server")
        }
    };
    fs::write(&file, text)?;
    let mut command = pinned(core, name);
    match program {
        Program::Nginx => command.args(["-p"]).arg(directory).arg("-c").arg(file),
        Program::Haproxy => command.args(["-db", "-q", "-f"]).arg(file),
        _ => command.arg(file),
    };
    Ok(command)
}
