//! Datagrams that the kernel dropped because the buffer of the socket was full, from its table of
//! sockets; on Linux only.

use mio::net::UdpSocket;

/// Datagrams that the kernel dropped because the socket's buffer was full, on systems that count them.
#[cfg(target_os = "linux")]
pub(super) fn kernel_drops(socket: &UdpSocket) -> Option<u64> {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;

    // The tables of the kernel name a socket by its inode, and know no descriptors.
    let inode = std::fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd()))
        .ok()?
        .ino()
        .to_string();
    ["/proc/self/net/udp", "/proc/self/net/udp6"]
        .into_iter()
        .find_map(|table| {
            let text = std::fs::read_to_string(table).ok()?;
            // Columns: ... uid timeout inode ref pointer drops.
            text.lines().skip(1).find_map(|line| {
                let columns: Vec<&str> = line.split_whitespace().collect();
                (columns.get(9) == Some(&inode.as_str()))
                    .then(|| columns.last()?.parse().ok())
                    .flatten()
            })
        })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn kernel_drops(_socket: &UdpSocket) -> Option<u64> {
    None
}
