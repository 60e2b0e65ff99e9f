//! What a meta-process can do from inside its callbacks.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use super::actions::{Actions, Again};
use super::{MetaProcess, Offload, Services, Standing, Waits};
use crate::bridge::Command;
use crate::bridge::send_quota::SendQuota;
use crate::bridge::{Claim, Timer, TimerEvent, TimerId, Undelivered};
use crate::error::Reason;
use crate::error::{SendErrorKind, SpawnError};
use crate::id::{Alias, Pid, Target};
use crate::memory::buffer::{Buffer, BufferPool};
use crate::message::CompactMessage;
use crate::message::Message;
use crate::message::SendError;
use crate::record::{Kind, Level, Record};

/// The meta-process as its callbacks see it: its identity, and everything it can do. No call blocks.
pub struct MetaContext<'a> {
    pub(crate) services: &'a Services,
    pub(crate) alias: Alias,
    pub(crate) parent: Pid,
    /// The mailboxes that this meta-process waits for.
    pub(crate) waits: RefCell<&'a mut Waits>,
    /// What the callback has requested so far.
    pub(crate) actions: Actions,
    /// A buffer to read into, shared by the meta-processes of a stripe; empty between callbacks.
    pub(crate) scratch: &'a mut Buffer,
    pub(crate) now_ms: u64,
    /// Bytes that may still be read in this activation; a connection that finds none reads in a later one. The last
    /// read, or batch of datagrams, may exceed it.
    pub(crate) read_budget: usize,
    pub(crate) offload: Offload,
    /// In `terminate`: bytes that were accepted and never sent.
    pub(crate) unsent: u64,
}

impl<'a> MetaContext<'a> {
    /// The context of a callback at time zero that may not read and has nothing unsent.
    #[inline]
    pub(crate) fn new(
        services: &'a Services,
        alias: Alias,
        parent: Pid,
        waits: &'a mut Waits,
        scratch: &'a mut Buffer,
    ) -> Self {
        Self {
            services,
            alias,
            parent,
            waits: RefCell::new(waits),
            actions: Actions::default(),
            scratch,
            now_ms: 0,
            read_budget: 0,
            offload: Offload::Spawn,
            unsent: 0,
        }
    }
}

impl MetaContext<'_> {
    /// This meta-process.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside_meta(|cx| {
    /// println!("I am {}", cx.alias());
    /// # Ok(()) }) }
    /// ```
    pub fn alias(&self) -> Alias {
        self.alias
    }

    /// The process that it belongs to.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside_meta(|cx| {
    /// assert_ne!(cx.parent(), Pid::NODE);
    /// # Ok(()) }) }
    /// ```
    pub fn parent(&self) -> Pid {
        self.parent
    }

    /// Sends a message to any target, as coming from the parent process.
    ///
    /// # Errors
    ///
    /// The message comes back when there is no such receiver. A full mailbox refuses it, and
    /// [`MetaProcess::handle_resume`] is called when it has room again.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside_meta(|cx| {
    /// cx.send(cx.parent(), "ready")?;
    /// # Ok(()) }) }
    /// ```
    pub fn send<T: Send + 'static>(
        &mut self,
        to: impl Into<Target>,
        message: T,
    ) -> Result<(), SendError> {
        let (to, message) = (to.into(), CompactMessage::from(Message::new(message)));
        let pid = match &to {
            Target::Pid(pid) => *pid,
            Target::Alias(alias) => {
                return self.services.commands.send(*alias, self.parent, message);
            }
            Target::Name(name) => match self.services.deliver.resolve(name) {
                Some(pid) => pid,
                None => return Err(SendError::new(SendErrorKind::NoName, to, message.unpack())),
            },
            Target::Event(_) => {
                return Err(SendError::new(SendErrorKind::IsEvent, to, message.unpack()));
            }
        };
        self.deliver_data(pid, message).map_err(|undelivered| {
            let (kind, message) = match undelivered {
                Undelivered::Gone(message) => (SendErrorKind::NoProcess, message),
                Undelivered::Full(message) => (SendErrorKind::MailboxFull, message),
            };
            SendError::new(kind, to, message.unpack())
        })
    }

    /// Delivers data to a mailbox that is bounded for it. After a refusal the mailbox resumes this meta-process, and
    /// until then it refuses everything.
    #[inline(always)]
    pub(crate) fn deliver_data(&self, to: Pid, message: CompactMessage) -> Result<(), Undelivered> {
        // Most meta-processes wait nowhere, and pay for one look at a null pointer.
        if self.waits.borrow().is_empty() {
            let claim = Claim::Newcomer(self.alias);
            let deliver = &self.services.deliver;
            let outcome = deliver.deliver_data(to, self.parent, message, claim);
            if let Err(Undelivered::Full(_)) = &outcome {
                self.waits.borrow_mut().refused(to);
            }
            return outcome;
        }
        self.deliver_while_waiting(to, message)
    }

    /// As [`MetaContext::deliver_data`], while this meta-process waits for some mailbox.
    #[cold]
    fn deliver_while_waiting(&self, to: Pid, message: CompactMessage) -> Result<(), Undelivered> {
        let standing = self.waits.borrow().standing(to);
        let claim = match standing {
            Standing::Newcomer => Claim::Newcomer(self.alias),
            Standing::InTurn => Claim::InTurn(self.alias),
            // The mailbox has this meta-process in its line already, and would search the line for it.
            Standing::Waiting => return Err(Undelivered::Full(message)),
        };
        let deliver = &self.services.deliver;
        let outcome = deliver.deliver_data(to, self.parent, message, claim);
        match (&outcome, standing) {
            (Err(Undelivered::Full(_)), _) => self.waits.borrow_mut().refused(to),
            // A mailbox that has closed resumes nothing, so an entry for it would refuse data for good.
            (Err(Undelivered::Gone(_)), _) => self.waits.borrow_mut().gone(to),
            (Ok(()), Standing::InTurn) => self.waits.borrow_mut().sent_in_turn(to),
            _ => {}
        }
        outcome
    }

    /// Starts another meta-process, a child of the same parent process.
    ///
    /// # Errors
    ///
    /// The parent has ended, the node is stopping or has reached its limit, or a process named as the owner of
    /// connections is a pool. The meta-process is dropped, which closes its socket.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside_meta(|cx| {
    /// let child = cx.spawn_meta(UdpServer::bind("127.0.0.1:0")?)?;
    /// assert_ne!(child, cx.alias());
    /// # Ok(()) }) }
    /// ```
    pub fn spawn_meta(&mut self, meta: impl MetaProcess) -> Result<Alias, SpawnError> {
        self.services.spawn(self.parent, Box::new(meta))
    }

    /// Ends another meta-process.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside_meta(|cx| {
    /// let child = cx.spawn_meta(UdpServer::bind("127.0.0.1:0")?)?;
    /// cx.send_exit_meta(child, Reason::Normal);
    /// # Ok(()) }) }
    /// ```
    pub fn send_exit_meta(&mut self, to: Alias, reason: Reason) {
        self.services
            .commands
            .push(to.stripe(), Command::Exit { to, reason });
    }

    /// The process that holds the name now.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside_meta(|cx| {
    /// assert_eq!(cx.whereis("absent"), None);
    /// # Ok(()) }) }
    /// ```
    pub fn whereis(&self, name: impl AsRef<str>) -> Option<Pid> {
        self.services.deliver.resolve(name.as_ref())
    }

    /// Has [`MetaProcess::handle_timer`] called after that time; `None` withdraws it. There is one timer; setting it
    /// again replaces it.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside_meta(|cx| {
    /// cx.set_timer(Some(Duration::from_millis(100))); // `handle_timer` is called
    /// # Ok(()) }) }
    /// ```
    pub fn set_timer(&mut self, delay: Option<Duration>) {
        let deadline_ms = delay.map_or(u64::MAX, |delay| {
            self.services.timers.clock().deadline_ms(delay)
        });
        self.actions.deadline_ms = deadline_ms;
    }

    /// Sends a message to this meta-process after a delay, never earlier: for one that has more to time than
    /// [`set_timer`](MetaContext::set_timer) holds. The sender is the parent. If the meta-process has ended by then,
    /// the message is dropped.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside_meta(|cx| {
    /// enum Due {
    ///     Ping,
    ///     GiveUp,
    /// }
    ///
    /// cx.send_after(Due::Ping, Duration::from_secs(5)); // `handle_message` is called
    /// let give_up = cx.send_after(Due::GiveUp, Duration::from_secs(30));
    /// assert!(cx.cancel_timer(give_up));
    /// # Ok(()) }) }
    /// ```
    pub fn send_after<T: Send + 'static>(&mut self, message: T, delay: Duration) -> Timer {
        let event = TimerEvent::Send {
            to: Target::Alias(self.alias),
            from: self.parent,
            message: Message::new(message),
        };
        Timer(TimerId::Once(self.services.timers.after(delay, event)))
    }

    /// Takes a timer of [`send_after`](MetaContext::send_after) back. `false`: it has fired, or was canceled before.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside_meta(|cx| {
    /// let timer = cx.send_after("never", Duration::from_secs(60));
    /// assert!(cx.cancel_timer(timer));
    /// assert!(!cx.cancel_timer(timer));
    /// # Ok(()) }) }
    /// ```
    pub fn cancel_timer(&mut self, timer: Timer) -> bool {
        match timer.0 {
            TimerId::Once(key) => self.services.timers.cancel(key).is_some(),
            // Processes set those, and cancel them.
            TimerId::Every(_) => false,
        }
    }

    /// Kills this meta-process after that time, unless it has ended by itself: for one that finishes something in
    /// [`MetaProcess::handle_exit`]. There is no way back from it.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside_meta(|cx| {
    /// cx.end_within(Duration::from_secs(5));
    /// # Ok(()) }) }
    /// ```
    pub fn end_within(&mut self, delay: Duration) {
        // Not canceled when it ends by itself: its alias is stale by then, and the kill finds nothing.
        self.services
            .timers
            .after(delay, TimerEvent::Kill(self.alias));
    }

    /// Has [`MetaProcess::ready`] called again soon, after other meta-processes had their turn.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside_meta(|cx| {
    /// cx.call_again(); // `ready` is called, with `is_again`
    /// # Ok(()) }) }
    /// ```
    pub fn call_again(&mut self) {
        self.actions.again = Again::Behind;
    }

    /// Has `ready` called again before the other meta-processes: there is more to read, and the budget is spent.
    pub(crate) fn call_next(&mut self) {
        self.actions.again = Again::Next;
    }

    /// Has [`MetaProcess::flush`] called at the end of this batch.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside_meta(|cx| {
    /// cx.flush_later(); // `flush` is called
    /// # Ok(()) }) }
    /// ```
    #[inline]
    pub fn flush_later(&mut self) {
        self.actions.flush = true;
    }

    /// Buffers of the node.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside_meta(|cx| {
    /// let buffer = cx.buffer_pool().get(512);
    /// assert!(buffer.capacity() >= 512);
    /// # Ok(()) }) }
    /// ```
    pub fn buffer_pool(&self) -> &BufferPool {
        &self.services.pool
    }

    /// Makes a record of this meta-process, with its alias. It is made only if the level of its
    /// parent, or else of the node, allows it. See
    /// [`Context::log`](crate::Context::log) for its limits.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside_meta(|cx| {
    /// cx.log(longshore::Level::Info, "the device is ready");
    /// # Ok(()) }) }
    /// ```
    pub fn log(&mut self, level: Level, text: impl fmt::Display) {
        self.record(level, Kind::Program, |record| record.set_text(text));
    }

    /// Makes a record of this meta-process.
    pub(crate) fn record(&self, level: Level, kind: Kind, fill: impl FnOnce(&mut Record)) {
        let own = self.services.deliver.log_level(self.parent);
        self.services.log.record(level, kind, own, |record| {
            record.alias = Some(self.alias);
            fill(record);
        });
    }

    /// Releases `bytes` of this meta-process's send quota: those of a [`MessageTcp`](crate::MessageTcp) or
    /// [`MessageUdp`](crate::MessageUdp) that no longer wait. Returns `true` if a send was refused since the last call
    /// and there is room again, so that the sender should be notified.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside_meta(|cx| {
    /// // Called when bytes of a `MessageTcp` that was sent to this alias have left:
    /// fn left(cx: &mut MetaContext<'_>, bytes: usize) {
    ///     if cx.sent(bytes, 64 * 1024) {
    ///         // A sender was refused, and there is room again: notify it.
    ///     }
    /// }
    /// # left(cx, 0);
    /// # Ok(()) }) }
    /// ```
    #[inline]
    pub fn sent(&mut self, bytes: usize, low_water_mark: u32) -> bool {
        self.quota().sent(bytes, low_water_mark)
    }

    /// Releases what a message that means nothing here counts against the quota, as [`MetaContext::sent`] does.
    pub(crate) fn ignore(&self, message: &Message, low_water_mark: u32) -> bool {
        let bytes = message.output_bytes();
        // Only what carries bytes was counted.
        bytes > 0 && self.quota().sent(bytes, low_water_mark)
    }

    /// Moves this meta-process from its parent to `parent`, which gets its exit from now on. Returns whether `parent`
    /// lives.
    pub(crate) fn set_parent(&mut self, parent: Pid) -> bool {
        let deliver = &self.services.deliver;
        // The new parent comes first: with none at all the end of the old one would go unnoticed.
        if !deliver.adopt(parent, self.alias) {
            return false;
        }
        deliver.disown(self.parent, self.alias);
        self.parent = parent;
        true
    }

    #[inline]
    pub(crate) fn quota(&self) -> &SendQuota {
        self.services
            .commands
            .quota(self.alias)
            .expect("the quota of a live alias")
    }

    /// Delivers a message that a full mailbox cannot refuse. `false`: the process is gone.
    pub(crate) fn deliver_control(&self, to: Pid, message: Message) -> bool {
        self.services
            .deliver
            .deliver_control(to, self.parent, message)
    }

    /// Replaces this meta-process with `successor` when the callback returns, even with an error. The alias stays, and
    /// so do the quota, the watchers and the timer; `init` of the successor is not called.
    pub(crate) fn become_meta(&mut self, successor: Box<dyn MetaProcess>) {
        self.actions.successor = Some(successor);
    }

    /// Takes the time anew for this callback, rounded up: its command starts a deadline that the sender measures from
    /// the moment of the send, which is later than the begin of the activation and inside a millisecond.
    pub(crate) fn start_deadlines_now(&mut self) {
        self.now_ms = self.services.timers.clock().deadline_ms(Duration::ZERO);
    }

    /// Sets the next time `handle_timer` is called, in milliseconds of the node's clock.
    #[inline]
    pub(crate) fn set_deadline(&mut self, deadline_ms: u64) {
        self.actions.deadline_ms = deadline_ms;
    }
}

impl fmt::Debug for MetaContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetaContext")
            .field("alias", &self.alias)
            .field("parent", &self.parent)
            .finish_non_exhaustive()
    }
}
