//! The end of a connection: the answer has gone out, the client may still be sending. Closing a socket with unread bytes
//! makes the kernel send a reset, which takes the answer from the client; a proxy then counts a failure of this server.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A client that sends nothing for so long has sent all, or is gone: TCP repeats a lost packet within a second.
const QUIET: Duration = Duration::from_secs(2);
const CHUNK: usize = 16 << 10;

/// Shuts down writing, then reads and drops what the client still sends until it closes: at most `most` bytes, for at
/// most the time `within`.
pub(super) async fn close(mut stream: TcpStream, most: usize, within: Duration) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let rest = async {
        let (mut buffer, mut left) = (vec![0; CHUNK], most);
        while left > 0 {
            match timeout(QUIET, stream.read(&mut buffer)).await {
                Ok(Ok(n @ 1..)) => left = left.saturating_sub(n),
                _ => return,
            }
        }
    };
    let _ = timeout(within, rest).await;
}
