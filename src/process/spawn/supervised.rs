//! The spawn of a child by its supervisor, deferred to a worker.
//!
//! The monitor and the watcher are set before the process is queued, so that no end of it is missed.

use std::sync::atomic::Ordering;

use super::{Factory, StartReport, Starting};
use crate::bridge::Watcher;
use crate::error::{Reason, SpawnError};
use crate::id::{Pid, Ref, Target};
use crate::process::SpawnOptions;
use crate::process::lifecycle::{ControlBlock, ProcessContext};
use crate::process::mailbox::Batch;
use crate::process::relations::Monitored;
use crate::process::table::Stage;
use crate::scheduler::{Slot, Task};

impl ProcessContext<'_> {
    /// Spawns a process deferred, supervised by this one, which monitors it. `factory` must not
    /// panic. `link` of the options has no effect.
    pub(crate) fn spawn_child(
        &self,
        options: &SpawnOptions,
        factory: Factory,
    ) -> Result<(Pid, Ref), SpawnError> {
        let inherited = options.inherit(self.control);
        let options = inherited.as_ref().unwrap_or(options);
        let (processes, parent) = (self.processes, self.control.pid);
        let (cell, pid, born_ms) = processes.open(self.control.pid, options)?;
        let report = Some(StartReport::Parent(parent));
        let mut control = ControlBlock::new(pid, parent, born_ms, report);
        let own_thread = processes
            .admit(&mut control, options)
            .and_then(|()| processes.own_thread_for(&mut control, options));
        let own_thread = match own_thread {
            Ok(own_thread) => own_thread,
            Err(error) => {
                let closing =
                    processes.close(cell, control, Batch::default(), None, Reason::Normal);
                processes.finish_end(closing);
                return Err(error);
            }
        };
        cell.is_supervised.store(true, Ordering::Relaxed);
        let monitor = processes.next_ref();
        let monitored = Monitored {
            target: Target::Pid(pid),
            name: None,
        };
        processes.with_relations(parent, |relations| {
            relations.monitors.insert(monitor, monitored)
        });
        let watcher = Watcher::Monitor(parent, monitor);
        processes.with_relations(pid, |relations| relations.watchers.insert(watcher));
        *cell.stage.lock() = Stage::Starting(Box::new(Starting {
            control,
            factory,
            own_thread,
        }));
        // The mailbox is in the scheduled state since it was opened: nothing else queues it.
        processes
            .scheduler
            .push(Task::process(pid.index()), Slot::Fifo);
        Ok((pid, monitor))
    }
}
