//! Addresses of Unix domain sockets: paths in the file system and, on Linux, abstract names.
//!
//! An abstract name is kept as a path that begins with a NUL byte, so that one type says where a socket is, and an
//! answer goes to the path that a message came with.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::options::FileOptions;

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
        // Another program may have replaced the file, and it is not ours to remove.
        if self.identity.is_some() && Self::identity(&self.path) == self.identity {
            // Another process was faster and has done it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A non-blocking stream socket connected to a path.
pub(super) fn connect(path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&address(path)?)?;
    Ok(socket)
}

/// The address of a path. On Linux one that begins with a NUL byte is an abstract name, without a file; see unix(7).
pub(super) fn address(path: &Path) -> io::Result<SockAddr> {
    let bytes = path.as_os_str().as_bytes();
    let problem = match bytes {
        // The kernel would choose an abstract name.
        [] => "the path is empty",
        [0] => "the abstract name is empty",
        [0, ..] if ABSTRACT => return SockAddr::unix(path),
        _ if bytes.contains(&0) => "a path has no NUL byte",
        _ => return SockAddr::unix(path),
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
}

/// Whether there are abstract names.
const ABSTRACT: bool = cfg!(any(target_os = "linux", target_os = "android"));

fn is_abstract(path: &Path) -> bool {
    ABSTRACT && path.as_os_str().as_bytes().first() == Some(&0)
}

/// The path as it is shown: an abstract name begins with `@` then, as in ss(8).
pub(super) fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.strip_prefix('\0') {
        Some(name) => format!("@{}", name.escape_debug()),
        None => text.into_owned(),
    }
}

/// The path of an address that a datagram came from, as [`address`] takes it.
pub(super) fn path_of(from: &std::os::unix::net::SocketAddr) -> Option<PathBuf> {
    if let Some(path) = from.as_pathname() {
        return Some(path.to_owned());
    }
    #[cfg(target_os = "android")]
    use std::os::android::net::SocketAddrExt;
    #[cfg(target_os = "linux")]
    use std::os::linux::net::SocketAddrExt;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = from.as_abstract_name() {
        let bytes = [b"\0", name].concat();
        return Some(PathBuf::from(OsString::from_vec(bytes)));
    }
    None
}

/// Binds a non-blocking socket to a path.
///
/// The mode is set twice: on the socket before it is bound, where Linux takes the mode of the new file from, so that
/// the file never allows more than it should; and on the file, because the umask of the process took bits away.
pub(super) fn bind(
    path: &Path,
    kind: Type,
    options: FileOptions,
) -> io::Result<(Socket, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    socket.set_nonblocking(true)?;
    let address = address(path)?;
    let mode = options.mode.filter(|_| !is_abstract(path));
    let permissions = mode.map(fs::Permissions::from_mode);
    if let Some(permissions) = &permissions {
        // The permissions of the socket itself, before it has a file: between the bind and a change of the file another
        // program could connect.
        let handle = fs::File::from(OwnedFd::from(socket.try_clone()?));
        // Other systems than Linux refuse: the file gets its mode below.
        let _ = handle.set_permissions(permissions.clone());
    }
    match socket.bind(&address) {
        // Only if the address is in use: a file that is not in the way is not looked at.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && options.remove_stale => {
            remove_stale(path, kind)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    // The file is removed at the end, when the working directory may be another one.
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

/// Removes the file of a socket that no program uses any more: connecting to it is refused. Between the look and the
/// removal another program may do the same and bind its own, which then loses its file; the file is compared right
/// before.
///
/// # Errors
///
/// `AddrInUse`: a program uses it, or it is no socket.
fn remove_stale(path: &Path, kind: Type) -> io::Result<()> {
    let in_use = || Err(io::ErrorKind::AddrInUse.into());
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return in_use();
    };
    // A file that is no socket was not left behind by a program that has ended, and is never removed.
    if !metadata.file_type().is_socket() {
        return in_use();
    }
    let probe = Socket::new(Domain::UNIX, kind, None)?;
    // A backlog that is full would block a blocking probe.
    probe.set_nonblocking(true)?;
    match probe.connect(&address(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        _ => return in_use(),
    }
    // Compared right before the removal, because another program may have bound its own meanwhile.
    if SocketFile::identity(path) == Some((metadata.dev(), metadata.ino())) {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// The path as it is kept to be connected to later: absolute, unless it is too long for an address then (108 bytes on
/// Linux, see unix(7)). A relative one still means the same as long as the working directory stays.
pub(super) fn kept(path: &Path) -> PathBuf {
    let absolute = absolute(path);
    match address(&absolute) {
        Ok(_) => absolute,
        Err(_) => path.to_owned(),
    }
}

/// The path, so that it means the same when the process has changed its working directory.
fn absolute(path: &Path) -> PathBuf {
    if is_abstract(path) {
        return path.to_owned();
    }
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
