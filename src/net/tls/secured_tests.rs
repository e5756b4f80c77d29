//! A server's side over a kernel with little room, against a client of rustls.

use super::super::pair::tests::{CA, FIRST, pair};
use super::super::secrets::Secrets;
use super::super::served::Served;
use super::super::server::Common;
use super::*;
use crate::config::TlsVersion;
use proptest::prelude::*;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};
use std::sync::Arc;

/// What the server's kernel holds: bytes to the client, with room for so many, and bytes from the client.
#[derive(Default)]
struct Kernel {
    out: VecDeque<u8>,
    room: usize,
    inward: VecDeque<u8>,
    ended: bool,
}

impl Write for Kernel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.room);
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= n;
        self.out.extend(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Kernel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.inward.is_empty() && !self.ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.inward.read(buffer)
    }
}

/// Both sides after a handshake.
struct Both {
    server: Secured,
    client: ClientConnection,
    kernel: Kernel,
    /// What the client has read.
    heard: Vec<u8>,
}

impl Both {
    fn new(version: &'static SupportedProtocolVersion) -> Self {
        let served = Arc::new(Served::new(vec![pair(FIRST)]).unwrap());
        let secrets = Secrets::new(&[1; 40], crate::os::clock::boot());
        let config = Common { served, secrets, min_version: TlsVersion::V1_2 }.public().unwrap();
        let mut server = ServerConnection::new(config).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(CA).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("example.com").unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        while client.is_handshaking() || server.is_handshaking() || server.wants_write() {
            let mut wire = vec![];
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            server.read_tls(&mut &wire[..]).unwrap();
            server.process_new_packets().unwrap();
            let mut wire = vec![];
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            while !wire.is_empty() {
                let n = client.read_tls(&mut &wire[..]).unwrap();
                wire.drain(..n);
                client.process_new_packets().unwrap();
            }
        }
        let server = Secured::new(Box::new(server));
        Self { server, client, kernel: Kernel::default(), heard: vec![] }
    }

    /// The client's kernel takes so many bytes, and the client reads what it can.
    fn arrive(&mut self, most: usize) -> usize {
        let n = most.min(self.kernel.out.len());
        let bytes: Vec<u8> = self.kernel.out.drain(..n).collect();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).unwrap();
            self.client.process_new_packets().unwrap();
            let _ = self.client.reader().read_to_end(&mut self.heard);
        }
        n
    }

    /// The client says something, all of which reaches the server's kernel.
    fn say(&mut self, words: &[u8]) {
        self.client.writer().write_all(words).unwrap();
        self.speak();
    }

    fn speak(&mut self) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.kernel.inward).unwrap();
        }
    }

    fn read(&mut self, size: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; size];
        let n = self.server.read(&mut self.kernel, &mut buffer)?;
        buffer.truncate(n);
        Ok(buffer)
    }
}

fn nothing<T: fmt::Debug>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn a_frame_is_written_when_the_kernel_has_all_of_its_record() {
    let mut both = Both::new(&TLS13);
    // The record is made, and cannot be taken back: all but its last byte is counted.
    assert_eq!((both.server.write(&mut both.kernel, b"frame").ok(), both.server.waits()), (Some(4), true));
    both.kernel.room = 10;
    assert!(nothing(both.server.write(&mut both.kernel, b"e")));
    both.kernel.room = 100;
    assert_eq!((both.server.write(&mut both.kernel, b"enext").ok(), both.server.waits()), (Some(5), false));
    both.arrive(1000);
    assert_eq!(both.heard, b"framenext");
}

#[test]
fn what_a_client_says_is_read_whatever_the_buffer() {
    let mut both = Both::new(&TLS13);
    assert!(nothing(both.read(100)));
    both.say(b"some words");
    assert_eq!((both.read(4).unwrap(), both.server.has_more()), (b"some".to_vec(), true));
    assert_eq!((both.read(100).unwrap(), both.server.has_more()), (b" words".to_vec(), false));
    assert!(nothing(both.read(100)));
    // Half a record is nothing yet.
    both.client.writer().write_all(b"more").unwrap();
    let mut wire = vec![];
    both.client.write_tls(&mut wire).unwrap();
    let (first, second) = wire.split_at(10);
    both.kernel.inward.extend(first);
    assert!(nothing(both.read(100)));
    both.kernel.inward.extend(second);
    assert_eq!(both.read(100).unwrap(), b"more");
    both.client.send_close_notify();
    both.speak();
    assert_eq!(both.read(100).unwrap(), b"");
    both.kernel.room = 1000;
    both.server.close(&mut both.kernel).unwrap();
    both.arrive(1000);
    assert!(both.client.process_new_packets().unwrap().peer_has_closed());
}

#[test]
fn an_end_without_a_word_is_an_end_and_nonsense_is_an_error() {
    let mut both = Both::new(&TLS12);
    both.kernel.ended = true;
    assert_eq!(both.read(100).unwrap(), b"");
    for version in [&TLS12, &TLS13] {
        let mut both = Both::new(version);
        both.kernel.inward.extend(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(both.read(100).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}

#[test]
fn changes_of_keys_hold_up_nobody() {
    let mut both = Both::new(&TLS13);
    both.kernel.room = 1 << 20;
    both.client.refresh_traffic_keys().unwrap();
    both.say(b"after");
    assert_eq!(both.read(100).unwrap(), b"after");
    both.server.write(&mut both.kernel, b"answer").unwrap();
    both.arrive(1 << 20);
    assert_eq!(both.heard, b"answer");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// An outbox over a kernel that takes a few bytes at a time.
    #[test]
    fn frames_arrive_as_they_were_and_are_counted_when_the_kernel_has_them(
        newest in any::<bool>(),
        frames in prop::collection::vec(2usize..40_000, 1..8),
        steps in prop::collection::vec((0usize..9000, 0usize..9000, any::<bool>()), 1..60),
    ) {
        let mut both = Both::new(if newest { &TLS13 } else { &TLS12 });
        let all: Vec<u8> = (0..frames.iter().sum::<usize>()).map(|at| (at % 251) as u8).collect();
        let (mut counted, mut acknowledged) = (0, 0_u64);
        let last = (1 << 20, 1 << 20, true);
        for (room, arrives, asks_first) in steps.into_iter().chain([last; 12]) {
            both.kernel.room = room;
            if asks_first {
                // The client has said something meanwhile: reading must not change what is written.
                both.say(b"!");
                prop_assert_eq!(both.read(10).unwrap(), b"!");
            }
            // A frame after the other, as the hub writes them.
            let mut end = 0;
            for frame in &frames {
                end += frame;
                if counted >= end {
                    continue;
                }
                match both.server.write(&mut both.kernel, &all[counted..end]) {
                    Ok(n) => counted += n,
                    Err(error) => prop_assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
                prop_assert_eq!(both.server.sent(), counted as u64);
                if counted < end {
                    break;
                }
                // The kernel has all: nothing of it waits inside.
                prop_assert!(!both.server.waits());
            }
            both.arrive(arrives);
            prop_assert!(all.starts_with(&both.heard));
            let unheard = both.kernel.out.len() as u64;
            let known = both.server.acknowledged(unheard);
            prop_assert!(known >= acknowledged && known <= both.heard.len() as u64, "{} {}", known, both.heard.len());
            // Nothing is on its way: all that was counted has come.
            prop_assert!(unheard > 0 || both.server.waits() || known == counted as u64);
            acknowledged = known;
        }
        prop_assert_eq!(counted, all.len());
        prop_assert_eq!(&both.heard, &all);
    }
}
