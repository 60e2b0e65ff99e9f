use super::*;
use loom::sync::Arc;
use loom::thread;

fn open(cell: &SendQuota, limit: u32) -> u32 {
    cell.open(QuotaOptions::plain(limit), Pid::NODE)
}

#[test]
fn loom_write_above_the_high_mark_is_followed_by_a_writable() {
    loom::model(|| {
        let cell = Arc::new(SendQuota::default());
        let options = QuotaOptions {
            high: 2,
            ..QuotaOptions::plain(8)
        };
        let generation = cell.open(options, Pid::NODE);
        cell.reserve(generation, 2).expect("room");
        let sender = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.reserve_write(generation, 3) == Ok(true))
        };
        let first = cell.sent(2, 0);
        let was_above = sender.join().expect("no panic");
        let last = cell.sent(3, 0);
        // A sender that got this answer gets exactly one Writable, at the latest with its own bytes.
        assert!(!first || !last);
        assert_eq!(was_above, first || last);
    });
}

#[test]
fn loom_refused_sender_is_always_notified() {
    loom::model(|| {
        let cell = Arc::new(SendQuota::default());
        let generation = open(&cell, 4);
        cell.reserve(generation, 4).expect("empty");
        let sender = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.reserve(generation, 1).is_err())
        };
        let owed = cell.sent(4, 0);
        let refused = sender.join().expect("no panic");
        // Either the refusal came before the drain, which then owes the message, or the send was accepted.
        assert_eq!(refused, owed);
    });
}

/// The interleaving of 3 and 4 on the page of a relayed connection. The partner drains its output before it has handled
/// its own `RelaySide`, when it wakes no other connection, and wakes this one when it has.
#[test]
fn loom_relay_that_stops_above_the_high_mark_is_woken() {
    use loom::sync::atomic::AtomicUsize;
    use loom::sync::atomic::Ordering::AcqRel;

    loom::model(|| {
        let cell = Arc::new(SendQuota::default());
        let options = QuotaOptions {
            high: 2,
            ..QuotaOptions::plain(8)
        };
        let generation = cell.open(options, Pid::NODE);
        assert!(cell.begin_relay(generation));
        let wakes = Arc::new(AtomicUsize::new(0));
        let drain = |cell: &SendQuota| {
            let queued = cell.queued();
            queued > 0 && cell.sent(queued, 0)
        };
        let partner = {
            let (cell, wakes) = (Arc::clone(&cell), Arc::clone(&wakes));
            thread::spawn(move || {
                drain(&cell); // not relayed yet: this sends no wake
                wakes.fetch_add(1, AcqRel);
                if drain(&cell) {
                    wakes.fetch_add(1, AcqRel);
                }
            })
        };
        let mut is_stopped = cell.reserve_relayed(generation, 3) == Some(true);
        assert!(is_stopped, "three bytes are above two");
        if wakes.swap(0, AcqRel) > 0 {
            is_stopped = cell.is_above(generation);
        }
        partner.join().expect("no panic");
        if drain(&cell) {
            wakes.fetch_add(1, AcqRel);
        }
        if wakes.swap(0, AcqRel) > 0 {
            is_stopped = cell.is_above(generation);
        }
        assert!(!is_stopped, "everything has left, and no wake comes");
    });
}

#[test]
fn loom_writes_of_others_end_where_a_relay_begins() {
    loom::model(|| {
        let cell = Arc::new(SendQuota::default());
        let generation = open(&cell, 8);
        let writer = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || {
                let write = || usize::from(cell.reserve_write(generation, 1).is_ok());
                (write(), write())
            })
        };
        assert!(cell.begin_relay(generation));
        let queued = cell.queued();
        assert_eq!(cell.reserve_relayed(generation, 4), Some(false));
        let (first, second) = writer.join().expect("no panic");
        assert!(
            first >= second,
            "a write is refused, and a later one is not"
        );
        // What was accepted came before the relay began, so it leaves before the relayed bytes.
        assert_eq!(first + second, queued);
        assert!(!cell.begin_relay(generation));
        assert_eq!(cell.release(), queued + 4);
        assert_eq!(cell.reserve_relayed(generation, 4), None);
    });
}

#[test]
fn loom_bytes_accepted_before_a_loss_are_what_it_counts() {
    loom::model(|| {
        let quota = Arc::new(SendQuota::default());
        let generation = quota.open(QuotaOptions::plain(100), Pid::NODE);
        let sender = {
            let quota = Arc::clone(&quota);
            thread::spawn(move || quota.reserve_write(generation, 5).is_ok())
        };
        let unsent = quota.lose(generation);
        let is_accepted = sender.join().unwrap();
        assert_eq!(unsent, if is_accepted { 5 } else { 0 });
        assert_eq!(quota.queued(), unsent);
        quota.sent(unsent, 0);
        assert_eq!(quota.reserve(generation, 1), Err(ReserveError::Down));
        quota.reopen(generation);
        assert_eq!(quota.reserve(generation, 1), Ok(()));
    });
}

#[test]
fn loom_sender_beside_a_reconnect_is_never_given_closed() {
    loom::model(|| {
        let quota = Arc::new(SendQuota::default());
        let generation = quota.open(QuotaOptions::plain(100), Pid::NODE);
        let sender = {
            let quota = Arc::clone(&quota);
            thread::spawn(move || quota.reserve_write(generation, 5))
        };
        quota.lose(generation);
        quota.reopen(generation);
        let outcome = sender.join().unwrap();
        assert!(
            matches!(outcome, Ok(false) | Err(ReserveError::Down)),
            "{outcome:?}"
        );
    });
}

#[test]
fn loom_accepted_bytes_are_sent_or_counted_unsent() {
    loom::model(|| {
        let cell = Arc::new(SendQuota::default());
        let generation = open(&cell, 8);
        let sender = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || usize::from(cell.reserve(generation, 3).is_ok()) * 3)
        };
        let unsent = cell.release();
        assert_eq!(unsent, sender.join().expect("no panic"));
        assert_eq!(cell.queued(), 0, "nothing leaks into the next generation");
    });
}
