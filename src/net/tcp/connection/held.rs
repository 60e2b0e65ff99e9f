//! Buffers that an owner does not drop, so that its connection stays blocked: after half a minute a record says so,
//! once.
//!
//! ```text
//!             blocked              the time has passed since, and it is still blocked
//!  unwatched ─────────▶ watched ─────────────────────────────────────────────────────▶ reported
//!                          │ ▲
//!                          └─┘ it was free meanwhile: the rest of the time, or none while it is free
//! ```
//!
//! A connection whose owner keeps up is blocked and free many times in a second, so the timer is not moved for each.
//! When it fires, it compares the time since when the connection has been blocked.
//!
//! What it does not do: it ends nothing. What the owner holds, and for how long, is its decision.

use std::time::Duration;

use super::Driver;
use crate::bridge::{SocketCommand, TimerEvent};
use crate::id::Target;
use crate::message::Message;
use crate::meta::MetaContext;
use crate::record::{Kind, Level};

/// A connection that is stopped for this long is reported.
const HELD_MS: u64 = 30_000;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::net::tcp) enum Watch {
    #[default]
    Unwatched,
    /// The timer runs, and the connection has been blocked since then; `None` while it is free.
    Watched(Option<u64>),
    Reported,
}

impl Driver {
    /// The window has become full, or free again.
    #[cold]
    pub(super) fn watch_held(&mut self, cx: &MetaContext<'_>, is_blocked: bool) {
        let since_ms = is_blocked.then_some(cx.now_ms);
        match self.window.watch() {
            Watch::Unwatched if is_blocked => {
                self.window.set_watch(Watch::Watched(since_ms));
                look_after(cx, HELD_MS);
            }
            Watch::Watched(_) => self.window.set_watch(Watch::Watched(since_ms)),
            // Reported once for each connection: a program that keeps its buffers would otherwise fill the log.
            Watch::Unwatched | Watch::Reported => {}
        }
    }

    /// The timer has fired.
    #[cold]
    pub(super) fn look_at_held(&mut self, cx: &MetaContext<'_>) {
        let Watch::Watched(since_ms) = self.window.watch() else {
            return;
        };
        let blocked_ms = since_ms.map(|since_ms| cx.now_ms.saturating_sub(since_ms));
        let next = match blocked_ms {
            // It is free. The next time that it is stopped the timer is set again, so that none runs while input flows.
            None => Watch::Unwatched,
            Some(HELD_MS..) => {
                let held = self.window.unacked();
                cx.record(Level::Warn, Kind::InputHeld, |record| {
                    record.set_text(format_args!(
                        "connection stopped for 30 s: buffers of {held} bytes that it delivered are not dropped"
                    ));
                });
                Watch::Reported
            }
            Some(blocked_ms) => {
                look_after(cx, HELD_MS - blocked_ms);
                Watch::Watched(since_ms)
            }
        };
        self.window.set_watch(next);
    }
}

fn look_after(cx: &MetaContext<'_>, delay_ms: u64) {
    let event = TimerEvent::Send {
        to: Target::Alias(cx.alias),
        from: cx.parent,
        message: Message::new(SocketCommand::LookAtHeld),
    };
    let delay = Duration::from_millis(delay_ms);
    cx.services.timers.after(delay, event);
}
