//! Processes that other nodes reach by name.

use longshore::nats::{Codec, NatsFlush, Registry, Remote, RemoteError};

use super::*;

/// A number in decimal digits; `UNLUCKY` is refused by `encode`, "panic" panics in `decode`.
struct Digits;

const REFUSED: u64 = 1_000;

const UNLUCKY: u64 = 1_000_013;

impl Codec<u64> for Digits {
    fn encode(&self, value: &u64, out: &mut Buffer) -> Handled {
        if *value == UNLUCKY {
            return Err(Reason::error("an unlucky number"));
        }
        out.extend_from_slice(value.to_string().as_bytes());
        Ok(())
    }

    fn decode(&self, data: &[u8]) -> Result<u64, Reason> {
        assert_ne!(data, b"panic");
        Ok(std::str::from_utf8(data)?.parse()?)
    }
}

/// A node with a client and a registry.
struct Member {
    node: Node,
    client: Started,
    registry: Registry<Digits>,
}

impl Member {
    fn start(server: &NatsServer) -> Self {
        let node = node();
        let client = connected(&node, options(server));
        let registry = Registry::new(client.nats.clone(), Digits);
        Self {
            node,
            client,
            registry,
        }
    }

    fn flush(&self) {
        let flushed = self.node.call(self.client.pid, NatsFlush, LIMIT).unwrap();
        flushed
            .downcast::<Result<(), NatsError>>()
            .unwrap()
            .unwrap();
    }

    /// Publishes a process and waits until the server knows.
    #[track_caller]
    fn publish(&self, name: &str, pid: Pid) -> Pid {
        let publication = self.registry.publication::<u64, u64>(name, pid).unwrap();
        let pid = self.node.spawn(|| publication).unwrap();
        self.flush();
        pid
    }

    fn remote(&self, name: &str) -> Remote<u64, u64, Digits> {
        Remote::new(&self.registry, name).unwrap()
    }

    /// Asks and waits.
    #[track_caller]
    fn ask(&self, name: &str, message: u64) -> Result<u64, RemoteError> {
        self.ask_within(name, message, LIMIT)
    }

    /// Waits until the server knows that no process has the name. What is under way to the last one until then may be
    /// lost, and its asker waits for the timeout.
    #[track_caller]
    fn wait_for_no_process(&self, name: &str) {
        wait_until("the name to be free", || {
            let answer = self.ask_within(name, 10, Duration::from_millis(100));
            answer == Err(RemoteError::NoProcess)
        });
    }

    #[track_caller]
    fn ask_within(&self, name: &str, message: u64, timeout: Duration) -> Result<u64, RemoteError> {
        let remote = self.remote(name);
        let request = remote.request(&message, timeout)?;
        let answer = self.node.call(self.client.pid, request, LIMIT).unwrap();
        remote.answer(answer.downcast().unwrap())
    }
}

/// Adds up what it is sent; answers the sum, or nothing to 0, or a text to 1.
struct Sum(u64);

impl Actor for Sum {
    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        self.0 += message.downcast::<u64>().expect("a number");
        Ok(())
    }

    fn handle_call(
        &mut self,
        _: &mut Context<'_>,
        _: Pid,
        message: Message,
        reply: Reply,
    ) -> Handled {
        match message.downcast::<u64>().expect("a number") {
            0 => drop(reply),
            1 => reply.send("text"),
            2 => reply.send(UNLUCKY),
            REFUSED => reply.fail(Reason::error("too\nlittle")),
            number => {
                self.0 += number;
                reply.send(self.0);
            }
        }
        Ok(())
    }
}

#[test]
fn a_process_is_reached_by_its_name_from_another_node() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let [here, there] = [(); 2].map(|()| Member::start(&server));
    assert_eq!(here.ask("sum", 5), Err(RemoteError::NoProcess));
    let sum = there.node.spawn(|| Sum(0)).unwrap();
    there.publish("sum", sum);
    let remote = here.remote("sum");
    remote.send(&20).unwrap();
    assert_eq!(here.ask("sum", 5), Ok(25));
    // Its own node reaches it the same way.
    assert_eq!(there.ask("sum", 5), Ok(30));
    let asker = Probe::spawn(&here.node);
    remote.ask(asker.pid, 9, &3, LIMIT).unwrap();
    let answer = reply(&asker);
    assert_eq!((answer.label, remote.answer(answer.result)), (9, Ok(33)));
    stop_clean(&here.node);
    stop_clean(&there.node);
}

#[test]
fn each_way_to_have_no_answer_is_an_error_of_its_own() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let member = Member::start(&server);
    let sum = member.node.spawn(|| Sum(0)).unwrap();
    member.publish("sum", sum);
    let failed = |words: &str| Err(RemoteError::Failed(words.into()));
    assert_eq!(member.ask("sum", 0), failed("the process gave no answer"));
    assert_eq!(member.ask("sum", 1), failed("an answer of another type"));
    assert_eq!(member.ask("sum", 2), failed("an unlucky number"));
    assert_eq!(member.ask("sum", REFUSED), failed("too little"));
    assert!(matches!(
        member.ask("sum", UNLUCKY),
        Err(RemoteError::Codec(_))
    ));
    silence_expected_panics();
    let nats = &member.client.nats;
    let asker = Probe::spawn(&member.node);
    for bytes in ["no number", "panic"] {
        nats.request(asker.pid, 1, "longshore.name.sum", bytes, LIMIT)
            .unwrap();
        let answer = member.remote("sum").answer(reply(&asker).result);
        assert_eq!(answer, failed("the message is malformed"));
    }
    assert_eq!(member.registry.undelivered(), 2);
    assert_eq!(
        member.ask("sum", 50),
        Ok(50),
        "the publication has survived all of it"
    );
    stop_clean(&member.node);
}

#[test]
fn a_name_of_several_processes_is_a_pool() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let members = [(); 3].map(|()| Member::start(&server));
    let workers = [0, 1, 2].map(|at| Probe::spawn(&members[at].node));
    for (member, worker) in members.iter().zip(&workers) {
        member.publish("work", worker.pid);
    }
    for number in 0..300 {
        members[0].remote("work").send(&number).unwrap();
    }
    members.iter().for_each(Member::flush);
    let mut seen = Vec::new();
    while seen.len() < 300 {
        let before = seen.len();
        for worker in &workers {
            while let Some(Seen::Message(_, number)) = worker.seen_by_now() {
                seen.push(number.downcast::<u64>().unwrap());
            }
        }
        if seen.len() == before {
            std::thread::yield_now();
        }
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..300), "each message once");
    members.iter().for_each(|member| stop_clean(&member.node));
}

#[test]
fn a_process_that_ends_is_unsubscribed_at_once_and_others_go_on() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let [here, there] = [(); 2].map(|()| Member::start(&server));
    let sums = [&here, &there].map(|member| {
        let pid = member.node.spawn(|| Sum(0)).unwrap();
        (pid, member.publish("sum", pid))
    });
    here.node.send_exit(sums[0].0, Reason::Kill).unwrap();
    wait_until("the publication to end", || {
        here.node.inspect(sums[0].1, LIMIT).is_err()
    });
    here.flush();
    for number in 1..50_u64 {
        assert_eq!(
            here.ask("sum", 10),
            Ok(number * 10),
            "the other one answers all"
        );
    }
    there.node.send_exit(sums[1].1, Reason::Shutdown).unwrap();
    here.wait_for_no_process("sum");
    stop_clean(&here.node);
    stop_clean(&there.node);
}

#[test]
fn the_asker_of_a_process_that_ends_gets_a_word_at_once() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let member = Member::start(&server);
    let worker = Probe::spawn(&member.node);
    member.publish("work", worker.pid);
    let gate = worker.block();
    let asker = Probe::spawn(&member.node);
    let remote = member.remote("work");
    remote.ask(asker.pid, 1, &1, LIMIT * 10).unwrap();
    member.flush();
    // The worker ends when the gate opens, with the request in its mailbox.
    member
        .node
        .send_exit(worker.pid, Reason::error("broken"))
        .unwrap();
    drop(gate);
    // Whether it was in the mailbox of the worker or on its way there.
    let answer = remote.answer(reply(&asker).result);
    assert!(matches!(answer, Err(RemoteError::Failed(_))), "{answer:?}");
    member.wait_for_no_process("work");
    stop_clean(&member.node);
}

#[test]
fn messages_that_do_not_reach_the_process_are_counted_and_requests_are_answered() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let member = Member::start(&server);
    let bound = SpawnOptions::default().with_mailbox_bound(1);
    let worker = Probe::spawn_with(&member.node, bound);
    member.publish("work", worker.pid);
    let gate = worker.block();
    for number in 0..5 {
        member.remote("work").send(&number).unwrap();
    }
    assert_eq!(
        member.ask("work", 5),
        Err(RemoteError::Failed("not delivered".into()))
    );
    assert_eq!(
        member.registry.undelivered(),
        5,
        "one fits, four and a request do not"
    );
    drop(gate);
    assert_eq!(worker.value::<u64>(), 0);
    stop_clean(&member.node);
}

#[test]
fn names_that_are_none_are_refused() {
    let nats = Nats::new("127.0.0.1").unwrap();
    let registry = Registry::new(nats, Digits);
    for name in ["", "a b", "a.*", ">", "a..b", "é"] {
        let refused = registry.publication::<u64, u64>(name, Pid::NODE);
        assert_eq!(refused.unwrap_err(), NatsError::Subject, "{name}");
        let refused = Remote::<u64, u64, _>::new(&registry, name);
        assert_eq!(refused.unwrap_err(), NatsError::Subject, "{name}");
    }
    assert!(registry.with_prefix("a b").is_err());
}
