//! The end of a connection: the answer has gone out, the client may still be sending. Closing a socket with unread bytes
//! makes the kernel send a reset, which takes the answer from the client; a proxy then counts a failure of this server.

use crate::net::tls::stream::Stream;
use std::io;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A client that sends nothing for so long has sent all, or is gone: TCP repeats a lost packet within a second.
const QUIET: Duration = Duration::from_secs(2);
const CHUNK: usize = 16 << 10;

/// Writes the `last` bytes, shuts down writing, then reads and drops what the client still sends until it closes: at most `most` bytes, for at
/// most the time `within`.
pub(super) async fn close(mut stream: Stream, last: &[u8], most: usize, within: Duration) {
    let said = async {
        stream.write_all(last).await?;
        stream.shutdown().await
    };
    if !matches!(timeout(within, said).await, Ok(Ok(()))) {
        return;
    }
    let stream = stream.socket();
    let rest = async {
        let mut left = most;
        while left > 0 && matches!(timeout(QUIET, stream.readable()).await, Ok(Ok(()))) {
            match discard(stream) {
                Ok(0) => return,
                Ok(n) => left = left.saturating_sub(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = timeout(within, rest).await;
}

/// Reads once. The buffer lives no longer than that: many connections may end at once.
fn discard(stream: &TcpStream) -> io::Result<usize> {
    stream.try_read(&mut [0; CHUNK])
}
