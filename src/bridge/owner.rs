//! How a connection gets a process of its own: the actor half implements [`SpawnOwner`], a listener calls it.

use std::fmt;

use crate::error::SpawnError;
use crate::id::Pid;
use crate::message::MessageTcpConnect;

/// Spawns the owner of each connection of one listener.
pub(crate) trait SpawnOwner: Send + Sync {
    /// Spawns the owner of an established connection. It ends when `parent` ends. No user code runs in this call.
    fn spawn_owner(&self, parent: Pid, connect: MessageTcpConnect) -> Result<Pid, SpawnError>;
}

impl fmt::Debug for dyn SpawnOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpawnOwner")
    }
}
