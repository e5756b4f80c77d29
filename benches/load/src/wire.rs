//! The bytes of a session, over plain TCP or over TLS.

use crate::connect::connect;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How sessions connect.
#[derive(Clone)]
pub(crate) enum Dialer {
    Plain,
    Tls(TlsConnector),
}

/// A connection that is still asked and answered.
pub(crate) enum Dialed {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection whose handshakes are over.
pub(crate) struct Wire {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

/// Takes any certificate: the daemon is on this machine, and its keys are checked nevertheless.
#[derive(Debug)]
struct Anybody(CryptoProvider);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        of: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, of, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        of: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, of, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl Dialer {
    /// Connections of TLS or not. `resumes`: all of them share what they know of the server, as tabs of a browser do.
    pub(crate) fn new(tls: bool, resumes: bool) -> Result<Self, String> {
        if !tls {
            return Ok(Self::Plain);
        }
        let provider = aws_lc_rs::default_provider();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let anybody = Arc::new(Anybody(provider));
        let mut config = builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if !resumes {
            config.resumption = Resumption::disabled();
        }
        Ok(Self::Tls(Arc::new(config).into()))
    }

    /// Connects as number `index`.
    pub(crate) async fn dial(&self, address: SocketAddr, index: u32) -> io::Result<Dialed> {
        let stream = connect(address, index).await?;
        let Self::Tls(connector) = self else { return Ok(Dialed::Plain(stream)) };
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        Ok(Dialed::Tls(Box::new(connector.connect(name, stream).await?)))
    }
}

impl Dialed {
    /// The connection, to be read without waiting.
    pub(crate) fn into_wire(self) -> Wire {
        match self {
            Self::Plain(stream) => Wire { stream, tls: None },
            Self::Tls(secured) => {
                let (stream, tls) = secured.into_inner();
                Wire { stream, tls: Some(Box::new(tls)) }
            }
        }
    }
}

/// A socket that does not wait.
struct Now<'s>(&'s TcpStream);

impl Read for Now<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire {
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    /// Reads what is there; 0: the end.
    pub(crate) fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.try_read(buffer) };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            if tls.read_tls(&mut Now(&self.stream))? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(io::Error::other)?;
        }
    }

    /// Sends a small message at once; `false`: it did not fit.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        let Some(tls) = &mut self.tls else {
            return self.stream.try_write(bytes).is_ok_and(|len| len == bytes.len());
        };
        let mut sent = tls.writer().write_all(bytes).is_ok();
        while sent && tls.wants_write() {
            sent = tls.write_tls(&mut Now(&self.stream)).is_ok();
        }
        sent
    }
}
