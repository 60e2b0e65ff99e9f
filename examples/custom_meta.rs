//! An event source of your own on the poll loop: a meta-process that runs a program and carries bytes to and from it.
//! Each TCP connection gets its own run of the program, as with inetd. A line `?` asks the meta-process for its
//! counters.
//!
//! ```text
//! cargo run --release --example custom_meta -- 127.0.0.1:7000 sed -u 's/^/you said: /'
//! nc 127.0.0.1 7000
//! ```

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::Duration;

use longshore::prelude::*;
use longshore::{BufferPool, SendErrorKind};

/// Bytes that may wait for the program before sends to it are refused.
const OUTPUT_LIMIT: u32 = 1 << 20;
/// What a program has from the end of its input to its own end.
const PATIENCE: Duration = Duration::from_secs(2);

/// The meta-process: a state machine that runs when its socket is ready and when a message arrives. It must never
/// block.
struct Program {
    child: Child,
    /// Our end; the program has the other one as its standard input and output.
    pipe: UnixStream,
    /// The connection that receives the program's output.
    connection: Alias,
    output: Buffer,
    lines: u64,
    /// Why it ends, once the program has read what was accepted for it and has ended.
    ending: Option<Reason>,
}

impl Program {
    fn start(command: &[String], connection: Alias) -> io::Result<Self> {
        let (pipe, theirs) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        let input = OwnedFd::from(theirs.try_clone()?);
        let child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(input)
            .stdout(OwnedFd::from(theirs))
            .spawn()?;
        Ok(Self {
            child,
            pipe,
            connection,
            output: Buffer::new(),
            lines: 0,
            ending: None,
        })
    }

    /// Program to connection, until the read would block: readiness is reported only once.
    fn read(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let pool: BufferPool = cx.buffer_pool().clone();
        loop {
            let mut data = pool.get(4096);
            match self.pipe.read(data.spare_mut()) {
                Ok(0) => return Err(self.ending.take().unwrap_or(Reason::Normal)), // the program has ended
                Ok(read) => data.grow(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            match cx.send(self.connection, MessageTcp::new(self.connection, data)) {
                Ok(()) => {}
                // The connection is closing, but what the client sent is still for the program to do.
                Err(_) if self.ending.is_some() => {}
                // The peer reads slowly. A real bridge would keep what came back and stop reading; this one gives up.
                Err(error) if error.kind() == SendErrorKind::OutputFull => return Err(error.into()),
                Err(_) => return Err(Reason::Normal),
            }
        }
    }

    /// Connection to program, as far as the socket takes it.
    fn write(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        while !self.output.is_empty() {
            match self.pipe.write(&self.output) {
                Ok(written) => {
                    self.output.advance(written);
                    cx.sent(written, OUTPUT_LIMIT / 4);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        // The end of its input: most programs end then.
        if self.ending.is_some() && self.output.is_empty() {
            self.pipe.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }
}

impl MetaProcess for Program {
    fn init(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        Ok(cx.register(&self.pipe)?)
    }

    fn ready(&mut self, cx: &mut MetaContext<'_>, readiness: Readiness) -> Result<(), Reason> {
        if readiness.is_writable() {
            self.write(cx)?;
        }
        if readiness.is_readable() {
            self.read(cx)
        } else {
            Ok(())
        }
    }

    fn handle_message(
        &mut self,
        cx: &mut MetaContext<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        let Message::Tcp(packet) = message else {
            return Ok(());
        };
        self.lines += packet.data.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.output.extend_from_slice(&packet.data);
        self.write(cx)
    }

    fn handle_call(
        &mut self,
        _: &mut MetaContext<'_>,
        _: Pid,
        _: Message,
        reply: Reply,
    ) -> Result<(), Reason> {
        reply.send(format!("{} lines\n", self.lines));
        Ok(())
    }

    /// The connection or the parent has ended, or the node stops: the program gets what was accepted for it, and then
    /// the end of its input.
    fn handle_exit(&mut self, cx: &mut MetaContext<'_>, reason: Reason) -> Result<(), Reason> {
        if self.ending.is_none() {
            self.ending = Some(reason);
            cx.end_within(PATIENCE);
        }
        self.write(cx)
    }

    fn terminate(&mut self, _cx: &mut MetaContext<'_>, reason: &Reason) {
        println!("program {} ends: {reason}", self.child.id());
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }

    fn output_limit(&self) -> u32 {
        OUTPUT_LIMIT
    }
}

/// Gives each connection its program, and ends each when the other has ended.
struct Inetd {
    address: String,
    command: Vec<String>,
    programs: HashMap<Alias, Alias>,
    connections: HashMap<Ref, Alias>,
    questions: HashMap<Ref, Alias>,
}

impl Actor for Inetd {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let server = TcpServer::bind(&self.address)?;
        println!("{}", server.local_addr());
        cx.spawn_meta(server)?;
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message {
            Message::TcpConnect(connect) => {
                let Ok(program) = Program::start(&self.command, connect.id) else {
                    cx.close(connect.id).ok(); // it may have ended already
                    return Ok(());
                };
                let Ok(program) = cx.spawn_meta(program) else {
                    cx.close(connect.id).ok();
                    return Ok(());
                };
                self.programs.insert(connect.id, program);
                self.connections.insert(cx.monitor(program), connect.id);
            }
            Message::Tcp(packet) => {
                let Some(program) = self.programs.get(&packet.id) else {
                    return Ok(());
                };
                if packet.data == "?\n" {
                    // A program that has just ended has no counters: its Down closes the connection.
                    if let Ok(question) = cx.request(*program, "counters", Duration::from_secs(5)) {
                        self.questions.insert(question, packet.id);
                    }
                } else {
                    cx.write(*program, packet.data);
                }
            }
            Message::Reply(reply) => {
                let connection = self.questions.remove(&reply.request);
                let text = reply
                    .result
                    .ok()
                    .and_then(|answer| answer.downcast::<String>().ok());
                if let (Some(connection), Some(text)) = (connection, text) {
                    cx.write(connection, text);
                }
            }
            Message::Down(down) => {
                if let Some(connection) = self.connections.remove(&down.monitor) {
                    cx.close(connection).ok(); // the program has ended
                }
            }
            Message::TcpDisconnect(end) => {
                if let Some(program) = self.programs.remove(&end.id) {
                    cx.send_exit_meta(program, Reason::error(end.reason)).ok();
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn main() -> Result<(), longshore::Error> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:7000".into());
    let mut command: Vec<String> = arguments.collect();
    if command.is_empty() {
        command = ["sed", "-u", "s/^/you said: /"].map(String::from).to_vec();
    }
    let report = Node::run("inetd@localhost", || Inetd {
        address,
        command,
        programs: HashMap::new(),
        connections: HashMap::new(),
        questions: HashMap::new(),
    })?; // until Ctrl-C
    println!("{report}"); // what was cut off
    Ok(())
}
