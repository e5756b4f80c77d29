//! A client's connection, bare or inside TLS: what hyper reads and writes, and what a session goes on with.

use super::secured::Secured;
use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A connection. Boxed where it is large, so that a bare one stays small.
#[derive(Debug)]
pub enum Stream {
    Bare(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Bare(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// The socket, and the TLS side of it. What was read and not asked for stays inside of that.
    #[must_use]
    pub fn into_parts(self) -> (TcpStream, Option<Secured>) {
        match self {
            Self::Bare(socket) => (socket, None),
            Self::Tls(stream) => {
                let (socket, tls) = stream.into_inner();
                (socket, Some(Secured::new(Box::new(tls))))
            }
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self::Bare(socket)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Bare(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Bare(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Bare(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Bare(socket) => socket.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Bare(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Bare(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}

/// A socket for [`Secured`]: reads and writes once, without waiting.
#[derive(Clone, Copy, Debug)]
pub struct Now<'s>(pub &'s TcpStream);

impl Read for Now<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::handshake;
    use super::super::pair::tests::{CA, FIRST, pair};
    use super::super::queue::Queue;
    use super::super::secrets::Secrets;
    use super::super::served::Served;
    use super::super::server::Common;
    use super::*;
    use crate::config::TlsVersion;
    use crate::os::{clock, socket};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::{TlsConnector, client};

    /// A client and a server that have shaken hands over loopback.
    async fn both() -> (client::TlsStream<TcpStream>, Stream) {
        let served = Arc::new(Served::new(vec![pair(FIRST)]).unwrap());
        let secrets = Secrets::new(&[1; 40], clock::boot());
        let config = Common { served, secrets, min_version: TlsVersion::V1_2 }.public().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let queue = Queue::new(4, Duration::from_secs(10));
            let driven = queue.clone();
            tokio::spawn(async move { driven.run().await });
            Stream::Tls(Box::new(handshake::begin(stream, || queue.turn(&1), || Some(config)).await.unwrap()))
        });
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(CA).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("example.com").unwrap();
        let client = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        (client, serving.await.unwrap())
    }

    /// Reads until there are so many bytes.
    async fn read(tcp: &TcpStream, secured: &mut Secured, most: usize) -> Vec<u8> {
        let (mut all, mut buffer) = (vec![], [0; 100]);
        while all.len() < most {
            match secured.read(&mut Now(tcp), &mut buffer) {
                Ok(n) => all.extend(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tcp.readable().await.unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
        all
    }

    #[tokio::test]
    async fn a_session_goes_on_where_hyper_has_stopped() {
        let (mut client, mut server) = both().await;
        client.write_all(b"GET\r\n\r\nframe").await.unwrap();
        let mut head = [0; 7];
        server.read_exact(&mut head).await.unwrap();
        server.write_all(b"101\r\n\r\n").await.unwrap();
        server.flush().await.unwrap();
        assert!(server.socket().peer_addr().is_ok());
        // The frame came with the head: it is inside, and the socket has nothing.
        let (tcp, secured) = server.into_parts();
        let mut secured = secured.unwrap();
        assert!(secured.has_more());
        assert_eq!(read(&tcp, &mut secured, 5).await, b"frame");
        assert_eq!(secured.write(&mut Now(&tcp), b"answer").unwrap(), 6);
        let mut said = vec![0; 13];
        client.read_exact(&mut said).await.unwrap();
        assert_eq!(said, b"101\r\n\r\nanswer");
        while secured.acknowledged(socket::unacknowledged(&tcp).unwrap()) < 6 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        client.write_all(b"more").await.unwrap();
        assert_eq!(read(&tcp, &mut secured, 4).await, b"more");
        secured.close(&mut Now(&tcp)).unwrap();
        assert_eq!(client.read(&mut said).await.unwrap(), 0, "TLS's own end");
    }

    #[tokio::test]
    async fn a_bare_connection_is_its_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut server = Stream::Bare(listener.accept().await.unwrap().0);
        client.write_all(b"word").await.unwrap();
        let mut word = [0; 4];
        server.read_exact(&mut word).await.unwrap();
        assert!(server.is_write_vectored());
        server.write_all(&word).await.unwrap();
        server.shutdown().await.unwrap();
        let mut said = vec![];
        client.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"word");
        assert!(server.into_parts().1.is_none());
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_fills_the_kernel_and_loses_nothing() {
        let (mut client, server) = both().await;
        let (tcp, secured) = server.into_parts();
        let mut secured = secured.unwrap();
        let all: Vec<u8> = (0..8 << 20).map(|at: u32| (at % 251) as u8).collect();
        let mut sent = 0;
        while let Ok(n) = secured.write(&mut Now(&tcp), &all[sent..]) {
            sent += n;
        }
        assert!(sent > 0 && sent < all.len() && secured.sent() == sent as u64);
        let reading = tokio::spawn(async move {
            let mut heard = vec![];
            client.read_to_end(&mut heard).await.unwrap();
            heard
        });
        while sent < all.len() {
            tcp.writable().await.unwrap();
            sent += secured.write(&mut Now(&tcp), &all[sent..]).unwrap_or(0);
        }
        while secured.waits() {
            tcp.writable().await.unwrap();
            let _ = secured.flush(&mut Now(&tcp));
        }
        secured.close(&mut Now(&tcp)).unwrap();
        assert!(reading.await.unwrap() == all);
    }
}
