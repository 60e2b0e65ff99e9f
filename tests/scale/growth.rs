//! What grows with the number of things grows with it, and not with its square: each is timed with 2,500 and with
//! 10,000.
//!
//! A search of `src` for lists that are searched or drained for each of their members found those that wait for a
//! mailbox, monitors and links, the children of a supervisor, the tickers, listeners and events of a process, the
//! lookups of one name, the workers of a pool, the supervisors of a list, the sources of a meta-process, connections
//! that are handed over, the mailboxes that one process or one meta-process waits for, and the ends that are kept for
//! relays. Lists that stay short are searched still: the 16 slow handlers, the permits of 1,024 threads, the addresses
//! of one name, the servers of a NATS client, and the names of an environment.
//!
//! Four times as many may take nine times as long here, because caches are smaller than what is many; a search of a
//! list for each of its members takes sixteen times as long.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use longshore::prelude::*;

use crate::support::{
    Handled, Owner, PATIENCE, Until, alone, books_until, connect, descriptors_allowed, node,
};

const FEW: usize = 2_500;
const MANY: usize = 10_000;
/// The best attempt counts: a loaded machine takes the processor away from any of them.
const ATTEMPTS: usize = 5;

fn grows_linearly(what: &str, time: impl Fn(usize) -> Duration) {
    let _turn = alone();
    let ratios = (0..ATTEMPTS).map(|_| {
        let (few, many) = (time(FEW), time(MANY));
        println!("{what}: {FEW} take {few:?}, {MANY} take {many:?}");
        many.as_secs_f64() / few.as_secs_f64()
    });
    let is_linear = ratios.into_iter().any(|ratio| ratio < 9.0);
    assert!(is_linear, "{what}: no attempt of {ATTEMPTS} was linear");
}

/// Waits until that figure of the node is zero.
fn wait_for_none(node: &Node, figure: &str) {
    let begun = Instant::now();
    while node.metrics().get(figure) != Some(0) {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}

fn monitor_often(node: &Node, runner: Pid, target: Target, count: usize) -> Vec<Ref> {
    within(node, runner, move |cx| {
        (0..count).map(|_| cx.monitor(target.clone())).collect()
    })
}

fn demonitor_all(node: &Node, runner: Pid, monitors: Vec<Ref>) {
    within(node, runner, move |cx| {
        monitors
            .into_iter()
            .rev()
            .for_each(|monitor| cx.demonitor(monitor));
    });
}

/// Does what it is sent, and forwards what else it receives.
struct Runner(Sender<Message>);

type Deed = Box<dyn FnOnce(&mut Context<'_>) + Send>;

impl Runner {
    fn spawn(node: &Node) -> (Pid, Receiver<Message>) {
        let (sender, messages) = mpsc::channel();
        (node.spawn(|| Self(sender)).unwrap(), messages)
    }
}

impl Actor for Runner {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        cx.set_trap_exit(true);
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message {
            Message::Exit(exit) if exit.from == Target::Pid(Pid::NODE) => Err(exit.reason),
            message => {
                match message.downcast::<Deed>() {
                    Ok(deed) => deed(cx),
                    // The test may be over.
                    Err(message) => drop(self.0.send(message.into())),
                }
                Ok(())
            }
        }
    }
}

/// Does something inside a process and waits until it is done.
fn within<R: Send + 'static>(
    node: &Node,
    pid: Pid,
    deed: impl FnOnce(&mut Context<'_>) -> R + Send + 'static,
) -> R {
    let (sender, result) = mpsc::channel();
    let deed: Deed = Box::new(move |cx| drop(sender.send(deed(cx))));
    node.send(pid, deed).unwrap();
    result.recv_timeout(PATIENCE).unwrap()
}

fn receive(messages: &Receiver<Message>, count: usize) {
    for _ in 0..count {
        messages.recv_timeout(PATIENCE).unwrap();
    }
}

struct Quiet;

impl Actor for Quiet {}

impl MetaProcess for Quiet {}

fn spawn_quiet(node: &Node, count: usize) -> Vec<Pid> {
    (0..count).map(|_| node.spawn(|| Quiet).unwrap()).collect()
}

#[test]
fn monitors_on_one_process_are_taken_back_in_linear_time() {
    grows_linearly("monitors on a process", |count| {
        let node = node(1);
        let (runner, _messages) = Runner::spawn(&node);
        let target = node.spawn(|| Quiet).unwrap();
        let monitors = monitor_often(&node, runner, target.into(), count);
        let begun = Instant::now();
        demonitor_all(&node, runner, monitors);
        begun.elapsed()
    });
}

#[test]
fn monitors_on_one_meta_process_are_taken_back_in_linear_time() {
    grows_linearly("monitors on a meta-process", |count| {
        let node = node(1);
        let (runner, _messages) = Runner::spawn(&node);
        let alias = within(&node, runner, |cx| cx.spawn_meta(Quiet).unwrap());
        let monitors = monitor_often(&node, runner, alias.into(), count);
        let begun = Instant::now();
        demonitor_all(&node, runner, monitors);
        // Its stripe has come so far when it answers.
        node.inspect(alias, PATIENCE).unwrap();
        begun.elapsed()
    });
}

#[test]
fn end_of_a_process_reaches_its_watchers_and_links_in_linear_time() {
    grows_linearly("watchers and links", |count| {
        let node = node(1);
        let (runner, messages) = Runner::spawn(&node);
        let targets = spawn_quiet(&node, count);
        let ends = targets.clone();
        within(&node, runner, move |cx| {
            for target in targets {
                cx.monitor(target);
                cx.link(target).unwrap();
            }
        });
        let begun = Instant::now();
        for target in ends {
            node.send_exit(target, Reason::Kill).unwrap();
        }
        // A `Down` and an exit signal of each.
        receive(&messages, 2 * count);
        begun.elapsed()
    });
}

#[test]
fn children_end_with_their_parent_in_linear_time() {
    grows_linearly("children", |count| {
        let node = node(1);
        let (runner, _messages) = Runner::spawn(&node);
        within(&node, runner, move |cx| {
            for _ in 0..count {
                cx.spawn_meta(Quiet).unwrap();
            }
        });
        let begun = Instant::now();
        node.send_exit(runner, Reason::Kill).unwrap();
        wait_for_none(&node, "longshore_meta_processes");
        begun.elapsed()
    });
}

#[test]
fn timers_of_one_instant_fire_in_linear_time() {
    grows_linearly("timers", |count| {
        let node = node(1);
        let (runner, messages) = Runner::spawn(&node);
        let delay = Duration::from_millis(200);
        let begun = within(&node, runner, move |cx| {
            let begun = Instant::now();
            for number in 0..count {
                cx.send_after(cx.pid(), number, delay);
            }
            begun
        });
        receive(&messages, count);
        begun.elapsed().saturating_sub(delay)
    });
}

#[test]
fn timers_end_with_their_process_in_linear_time() {
    grows_linearly("timers at an end", |count| {
        let node = node(1);
        let (runner, _messages) = Runner::spawn(&node);
        let begun = within(&node, runner, move |cx| {
            let begun = Instant::now();
            for number in 0..count {
                cx.send_after(cx.pid(), number, PATIENCE);
            }
            begun
        });
        node.send_exit(runner, Reason::Kill).unwrap();
        wait_for_none(&node, "longshore_processes");
        assert_eq!(node.metrics().get("longshore_timers"), Some(0));
        begun.elapsed()
    });
}

#[test]
fn names_are_given_and_taken_back_in_linear_time() {
    grows_linearly("names", |count| {
        let node = node(1);
        let begun = Instant::now();
        let pids: Vec<Pid> = (0..count)
            .map(|number| {
                node.spawn_register(format!("name{number}"), || Quiet)
                    .unwrap()
            })
            .collect();
        for pid in pids {
            node.send_exit(pid, Reason::Kill).unwrap();
        }
        wait_for_none(&node, "longshore_processes");
        begun.elapsed()
    });
}

/// Sends numbers to a process as fast as its mailbox takes them.
struct Flood {
    to: Pid,
    left: u32,
}

impl Flood {
    fn send_all(&mut self, cx: &mut MetaContext<'_>) -> Handled {
        while self.left > 0 && cx.send(self.to, self.left).is_ok() {
            self.left -= 1;
        }
        Ok(())
    }
}

impl MetaProcess for Flood {
    fn init(&mut self, cx: &mut MetaContext<'_>) -> Handled {
        self.send_all(cx)
    }

    fn handle_resume(&mut self, cx: &mut MetaContext<'_>) -> Handled {
        self.send_all(cx)
    }
}

/// Counts, and says when it has counted all.
struct Count {
    left: usize,
    done: Sender<Instant>,
}

impl Actor for Count {
    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        self.left -= 1;
        if self.left == 0 {
            self.done.send(Instant::now()).unwrap();
        }
        Ok(())
    }
}

#[test]
fn those_who_wait_for_one_mailbox_are_served_in_linear_time() {
    const EACH: u32 = 40;
    grows_linearly("waiters", |count| {
        let node = node(2);
        let (runner, _messages) = Runner::spawn(&node);
        let (done, counted) = mpsc::channel();
        let left = count * EACH as usize;
        let to = node.spawn(|| Count { left, done }).unwrap();
        let begun = within(&node, runner, move |cx| {
            let begun = Instant::now();
            for _ in 0..count {
                cx.spawn_meta(Flood { to, left: EACH }).unwrap();
            }
            begun
        });
        counted.recv_timeout(PATIENCE).unwrap() - begun
    });
}

#[test]
fn one_who_begins_to_wait_behind_ten_thousand_is_served_soon() {
    let _turn = alone();
    let node = node(2);
    let (runner, _messages) = Runner::spawn(&node);
    let (done, _counted) = mpsc::channel();
    let left = usize::MAX;
    let to = node.spawn(|| Count { left, done }).unwrap();
    within(&node, runner, move |cx| {
        for _ in 0..MANY {
            cx.spawn_meta(Flood { to, left: u32::MAX }).unwrap();
        }
    });
    // A message of the newcomer, then one behind it, which the owner handles: it does not overtake.
    struct Newcomer(Pid, Sender<()>);
    impl Newcomer {
        fn send(&self, cx: &mut MetaContext<'_>) -> Handled {
            if cx.send(self.0, 0_u32).is_ok() {
                self.1.send(()).ok();
                return Err(Reason::Normal);
            }
            Ok(())
        }
    }
    impl MetaProcess for Newcomer {
        fn init(&mut self, cx: &mut MetaContext<'_>) -> Handled {
            self.send(cx)
        }

        fn handle_resume(&mut self, cx: &mut MetaContext<'_>) -> Handled {
            self.send(cx)
        }
    }
    let mut times: Vec<Duration> = (0..20)
        .map(|_| {
            let (sender, accepted) = mpsc::channel();
            let begun = Instant::now();
            within(&node, runner, move |cx| {
                cx.spawn_meta(Newcomer(to, sender)).unwrap();
            });
            accepted.recv_timeout(PATIENCE).unwrap();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    println!("a newcomer behind {MANY} waits {median:?}, at the most {slowest:?}");
    // Its turn comes when each of the others has had one: 80,000 messages. Without turns it came after all of them.
    assert!(median < Duration::from_secs(3), "{median:?}");
    node.send_exit(runner, Reason::Kill).unwrap();
    node.send_exit(to, Reason::Kill).unwrap();
    let _ = node.stop();
}

/// Processes whose mailboxes have room for one message.
fn spawn_full(node: &Node, count: usize) -> Vec<Pid> {
    let options = SpawnOptions::default()
        .with_mailbox_bound(1)
        .with_data_bound(1);
    (0..count)
        .map(|_| node.spawn_with(options.clone(), || Quiet).unwrap())
        .collect()
}

#[test]
fn rooms_of_many_mailboxes_are_waited_for_in_linear_time() {
    grows_linearly("rooms", |count| {
        let node = node(1);
        let (runner, messages) = Runner::spawn(&node);
        let full = spawn_full(&node, count);
        // The only worker comes to those that are full behind this handler.
        let time = within(&node, runner, move |cx| {
            for pid in &full {
                cx.send(*pid, "fills it").unwrap();
            }
            let begun = Instant::now();
            for pid in full {
                cx.request_room(pid).unwrap();
            }
            begun.elapsed()
        });
        let begun = Instant::now();
        receive(&messages, count);
        time + begun.elapsed()
    });
}

#[test]
fn many_mailboxes_are_waited_for_by_one_meta_process_in_linear_time() {
    /// Fills each mailbox, and is refused by each.
    struct Sends(Vec<Pid>, Sender<Duration>);

    impl MetaProcess for Sends {
        fn init(&mut self, cx: &mut MetaContext<'_>) -> Handled {
            for pid in &self.0 {
                cx.send(*pid, "fills it").unwrap();
            }
            let begun = Instant::now();
            for _ in 0..4 {
                for pid in &self.0 {
                    assert!(cx.send(*pid, "is refused").is_err());
                }
            }
            self.1.send(begun.elapsed()).unwrap();
            Err(Reason::Normal)
        }
    }
    grows_linearly("mailboxes of one meta-process", |count| {
        let node = node(1);
        let (runner, _messages) = Runner::spawn(&node);
        let to = spawn_full(&node, count);
        let (sender, time) = mpsc::channel();
        within(&node, runner, move |cx| {
            cx.spawn_meta(Sends(to, sender)).unwrap();
        });
        time.recv_timeout(PATIENCE).unwrap()
    });
}

#[test]
fn connections_that_end_at_one_instant_end_in_linear_time() {
    // Both ends are here, and many systems allow 20,000 descriptors.
    if !descriptors_allowed(19_000) {
        return;
    }
    grows_linearly("connections", |count| {
        let count = count * 9 / 10;
        let node = node(2);
        let owner = node.spawn(Owner::new).unwrap();
        let server = TcpServer::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr();
        node.send(owner, server).unwrap();
        let clients: Vec<_> = (0..count).map(|_| connect(address)).collect();
        books_until(&node, &[owner], Until::Open(count));
        let begun = Instant::now();
        node.send_exit(owner, Reason::Kill).unwrap();
        wait_for_none(&node, "longshore_meta_processes");
        let time = begun.elapsed();
        clients.into_iter().for_each(crate::support::reset);
        time
    });
}

#[test]
fn timers_of_a_rate_are_taken_back_in_linear_time() {
    grows_linearly("timers of a rate", |count| {
        let node = node(1);
        let (runner, _messages) = Runner::spawn(&node);
        let time = within(&node, runner, move |cx| {
            let every = |_| cx.send_every(cx.pid(), (), PATIENCE * 10).unwrap();
            let timers: Vec<Timer> = (0..count).map(every).collect();
            let begun = Instant::now();
            for timer in timers {
                assert!(cx.cancel_timer(timer));
            }
            begun.elapsed()
        });
        drop(node.stop());
        time
    });
}

#[test]
fn children_of_a_supervisor_start_and_end_in_linear_time() {
    grows_linearly("children of a supervisor", |count| {
        let node = node(1);
        let begun = Instant::now();
        let supervisor = node
            .spawn(move || {
                let child = |number| Child::new(format!("child{number}"), || Quiet);
                let children = (0..count).map(child);
                children.fold(Supervisor::one_for_one(), Supervisor::with_child)
            })
            .unwrap();
        let monitor = node.monitor(supervisor);
        while node.info().processes <= count {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        node.send_exit(supervisor, Reason::Shutdown).unwrap();
        assert_eq!(monitor.wait(), Ok(Reason::Shutdown));
        begun.elapsed()
    });
}

#[test]
fn group_of_a_supervisor_is_restarted_in_linear_time() {
    grows_linearly("a group restart", |count| {
        let node = node(1);
        let begun = Instant::now();
        node.spawn(move || {
            let child = |number: usize| {
                let child = Child::new(format!("child{number}"), || Quiet);
                if number == 0 {
                    child.registered()
                } else {
                    child
                }
            };
            let children = (0..count).map(child);
            children.fold(Supervisor::all_for_one(), Supervisor::with_child)
        })
        .unwrap();
        while node.info().processes <= count {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        let begun = Instant::now();
        let first = node.whereis("child0").unwrap();
        node.send_exit(first, Reason::error("on purpose")).unwrap();
        let all = || {
            node.metrics()
                .get_labeled("longshore_processes_ended_total", "shutdown")
        };
        while all() < Some(count as u64 - 1) || node.info().processes <= count {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        let time = begun.elapsed();
        drop(node.stop());
        time
    });
}

#[test]
fn workers_of_a_pool_are_replaced_in_linear_time() {
    grows_linearly("workers of a pool", |count| {
        let node = node(1);
        node.spawn(move || Pool::new(count, || Quiet)).unwrap();
        let workers: Vec<Pid> = loop {
            let pools: Vec<Pid> = node.pools().map(|pool| pool.pid).collect();
            let workers = node.processes().map(|process| process.pid);
            let workers: Vec<Pid> = workers.filter(|pid| !pools.contains(pid)).collect();
            if workers.len() == count {
                break workers;
            }
        };
        let begun = Instant::now();
        // The last ones first, which a search from the front finds last.
        for worker in workers.into_iter().rev() {
            node.send_exit(worker, Reason::Kill).unwrap();
        }
        while node.pools().all(|pool| pool.restarted < count as u64) {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        let time = begun.elapsed();
        drop(node.stop());
        time
    });
}

#[test]
fn events_end_in_linear_time() {
    grows_linearly("events", |count| {
        let node = node(1);
        let (runner, _messages) = Runner::spawn(&node);
        let time = within(&node, runner, move |cx| {
            let register = |number| {
                let options = longshore::EventOptions::default();
                cx.register_event::<u8>(format!("event{number}"), options)
                    .unwrap()
            };
            let events: Vec<_> = (0..count).map(register).collect();
            let begun = Instant::now();
            for event in &events {
                cx.end_event(event);
            }
            begun.elapsed()
        });
        drop(node.stop());
        time
    });
}

#[test]
fn subscribers_come_and_go_in_linear_time() {
    grows_linearly("subscribers", |count| {
        struct Subscribes;
        impl Actor for Subscribes {
            fn init(&mut self, cx: &mut Context<'_>) -> Handled {
                cx.subscribe("event")?;
                Ok(())
            }
        }
        let node = node(1);
        let (runner, _messages) = Runner::spawn(&node);
        let _event = within(&node, runner, |cx| {
            let options = longshore::EventOptions::default();
            cx.register_event::<u8>("event", options).unwrap()
        });
        let begun = Instant::now();
        let pids: Vec<Pid> = (0..count)
            .map(|_| node.spawn(|| Subscribes).unwrap())
            .collect();
        for pid in pids {
            node.send_exit(pid, Reason::Kill).unwrap();
        }
        while node.info().processes > 1 {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        let time = begun.elapsed();
        drop(node.stop());
        time
    });
}

#[test]
fn supervisors_are_shown_in_linear_time() {
    grows_linearly("supervisors in a list", |count| {
        let node = node(1);
        for _ in 0..count {
            node.spawn(|| Supervisor::one_for_one().with_child(Child::new("child", || Quiet)))
                .unwrap();
        }
        let begun = Instant::now();
        while node.info().processes < 2 * count {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        let begun = Instant::now();
        let lines = node.supervision_tree().to_string().lines().count();
        assert_eq!(lines, 2 * count);
        let time = begun.elapsed();
        drop(node.stop());
        time
    });
}

#[test]
fn lookups_of_one_name_are_given_up_in_linear_time() {
    grows_linearly("lookups that are given up", |count| {
        let (release, released) = mpsc::channel::<()>();
        let released = std::sync::Mutex::new(released);
        let options = NodeOptions::from("scale@localhost")
            .with_workers(1)
            .with_resolver(move |_| {
                released.lock().unwrap().recv().ok();
                Err(std::io::Error::other("on purpose"))
            });
        let node = Node::start(options).unwrap();
        let (runner, _messages) = Runner::spawn(&node);
        within(&node, runner, move |cx| {
            for _ in 0..count {
                let options = TcpConnectionOptions::from(("name.test", 1));
                cx.spawn_meta(TcpConnection::connect(options).unwrap())
                    .unwrap();
            }
        });
        let begun = Instant::now();
        node.send_exit(runner, Reason::Kill).unwrap();
        wait_for_none(&node, "longshore_meta_processes");
        let time = begun.elapsed();
        drop(release);
        drop(node.stop());
        time
    });
}
