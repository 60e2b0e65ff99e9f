//! Values of user types on their way, in boxes that are used again.
//!
//! A box is `Option<T>` behind `dyn Any`: taking the value out leaves an empty box of its type, which waits on a shelf of
//! the thread for the next value of that type. A process that sends and one that receives on the same worker allocate
//! nothing in the long run, however large the bursts; where they run on different workers a full or empty shelf falls back
//! to the allocator.
//!
//! What a thread keeps is bounded: [`TYPES`] types, [`BOXES`] boxes each, of values up to [`LARGEST`] bytes; half a
//! megabyte at the most, and a few kilobytes with the small messages that are usual.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::fmt;
use std::hash::{Hash, Hasher};

/// Types that a thread keeps boxes of, at most.
const TYPES: usize = 8;
/// Empty boxes of one type.
const BOXES: usize = 512;
/// Larger values leave their box to the allocator.
const LARGEST: usize = 128;

/// A value of any type that can be sent; see [`Message::User`](crate::Message::User).
pub struct UserMessage(Box<dyn Any + Send>);

impl UserMessage {
    #[inline]
    pub(crate) fn new<T: Any + Send>(value: T) -> Self {
        if size_of::<T>() <= LARGEST
            && let Some(mut empty) = take(TypeId::of::<T>())
            && let Some(place) = empty.downcast_mut::<Option<T>>()
        {
            *place = Some(value);
            return Self(empty);
        }
        Self(Box::new(Some(value)))
    }

    /// Takes the value out, or gives the message back if it has another type.
    ///
    /// # Errors
    ///
    /// The message itself.
    #[inline]
    pub fn downcast<T: Any>(mut self) -> Result<T, Self> {
        let Some(value) = self.0.downcast_mut::<Option<T>>().and_then(Option::take) else { return Err(self) };
        if size_of::<T>() <= LARGEST {
            put(TypeId::of::<T>(), self.0);
        }
        Ok(value)
    }

    /// Looks at the value, if it has that type.
    pub fn downcast_ref<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref::<Option<T>>()?.as_ref()
    }
}

impl fmt::Debug for UserMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserMessage")
    }
}

/// Empty boxes of one type.
struct Shelf {
    of: TypeId,
    empty: Vec<Box<dyn Any + Send>>,
}

thread_local! {
    static SHELVES: RefCell<[Option<Shelf>; TYPES]> = const { RefCell::new([const { None }; TYPES]) };
}

/// The shelf that a type has to share with those of the same number.
fn number(of: TypeId) -> usize {
    /// A `TypeId` is a good hash already, and gives itself to the hasher as one word.
    #[derive(Default)]
    struct Word(u64);
    impl Hasher for Word {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
        }
        fn write_u64(&mut self, word: u64) {
            self.0 = word;
        }
    }
    let mut word = Word::default();
    of.hash(&mut word);
    word.finish() as usize % TYPES
}

#[inline]
fn take(of: TypeId) -> Option<Box<dyn Any + Send>> {
    // No shelf at the end of the thread, nor inside of the drop of a box of this very shelf.
    let taken = SHELVES.try_with(|shelves| {
        let mut shelves = shelves.try_borrow_mut().ok()?;
        shelves[number(of)].as_mut().filter(|shelf| shelf.of == of)?.empty.pop()
    });
    taken.ok().flatten()
}

#[inline]
fn put(of: TypeId, empty: Box<dyn Any + Send>) {
    let _ = SHELVES.try_with(|shelves| {
        let Ok(mut shelves) = shelves.try_borrow_mut() else { return };
        let place = &mut shelves[number(of)];
        match place {
            Some(shelf) if shelf.of == of => {
                if shelf.empty.len() < BOXES {
                    shelf.empty.push(empty);
                }
            }
            // The type that was used last has the shelf.
            _ => *place = Some(Shelf { of, empty: vec![empty] }),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_comes_out_as_it_went_in() {
        let message = UserMessage::new(String::from("hi"));
        assert_eq!(message.downcast_ref::<String>().map(String::as_str), Some("hi"));
        let message = message.downcast::<u8>().expect_err("another type");
        assert_eq!(message.downcast::<String>().expect("this type"), "hi");
    }

    #[test]
    fn emptied_box_carries_the_next_value_of_its_type() {
        let address = |message: &UserMessage| message.downcast_ref::<[u64; 3]>().expect("this type").as_ptr();
        let first = UserMessage::new([1_u64, 2, 3]);
        let was = address(&first);
        assert_eq!(first.downcast::<[u64; 3]>().expect("this type"), [1, 2, 3]);
        let second = UserMessage::new([4_u64, 5, 6]);
        assert_eq!(address(&second), was);
        assert_eq!(second.downcast::<[u64; 3]>().expect("this type"), [4, 5, 6]);
    }

    #[test]
    fn dropped_message_drops_its_value_once() {
        let value = std::sync::Arc::new(());
        drop(UserMessage::new(std::sync::Arc::clone(&value)));
        let taken = UserMessage::new(std::sync::Arc::clone(&value)).downcast::<std::sync::Arc<()>>();
        assert_eq!(std::sync::Arc::strong_count(&value), 2);
        drop(taken);
        assert_eq!(std::sync::Arc::strong_count(&value), 1);
    }

    #[test]
    fn types_that_share_a_shelf_do_not_mix() {
        for round in 0..1_000_u32 {
            assert_eq!(UserMessage::new(round).downcast::<u32>().expect("u32"), round);
            assert_eq!(UserMessage::new(round as u8).downcast::<u8>().expect("u8"), round as u8);
            assert_eq!(UserMessage::new((round, 1_u8)).downcast::<(u32, u8)>().expect("pair"), (round, 1));
            assert_eq!(UserMessage::new(Some(round)).downcast::<Option<u32>>().expect("option"), Some(round));
            assert!(UserMessage::new([round; 64]).downcast::<[u32; 64]>().is_ok(), "too large for a shelf");
        }
    }
}
