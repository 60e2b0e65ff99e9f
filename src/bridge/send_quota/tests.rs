use super::*;

fn open(cell: &SendQuota, limit: u32) -> u32 {
    cell.open(QuotaOptions::plain(limit), Pid::NODE)
}

fn with_marks(limit: u32, high: u32) -> (SendQuota, u32) {
    let cell = SendQuota::default();
    let options = QuotaOptions {
        limit,
        high,
        closes_on_overflow: true,
        reads_above_high: false,
    };
    let generation = cell.open(options, Pid::NODE);
    (cell, generation)
}

#[test]
fn write_passes_while_what_waits_before_it_is_below_the_limit() {
    let (cell, generation) = with_marks(10, 8);
    assert_eq!(cell.reserve_write(generation, 9), Ok(true), "above 8");
    assert_eq!(cell.reserve_write(generation, 1_000), Ok(true), "9 < 10");
    assert_eq!(cell.reserve_write(generation, 1), Err(ReserveError::Full));
    assert!(cell.overflow(generation));
    assert!(!cell.overflow(generation), "the first closed it");
    assert_eq!(
        cell.reserve_write(generation, 1),
        Err(ReserveError::Closing)
    );
    assert_eq!(cell.release(), 1_009);
}

#[test]
fn largest_limit_and_largest_write_fit_the_word() {
    let (cell, generation) = with_marks(MAX_LIMIT, MAX_LIMIT);
    let max = MAX_LIMIT as usize;
    assert_eq!(cell.reserve_write(generation, max - 1), Ok(false));
    assert_eq!(cell.reserve_write(generation, max), Ok(true));
    assert_eq!(cell.queued(), 2 * max - 1);
    let too_large = cell.reserve_write(generation, max + 1);
    assert_eq!(too_large, Err(ReserveError::TooLarge));
    assert_eq!(cell.generation(), generation, "no bit runs over");
}

#[test]
fn input_is_held_from_above_the_high_mark_to_the_low_mark() {
    let (cell, generation) = with_marks(100, 8);
    assert_eq!(cell.reserve(generation, 8), Ok(()));
    assert!(!cell.holds_input(generation), "at the mark is not above it");
    assert_eq!(cell.reserve(generation, 1), Ok(()));
    assert!(cell.holds_input(generation));
    assert!(!cell.holds_input(generation + 1), "of another alias");
    assert!(!cell.sent(4, 4) && cell.holds_input(generation));
    assert!(cell.sent(1, 4) && !cell.holds_input(generation));
}

#[test]
fn bound_is_exact_and_a_refusal_is_remembered() {
    let cell = SendQuota::default();
    let generation = open(&cell, 10);
    assert_eq!(cell.reserve(generation, 10), Ok(()));
    assert_eq!(cell.reserve(generation, 1), Err(ReserveError::Full));
    assert_eq!(cell.reserve(generation, 11), Err(ReserveError::TooLarge));
    assert_eq!(cell.refused(), 2);
    assert!(!cell.sent(5, 4), "still above the low mark");
    assert!(cell.sent(1, 4));
    assert!(!cell.sent(4, 4), "once");
}

#[test]
fn released_cell_knows_what_was_unsent_and_refuses_the_old_alias() {
    let cell = SendQuota::default();
    let generation = open(&cell, 100);
    cell.reserve(generation, 60).expect("room");
    assert!(cell.close(generation));
    assert_eq!(cell.reserve(generation, 1), Err(ReserveError::Closing));
    assert_eq!(cell.release(), 60);
    assert!(cell.is_reusable());
    assert_eq!(cell.reserve(generation, 1), Err(ReserveError::Stale));
    assert!(!cell.close(generation));
    assert_eq!(cell.queued(), 0);
}
