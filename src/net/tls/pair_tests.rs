//! Pairs of the fixtures, and all that is wrong with others.

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/fixtures/tls/listening/", $name))
    };
}

pub(in crate::net::tls) const CA: &[u8] = fixture!("ca.crt");
pub(in crate::net::tls) const CLIENT_CA: &[u8] = fixture!("client-ca.crt");
pub(in crate::net::tls) const CLIENT: (&[u8], &[u8]) = (fixture!("client.crt"), fixture!("client.key"));
/// `one.example.com`, `example.com`.
pub(in crate::net::tls) const FIRST: (&[u8], &[u8]) = (fixture!("first.crt"), fixture!("first.key"));
/// The same names.
pub(in crate::net::tls) const RENEWED: (&[u8], &[u8]) = (fixture!("renewed.crt"), fixture!("renewed.key"));
/// `*.example.com`, `two.example.org`, with an RSA key.
pub(in crate::net::tls) const WILD: (&[u8], &[u8]) = (fixture!("wild.crt"), fixture!("wild.key"));
/// Without a DNS name.
pub(in crate::net::tls) const UNNAMED: (&[u8], &[u8]) = (fixture!("unnamed.crt"), fixture!("unnamed.key"));
const ENCRYPTED: &[u8] = fixture!("encrypted.key");
const COMBINED: &[u8] = fixture!("combined.pem");

pub(in crate::net::tls) fn pair((certificate, key): (&[u8], &[u8])) -> Pair {
    Pair::read(certificate, key).unwrap()
}

fn refusal(certificate: &[u8], key: &[u8]) -> Unfit {
    Pair::read(certificate, key).unwrap_err()
}

#[test]
fn a_pair_knows_its_names_and_its_time() {
    let first = pair(FIRST);
    assert_eq!(first.names().collect::<Vec<_>>(), ["one.example.com", "example.com"]);
    assert_eq!(first.name(), "one.example.com");
    assert_eq!(pair(WILD).names().collect::<Vec<_>>(), ["*.example.com", "two.example.org"]);
    assert_eq!((pair(UNNAMED).names().count(), pair(UNNAMED).name()), (0, "(no name)"));
    let Validity { from, until } = first.validity();
    let moments = [from.0 - 1, from.0, until.0, until.0 + 1].map(|at| first.trouble(Wall(at)));
    assert_eq!(moments, [Some(Trouble::NotYet(from)), None, None, Some(Trouble::Expired(until))]);
}

#[test]
fn one_file_may_hold_both() {
    assert_eq!(pair((COMBINED, COMBINED)).name(), "one.example.com");
}

#[test]
fn a_chain_follows_the_certificate() {
    let chain = [FIRST.0, CA].concat();
    assert_eq!(pair((&chain, FIRST.1)).certified().cert.len(), 2);
    let turned = [CA, FIRST.0].concat();
    assert_eq!(refusal(&turned, FIRST.1), Unfit::Order(2));
}

#[test]
fn a_mark_is_of_both_files() {
    let marks = [mark(b"ab", b"c"), mark(b"a", b"bc"), mark(b"ab", b"d"), mark(b"", b"abc")];
    for (at, one) in marks.iter().enumerate() {
        assert!(!marks[..at].contains(one), "{at}");
    }
    assert_eq!(pair(FIRST).mark(), mark(FIRST.0, FIRST.1));
    assert_eq!(pair(FIRST).texts(), FIRST);
}

#[test]
fn each_fault_has_its_words() {
    let cut = |text: &'static [u8]| &text[..text.len() / 2];
    let broken = [FIRST.0, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"].concat();
    let none = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_base64 = b"-----BEGIN PRIVATE KEY-----\n%%%%\n-----END PRIVATE KEY-----\n";
    let nonsense = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let old_form =
        b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    for (certificate, key, words) in [
        (FIRST.0, RENEWED.1, "certificate and key do not fit"),
        (WILD.0, FIRST.1, "certificate and key do not fit"),
        (b"".as_slice(), FIRST.1, "holds no certificate (PEM"),
        (FIRST.1, FIRST.1, "holds a key and no certificate"),
        (cut(FIRST.0), FIRST.1, "the certificate's file is cut or damaged: its \"-----END\" is missing"),
        (none, FIRST.1, "the certificate cannot be read: "),
        (&broken, FIRST.1, "certificate 2 of the file cannot be read: "),
        (FIRST.0, b"", "holds no key (PEM"),
        (FIRST.0, FIRST.0, "holds a certificate and no key"),
        (FIRST.0, cut(FIRST.1), "the key's file is cut or damaged: its \"-----END\" is missing"),
        (FIRST.0, no_base64, "the key's file is cut or damaged: this is not base64"),
        (FIRST.0, nonsense, "the key cannot be used: "),
        (FIRST.0, ENCRYPTED, "the key is encrypted"),
        (FIRST.0, old_form, "the key is encrypted"),
        (&FIRST.0[1..], FIRST.1, "the certificate's file "),
    ] {
        let said = refusal(certificate, key).to_string();
        assert!(said.contains(words), "{said}");
        assert!(!said.contains("AAAA") && !said.contains("%%"), "{said}");
    }
}
