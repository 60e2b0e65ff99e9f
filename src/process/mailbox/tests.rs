use super::*;
use crate::bridge::Claim;
use crate::message::Message;

fn payload(value: u32) -> Payload {
    Payload::Message(Message::new(value).into())
}

fn value(next: Option<Envelope>) -> Option<u32> {
    match next?.payload {
        Payload::Message(message) => message.unpack().downcast().ok(),
        _ => None,
    }
}

fn open(bound: u32) -> (Mailbox, u32, Batch) {
    let mailbox = Mailbox::default();
    let bounds = Bounds {
        main: bound,
        data: bound,
    };
    let generation = mailbox.open(bounds, MailboxPolicy::Refuse);
    (mailbox, generation, Batch::default())
}

/// Pushes a number; `Err` is why the mailbox refuses it.
fn push(
    mailbox: &Mailbox,
    generation: u32,
    number: u32,
    class: Class,
) -> Result<Pushed, PushError> {
    let pushed = mailbox.push(generation, Pid::NODE, payload(number), class);
    pushed.map_err(|(error, _)| error)
}

const NORMAL: Class = Class::Normal(Priority::Normal);

#[test]
fn consumer_has_a_cache_line_of_its_own() {
    assert_eq!(std::mem::offset_of!(Mailbox, priority), 128);
}

#[test]
fn lanes_are_looked_at_in_order_before_every_message() {
    let (mailbox, generation, mut batch) = open(u32::MAX);
    for number in 0..3 {
        push(&mailbox, generation, number, NORMAL).unwrap();
    }
    push(&mailbox, generation, 90, Class::Normal(Priority::Log)).unwrap();
    assert_eq!(value(mailbox.next(&mut batch)), Some(0));
    push(&mailbox, generation, 50, Class::Normal(Priority::High)).unwrap();
    push(&mailbox, generation, 60, Class::Normal(Priority::Max)).unwrap();
    let rest: Vec<_> = std::iter::from_fn(|| value(mailbox.next(&mut batch))).collect();
    assert_eq!(rest, [60, 50, 1, 2, 90]);
}

#[test]
fn bound_counts_what_is_in_hand() {
    let (mailbox, generation, mut batch) = open(4);
    for number in 0..4 {
        push(&mailbox, generation, number, NORMAL).unwrap();
    }
    assert_eq!(
        push(&mailbox, generation, 9, NORMAL).unwrap_err(),
        PushError::Full
    );
    assert_eq!(value(mailbox.next(&mut batch)), Some(0));
    push(&mailbox, generation, 4, NORMAL).unwrap();
    assert_eq!(
        push(&mailbox, generation, 9, NORMAL).unwrap_err(),
        PushError::Full
    );
    push(&mailbox, generation, 5, Class::Control).unwrap();
    assert_eq!(mailbox.queued(), 5);
}

#[test]
fn one_more_fits_for_each_that_is_handled() {
    let (mailbox, generation, mut batch) = open(200);
    let mut pushed = 0;
    for handled in 0..1_000 {
        while push(&mailbox, generation, pushed, NORMAL).is_ok() {
            pushed += 1;
        }
        assert_eq!(pushed, 200 + handled);
        assert_eq!(value(mailbox.next(&mut batch)), Some(handled));
    }
}

#[test]
fn refused_data_is_resumed_when_half_drained() {
    let (mailbox, generation, mut batch) = open(4);
    let waiter = Alias::new(0, 0, 1);
    for number in 0..4 {
        push(
            &mailbox,
            generation,
            number,
            Class::Data(Claim::Newcomer(waiter)),
        )
        .unwrap();
    }
    for _ in 0..2 {
        assert!(
            push(
                &mailbox,
                generation,
                9,
                Class::Data(Claim::Newcomer(waiter))
            )
            .is_err()
        );
    }
    while value(mailbox.next(&mut batch)).is_some() {}
    let aliases: Vec<_> = batch.resumed.iter().map(|turn| turn.alias).collect();
    assert_eq!(aliases, [waiter]);
}

fn waiters(batch: &mut Batch) -> Vec<(u32, u32)> {
    let resumed = batch.resumed.drain(..);
    resumed
        .map(|turn| (turn.alias.slot(), turn.messages))
        .collect()
}

fn data(number: u32) -> Class {
    Class::Data(Claim::Newcomer(Alias::new(0, number, 1)))
}

fn turn(number: u32) -> Class {
    Class::Data(Claim::InTurn(Alias::new(0, number, 1)))
}

/// A mailbox with room for 32 that is full, and waiters 1 to `count`.
fn crowded(count: u32) -> (Mailbox, u32, Batch) {
    let (mailbox, generation, batch) = open(32);
    let push = |number| mailbox.push(generation, Pid::NODE, payload(0), data(number));
    (0..32).for_each(|_| assert!(push(0).is_ok()));
    (1..=count).for_each(|number| assert!(push(number).is_err()));
    (mailbox, generation, batch)
}

#[test]
fn waiters_have_their_turn_in_order_as_many_as_there_is_room_for() {
    let (mailbox, generation, mut batch) = crowded(6);
    let handle = |batch: &mut Batch, messages| {
        (0..messages).for_each(|_| assert!(mailbox.next(batch).is_some()));
    };
    handle(&mut batch, 32);
    assert_eq!(
        waiters(&mut batch),
        [],
        "they come when the next is looked for"
    );
    assert!(mailbox.next(&mut batch).is_none());
    assert_eq!(waiters(&mut batch), [(1, 8), (2, 8), (3, 8), (4, 8)]);
    // A newcomer does not take what was granted, nor the place of one who waits.
    assert!(push(&mailbox, generation, 0, data(7)).is_err());
    for number in 1..=4 {
        assert!(push(&mailbox, generation, 0, turn(number)).is_ok());
    }
    let mut resumed = Vec::new();
    for _ in 1..=3 {
        mailbox.end_turn(generation, 8, &mut resumed);
    }
    let aliases: Vec<_> = resumed.iter().map(|turn| turn.alias.slot()).collect();
    assert_eq!(aliases, [5, 6], "what was not used is room for the next");
}

#[test]
fn newcomer_is_accepted_at_once_when_no_data_waits_any_more() {
    let (mailbox, generation, mut batch) = crowded(1);
    while mailbox.next(&mut batch).is_some() {}
    assert_eq!(waiters(&mut batch), [(1, 32)]);
    let push = |class| push(&mailbox, generation, 0, class).is_ok();
    assert!(!push(data(2)), "the room is granted to another");
    let mut resumed = Vec::new();
    mailbox.end_turn(generation, 32, &mut resumed);
    assert_eq!(resumed.len(), 1, "the one who was refused");
    mailbox.end_turn(generation, 32, &mut resumed);
    assert!(push(data(3)));
    assert_eq!(resumed.len(), 1);
}

#[test]
fn turn_that_finds_no_room_keeps_its_place() {
    let (mailbox, generation, mut batch) = crowded(2);
    while mailbox.next(&mut batch).is_some() {}
    assert_eq!(waiters(&mut batch), [(1, 16), (2, 16)]);
    let push = |class| push(&mailbox, generation, 0, class).is_ok();
    (0..32).for_each(|_| assert!(push(NORMAL)));
    assert!(!push(data(3)));
    assert!(!push(turn(1)));
    let mut resumed = Vec::new();
    mailbox.end_turn(generation, 16, &mut resumed);
    mailbox.end_turn(generation, 16, &mut resumed);
    assert!(resumed.is_empty(), "the mailbox is full");
    while mailbox.next(&mut batch).is_some() {}
    assert_eq!(waiters(&mut batch), [(1, 16), (3, 16)]);
}

#[test]
fn mailbox_that_is_idle_forgets_no_waiter() {
    let (mailbox, generation, mut batch) = crowded(8);
    while mailbox.next(&mut batch).is_some() {}
    assert_eq!(waiters(&mut batch).len(), 4);
    // None of them sends: each has ended meanwhile.
    let mut resumed = Vec::new();
    (0..4).for_each(|_| mailbox.end_turn(generation, 8, &mut resumed));
    assert_eq!(resumed.len(), 4, "the others");
    assert_eq!(mailbox.queued(), 0);
}

#[test]
fn order_is_kept_over_many_chunks() {
    let (mailbox, generation, mut batch) = open(u32::MAX);
    for number in 0..1_000 {
        push(&mailbox, generation, number, NORMAL).unwrap();
    }
    for number in 0..500 {
        assert_eq!(value(mailbox.next(&mut batch)), Some(number));
    }
    push(&mailbox, generation, 1_000, NORMAL).unwrap();
    for number in 500..=1_000 {
        assert_eq!(value(mailbox.next(&mut batch)), Some(number));
    }
    assert!(mailbox.next(&mut batch).is_none());
    assert_eq!(push(&mailbox, generation, 0, NORMAL).unwrap(), Pushed::Idle);
}

#[test]
fn closed_mailbox_gives_everything_back_once() {
    let (mailbox, generation, mut batch) = open(u32::MAX);
    for number in 0..300 {
        push(&mailbox, generation, number, NORMAL).unwrap();
    }
    assert_eq!(value(mailbox.next(&mut batch)), Some(0));
    assert_eq!(value(mailbox.next(&mut batch)), Some(1));
    let remains = mailbox.close(&mut batch).envelopes;
    assert!(
        remains
            .into_iter()
            .map(|envelope| value(Some(envelope)).expect("a number"))
            .eq(2..300)
    );
    assert_eq!(
        push(&mailbox, generation, 0, Class::Urgent).unwrap_err(),
        PushError::Closed
    );
    assert_ne!(
        mailbox.open(Bounds { main: 1, data: 1 }, MailboxPolicy::Refuse),
        generation
    );
}
