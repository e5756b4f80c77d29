//! The certificates that are presented, chosen by the name that a client asks for.

use super::pair::Pair;
use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;

/// Pairs by their names. Immutable, replaced whole.
#[derive(Debug)]
pub struct Served {
    pairs: Vec<Pair>,
    /// Places in `pairs` by name, in order. A wildcard is a name.
    by_name: HashMap<Box<str>, Vec<usize>>,
}

impl Served {
    /// The first pair is for clients that ask for no name, or for a name that no pair has. A name of several pairs, of
    /// different kinds of keys, is served by the first that the client can verify. `None`: there is no pair.
    #[must_use]
    pub fn new(pairs: Vec<Pair>) -> Option<Self> {
        let mut by_name = HashMap::<Box<str>, Vec<usize>>::new();
        for (at, pair) in pairs.iter().enumerate() {
            for name in pair.names() {
                by_name.entry(name.into()).or_default().push(at);
            }
        }
        (!pairs.is_empty()).then_some(Self { pairs, by_name })
    }

    /// All pairs.
    #[must_use]
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// The pair for a name, if it is to be signed in one of these ways. The whole name goes before a wildcard, which
    /// stands for exactly one label (RFC 6125, section 6.4.3).
    #[must_use]
    pub fn pair(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Pair> {
        let name = name.map(str::to_ascii_lowercase);
        let whole = name.as_deref().and_then(|name| self.by_name.get(name));
        let wild = || {
            let (_, above) = name.as_deref()?.split_once('.')?;
            self.by_name.get(format!("*.{above}").as_str())
        };
        let named = whole.or_else(wild).map_or(&[0][..], Vec::as_slice);
        let mut named = named.iter().filter_map(|at| self.pairs.get(*at));
        let first = named.clone().next();
        named.find(|pair| pair.certified().key.choose_scheme(schemes).is_some()).or(first)
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.pair(hello.server_name(), hello.signature_schemes()).map(|pair| pair.certified().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::pair::tests::{FIRST, UNNAMED, WILD, pair};
    use super::*;

    const ECDSA: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
    const RSA: SignatureScheme = SignatureScheme::RSA_PSS_SHA256;

    #[test]
    fn the_name_that_a_client_asks_for_chooses() {
        let served = Served::new(vec![pair(UNNAMED), pair(FIRST), pair(WILD)]).unwrap();
        let chosen = |name| served.pair(name, &[ECDSA, RSA]).map(Pair::name);
        for (name, chooses) in [
            (None, "(no name)"),
            (Some("one.example.com"), "one.example.com"),
            (Some("ONE.Example.com"), "one.example.com"),
            (Some("example.com"), "one.example.com"),
            (Some("other.example.com"), "*.example.com"),
            (Some("two.example.org"), "*.example.com"),
            (Some("a.b.example.com"), "(no name)"),
            (Some("one.example.org"), "(no name)"),
            (Some("*.example.com"), "*.example.com"),
            (Some("com"), "(no name)"),
            (Some(""), "(no name)"),
        ] {
            assert_eq!(chosen(name), Some(chooses), "{name:?}");
        }
        assert_eq!((served.pairs().len(), Served::new(vec![]).is_none()), (3, true));
    }

    #[test]
    fn of_two_kinds_of_keys_the_one_that_the_client_can_verify() {
        let served = Served::new(vec![pair(FIRST), pair(UNNAMED)]).unwrap();
        assert_eq!(served.pair(None, &[RSA]).map(Pair::name), Some("one.example.com"), "nothing is better");
        let mut both = Served::new(vec![pair(FIRST), pair(WILD)]).unwrap();
        both.by_name.insert("both".into(), vec![0, 1]);
        let chosen = |schemes| both.pair(Some("both"), schemes).map(Pair::name);
        assert_eq!(chosen(&[RSA, ECDSA]), Some("one.example.com"));
        assert_eq!(chosen(&[RSA]), Some("*.example.com"));
        assert_eq!(chosen(&[]), Some("one.example.com"));
    }
}
