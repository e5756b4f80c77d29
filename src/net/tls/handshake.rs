//! The handshake of one connection. The costly part, from the client's first message to our answer, waits for its turn.

use super::queue::Step;
use rustls::server::{Accepted, Acceptor};
use rustls::{Error, HandshakeKind, ServerConfig};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::server::{StartHandshake, TlsStream};

/// The answer to [`Failure::Plain`].
pub const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\
    Content-Length: 41\r\n\r\nThis port speaks TLS: use https or wss.\r\n";

/// What each message of a handshake begins with.
const HANDSHAKE: u8 = 22;

/// Why there is no TLS. The caller's time limit is another reason.
#[derive(Debug)]
pub enum Failure<S> {
    /// The client speaks something else, HTTP most likely. Its connection, of which some has been read.
    Plain(S),
    /// There was no turn in time.
    Late,
    /// The connection is gone.
    Gone(io::Error),
    /// Client and server do not agree: on a version, a certificate, a protocol. The client has been told.
    Refused(Error),
}

impl<S> Failure<S> {
    /// The word for log lines and metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Plain(_) => "plain",
            Self::Late => "late",
            Self::Gone(_) => "gone",
            Self::Refused(_) => "refused",
        }
    }
}

impl<S> fmt::Display for Failure<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("the client does not speak TLS"),
            Self::Late => f.write_str("too many handshakes at once"),
            Self::Gone(error) => error.fmt(f),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl<S> From<io::Error> for Failure<S> {
    fn from(error: io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).cloned();
        tls.map_or(Self::Gone(error), Self::Refused)
    }
}

/// Does a handshake. `turn` waits for the right to compute; the configuration is the one in force at that moment.
///
/// # Errors
/// Why there is none.
pub async fn begin<S: AsyncRead + AsyncWrite + Unpin, T: Future<Output = Option<Step>>>(
    mut stream: S,
    turn: impl Fn() -> T,
    config: impl FnOnce() -> Option<Arc<ServerConfig>>,
) -> Result<TlsStream<S>, Failure<S>> {
    let Some(hello) = hello(&mut stream).await? else { return Err(Failure::Plain(stream)) };
    let Some(step) = turn().await else { return Err(Failure::Late) };
    let Some(config) = config() else { return Err(Failure::Late) };
    let mut is_asked_again = false;
    let rest = StartHandshake::from_parts(hello, stream).into_stream_with(config, |connection| {
        is_asked_again = connection.handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest);
    });
    let mut rest = pin!(rest);
    let mut step = Some(step);
    loop {
        if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(rest.as_mut().poll(cx))).await {
            return Ok(done?);
        }
        // Our answer is computed and on its way; what is left is a fraction of it, but for a client that is to say
        // its first message anew: the answer to that one is the costly one.
        step.take();
        if !is_asked_again {
            return Ok(rest.await?);
        }
        woken().await;
        step = Some(turn().await.ok_or(Failure::Late)?);
    }
}

/// Waits for whatever the last poll of another future in this task waits for.
async fn woken() {
    let mut is_first = true;
    poll_fn(|_| if std::mem::take(&mut is_first) { Poll::Pending } else { Poll::Ready(()) }).await;
}

/// Reads the client's first message. `None`: this is none.
async fn hello<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<Option<Accepted>> {
    let (mut acceptor, mut buffer, mut is_first) = (Acceptor::default(), vec![0; 4096], true);
    loop {
        let n = stream.read(&mut buffer).await?;
        let mut read = buffer.get(..n).unwrap_or_default();
        match read.first() {
            None => return Err(ErrorKind::UnexpectedEof.into()),
            Some(first) if is_first && *first != HANDSHAKE => return Ok(None),
            _ => is_first = false,
        }
        while !read.is_empty() {
            // Full: the message is larger than any.
            if acceptor.read_tls(&mut read)? == 0 {
                return Err(ErrorKind::InvalidData.into());
            }
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(hello)) => return Ok(Some(hello)),
            Err((error, mut alert)) => {
                let mut last = vec![];
                alert.write_all(&mut last)?;
                stream.write_all(&last).await?;
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pair::tests::{CA, FIRST, pair};
    use super::super::queue::Queue;
    use super::super::secrets::Secrets;
    use super::super::served::Served;
    use super::super::server::Common;
    use super::*;
    use crate::config::TlsVersion;
    use crate::os::clock;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::version::{TLS12, TLS13};
    use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
    use std::time::Duration;
    use tokio::io::{DuplexStream, duplex};
    use tokio::sync::Semaphore;
    use tokio_rustls::TlsConnector;

    const LIMIT: Duration = Duration::from_secs(10);

    fn server(min_version: TlsVersion) -> Arc<ServerConfig> {
        let served = Arc::new(Served::new(vec![pair(FIRST)]).unwrap());
        Common { served, secrets: Secrets::new(&[1; 40], clock::boot()), min_version }.public().unwrap()
    }

    fn client(version: &'static SupportedProtocolVersion) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(CA).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        Arc::new(config.with_root_certificates(roots).with_no_client_auth()).into()
    }

    /// A queue that somebody drives.
    fn queue(most: u32) -> Queue<u8> {
        let queue = Queue::new(most, LIMIT);
        let driven = queue.clone();
        tokio::spawn(async move { driven.run().await });
        queue
    }

    async fn refused(said: &[u8]) -> Failure<DuplexStream> {
        let (mut near, far) = duplex(1 << 16);
        near.write_all(said).await.unwrap();
        near.shutdown().await.unwrap();
        begin(far, || async { None }, || Some(server(TlsVersion::V1_2))).await.unwrap_err()
    }

    #[tokio::test]
    async fn what_is_no_tls_is_told_apart() {
        let failure = refused(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!((failure.word(), &*failure.to_string()), ("plain", "the client does not speak TLS"));
        assert!(PLAIN.ends_with(b"wss.\r\n"));
        let body = PLAIN.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
        assert_eq!(PLAIN.len() - body - 4, 41);
        assert_eq!(refused(b"").await.word(), "gone");
        // A record that says it is a handshake, and is none. rustls has no alert for it.
        assert_eq!(refused(&[HANDSHAKE, 3, 1, 0, 4, 9, 0, 0, 0]).await.word(), "refused");
        assert_eq!(refused(&[HANDSHAKE, 3, 1]).await.word(), "gone");
        let endless = [&[HANDSHAKE, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff][..], &[0; 1 << 15]].concat();
        assert_ne!(refused(&endless).await.word(), "plain");
    }

    #[tokio::test]
    async fn a_silent_client_holds_up_nobody() {
        let (queue, config) = (queue(1), server(TlsVersion::V1_2));
        let serve = |stream| {
            let (queue, config) = (queue.clone(), config.clone());
            tokio::spawn(async move { begin(stream, || queue.turn(&1), || Some(config)).await.map(drop) })
        };
        // One never says a word, one says its first and stops there.
        let (_silent, far) = duplex(1 << 16);
        let waiting = serve(far);
        let (mut half, far) = duplex(1 << 16);
        let name = ServerName::try_from("example.com").unwrap();
        let config = client(&TLS13).config().clone();
        let mut hello = vec![];
        rustls::ClientConnection::new(config, name.clone()).unwrap().write_tls(&mut hello).unwrap();
        half.write_all(&hello).await.unwrap();
        let stopped = serve(far);
        half.read_exact(&mut [0; 5]).await.unwrap();
        for version in [&TLS12, &TLS13] {
            let (near, far) = duplex(1 << 16);
            let served = serve(far);
            let _client = client(version).connect(name.clone(), near).await.unwrap();
            served.await.unwrap().unwrap();
        }
        assert!(!waiting.is_finished() && !stopped.is_finished());
        drop(half);
        assert_eq!(stopped.await.unwrap().unwrap_err().word(), "gone");
    }

    /// A client that is asked for another key first: it has none of the group that it likes best.
    fn undecided() -> Arc<ClientConfig> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.kx_groups =
            vec![rustls::crypto::aws_lc_rs::kx_group::MLKEM768, rustls::crypto::aws_lc_rs::kx_group::X25519];
        let config = ClientConfig::builder_with_provider(provider.into());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(CA).unwrap()).unwrap();
        let config = config.with_protocol_versions(&[&TLS13]).unwrap();
        config.with_root_certificates(roots).with_no_client_auth().into()
    }

    #[tokio::test]
    async fn a_second_first_message_waits_for_a_turn_of_its_own() {
        let (turns, config) = (Arc::new(Semaphore::new(1)), server(TlsVersion::V1_2));
        let (queue, given) = (queue(1), turns.clone());
        let (near, far) = duplex(1 << 16);
        let served = tokio::spawn(async move {
            let turn = || async {
                given.acquire().await.unwrap().forget();
                queue.turn(&1).await
            };
            begin(far, turn, || Some(config)).await.unwrap().get_ref().1.handshake_kind()
        });
        let name = ServerName::try_from("example.com").unwrap();
        let mut client = tokio::spawn(TlsConnector::from(undecided()).connect(name, near));
        // Its first message has been answered; the second one waits.
        assert!(tokio::time::timeout(Duration::from_millis(200), &mut client).await.is_err());
        assert!(turns.available_permits() == 0 && !served.is_finished());
        turns.add_permits(2);
        let _client = client.await.unwrap().unwrap();
        assert_eq!(served.await.unwrap(), Some(HandshakeKind::FullWithHelloRetryRequest));
    }

    #[tokio::test]
    async fn a_client_that_is_refused_is_told_why() {
        let queue = queue(4);
        let (near, far) = duplex(1 << 16);
        let server = tokio::spawn(async move {
            begin(far, || queue.turn(&1), || Some(server(TlsVersion::V1_3)))
                .await
                .map(drop)
                .unwrap_err()
                .word()
        });
        let name = ServerName::try_from("example.com").unwrap();
        let said = client(&TLS12).connect(name, near).await.unwrap_err().to_string();
        assert!(said.contains("ProtocolVersion"), "{said}");
        assert_eq!(server.await.unwrap(), "refused");
    }
}
