//! Sockets in the file system.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// The file of a socket that was bound here. Dropping it removes the file, unless another one has taken its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn identity(path: &Path) -> Option<(u64, u64)> {
        fs::symlink_metadata(path)
            .ok()
            .map(|meta| (meta.dev(), meta.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && Self::identity(&self.path) == self.identity {
            // Somebody who was faster has done it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A non-blocking stream socket connected to a path.
pub(super) fn connect(path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket)
}

/// Binds a non-blocking socket to a path, whose file gets that mode.
///
/// The mode is set twice: on the socket before it is bound, where Linux takes the mode of the new file from, so that the
/// file never allows more than it should; and on the file, because the umask of the process took bits away.
pub(super) fn bind(path: &Path, kind: Type, mode: Option<u32>) -> io::Result<(Socket, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    socket.set_nonblocking(true)?;
    let permissions = mode.map(fs::Permissions::from_mode);
    if let Some(permissions) = &permissions {
        let handle = fs::File::from(OwnedFd::from(socket.try_clone()?));
        // Other systems than Linux refuse: the file gets its mode below.
        let _ = handle.set_permissions(permissions.clone());
    }
    socket.bind(&SockAddr::unix(path)?)?;
    let path = absolute(path);
    let file = SocketFile {
        identity: SocketFile::identity(&path),
        path,
    };
    if let Some(permissions) = permissions {
        fs::set_permissions(&file.path, permissions)?;
    }
    Ok((socket, file))
}

/// The path, so that it means the same when the process has changed its working directory.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
