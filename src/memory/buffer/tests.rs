use std::collections::HashSet;
use std::io::Write;

use proptest::prelude::*;

use super::*;

const fn assert_send_sync<T: Send + Sync>() {}
const _: () = assert_send_sync::<Buffer>();
const _: () = assert_send_sync::<BufferPool>();

#[test]
fn buffer_is_one_word() {
    assert_eq!(size_of::<Buffer>(), 8);
    assert_eq!(size_of::<Storage>(), 48);
}

#[test]
fn empty_buffer_owns_nothing() {
    const EMPTY: Buffer = Buffer::new();
    for buffer in [
        EMPTY,
        Buffer::default(),
        Buffer::from(vec![]),
        Buffer::from(""),
        Buffer::with_capacity(0),
    ] {
        assert!(buffer.0.is_none());
        assert!(buffer.is_empty());
        assert_eq!(&*buffer, b"");
        assert_eq!(buffer.into_vec(), b"");
    }
}

#[test]
fn verbs_on_an_empty_buffer_do_nothing() {
    let mut buffer = Buffer::new();
    buffer.clear();
    buffer.truncate(3);
    buffer.advance(0);
    buffer.grow(0);
    buffer.reserve(0);
    buffer.extend_from_slice(b"");
    assert!(buffer.split_to(0).is_empty());
    assert!(buffer.spare_mut().is_empty());
    assert!(buffer.0.is_none());
}

#[test]
fn conversions_keep_the_bytes() {
    for buffer in [
        Buffer::from("abc"),
        Buffer::from(String::from("abc")),
        Buffer::from(b"abc"),
        Buffer::from(&b"abc"[..]),
        Buffer::from(b"abc".to_vec()),
        Buffer::from(Box::<[u8]>::from(*b"abc")),
    ] {
        assert_eq!(buffer, "abc");
        assert_eq!(buffer, *b"abc");
        assert_eq!(buffer, b"abc");
        assert_eq!(buffer, b"abc"[..]);
        assert_eq!(buffer, &b"abc"[..]);
        assert_eq!(b"abc".to_vec(), buffer);
        assert_eq!(*"abc", buffer);
        assert_ne!(buffer, "abd");
        assert_eq!(Vec::from(buffer), b"abc");
    }
}

#[test]
fn vector_is_taken_over_and_given_back_without_a_copy() {
    let vector = b"hello".to_vec();
    let memory = vector.as_ptr();
    let back = Buffer::from(vector).into_vec();
    assert_eq!(back.as_ptr(), memory);
}

#[test]
fn into_vec_gives_what_is_between_front_and_end() {
    let mut buffer = Buffer::from("0123456789");
    buffer.advance(2);
    buffer.truncate(5);
    assert_eq!(buffer.clone().into_vec(), b"23456");
    assert_eq!(buffer.into_vec(), b"23456");
}

#[test]
fn into_vec_of_a_pooled_buffer_sends_its_memory_home() {
    let pool = BufferPool::new();
    let vector = pool.copy_from_slice(b"abc").into_vec();
    assert_eq!(
        (vector, pool.retained_bytes(), pool.outstanding()),
        (b"abc".to_vec(), 64, 0)
    );
}

#[test]
fn clone_copies_into_the_same_pool() {
    let pool = BufferPool::new();
    let mut one = pool.copy_from_slice(b"abc");
    let two = one.clone();
    one[0] = b'X';
    assert_eq!((&*one, &*two), (&b"Xbc"[..], &b"abc"[..]));
    assert_eq!(pool.outstanding(), 2);
}

#[test]
fn split_to_copies_a_part_and_moves_the_whole() {
    let pool = BufferPool::new();
    let mut buffer = pool.copy_from_slice(b"onetwo");
    let memory = buffer.as_ptr();
    let one = buffer.split_to(3);
    assert_eq!(one, "one");
    assert_ne!(one.as_ptr(), memory);
    assert_eq!(pool.outstanding(), 2);
    let two = buffer.split_to(3);
    assert_eq!(two, "two");
    assert_eq!(two.as_ptr(), memory.wrapping_add(3));
    assert!(buffer.0.is_none());
    drop((one, two));
    assert_eq!((pool.outstanding(), pool.retained_bytes()), (0, 128));
}

#[test]
fn pooled_buffer_grows_through_the_classes_of_its_pool() {
    let pool = BufferPool::new();
    let mut buffer = pool.get(10);
    let mut capacities = vec![buffer.capacity()];
    for i in 0..200_000_u32 {
        buffer.extend_from_slice(&[i as u8]);
        if buffer.capacity() != capacities[capacities.len() - 1] {
            capacities.push(buffer.capacity());
        }
    }
    assert_eq!(
        capacities,
        [64, 256, 1024, 4096, 16_384, 65_600, 131_200, 262_400]
    );
    assert!(buffer.iter().enumerate().all(|(i, byte)| *byte == i as u8));
    assert_eq!(pool.outstanding(), 1);
    drop(buffer);
    assert_eq!(
        pool.retained_bytes(),
        64 + 256 + 1024 + 4096 + 16_384 + 65_600
    );
}

#[test]
fn bytes_dropped_at_the_front_are_used_again() {
    let pool = BufferPool::new();
    let mut buffer = pool.get(64);
    for round in 0..1000_u32 {
        buffer.extend_from_slice(&round.to_be_bytes().repeat(5));
        buffer.advance(if round == 0 { 0 } else { 20 });
        assert_eq!(buffer[..], round.to_be_bytes().repeat(5)[..]);
    }
    assert_eq!(buffer.capacity(), 64);
}

#[test]
fn advance_to_the_end_frees_the_whole_memory() {
    let mut buffer = Buffer::from("abcd");
    buffer.advance(4);
    assert_eq!(buffer.spare_mut().len(), 4);
}

#[test]
fn reading_into_the_spare_appends() {
    let mut buffer = BufferPool::new().get(64);
    buffer.extend_from_slice(b"a");
    buffer.spare_mut()[..2].copy_from_slice(b"bc");
    buffer.grow(2);
    assert_eq!(buffer, "abc");
    assert_eq!(buffer.spare_mut().len(), 61);
}

#[test]
#[should_panic(expected = "cannot advance by 4: the buffer has 3 bytes")]
fn advance_beyond_the_length_panics() {
    Buffer::from("abc").advance(4);
}

#[test]
#[should_panic(expected = "cannot split at 1: the buffer has 0 bytes")]
fn split_beyond_the_length_panics() {
    let _ = Buffer::new().split_to(1);
}

#[test]
#[should_panic(expected = "cannot grow by 1: the buffer has 0 spare bytes")]
fn grow_beyond_the_spare_panics() {
    Buffer::from("full").grow(1);
}

#[test]
#[should_panic(expected = "at most u32::MAX bytes")]
fn capacity_beyond_the_maximum_panics_before_it_allocates() {
    let _ = BufferPool::new().get(usize::MAX);
}

#[test]
fn writers_and_iterators_append() {
    let mut buffer = Buffer::new();
    write!(buffer, "{}-", 42).unwrap();
    buffer.flush().unwrap();
    buffer.extend(b"ab".iter());
    buffer.extend((b'c'..=b'e').filter(|byte| *byte != b'd'));
    assert_eq!(buffer, "42-abce");
}

#[test]
#[expect(
    clippy::mutable_key_type,
    reason = "the hash covers the bytes only, and they have no inner mutability"
)]
fn equal_bytes_hash_alike_wherever_they_lie() {
    let mut buffer = Buffer::from("xxkey");
    buffer.advance(2);
    let set = HashSet::from([buffer]);
    assert!(set.contains(&b"key"[..]));
    assert!(set.contains(&Buffer::from("key")));
}

#[test]
fn debug_shows_the_length_and_a_prefix() {
    assert_eq!(
        format!("{:?}", Buffer::from("a\n\u{7f}")),
        r#"Buffer(3 bytes, b"a\n\x7f")"#
    );
    let long = format!("{:?}", Buffer::from(vec![b'x'; 1000]));
    assert_eq!(
        long,
        format!("Buffer(1000 bytes, b\"{}\"…)", "x".repeat(32))
    );
}

#[derive(Clone, Debug)]
enum Step {
    Extend(Vec<u8>),
    Read(Vec<u8>),
    Advance(usize),
    SplitTo(usize),
    Truncate(usize),
    Reserve(usize),
    Clone,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        4 => bytes().prop_map(Step::Extend),
        4 => bytes().prop_map(Step::Read),
        4 => (0..300_usize).prop_map(Step::Advance),
        4 => (0..300_usize).prop_map(Step::SplitTo),
        1 => (0..1000_usize).prop_map(Step::Truncate),
        2 => (0..2000_usize).prop_map(Step::Reserve),
        1 => Just(Step::Clone),
        1 => Just(Step::Clear),
    ]
}

/// Does one step to the buffer and to the vector that it must equal.
fn apply(step: Step, buffer: &mut Buffer, model: &mut Vec<u8>) {
    match step {
        Step::Extend(bytes) => {
            buffer.extend_from_slice(&bytes);
            model.extend_from_slice(&bytes);
        }
        Step::Read(bytes) => {
            let n = bytes.len().min(buffer.spare_mut().len());
            buffer.spare_mut()[..n].copy_from_slice(&bytes[..n]);
            buffer.grow(n);
            model.extend_from_slice(&bytes[..n]);
        }
        Step::Advance(n) => {
            let n = n.min(model.len());
            buffer.advance(n);
            model.drain(..n);
        }
        Step::SplitTo(n) => {
            let n = n.min(model.len());
            let front: Vec<u8> = model.drain(..n).collect();
            assert_eq!(buffer.split_to(n), front);
        }
        Step::Truncate(n) => {
            buffer.truncate(n);
            model.truncate(n);
        }
        Step::Reserve(n) => {
            buffer.reserve(n);
            assert!(buffer.spare_mut().len() >= n);
        }
        Step::Clone => *buffer = buffer.clone(),
        Step::Clear => {
            buffer.clear();
            model.clear();
        }
    }
}

proptest! {
    #[test]
    fn any_sequence_of_verbs_equals_a_vector(pooled: bool, steps in proptest::collection::vec(step(), 0..60)) {
        let pool = BufferPool::new();
        let mut buffer = if pooled { pool.get(1) } else { Buffer::new() };
        let mut model = Vec::new();
        for step in steps {
            apply(step, &mut buffer, &mut model);
            prop_assert_eq!(&*buffer, &*model);
        }
        prop_assert_eq!(buffer.into_vec(), model);
        prop_assert_eq!(pool.outstanding(), 0);
    }
}
