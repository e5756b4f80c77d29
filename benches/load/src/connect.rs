//! Connections to the daemon, more than one source address has ports for.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream};

/// Connections from one source address; Linux has 28,000 ephemeral ports by default.
pub(crate) const PER_ADDRESS: u32 = 20_000;

/// Connects from the source address for connection number `index`; an IPv6 target has one source address only.
pub(crate) async fn connect(address: SocketAddr, index: u32) -> io::Result<TcpStream> {
    let SocketAddr::V4(_) = address else { return TcpStream::connect(address).await };
    let socket = TcpSocket::new_v4()?;
    let source = u8::try_from(index / PER_ADDRESS).unwrap_or(u8::MAX);
    if source > 0 {
        socket.bind((Ipv4Addr::new(127, 0, 0, 1 + source), 0).into())?;
    }
    socket.connect(address).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_connections_get_more_addresses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        for (index, source) in
            [(0, "127.0.0.1"), (PER_ADDRESS, "127.0.0.2"), (10 * PER_ADDRESS - 1, "127.0.0.10")]
        {
            let _client = connect(at, index).await.unwrap();
            assert_eq!(listener.accept().await.unwrap().1.ip().to_string(), source);
        }
    }
}
