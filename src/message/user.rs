//! Values of user types on their way, in boxes that are used again.
//!
//! A box is `Option<T>` behind `dyn Any`: taking the value out leaves an empty box of its type, which waits in a cache
//! of the thread for the next value of that type. A process that sends and one that receives on the same worker
//! allocate nothing in the long run, however large the bursts. Where they run on different workers, the receiver's
//! cache hands the boxes back to the sender's through a [`Depot`].
//!
//! What is kept is bounded: [`TYPES`] types on each thread, two magazines of [`MAGAZINE`] boxes for each, and as many
//! types in depots, [`MAGAZINES`] magazines for each; of values up to [`LARGEST`] bytes.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use super::message_type::{self, MessageType, Word};
use crate::memory::magazine::{Depot, ThreadCache};

/// Types that boxes are kept of, at most.
const TYPES: usize = 16;
/// Places that are looked at for a type.
const PROBES: usize = 4;
/// Boxes that travel between threads together.
const MAGAZINE: usize = 64;
/// Full magazines available to any thread.
const MAGAZINES: usize = 32;
/// Larger values leave their box to the allocator.
const LARGEST: usize = 128;

type Empty = Box<dyn Place>;

/// A box that holds at most one value of one type.
trait Place: Any + Send {
    /// The number of the type: a constant, where a `TypeId` would have to be asked for and hashed.
    fn message_type(&self) -> MessageType;
}

impl<T: Any + Send> Place for Option<T> {
    fn message_type(&self) -> MessageType {
        MessageType::of(TypeId::of::<Self>())
    }
}

impl dyn Place {
    #[inline]
    fn value<T: Any>(&self) -> Option<&Option<T>> {
        let place: &dyn Any = self;
        place.downcast_ref()
    }

    #[inline]
    fn value_mut<T: Any>(&mut self) -> Option<&mut Option<T>> {
        let place: &mut dyn Any = self;
        place.downcast_mut()
    }
}

/// A value of any type that can be sent; see [`Message::User`](crate::Message::User).
pub struct UserMessage(Box<dyn Place>);

impl UserMessage {
    #[inline]
    pub(crate) fn new<T: Any + Send>(value: T) -> Self {
        // A large value would keep a large box alive on a thread that may never need it again.
        if size_of::<T>() <= LARGEST
            && let Some(mut empty) = take(TypeId::of::<T>())
            && let Some(place) = empty.value_mut::<T>()
        {
            *place = Some(value);
            return Self(empty);
        }
        // Noted before the first message of the type is sent, so that its name is known wherever its number is shown.
        message_type::note::<T, Option<T>>();
        Self(Box::new(Some(value)))
    }

    /// The type of the value.
    #[inline]
    pub(crate) fn message_type(&self) -> MessageType {
        self.0.message_type()
    }

    /// Takes the value out, or gives the message back if it has another type.
    ///
    /// # Errors
    ///
    /// The message itself.
    #[inline]
    pub fn downcast<T: Any>(mut self) -> Result<T, Self> {
        let Some(value) = self.0.value_mut::<T>().and_then(Option::take) else {
            return Err(self);
        };
        // The box is empty, and the next value of that type on this thread takes it.
        if size_of::<T>() <= LARGEST {
            put(TypeId::of::<T>(), self.0);
        }
        Ok(value)
    }

    /// Looks at the value, if it has that type.
    pub fn downcast_ref<T: Any>(&self) -> Option<&T> {
        self.0.value::<T>()?.as_ref()
    }
}

impl fmt::Debug for UserMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let type_name = self.message_type().name().unwrap_or("nothing");
        write!(f, "UserMessage({type_name})")
    }
}

/// The cache of the empty boxes of one type.
struct TypeCache {
    of: TypeId,
    cache: ThreadCache<Empty, MAGAZINE>,
    depot: Arc<Depot<Empty>>,
}

thread_local! {
    static CACHES: RefCell<[Option<TypeCache>; TYPES]> = const { RefCell::new([const { None }; TYPES]) };
}

/// The depots of the program, asked when a thread meets a type for the first time.
static DEPOTS: Mutex<BTreeMap<TypeId, Arc<Depot<Empty>>>> = Mutex::new(BTreeMap::new());

/// Probe sequence of a type: it uses the first place that is free or already its own.
#[inline]
fn places(of: TypeId) -> impl Iterator<Item = usize> {
    // A `TypeId` is a good hash already.
    let mut word = Word::default();
    of.hash(&mut word);
    let first = word.finish() as usize;
    (0..PROBES).map(move |probe| first.wrapping_add(probe) % TYPES)
}

impl TypeCache {
    /// `None`: all places where it could be belong to other types.
    #[inline]
    fn find(caches: &mut [Option<Self>; TYPES], of: TypeId) -> Option<&mut Self> {
        let first = places(of).next()?;
        // A type is nearly always at its first place, and the search for another stays out of line.
        if caches[first].as_ref().is_some_and(|cache| cache.of == of) {
            return caches[first].as_mut();
        }
        Self::find_further(caches, of)
    }

    #[cold]
    fn find_further(caches: &mut [Option<Self>; TYPES], of: TypeId) -> Option<&mut Self> {
        let place =
            places(of).find(|place| caches[*place].as_ref().is_none_or(|cache| cache.of == of))?;
        Some(caches[place].get_or_insert_with(|| Self::new(of)))
    }

    /// The first cache for that type on this thread.
    fn new(of: TypeId) -> Self {
        let mut depots = DEPOTS.lock().unwrap_or_else(PoisonError::into_inner);
        // A type too many has a depot that keeps nothing: its boxes stay on their threads.
        let limit = if depots.len() < TYPES { MAGAZINES } else { 0 };
        let depot = depots
            .get(&of)
            .cloned()
            .unwrap_or_else(|| Arc::new(Depot::new(limit)));
        if limit > 0 {
            depots.insert(of, Arc::clone(&depot));
        }
        Self {
            of,
            cache: ThreadCache::new(),
            depot,
        }
    }
}

#[inline]
fn take(of: TypeId) -> Option<Empty> {
    // No cache at the end of the thread, nor inside of the drop of a box of this very cache.
    let taken = CACHES.try_with(|caches| {
        let mut caches = caches.try_borrow_mut().ok()?;
        let TypeCache { cache, depot, .. } = TypeCache::find(&mut caches, of)?;
        cache.take(depot)
    });
    taken.ok().flatten()
}

#[inline]
fn put(of: TypeId, empty: Empty) {
    // Without a cache, at the end of the thread or inside of a drop, the box is freed.
    let _ = CACHES.try_with(|caches| {
        let Ok(mut caches) = caches.try_borrow_mut() else {
            return;
        };
        if let Some(TypeCache { cache, depot, .. }) = TypeCache::find(&mut caches, of) {
            cache.put(empty, depot);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_comes_out_as_it_went_in() {
        let message = UserMessage::new(String::from("hi"));
        assert_eq!(
            message.downcast_ref::<String>().map(String::as_str),
            Some("hi")
        );
        let message = message.downcast::<u8>().expect_err("another type");
        assert_eq!(message.downcast::<String>().expect("this type"), "hi");
    }

    #[test]
    fn emptied_box_carries_the_next_value_of_its_type() {
        let address = |message: &UserMessage| {
            message
                .downcast_ref::<[u64; 3]>()
                .expect("this type")
                .as_ptr()
        };
        let first = UserMessage::new([1_u64, 2, 3]);
        let was = address(&first);
        assert_eq!(first.downcast::<[u64; 3]>().expect("this type"), [1, 2, 3]);
        let second = UserMessage::new([4_u64, 5, 6]);
        assert_eq!(address(&second), was);
        assert_eq!(second.downcast::<[u64; 3]>().expect("this type"), [4, 5, 6]);
    }

    #[test]
    fn dropped_message_drops_its_value_once() {
        let value = Arc::new(());
        drop(UserMessage::new(Arc::clone(&value)));
        let taken = UserMessage::new(Arc::clone(&value)).downcast::<Arc<()>>();
        assert_eq!(Arc::strong_count(&value), 2);
        drop(taken);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn types_that_share_a_stock_do_not_mix() {
        for round in 0..1_000_u32 {
            assert_eq!(
                UserMessage::new(round).downcast::<u32>().expect("u32"),
                round
            );
            assert_eq!(
                UserMessage::new(round as u8).downcast::<u8>().expect("u8"),
                round as u8
            );
            assert_eq!(
                UserMessage::new((round, 1_u8))
                    .downcast::<(u32, u8)>()
                    .expect("pair"),
                (round, 1)
            );
            assert_eq!(
                UserMessage::new(Some(round))
                    .downcast::<Option<u32>>()
                    .expect("option"),
                Some(round)
            );
            assert!(
                UserMessage::new([round; 64])
                    .downcast::<[u32; 64]>()
                    .is_ok(),
                "too large for a cache"
            );
        }
    }

    #[test]
    fn more_types_than_are_kept_come_out_as_they_went_in() {
        struct Numbered<const NUMBER: usize>(usize);
        fn round<const NUMBER: usize>() {
            for _ in 0..3 {
                let taken =
                    UserMessage::new(Numbered::<NUMBER>(NUMBER)).downcast::<Numbered<NUMBER>>();
                assert_eq!(taken.expect("this type").0, NUMBER);
            }
        }
        macro_rules! rounds { ($($number:literal)*) => { $(round::<$number>();)* } }
        rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
        assert!(DEPOTS.lock().unwrap().len() <= TYPES);
    }
}
