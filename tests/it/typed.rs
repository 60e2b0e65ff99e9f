//! Actors with one type of message, and messages that have another type.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use longshore::prelude::*;
use longshore::{Level, MessageUdp, Record, Typed, TypedActor};

use crate::support::*;

/// All that the actor under test handles.
#[derive(Clone, Debug, PartialEq)]
enum Input {
    Number(u32),
    Datagram(Vec<u8>),
    Tick,
    Panic,
}

struct Machine {
    seen: Sender<(Pid, Input)>,
    ended: Sender<Reason>,
}

impl TypedActor for Machine {
    type Message = Input;

    fn translate(message: Message) -> Result<Input, Message> {
        match message {
            Message::Udp(MessageUdp { data, .. }) => Ok(Input::Datagram(data.to_vec())),
            other => other.downcast().map_err(Message::from),
        }
    }

    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        cx.register("machine")?;
        Ok(())
    }

    fn handle(&mut self, cx: &mut Context<'_>, from: Pid, input: Input) -> Handled {
        match input {
            Input::Panic => panic!("asked to"),
            Input::Number(0) => {
                cx.send_every(cx.pid(), Input::Tick, Duration::from_millis(1))?;
            }
            _ => {}
        }
        self.seen.send((from, input))?;
        Ok(())
    }

    fn handle_call(
        &mut self,
        _: &mut Context<'_>,
        _: Pid,
        message: Message,
        reply: Reply,
    ) -> Handled {
        reply.send(message.downcast::<u32>()? + 1);
        Ok(())
    }

    fn handle_inspect(&mut self, _: &mut Context<'_>) -> longshore::Inspection {
        let mut inspection = longshore::Inspection::default();
        inspection.add("kind", "machine");
        inspection
    }

    fn terminate(&mut self, _: &mut Context<'_>, reason: &Reason) {
        // The test may have ended.
        let _ = self.ended.send(reason.clone());
    }
}

struct Ends {
    pid: Pid,
    seen: Receiver<(Pid, Input)>,
    ended: Receiver<Reason>,
}

fn machine(node: &Node) -> Ends {
    let (seen, inputs) = mpsc::channel();
    let (ended, ends) = mpsc::channel();
    let pid = node.spawn(|| Typed::new(Machine { seen, ended }));
    Ends {
        pid: pid.expect("spawned"),
        seen: inputs,
        ended: ends,
    }
}

#[test]
fn typed_actor_handles_its_type_and_what_it_translates() {
    let node = node();
    let machine = machine(&node);
    let probe = Probe::spawn(&node);
    let to = machine.pid;
    probe
        .run(move |cx| cx.send(to, Input::Number(7)))
        .expect("sent");
    let next = || value_of(&machine.seen).expect("an input");
    assert_eq!(next(), (probe.pid, Input::Number(7)));
    // Datagrams of a socket that names it.
    let (address, _) =
        probe.listen_udp(UdpServerOptions::default().with_process(Name::from("machine")));
    udp_client().send_to(b"move", address).expect("sent");
    assert_eq!(next().1, Input::Datagram(b"move".to_vec()));
    node.send(to, Input::Number(0)).expect("sent");
    assert_eq!(next().1, Input::Number(0));
    assert_eq!(next(), (to, Input::Tick));
    stop_clean(&node);
}

#[test]
fn typed_actor_has_every_callback_of_an_actor() {
    silence_expected_panics();
    let node = node();
    let machine = machine(&node);
    assert_eq!(node.whereis("machine"), Some(machine.pid), "init");
    let answer = node.call(machine.pid, 7_u32, LIMIT).expect("an answer");
    assert_eq!(answer.downcast::<u32>().unwrap(), 8);
    assert_eq!(inspect(&node, machine.pid).value("kind"), Some("machine"));
    node.send(machine.pid, Input::Panic).expect("sent");
    let reason = value_of(&machine.ended).expect("the end");
    assert_eq!(reason, Reason::Panic("asked to".into()));
    stop_clean(&node);
}

#[test]
fn message_that_is_not_expected_is_a_record_once_for_each_type() {
    let (sender, records) = mpsc::channel::<Record>();
    let options = NodeOptions::from("test@localhost")
        .with_workers(1)
        .with_logger(move |record: &Record| drop(sender.send(record.clone())))
        .with_log_level(Level::Warn);
    let node = node_with(options);
    let machine = machine(&node);
    for number in 0..100_u32 {
        node.send(machine.pid, number).expect("sent");
        node.send(machine.pid, "text").expect("sent");
    }
    node.send(machine.pid, Input::Tick).expect("sent");
    value_of(&machine.seen).expect("it lives");
    stop_clean(&node);
    let records: Vec<_> = records
        .try_iter()
        .filter(|record| record.kind == "unknown_message")
        .collect();
    let types: Vec<_> = records.iter().map(|record| record.message).collect();
    assert_eq!(types, [Some("u32"), Some("&str")]);
    for record in records {
        assert_eq!((record.level, record.pid), (Level::Warn, Some(machine.pid)));
    }
}

fn fails(message: Message) -> Result<u8, Reason> {
    Ok(message.downcast::<u8>()?)
}

#[test]
fn error_of_a_downcast_names_both_types_and_gives_the_message_back() {
    let error = Message::new(7_u32).downcast::<u8>().unwrap_err();
    assert_eq!((error.found(), error.wanted()), ("u32", "u8"));
    assert_eq!(error.to_string(), "message of type u32, not u8");
    assert_eq!(error.into_message().downcast::<u32>().unwrap(), 7);
    let reason = fails(Message::new("text")).unwrap_err();
    assert_eq!(reason, Reason::error("message of type &str, not u8"));
    let as_error: Box<dyn std::error::Error + Send + Sync> =
        Message::new(7_u32).downcast::<u8>().unwrap_err().into();
    assert!(as_error.to_string().contains("u32"));
}

#[test]
fn debug_of_a_message_shows_the_type_of_the_user() {
    struct Order;
    let shown = format!("{:?}", Message::new(Order));
    assert!(shown.contains("Order"), "{shown}");
    assert_eq!(
        format!("{:?}", Message::new(7_u32)),
        "User(UserMessage(u32))"
    );
}
