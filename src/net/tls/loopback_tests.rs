//! Handshakes over loopback, with tokio-rustls on both sides.

use super::pair::tests::{CA, CLIENT, CLIENT_CA, FIRST, RENEWED, UNNAMED, WILD, pair};
use super::secrets::Secrets;
use super::served::Served;
use super::server::{Authorities, Common};
use crate::config::TlsVersion;
use crate::os::clock;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What a client saw of one connection.
#[derive(Debug, PartialEq)]
struct Seen {
    kind: HandshakeKind,
    version: ProtocolVersion,
    alpn: Option<Vec<u8>>,
    certificate: Vec<u8>,
}

fn client(versions: &[&'static SupportedProtocolVersion], identity: bool) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CA).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = if identity {
        let chain = vec![CertificateDer::from_pem_slice(CLIENT.0).unwrap()];
        builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(CLIENT.1).unwrap()).unwrap()
    } else {
        builder.with_no_client_auth()
    };
    config.resumption = Resumption::in_memory_sessions(16);
    config.enable_early_data = true;
    config
}

/// Connects, says a word and hears it back.
async fn visit(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, name: &str) -> io::Result<Seen> {
    let (near, far) = duplex(64 << 10);
    let acceptor = TlsAcceptor::from(server.clone());
    let serving = tokio::spawn(async move {
        let mut stream = acceptor.accept(far).await?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        stream.write_all(&word).await?;
        stream.shutdown().await
    });
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = TlsConnector::from(client.clone()).connect(name, near).await?;
    stream.write_all(b"word").await?;
    let mut all = vec![];
    stream.read_to_end(&mut all).await?;
    assert_eq!(all, b"word");
    serving.await.unwrap()?;
    let connection = stream.get_ref().1;
    assert!(!connection.is_early_data_accepted());
    Ok(Seen {
        kind: connection.handshake_kind().unwrap(),
        version: connection.protocol_version().unwrap(),
        alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
        certificate: connection.peer_certificates().unwrap()[0].to_vec(),
    })
}

fn der(pem: &[u8]) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem).unwrap().to_vec()
}

fn common(pairs: &[(&[u8], &[u8])], secrets: &Secrets) -> Common {
    let served = Served::new(pairs.iter().map(|texts| pair(*texts)).collect()).unwrap();
    Common { served: Arc::new(served), secrets: secrets.clone(), min_version: TlsVersion::V1_2 }
}

fn secrets(seed: u8) -> Secrets {
    Secrets::new(&[seed; 40], clock::boot())
}

#[tokio::test]
async fn the_name_that_is_asked_for_chooses_the_certificate() {
    let server = common(&[FIRST, WILD, UNNAMED], &secrets(1)).public().unwrap();
    for versions in [&[&TLS12], &[&TLS13]] {
        let client = Arc::new(client(versions, false));
        for (name, certificate) in [
            ("one.example.com", FIRST.0),
            ("two.example.org", WILD.0),
            ("any.example.com", WILD.0),
            ("127.0.0.1", FIRST.0),
        ] {
            let seen = visit(&server, &client, name).await.unwrap();
            assert_eq!(seen.certificate, der(certificate), "{name}");
        }
        // The first pair stands in for names that nobody has, and is not theirs.
        assert!(visit(&server, &client, "none.example.org").await.is_err());
    }
}

#[tokio::test]
async fn a_client_resumes_at_every_worker_and_after_a_reload() {
    for (versions, version) in [(&[&TLS12], ProtocolVersion::TLSv1_2), (&[&TLS13], ProtocolVersion::TLSv1_3)]
    {
        let secrets = secrets(1);
        let workers = [FIRST, FIRST, RENEWED].map(|texts| common(&[texts], &secrets).public().unwrap());
        let client = Arc::new(client(versions, false));
        let seen = visit(&workers[0], &client, "example.com").await.unwrap();
        assert_eq!((seen.kind, seen.version), (HandshakeKind::Full, version));
        for worker in workers.iter().cycle().take(6) {
            let seen = visit(worker, &client, "example.com").await.unwrap();
            assert_eq!(seen.kind, HandshakeKind::Resumed);
        }
        // Another name of the same pair is another server (RFC 6066, section 3).
        let seen = visit(&workers[1], &client, "one.example.com").await.unwrap();
        assert_eq!(seen.kind, HandshakeKind::Full);
        let stranger = common(&[FIRST], &self::secrets(2)).public().unwrap();
        assert_eq!(visit(&stranger, &client, "example.com").await.unwrap().kind, HandshakeKind::Full);
    }
}

#[tokio::test]
async fn a_change_of_secrets_costs_nobody_a_full_handshake() {
    let start = clock::boot();
    let mut before = Secrets::new(&[1; 40], start);
    // The second has sealed for a while, the first still opens.
    let old = before.clone();
    assert!(before.renew(&[2; 40], start.after(super::secrets::LIFE)));
    let client = Arc::new(client(&[&TLS13], false));
    let server = common(&[FIRST], &old).public().unwrap();
    assert_eq!(visit(&server, &client, "example.com").await.unwrap().kind, HandshakeKind::Full);
    let server = common(&[FIRST], &before).public().unwrap();
    assert_eq!(visit(&server, &client, "example.com").await.unwrap().kind, HandshakeKind::Resumed);
}

#[tokio::test]
async fn no_ticket_stands_for_a_client_certificate() {
    let secrets = secrets(1);
    let common = common(&[FIRST], &secrets);
    let authorities = Authorities::read(CLIENT_CA).unwrap();
    let (public, admin) = (common.public().unwrap(), common.admin(Some(&authorities)).unwrap());
    for versions in [&[&TLS12], &[&TLS13]] {
        let stranger = Arc::new(client(versions, false));
        // A ticket of the public port, shown at the admin port.
        visit(&public, &stranger, "example.com").await.unwrap();
        assert!(visit(&admin, &stranger, "example.com").await.is_err());
        let operator = Arc::new(client(versions, true));
        for _ in 0..3 {
            let seen = visit(&admin, &operator, "example.com").await.unwrap();
            assert_eq!(seen.kind, HandshakeKind::Full);
        }
        let others = Authorities::read(CA).unwrap();
        let admin = common.admin(Some(&others)).unwrap();
        assert!(visit(&admin, &operator, "example.com").await.is_err(), "signed by somebody else");
    }
}

#[tokio::test]
async fn an_admin_port_without_client_certificates_has_tickets_of_its_own() {
    let common = common(&[FIRST], &secrets(1));
    let (public, admin) = (common.public().unwrap(), common.admin(None).unwrap());
    let client = Arc::new(client(&[&TLS13], false));
    let mut kinds = vec![];
    for server in [&public, &admin, &admin] {
        kinds.push(visit(server, &client, "example.com").await.unwrap().kind);
    }
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Full, HandshakeKind::Resumed]);
}

#[tokio::test]
async fn only_http_1_1_is_agreed_on_and_old_versions_may_be_shut_out() {
    let mut common = common(&[FIRST], &secrets(1));
    let server = common.public().unwrap();
    let offers = |protocols: &[&[u8]]| {
        let mut config = client(&[&TLS13], false);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    };
    let both = offers(&[b"h2", b"http/1.1"]);
    assert_eq!(visit(&server, &both, "example.com").await.unwrap().alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(visit(&server, &offers(&[]), "example.com").await.unwrap().alpn, None);
    let error = visit(&server, &offers(&[b"h2"]), "example.com").await.unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    common.min_version = TlsVersion::V1_3;
    let server = common.public().unwrap();
    assert!(visit(&server, &both, "example.com").await.is_ok());
    let old = Arc::new(client(&[&TLS12], false));
    let error = visit(&server, &old, "example.com").await.unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
}

#[test]
fn authorities_are_certificates() {
    assert!(Authorities::read(&[CA, CLIENT_CA].concat()).is_ok());
    for (pem, words) in [
        (&b""[..], "holds no certificate"),
        (CLIENT.1, "holds no certificate"),
        (&CA[..100], "is cut or damaged"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1 cannot be read"),
    ] {
        let said = Authorities::read(pem).unwrap_err();
        assert!(said.contains(words), "{said}");
    }
}
