//! The callbacks of a supervisor: each goes to its adapter.

use super::Supervisor;
use super::adapter::{Adapter, Note};
use super::child::{ChildInfo, ChildState};
use super::command::ChildCommand;
use crate::actor::{Actor, Context};
use crate::bridge::request::Reply;
use crate::error::Reason;
use crate::id::Pid;
use crate::inspect::Inspection;
use crate::message::Message;
use crate::process::Started;

impl Actor for Supervisor {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        self.validate()?;
        // An exit of the parent, or of a linked process, becomes a message, so that the children are ended in their
        // order.
        cx.set_trap_exit(true);
        let report = cx.env().control.take_start_report();
        let adapter = self.adapter.insert(Adapter::new(self.rules, report));
        adapter.begin(cx, std::mem::take(&mut self.children))
    }

    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        let Some(adapter) = &mut self.adapter else {
            return Ok(());
        };
        match message {
            Message::Exit(exit) => adapter.handle_exit(cx, *exit),
            Message::Down(down) => adapter.handle_down(cx, *down),
            message => match message.take::<Started>() {
                Ok(Started(pid)) => adapter.handle_start(cx, pid),
                Err(message) => match message.take::<Note>() {
                    Ok(note) => adapter.handle_note(cx, note),
                    Err(_) => Ok(()),
                },
            },
        }
    }

    fn handle_call(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
        reply: Reply,
    ) -> Result<(), Reason> {
        match (&mut self.adapter, message.take::<ChildCommand>()) {
            (Some(adapter), Ok(command)) => adapter.handle_command(cx, command, reply),
            // The reply is dropped, which answers the asker: a supervisor knows no other request.
            _ => Ok(()),
        }
    }

    fn handle_inspect(&mut self, _cx: &mut Context<'_>) -> Inspection {
        let mut inspection = Inspection::default();
        if let Some(adapter) = &self.adapter {
            let children = adapter.list();
            inspection.add("children", children.len());
            let is_running = |child: &&ChildInfo| child.state == ChildState::Running;
            inspection.add("running", children.iter().filter(is_running).count());
            let starts: u64 = children.iter().map(|child| child.starts).sum();
            inspection.add("starts", starts);
            inspection.add("stuck", adapter.stuck);
        }
        inspection
    }

    /// If it was killed, its children are not left without it.
    fn terminate(&mut self, cx: &mut Context<'_>, _reason: &Reason) {
        if let Some(adapter) = self.adapter.take() {
            adapter.kill_all(cx);
        }
    }
}
