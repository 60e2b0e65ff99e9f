//! The record of a meta-process that terminates abnormally.

use std::time::Duration;

use super::entries::Entry;
use crate::error::Reason;
use crate::id::Alias;
use crate::message::{Message, MessageMetaFailed, MessageType};
use crate::meta::Services;
use crate::record::{Kind, Level};

/// What led to the end of a meta-process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cause {
    /// The type of the message that was handled, if it was one.
    pub(super) handling: MessageType,
    /// A callback panicked.
    pub(super) has_panicked: bool,
    /// An exit signal was handled.
    pub(super) is_signaled: bool,
    /// The time, on the node's clock.
    pub(super) now_ms: u64,
}

/// Makes the record of an end that follows from an error or a panic. `Normal` and `Shutdown` have
/// none. The end of a connection is `Debug`, because its Disconnect reports it, and so is one by
/// an exit signal, because the sender knows.
pub(super) fn record_end(
    services: &Services,
    alias: Alias,
    entry: &Entry,
    reason: &Reason,
    cause: Cause,
) {
    if matches!(reason, Reason::Normal | Reason::Shutdown) {
        return;
    }
    let is_reported = cause.is_signaled || entry.meta.reports_end();
    let level = if is_reported && !cause.has_panicked {
        Level::Debug
    } else {
        Level::Error
    };
    let own = services.deliver.log_level(entry.parent);
    services.log.record(level, Kind::MetaEnded, own, |record| {
        record.set_text("meta-process ended");
        record.alias = Some(alias);
        record.pid = Some(entry.parent);
        record.actor = Some(entry.meta.type_name());
        record.message = cause.handling.name();
        record.reason = Some(reason.clone());
        let age_ms = entry.age_ms(cause.now_ms);
        record.lifetime = Some(Duration::from_millis(age_ms));
    });
}

/// Reports to the parent that a meta-process has ended in its `init`. The spawn has returned by then.
pub(super) fn report_failed_init(
    services: &Services,
    alias: Alias,
    entry: &Entry,
    reason: &Reason,
) {
    if matches!(reason, Reason::Normal | Reason::Shutdown) {
        return;
    }
    let message = MessageMetaFailed {
        id: alias,
        reason: reason.clone(),
    };
    let message = Message::MetaFailed(Box::new(message));
    // A parent that is gone needs no report.
    services
        .deliver
        .deliver_control(entry.parent, entry.parent, message);
}
