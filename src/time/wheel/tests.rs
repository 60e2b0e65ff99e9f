use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn fired<T>(wheel: &mut Wheel<T>, now_ms: u64) -> Vec<T> {
    let mut expired = Vec::new();
    wheel.advance(now_ms, &mut expired);
    expired
}

#[test]
fn sizes_are_what_the_docs_say() {
    assert_eq!(size_of::<TimerKey>(), 8);
    assert_eq!(size_of::<Option<TimerKey>>(), 8);
    assert_eq!(size_of::<Option<WheelEntry<u64>>>(), 24 + 8); // as the slab stores it
    assert!(size_of::<Wheel<u64>>() + SlotIndex::COUNT * 4 <= 3 << 10);
}

#[test]
fn timer_fires_at_its_deadline_and_not_before() {
    for deadline in [
        0,
        1,
        63,
        64,
        65,
        4095,
        4096,
        100_000,
        1 << 36,
        u64::MAX - 1,
        u64::MAX,
    ] {
        let mut wheel = Wheel::new();
        wheel.insert(deadline, "item");
        assert_eq!(wheel.len(), 1);
        if deadline > 0 {
            assert!(fired(&mut wheel, deadline - 1).is_empty(), "{deadline}");
            assert_eq!(wheel.next_deadline(), Some(deadline));
        }
        assert_eq!(fired(&mut wheel, deadline), ["item"], "{deadline}");
        assert_eq!((wheel.len(), wheel.next_deadline()), (0, None));
    }
}

#[test]
fn huge_jump_fires_everything_in_order() {
    let mut wheel = Wheel::new();
    let mut deadlines: Vec<u64> = (0..64)
        .map(|bit| 1 << bit)
        .chain([u64::MAX, 3, 700, 700_000])
        .collect();
    for deadline in deadlines.iter().rev() {
        wheel.insert(*deadline, *deadline);
    }
    deadlines.sort_unstable();
    assert_eq!(fired(&mut wheel, u64::MAX), deadlines);
    // At the end of time everything is due at once, and nothing overflows.
    wheel.insert(5, 5);
    wheel.insert(u64::MAX, 6);
    assert_eq!(fired(&mut wheel, u64::MAX), [5, 6]);
}

#[test]
fn equal_deadlines_fire_in_the_order_of_insertion() {
    let mut wheel = Wheel::new();
    let mut expected = Vec::new();
    for now in [0, 1, 64, 4095, 4096, 9_999, 10_000, 10_001] {
        assert!(fired(&mut wheel, now).is_empty());
        for i in 0..3 {
            wheel.insert(10_050, (now, i));
            expected.push((now, i));
        }
    }
    assert_eq!(fired(&mut wheel, 20_000), expected);
}

#[test]
fn passed_deadline_is_due_at_the_next_advance() {
    let mut wheel = Wheel::new();
    fired(&mut wheel, 1000);
    wheel.insert(5, "late");
    wheel.insert(1000, "now");
    assert_eq!(wheel.next_deadline(), Some(1000));
    assert_eq!(fired(&mut wheel, 1000), ["late", "now"]);
}

#[test]
fn time_that_goes_back_does_nothing() {
    let mut wheel = Wheel::new();
    fired(&mut wheel, 1000);
    wheel.insert(1001, ());
    assert!(fired(&mut wheel, 3).is_empty());
    assert_eq!(wheel.next_deadline(), Some(1001));
    assert_eq!(fired(&mut wheel, 1001).len(), 1);
}

#[test]
fn stale_key_cancels_nothing() {
    let mut wheel = Wheel::new();
    let first = wheel.insert(10, 'a');
    assert_eq!(wheel.cancel(first), Some('a'));
    assert_eq!(wheel.cancel(first), None);
    let second = wheel.insert(10, 'b');
    assert_eq!(second.index, first.index);
    assert_eq!(wheel.cancel(first), None);
    assert_eq!(fired(&mut wheel, 10), ['b']);
    assert_eq!(wheel.cancel(second), None);
}

#[test]
fn stamps_skip_zero_when_they_begin_anew() {
    let mut wheel = Wheel::new();
    wheel.last_stamp = u32::MAX - 1;
    let keys = [1, 2, 3].map(|item| wheel.insert(9, item));
    assert_eq!(keys.map(|key| key.stamp.get()), [u32::MAX, 1, 2]);
    assert_eq!(
        keys.map(|key| wheel.cancel(key)),
        [Some(1), Some(2), Some(3)]
    );
}

#[test]
fn any_of_a_slot_can_be_canceled() {
    for victim in 0..4 {
        let mut wheel = Wheel::new();
        let keys: Vec<_> = (0..4).map(|i| wheel.insert(100, i)).collect();
        assert_eq!(wheel.cancel(keys[victim]), Some(victim));
        let rest: Vec<_> = (0..4).filter(|i| *i != victim).collect();
        assert_eq!(fired(&mut wheel, 100), rest);
    }
}

/// Counts how often a caller wakes up that sleeps until `next_deadline`, with some timers of one deadline.
fn wake_ups(now: u64, delay: u64, timers: usize) -> usize {
    let mut wheel = Wheel::new();
    fired(&mut wheel, now);
    for _ in 0..timers {
        wheel.insert(now + delay, ());
    }
    let mut wake_ups = 0;
    while let Some(at) = wheel.next_deadline() {
        assert!(at > now && at <= now + delay);
        wake_ups += 1;
        let _ = fired(&mut wheel, at);
    }
    wake_ups
}

#[test]
fn waiting_for_a_few_timers_is_one_wake_up() {
    for delay in [50, 1000, 60_000, 86_400_000] {
        assert_eq!(wake_ups(123_456_789, delay, 1), 1, "{delay} ms");
        assert_eq!(wake_ups(123_456_789, delay, EXACT_MAX), 1, "{delay} ms");
    }
}

#[test]
fn waiting_for_many_timers_is_a_wake_up_for_each_level_at_most() {
    for (delay, levels) in [(50, 2), (1000, 3), (60_000, 4), (86_400_000, 6)] {
        let wake_ups = wake_ups(123_456_789, delay, 1000);
        assert!(wake_ups <= levels, "{delay} ms took {wake_ups}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    Cancel(usize),
    Advance(u64),
}

/// Times of every magnitude, near ones more often.
fn delay() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..70_u64, 3 => 0..5000_u64, 2 => 0..1_000_000_u64, 1 => (0..64_u32).prop_map(|bits| u64::MAX >> bits)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => delay().prop_map(Step::Insert),
        2 => any::<usize>().prop_map(Step::Cancel),
        3 => delay().prop_map(Step::Advance),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_sequence_equals_an_ordered_map(start in delay(), steps in proptest::collection::vec(step(), 1..200)) {
        let mut wheel = Wheel::new();
        let mut now = start;
        prop_assert!(fired(&mut wheel, now).is_empty());
        let mut model: BTreeMap<(u64, usize), TimerKey> = BTreeMap::new();
        let mut keys = Vec::new();
        for step in steps {
            match step {
                Step::Insert(delay) => {
                    // Some are in the past.
                    let deadline = if delay % 7 == 0 { now.saturating_sub(delay) } else { now.saturating_add(delay) };
                    let name = (deadline.max(now), keys.len());
                    let key = wheel.insert(deadline, name);
                    keys.push((name, key));
                    model.insert(name, key);
                }
                Step::Cancel(i) if !keys.is_empty() => {
                    let (name, key) = keys[i % keys.len()];
                    prop_assert_eq!(wheel.cancel(key), model.remove(&name).map(|_| name));
                }
                Step::Cancel(_) => {}
                Step::Advance(delay) => {
                    now = now.saturating_add(delay);
                    let due: Vec<_> = model.range(..=(now, usize::MAX)).map(|(name, _)| *name).collect();
                    model.retain(|name, _| !due.contains(name));
                    prop_assert_eq!(fired(&mut wheel, now), due);
                }
            }
            prop_assert_eq!(wheel.len(), model.len());
            match (wheel.next_deadline(), model.first_key_value()) {
                (Some(next), Some((first, _))) => prop_assert!(now <= next && next <= first.0),
                (next, first) => prop_assert!(next.is_none() && first.is_none()),
            }
        }
    }
}
