//! Names of things: [`Pid`], [`Alias`], [`Ref`], [`Name`] and the [`Target`] of a send.
//!
//! `Pid` and `Alias` are a slot and a generation. A slot is used again, a generation is not: when the 32-bit generation
//! of a slot is used up, the slot is never used again. So an identifier that has once been handed out never names
//! anything else for the life of its node. They are meaningful on the node that made them, only.

use std::borrow::Borrow;
use std::fmt;
use std::num::NonZeroU64;
use std::ops::Deref;
use std::str::FromStr;
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
        // The table of processes begins at index 1, so no process has this identifier.
        index: 0,
        generation: 0,
    };

    pub(crate) const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }

    /// The identifier as a number, for a table or a protocol of your own.
    ///
    /// ```
    /// use longshore::prelude::*;
    ///
    /// assert_eq!(Pid::from_bits(Pid::NODE.to_bits()), Pid::NODE);
    /// ```
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The identifier that [`to_bits`](Self::to_bits) made a number of.
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            index: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }

    #[inline]
    pub(crate) const fn index(self) -> u32 {
        self.index
    }

    #[inline]
    pub(crate) const fn generation(self) -> u32 {
        self.generation
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
// Never zero, so that an `Option` of it takes no more room.
pub struct Alias(NonZeroU64);

impl Alias {
    /// Slots of a stripe: 2^24.
    // Slot, stripe and generation share the 64 bits of a token of the poll: 24, 8 and 32.
    pub(crate) const SLOTS: u32 = 1 << 24;
    /// Stripes per node.
    pub(crate) const STRIPES: usize = 256;

    /// The identifier as a number, for a table or a protocol of your own. It is never 0.
    pub const fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// The identifier that [`to_bits`](Self::to_bits) made a number of; `None` for numbers that none has.
    pub fn from_bits(bits: u64) -> Option<Self> {
        let alias = Self(NonZeroU64::new(bits)?);
        (alias.generation() > 0).then_some(alias)
    }

    /// `generation` is at least one; `slot` and `stripe` are below their limits.
    pub(crate) fn new(stripe: usize, slot: u32, generation: u32) -> Self {
        debug_assert!(stripe < Self::STRIPES && slot < Self::SLOTS);
        let word = u64::from(generation) << 32 | (stripe as u64) << 24 | u64::from(slot);
        Self(NonZeroU64::new(word).expect("a generation is never zero"))
    }

    /// The alias that the token of a readiness event stands for. The node itself has made the token, so only zero,
    /// which no alias has, is looked for.
    pub(crate) fn from_token(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits).map(Self)
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

    /// The identifier as a number, for a table or a protocol of your own.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The identifier that [`to_bits`](Self::to_bits) made a number of.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
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

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
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

/// Where a message goes: a process, a meta-process or a name. What is linked or monitored may be an event as well.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Target {
    /// A process.
    Pid(Pid),
    /// A meta-process.
    Alias(Alias),
    /// The process that holds this name at the moment of the send.
    Name(Name),
    /// The event that has this name. It is linked and monitored; values for it are
    /// [published](crate::Context::publish), and a send to it is refused.
    Event(Name),
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

impl From<String> for Target {
    fn from(name: String) -> Self {
        Self::Name(Name::from(name))
    }
}

impl From<&String> for Target {
    fn from(name: &String) -> Self {
        Self::Name(Name::from(name))
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
            Self::Event(name) => write!(f, "event {name}"),
        }
    }
}

/// A text that is no identifier as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this text is not an identifier")]
pub struct ParseIdError(());

/// The numbers of a text between these, with dots in between.
fn numbers<const N: usize>(text: &str, start: &str, end: &str) -> Result<[u64; N], ParseIdError> {
    let wrong = ParseIdError(());
    let inner = text
        .strip_prefix(start)
        .and_then(|text| text.strip_suffix(end));
    let mut parts = inner.ok_or(wrong)?.split('.');
    let mut numbers = [0; N];
    for number in &mut numbers {
        let part = parts.next().ok_or(wrong)?;
        // `parse` would take a sign as well.
        let is_plain = part.bytes().all(|byte| byte.is_ascii_digit());
        *number = part.parse().ok().filter(|_| is_plain).ok_or(wrong)?;
    }
    match parts.next() {
        None => Ok(numbers),
        Some(_) => Err(wrong),
    }
}

/// As it is shown.
///
/// ```
/// use longshore::Pid;
///
/// assert_eq!("<0.0>".parse(), Ok(Pid::NODE));
/// ```
impl FromStr for Pid {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let [index, generation] = numbers(text, "<", ">")?;
        match (u32::try_from(index), u32::try_from(generation)) {
            (Ok(index), Ok(generation)) => Ok(Self { index, generation }),
            _ => Err(ParseIdError(())),
        }
    }
}

/// As it is shown.
impl FromStr for Alias {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let [stripe, slot, generation] = numbers(text, "#", "")?;
        // `new` would let a number that is too large reach into the next field.
        let fits = stripe < Self::STRIPES as u64 && slot < u64::from(Self::SLOTS);
        match u32::try_from(generation) {
            Ok(generation @ 1..) if fits => Ok(Self::new(stripe as usize, slot as u32, generation)),
            _ => Err(ParseIdError(())),
        }
    }
}

/// As it is shown.
impl FromStr for Ref {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let [value] = numbers(text, "@", "")?;
        Ok(Self(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_come_back_from_their_text_and_their_bits() {
        for pid in [Pid::NODE, Pid::new(u32::MAX, u32::MAX), Pid::new(7, 9)] {
            assert_eq!(pid.to_string().parse(), Ok(pid));
            assert_eq!(Pid::from_bits(pid.to_bits()), pid);
        }
        for alias in [
            Alias::new(0, 0, 1),
            Alias::new(255, Alias::SLOTS - 1, u32::MAX),
        ] {
            assert_eq!(alias.to_string().parse(), Ok(alias));
            assert_eq!(Alias::from_bits(alias.to_bits()), Some(alias));
        }
        for reference in [Ref::new(0), Ref::new(u64::MAX)] {
            assert_eq!(reference.to_string().parse(), Ok(reference));
            assert_eq!(Ref::from_bits(reference.to_bits()), reference);
        }
        for text in [
            "",
            "<>",
            "<1>",
            "<1.2",
            "<1.2.3>",
            "<+1.2>",
            "<-1.2>",
            "<4294967296.0>",
            "1.2",
            "#0.0.0",
            "#256.0.1",
            "#0.16777216.1",
            "#0.0",
            "@",
            "@x",
            "@18446744073709551616",
        ] {
            assert!(text.parse::<Pid>().is_err(), "{text}");
            assert!(text.parse::<Alias>().is_err(), "{text}");
            assert!(text.parse::<Ref>().is_err(), "{text}");
        }
        assert_eq!(Alias::from_bits(0), None);
        assert_eq!(Alias::from_bits(u64::from(u32::MAX)), None);
    }

    #[test]
    fn name_is_used_as_text() {
        let name = Name::from("clerk");
        assert!(name.starts_with("cl") && name.len() == 5);
        assert_eq!(Target::from(String::from("clerk")), Target::from(&name));
        assert_eq!(Target::from(&String::from("clerk")), Target::from("clerk"));
    }

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
            assert_eq!(Alias::from_token(alias.to_bits()), Some(alias));
        }
    }

    #[test]
    fn identifiers_are_one_word() {
        assert_eq!(size_of::<Pid>(), 8);
        assert_eq!(size_of::<Option<Alias>>(), 8);
        assert_eq!(size_of::<Ref>(), 8);
    }
}
