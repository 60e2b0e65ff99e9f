//! The records that a process makes: its own, and the one of its end.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Processes;
use super::lifecycle::{Behavior, ControlBlock};
use crate::error::Reason;
use crate::id::Pid;
use crate::message::Message;
use crate::record::{Kind, Level, Record};

impl Processes {
    /// The level of a process, if it differs from the node's. `None` for one that is gone.
    pub(crate) fn log_level(&self, pid: Pid) -> Option<Level> {
        let cell = self.live_cell(pid)?;
        Level::from_code(cell.log_level.load(Ordering::Relaxed))
    }

    /// Sets the level of a process; `None`: the node's. Returns whether the process is alive.
    pub(crate) fn set_log_level(&self, pid: Pid, level: Option<Level>) -> bool {
        let Some(cell) = self.live_cell(pid) else {
            return false;
        };
        let code = level.map_or(0, Level::code);
        cell.log_level.store(code, Ordering::Relaxed);
        true
    }

    /// A record that a process makes about itself.
    pub(crate) fn record_own(&self, control: &ControlBlock, level: Level, text: &dyn fmt::Display) {
        let own = self.log_level(control.pid);
        self.log.record(level, Kind::Program, own, |record| {
            record.set_text(text);
            self.identify(control, record);
        });
    }

    /// The record of a message whose type a process does not expect.
    pub(crate) fn record_unknown(&self, control: &ControlBlock, message: &Message) {
        let own = self.log_level(control.pid);
        self.log
            .record(Level::Warn, Kind::UnknownMessage, own, |record| {
                record.set_text("message of a type that is not expected");
                self.identify(control, record);
                record.message = Some(message.type_name());
            });
    }

    /// The record of an abnormal end. `Normal` and `Shutdown` have none; an exit
    /// signal of another process is `Debug`, because the sender knows.
    /// It names the actor, if its factory has returned.
    #[inline]
    pub(super) fn record_end(
        &self,
        control: &ControlBlock,
        behavior: Option<&dyn Behavior>,
        reason: &Reason,
    ) {
        if !matches!(reason, Reason::Normal | Reason::Shutdown) {
            self.record_abnormal_end(control, behavior, reason);
        }
    }

    #[cold]
    fn record_abnormal_end(
        &self,
        control: &ControlBlock,
        behavior: Option<&dyn Behavior>,
        reason: &Reason,
    ) {
        let level = if control.is_signaled {
            Level::Debug
        } else {
            Level::Error
        };
        let own = self.log_level(control.pid);
        self.log.record(level, Kind::ProcessEnded, own, |record| {
            record.set_text("process ended");
            self.identify(control, record);
            record.actor = behavior.map(|behavior| behavior.type_name());
            record.reason = Some(reason.clone());
            let age_ms = self.timers.clock().now_ms().saturating_sub(control.born_ms);
            record.lifetime = Some(Duration::from_millis(age_ms));
        });
    }

    /// The record of a panic in `terminate`, which changes nothing about the end.
    pub(super) fn record_panic_at_end(
        &self,
        control: &ControlBlock,
        behavior: &dyn Behavior,
        reason: Reason,
    ) {
        self.log
            .record(Level::Error, Kind::ProcessEnded, None, |record| {
                record.set_text("process panicked in terminate");
                self.identify(control, record);
                record.actor = Some(behavior.type_name());
                record.reason = Some(reason);
            });
    }

    /// The record of a process that its supervisor gives up: it was killed, and its handler has not
    /// returned.
    pub(super) fn record_stuck(&self, pid: Pid) {
        let own = self.log_level(pid);
        self.log
            .record(Level::Error, Kind::ProcessEnded, own, |record| {
                record.set_text("process does not end when it is killed, and is given up");
                record.pid = Some(pid);
                // Searched for, because the control block, which has the name, is with the handler that hangs.
                let names = self.names.lock();
                let name = names.iter().find(|(_, holder)| **holder == pid);
                record.name = name.map(|(name, _)| name.clone());
                record.message = self
                    .cells
                    .get(pid.index())
                    .and_then(|cell| cell.activity.message().name());
            });
    }

    fn identify(&self, control: &ControlBlock, record: &mut Record) {
        record.pid = Some(control.pid);
        record.name.clone_from(&control.name);
        let cell = self.cells.get(control.pid.index());
        record.message = cell.and_then(|cell| cell.activity.message().name());
    }
}
