use super::*;
use crate::bridge::Claim;
use crate::message::Message;
use loom::sync::Arc;
use loom::thread;

fn payload() -> Payload {
    Payload::Message(Message::new(0_u8).into())
}

const NORMAL: Class = Class::Normal(Priority::Normal);

/// A cell that is reused while a sender still holds the old pid: its message never reaches the newcomer.
#[test]
fn loom_recycled_cell_refuses_the_old_pid() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::default());
        let bounds = Bounds { main: 8, data: 8 };
        let old = mailbox.open(bounds, MailboxPolicy::Refuse);
        let sender = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || mailbox.push(old, Pid::NODE, payload(), NORMAL).is_ok())
        };
        let remains = mailbox.close(&mut Batch::default());
        mailbox.open(bounds, MailboxPolicy::Refuse);
        let accepted = sender.join().expect("no panic");
        assert_eq!(
            remains.envelopes.len(),
            usize::from(accepted),
            "accepted is handed to the side that closed"
        );
        assert_eq!(
            mailbox.queued(),
            0,
            "nothing reaches the next process in the cell"
        );
    });
}

/// Data that is refused while the consumer goes idle is resumed by it, or by the end of a turn.
#[test]
fn loom_refused_data_is_always_resumed() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::default());
        let generation = mailbox.open(Bounds { main: 1, data: 1 }, MailboxPolicy::Refuse);
        let claim = |slot| Class::Data(Claim::Newcomer(Alias::new(0, slot, 1)));
        let first = mailbox.push(generation, Pid::NODE, payload(), claim(0));
        assert!(first.is_ok());
        let sender = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                let class = claim(1);
                mailbox
                    .push(generation, Pid::NODE, payload(), class)
                    .is_ok()
            })
        };
        let mut batch = Batch::default();
        while mailbox.next(&mut batch).is_some() {}
        let accepted = sender.join().expect("no panic");
        while mailbox.next(&mut batch).is_some() {}
        assert_eq!(batch.resumed.len(), usize::from(!accepted));
    });
}

/// A push to an idle process queues it; a push to a running one is found by it.
#[test]
fn loom_no_message_waits_in_an_idle_mailbox() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::default());
        let generation = mailbox.open(Bounds { main: 8, data: 8 }, MailboxPolicy::Refuse);
        let sender = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                mailbox
                    .push(generation, Pid::NODE, payload(), NORMAL)
                    .expect("open")
                    == Pushed::Idle
            })
        };
        let mut batch = Batch::default();
        let mut taken = 0;
        while mailbox.next(&mut batch).is_some() {
            taken += 1;
        }
        let queued = sender.join().expect("no panic");
        assert_eq!(
            taken == 0,
            queued,
            "the message was taken, or its sender queues the process"
        );
    });
}
