//! Facts that the kernel knows of a TCP connection.

use rustix::ioctl::{Getter, ioctl, opcode};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// `SIOCOUTQ` of tcp(7), the same number as `TIOCOUTQ`.
const OUTQ: rustix::ioctl::Opcode = opcode::none(b'T', 0x11);

/// Bytes that were written but not acknowledged by the other side; also known after a reset. `None`: the kernel does
/// not say.
#[expect(unsafe_code, reason = "no library that is used here has this ioctl")]
pub fn unacknowledged(socket: impl AsFd) -> Option<u64> {
    // SAFETY: SIOCOUTQ writes one int to where its argument points, which is what `Getter` hands it, and nothing else.
    let count = unsafe { ioctl(socket, Getter::<{ OUTQ }, std::ffi::c_int>::new()) };
    count.ok().and_then(|count| u64::try_from(count).ok())
}

/// Makes the kernel give up the connection if written data is not acknowledged for this time. The kernel's own limit is
/// a quarter of an hour.
pub fn lose_after(socket: impl AsFd, time: Duration) {
    let millis = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(socket, millis) {
        tracing::debug!(%error, "TCP_USER_TIMEOUT");
    }
}

/// Ends a connection of which other processes may hold descriptors, too.
pub fn shutdown(socket: OwnedFd) {
    if let Err(error) = rustix::net::shutdown(socket, rustix::net::Shutdown::Both) {
        tracing::debug!(%error, "shutdown");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn what_is_acknowledged_is_known() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        let start = std::time::Instant::now();
        while unacknowledged(&server) != Some(0) {
            assert!(start.elapsed() < Duration::from_secs(10), "{:?}", unacknowledged(&server));
            std::thread::yield_now();
        }
        // More than the client's kernel buffers while the client reads nothing.
        server.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(n) = server.write(&[0; 65_536]) {
            written += n as u64;
        }
        let unread = unacknowledged(&server).unwrap();
        assert!(unread > 0 && unread <= written, "{unread} of {written}");
        // With unread bytes the client's end is a reset; the count of acknowledged bytes stays known.
        drop(client);
        let after = unacknowledged(&server).unwrap();
        assert!(after > 0 && after <= unread, "{after} of {unread}");
        assert_eq!(unacknowledged(std::fs::File::open("/dev/null").unwrap()), None);
    }
}
