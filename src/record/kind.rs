//! The kinds of records: what the rate limit counts separately.

/// What a record is about. Records of one kind share one rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A process terminated abnormally.
    ProcessEnded,
    /// A meta-process terminated abnormally.
    MetaEnded,
    /// The selector of the operating system reports an error.
    PollFailed,
    /// A listener cannot accept and waits.
    AcceptFailed,
    /// A connection came while no process of the pool was alive.
    NoOwner,
    /// An accepted connection could not be started.
    ConnectionNotStarted,
    /// A connection ended before it was established.
    NotEstablished,
    /// Buffers that are not dropped stop a connection.
    InputHeld,
    /// A connection was written to when it took no more.
    WritesRefused,
    /// A client does not verify its peer.
    Unverified,
    /// A name took long to resolve, and a thread was blocked meanwhile.
    SlowResolve,
    /// A handler of a process runs for long.
    SlowHandler,
    /// A typed actor got a message that it does not expect.
    UnknownMessage,
    /// The node cannot be stopped.
    StopFailed,
    /// Records were lost, or left out by the rate limit. Made by the log itself.
    LeftOut,
    /// A record of the program, from `cx.log`. Not limited.
    Program,
}

impl Kind {
    /// How many kinds there are.
    // `Program` stays the last one: the windows of the rate limit are an array of this length.
    pub(super) const COUNT: usize = Self::Program as usize + 1;

    /// Every kind, in the order of the enum.
    pub(super) const ALL: [Self; Self::COUNT] = [
        Self::ProcessEnded,
        Self::MetaEnded,
        Self::PollFailed,
        Self::AcceptFailed,
        Self::NoOwner,
        Self::ConnectionNotStarted,
        Self::NotEstablished,
        Self::InputHeld,
        Self::WritesRefused,
        Self::Unverified,
        Self::SlowResolve,
        Self::SlowHandler,
        Self::UnknownMessage,
        Self::StopFailed,
        Self::LeftOut,
        Self::Program,
    ];

    /// The stable name, which stands in [`Record::kind`](super::Record::kind).
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ProcessEnded => "process_ended",
            Self::MetaEnded => "meta_process_ended",
            Self::PollFailed => "poll_failed",
            Self::AcceptFailed => "accept_failed",
            Self::NoOwner => "no_owner",
            Self::ConnectionNotStarted => "connection_not_started",
            Self::NotEstablished => "connection_not_established",
            Self::InputHeld => "input_held",
            Self::WritesRefused => "writes_refused",
            Self::Unverified => "peer_not_verified",
            Self::SlowResolve => "slow_resolve",
            Self::SlowHandler => "slow_handler",
            Self::UnknownMessage => "unknown_message",
            Self::StopFailed => "stop_failed",
            Self::LeftOut => "left_out",
            Self::Program => "program",
        }
    }

    /// Whether at most [`RATE`](super::limit::RATE) records of this kind pass in a second.
    pub(super) const fn is_limited(self) -> bool {
        !matches!(self, Self::LeftOut | Self::Program)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_at_their_number_and_names_are_unique() {
        for (number, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
        let names: std::collections::BTreeSet<_> = Kind::ALL.map(Kind::name).into();
        assert_eq!(names.len(), Kind::COUNT);
    }

    #[test]
    fn every_kind_stands_in_the_guide() {
        let page = include_str!("../guide/logging.md");
        for kind in Kind::ALL {
            assert!(page.contains(&format!("`{}`", kind.name())), "{kind:?}");
        }
    }
}
