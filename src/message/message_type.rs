//! Types of messages as numbers, so that a worker can publish what it handles with one store.
//!
//! The runtime's own types have small numbers; the number of a user's type is a hash of its `TypeId`, made at compile
//! time. It has 31 bits, so two types could share a number: it is for display only, as is the name. The name of a
//! user's type is noted when its first box is allocated, which happens before the first message of the type is sent.

use std::any::{Any, TypeId, type_name};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

/// Types that a thread remembers to have noted.
const NOTED: usize = 64;
/// Set in the number of each user's type.
const USER: u32 = 1 << 31;

/// The type of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MessageType(u32);

impl MessageType {
    /// No message.
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const TCP: Self = Self(1);
    pub(crate) const TCP_CONNECT: Self = Self(2);
    pub(crate) const TCP_DISCONNECT: Self = Self(3);
    pub(crate) const TCP_PEER_CLOSED: Self = Self(4);
    pub(crate) const TCP_WRITABLE: Self = Self(5);
    pub(crate) const UDP: Self = Self(6);
    #[cfg(unix)]
    pub(crate) const UNIX_DATAGRAM: Self = Self(7);
    pub(crate) const UDP_ERROR: Self = Self(8);
    pub(crate) const EXIT: Self = Self(9);
    pub(crate) const DOWN: Self = Self(10);
    pub(crate) const REPLY: Self = Self(11);
    /// The runtime asks the process about itself.
    pub(crate) const INSPECT: Self = Self(12);
    pub(crate) const META_FAILED: Self = Self(13);
    pub(crate) const EVENT: Self = Self(14);
    pub(crate) const EVENT_SUBSCRIBERS: Self = Self(15);
    pub(crate) const RELAY_END: Self = Self(16);
    pub(crate) const ROOM: Self = Self(17);
    pub(crate) const TCP_SECURED: Self = Self(18);
    pub(crate) const DRAINED: Self = Self(19);
    pub(crate) const TCP_RECONNECTING: Self = Self(20);

    /// Names of the runtime's own types, by number.
    const NAMES: [&'static str; 21] = [
        "",
        "longshore::MessageTcp",
        "longshore::MessageTcpConnect",
        "longshore::MessageTcpDisconnect",
        "longshore::MessageTcpPeerClosed",
        "longshore::MessageTcpWritable",
        "longshore::MessageUdp",
        "longshore::MessageUnixDatagram",
        "longshore::MessageUdpError",
        "longshore::MessageExit",
        "longshore::MessageDown",
        "longshore::MessageReply",
        "inspect",
        "longshore::MessageMetaFailed",
        "longshore::MessageEvent",
        "longshore::MessageEventSubscribers",
        "longshore::MessageRelayEnd",
        "longshore::MessageRoom",
        "longshore::MessageTcpSecured",
        "longshore::MessageDrained",
        "longshore::MessageTcpReconnecting",
    ];

    /// The number of a user's type.
    #[inline]
    pub(crate) fn of(id: TypeId) -> Self {
        let mut word = Word::default();
        id.hash(&mut word);
        // The hash is cut to 31 bits; the page says what two types with one number cost.
        Self(word.finish() as u32 | USER)
    }

    #[inline]
    pub(crate) fn to_word(self) -> u32 {
        self.0
    }

    pub(crate) fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// The name of the type; `None` without a message.
    pub(crate) fn name(self) -> Option<&'static str> {
        if self == Self::NONE {
            return None;
        }
        if self.0 & USER == 0 {
            return Self::NAMES.get(self.0 as usize).copied();
        }
        let names = USER_NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        Some(
            names
                .get(&self.0)
                .copied()
                .unwrap_or("a type without a name"),
        )
    }
}

/// Names of users' types. As many as the program has types of messages.
static USER_NAMES: Mutex<BTreeMap<u32, &'static str>> = Mutex::new(BTreeMap::new());

thread_local! {
    /// Numbers that this thread has noted, each at its number modulo the length.
    static SEEN: [Cell<u32>; NOTED] = const { [const { Cell::new(0) }; NOTED] };
}

/// The number of a type that is no message, such as an actor, with its name noted.
pub(crate) fn number_of<T: Any>() -> MessageType {
    note::<T, T>();
    MessageType::of(TypeId::of::<T>())
}

/// Notes the name of `T` for the number of `Box`, the type that travels.
pub(crate) fn note<T: Any, Box: Any>() {
    let number = MessageType::of(TypeId::of::<Box>()).0;
    // The list of the thread is a filter in front of the lock. A type that has lost its place there is noted once more,
    // and so is one at the end of the thread, when the list is gone.
    let is_noted = SEEN.try_with(|seen| seen[number as usize % NOTED].replace(number) == number);
    if is_noted != Ok(true) {
        let mut names = USER_NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(number, type_name::<T>());
    }
}

/// Takes the one word that a `TypeId` gives to a hasher.
#[derive(Default)]
pub(crate) struct Word(u64);

impl Hasher for Word {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // A `TypeId` gives its word by `write_u64`; this is for versions of std that give bytes.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn user_type_has_its_name_once_it_is_noted() {
        struct Order;
        note::<Order, Option<Order>>();
        let number = MessageType::of(TypeId::of::<Option<Order>>());
        assert!(number.name().is_some_and(|name| name.ends_with("::Order")));
        assert_eq!(MessageType::from_word(number.to_word()), number);
        assert_eq!(MessageType::NONE.name(), None);
        assert_eq!(MessageType::INSPECT.name(), Some("inspect"));
    }
}
