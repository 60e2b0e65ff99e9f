//! Everything about a node as text, for an operator without a debugger.

use std::fmt::Write as _;
#[cfg(all(feature = "signals", unix))]
use std::io::Write as _;

use super::Node;

impl Node {
    /// The state of the node as text: figures, slow handlers, supervisors with their children, pools, events, processes
    /// with their names, sockets, and timers. For people; the form may change. With the feature `signals`,
    /// [`Node::run`] writes it to standard error at SIGUSR1.
    ///
    /// It grows with the number of processes, sockets and timers. Text from outside is escaped.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// node.spawn_register("worker", || Worker)?;
    /// assert!(node.dump().contains("name=worker"));
    /// # Ok(()) }
    /// ```
    pub fn dump(&self) -> String {
        let mut out = String::new();
        // A `String` takes everything.
        let _ = self.write_dump(&mut out);
        out
    }

    /// Writes the dump to standard error, while the node lives.
    #[cfg(all(feature = "signals", unix))]
    pub(super) fn dumper(&self) -> impl Fn() + Send + use<> {
        let node = std::sync::Arc::downgrade(&self.0);
        // A dump must not keep the node alive.
        move || {
            if let Some(node) = node.upgrade() {
                let dump = Self(node).dump();
                // There is no other place where this error could be reported.
                let _ = std::io::stderr().lock().write_all(dump.as_bytes());
            }
        }
    }

    fn write_dump(&self, out: &mut String) -> std::fmt::Result {
        // Names are the program's own. One with a line break would add lines that the node did not write.
        writeln!(out, "== node {}", self.name().as_str().escape_debug())?;
        for line in self.metrics().to_string().lines() {
            // Help and types are for a program that collects figures. Here they would be two lines of three.
            if !line.starts_with('#') {
                writeln!(out, "{line}")?;
            }
        }
        writeln!(out, "== slow handlers")?;
        for slow in self.slow_handlers() {
            let now = if slow.is_running { " running" } else { "" };
            writeln!(
                out,
                "{} actor={} message={} ran={:?}{now}",
                slow.pid, slow.actor, slow.message, slow.ran
            )?;
        }
        writeln!(out, "== supervisors")?;
        write!(out, "{}", self.supervision_tree())?;
        self.write_pools(out)?;
        self.write_events(out)?;
        self.write_processes(out)?;
        self.write_sockets(out)?;
        self.write_timers(out)
    }

    fn write_pools(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "== pools")?;
        for pool in self.pools() {
            let busy = if pool.is_busy { " busy" } else { "" };
            writeln!(
                out,
                "{} workers={} forwarded={} held_back={} dropped={} restarted={}{busy}",
                pool.pid,
                pool.workers,
                pool.forwarded,
                pool.held_back,
                pool.dropped,
                pool.restarted
            )?;
        }
        Ok(())
    }

    fn write_events(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "== events")?;
        for event in self.events() {
            writeln!(
                out,
                "{} publisher={} subscribers={} kept={} published={} dropped={}",
                event.name.as_str().escape_debug(),
                event.publisher,
                event.subscribers,
                event.kept,
                event.published,
                event.dropped
            )?;
        }
        Ok(())
    }

    fn write_processes(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "== processes")?;
        for process in self.processes() {
            write!(out, "{} {}", process.pid, process.state.as_str())?;
            if let Some(name) = &process.name {
                write!(out, " name={}", name.as_str().escape_debug())?;
            }
            writeln!(
                out,
                " parent={} actor={} message={} in={} out={} queued={} busy={:?} age={:?}",
                process.parent,
                process.actor,
                process.message,
                process.messages_in,
                process.messages_out,
                process.messages_queued,
                process.time_in_handlers,
                process.age
            )?;
        }
        Ok(())
    }

    fn write_sockets(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "== sockets")?;
        for socket in self.sockets() {
            let details = socket.details.to_string();
            writeln!(
                out,
                "{} type={} age={:?} {}",
                socket.alias,
                socket.type_name,
                socket.age,
                details.escape_debug()
            )?;
        }
        Ok(())
    }

    fn write_timers(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "== timers")?;
        for timer in self.timers() {
            write!(out, "{} due_in={:?}", timer.kind.as_str(), timer.due_in)?;
            if let Some(to) = &timer.to {
                write!(out, " to={}", to.to_string().escape_debug())?;
            }
            write!(out, " from={} message={}", timer.from, timer.message)?;
            if let Some(interval) = timer.interval {
                write!(out, " interval={interval:?} missed={}", timer.missed)?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}
