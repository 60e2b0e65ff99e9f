//! Names of things: [`Pid`], [`Alias`], [`Ref`], [`Name`] and the [`Target`] of a send.
//!
//! `Pid` and `Alias` are a slot and a generation. A slot is used again, a generation is not: when the 32-bit generation
//! of a slot is used up, the slot is retired. So an identifier that has once been handed out never names anything else
//! for the life of its node. They are meaningful on the node that made them, only.

use std::borrow::Borrow;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

/// Identifies a process: slot and generation, 8 bytes, never reused.
///
/// ```
/// use longshore::prelude::*;
/// assert_eq!(Pid::NODE.to_string(), "<0.0>");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[doc(alias = "PID")]
pub struct Pid {
    index: u32,
    generation: u32,
}

impl Pid {
    /// The sender of messages that come from outside of any process: `Node::send` from the embedding program, and the
    /// runtime itself.
    pub const NODE: Self = Self {
        index: 0,
        generation: 0,
    };

    pub(crate) const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }

    #[inline]
    pub(crate) const fn index(self) -> u32 {
        self.index
    }

    #[inline]
    pub(crate) const fn generation(self) -> u32 {
        self.generation
    }

    /// Index and generation in one word, for a cell that is read without a lock.
    pub(crate) const fn to_word(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}.{}>", self.index, self.generation)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pid{self}")
    }
}

/// Identifies a meta-process: a listener, a connection, a UDP socket or one of your own. 8 bytes, never reused.
///
/// It carries the stripe that drives the meta-process, so that a send needs no look-up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Alias(NonZeroU64);

impl Alias {
    /// IndexAllocator per stripe: 2^24.
    pub(crate) const SLOTS: u32 = 1 << 24;
    /// Stripes per node.
    pub(crate) const STRIPES: usize = 256;

    /// `generation` is at least one; `slot` and `stripe` are below their limits.
    pub(crate) fn new(stripe: usize, slot: u32, generation: u32) -> Self {
        debug_assert!(stripe < Self::STRIPES && slot < Self::SLOTS);
        let word = u64::from(generation) << 32 | (stripe as u64) << 24 | u64::from(slot);
        Self(NonZeroU64::new(word).expect("a generation is never zero"))
    }

    /// The alias packed in a word, for the token of a readiness event.
    pub(crate) const fn to_word(self) -> u64 {
        self.0.get()
    }

    pub(crate) fn from_word(word: u64) -> Option<Self> {
        NonZeroU64::new(word).map(Self)
    }

    #[inline]
    pub(crate) const fn stripe(self) -> usize {
        (self.0.get() >> 24 & 0xff) as usize
    }

    #[inline]
    pub(crate) const fn slot(self) -> u32 {
        (self.0.get() & 0xff_ffff) as u32
    }

    #[inline]
    pub(crate) const fn generation(self) -> u32 {
        (self.0.get() >> 32) as u32
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "#{}.{}.{}",
            self.stripe(),
            self.slot(),
            self.generation()
        )
    }
}

impl fmt::Debug for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Alias{self}")
    }
}

/// Identifies one request, timer or monitor. 8 bytes, never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ref(u64);

impl Ref {
    pub(crate) const fn new(value: u64) -> Self {
        Self(value)
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

impl fmt::Debug for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ref{self}")
    }
}

/// The registered name of a process. Cheap to clone.
///
/// ```
/// use longshore::Name;
/// let name = Name::from("handler1");
/// assert_eq!(name, "handler1");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[doc(alias = "Atom")]
pub struct Name(Arc<str>);

impl Name {
    /// The name as text.
    ///
    /// ```
    /// assert_eq!(longshore::Name::from("clerk").as_str(), "clerk");
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: AsRef<str> + ?Sized> From<&T> for Name {
    fn from(text: &T) -> Self {
        Self(Arc::from(text.as_ref()))
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self(Arc::from(text))
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({:?})", &*self.0)
    }
}

/// Where a message goes: a process, a meta-process or a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A process.
    Pid(Pid),
    /// A meta-process.
    Alias(Alias),
    /// The process that holds this name at the moment of the send.
    Name(Name),
}

impl From<Pid> for Target {
    fn from(pid: Pid) -> Self {
        Self::Pid(pid)
    }
}

impl From<Alias> for Target {
    fn from(alias: Alias) -> Self {
        Self::Alias(alias)
    }
}

impl From<Name> for Target {
    fn from(name: Name) -> Self {
        Self::Name(name)
    }
}

impl From<&Name> for Target {
    fn from(name: &Name) -> Self {
        Self::Name(name.clone())
    }
}

impl From<&str> for Target {
    fn from(name: &str) -> Self {
        Self::Name(Name::from(name))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => pid.fmt(f),
            Self::Alias(alias) => alias.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alias_gives_back_its_parts_at_the_limits() {
        for (stripe, slot, generation) in [
            (0, 0, 1),
            (255, Alias::SLOTS - 1, u32::MAX),
            (7, 12_345, 99),
        ] {
            let alias = Alias::new(stripe, slot, generation);
            assert_eq!(
                (alias.stripe(), alias.slot(), alias.generation()),
                (stripe, slot, generation)
            );
            assert_eq!(Alias::from_word(alias.to_word()), Some(alias));
        }
    }

    #[test]
    fn identifiers_are_one_word() {
        assert_eq!(size_of::<Pid>(), 8);
        assert_eq!(size_of::<Option<Alias>>(), 8);
        assert_eq!(size_of::<Ref>(), 8);
    }
}
