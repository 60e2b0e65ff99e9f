//! The class of a message: its lane, and whether the bound of the mailbox applies to it.
//!
//! | Class | Lane | A full mailbox |
//! |---|---|---|
//! | `Normal`, priority Normal | main | refuses it, and it goes back to its sender; or drops one, by its policy |
//! | `Normal`, another priority | urgent, system or log | does not refuse it |
//! | `Data` | main | refuses it, and its meta-process waits for a turn |
//! | `Control` | main | does not refuse it |
//! | `Urgent` | urgent | does not refuse it |

use crate::bridge::Claim;
use crate::message::Priority;

/// The class of a message; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// By its priority; the main lane is bounded.
    Normal(Priority),
    /// Data of a socket: main lane, bounded; a refused meta-process is resumed when it is its turn.
    Data(Claim),
    /// Main lane, never refused.
    Control,
    /// The urgent lane, never refused.
    Urgent,
}

/// Why a push was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    Closed,
    Full,
    /// It is full, and its policy decides what is dropped.
    Overflow,
}

/// What [`Mailbox::push`](super::mailbox::Mailbox::push) found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// An idle process: the caller queues it.
    Idle,
    /// One that is queued or runs, and comes to it.
    Behind,
}
