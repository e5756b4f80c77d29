//! Session tickets (RFC 5077, RFC 8446 section 4.6.1) that every worker can open: rustls has a place for who makes them.
//!
//! A ticket is the secret's name, a random nonce, and the session sealed by AES-256-GCM-SIV, which stays safe should two
//! workers ever draw the same nonce. It holds for the realm that it was made for.

use super::secrets::Secrets;
use crate::model::Boot;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use rustls::server::ProducesTickets;
use std::fmt;

const NAME: usize = 8;

/// What the holder of a ticket has been let into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm {
    /// The ports for everybody.
    Public,
    /// The port for admins.
    Admin,
}

impl Realm {
    fn words(self) -> &'static [u8] {
        match self {
            Self::Public => b"btc-cluster tls ticket 1, public",
            Self::Admin => b"btc-cluster tls ticket 1, admin",
        }
    }
}

/// Makes and opens tickets. Immutable: new secrets make new ones.
pub struct Tickets {
    secrets: Secrets,
    /// In the order of the secrets.
    keys: Vec<RandomizedNonceKey>,
    realm: Realm,
    clock: fn() -> Boot,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets")
            .field("secrets", &self.secrets)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

impl Tickets {
    /// # Errors
    /// The library takes no key of that size: a defect.
    pub fn new(secrets: Secrets, realm: Realm, clock: fn() -> Boot) -> Result<Self, Unspecified> {
        let key = |secret: &super::secrets::Secret| RandomizedNonceKey::new(&AES_256_GCM_SIV, secret.key());
        let keys = secrets.iter().map(key).collect::<Result<_, _>>()?;
        Ok(Self { secrets, keys, realm, clock })
    }

    fn aad(&self) -> Aad<&'static [u8]> {
        Aad::from(self.realm.words())
    }

    fn seal(&self, session: &[u8]) -> Option<Vec<u8>> {
        let now = (self.clock)();
        let mut both = self.secrets.iter().zip(&self.keys);
        let (secret, key) = both.find(|(secret, _)| secret.opens_for(now).is_some())?;
        let mut sealed = session.to_vec();
        let nonce = key.seal_in_place_append_tag(self.aad(), &mut sealed).ok()?;
        Some([&secret.name()[..], nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let now = (self.clock)();
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let mut both = self.secrets.iter().zip(&self.keys);
        let (_, key) = both.find(|(secret, _)| secret.name() == name && secret.opens_for(now).is_some())?;
        let mut session = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = key.open_in_place(nonce, self.aad(), &mut session).ok()?.len();
        session.truncate(length);
        Some(session)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    /// What is left of the secret's time.
    fn lifetime(&self) -> u32 {
        let now = (self.clock)();
        let left = self.secrets.sealing(now).and_then(|secret| secret.opens_for(now));
        left.map_or(0, |left| u32::try_from(left.as_secs()).unwrap_or(u32::MAX))
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher)
    }
}

#[cfg(test)]
mod tests {
    use super::super::secrets::{AHEAD, LIFE};
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    thread_local! {
        static NOW: Cell<Boot> = const { Cell::new(Boot(0)) };
    }

    fn tickets(secrets: &Secrets, realm: Realm) -> Tickets {
        Tickets::new(secrets.clone(), realm, || NOW.get()).unwrap()
    }

    #[test]
    fn a_ticket_opens_in_every_worker_and_over_a_change_of_secrets() {
        let mut secrets = Secrets::new(&[1; 40], Boot(0));
        let (one, two) = (tickets(&secrets, Realm::Public), tickets(&secrets, Realm::Public));
        assert_eq!(one.lifetime(), 12 * 3600);
        let ticket = one.encrypt(b"session").unwrap();
        assert_eq!(two.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_ne!(one.encrypt(b"session"), Some(ticket.clone()), "the nonce is another");
        assert!(secrets.renew(&[2; 40], secrets.due()));
        let (old, new) = (one, tickets(&secrets, Realm::Public));
        NOW.set(Boot(0).after(LIFE - AHEAD / 2));
        let early = new.encrypt(b"early").unwrap();
        assert_eq!(
            old.decrypt(&early).as_deref(),
            Some(&b"early"[..]),
            "a worker that does not know the new one"
        );
        NOW.set(Boot(0).after(LIFE));
        let late = new.encrypt(b"late").unwrap();
        assert_eq!((old.decrypt(&late), new.decrypt(&ticket).as_deref()), (None, Some(&b"session"[..])));
        NOW.set(Boot(0).after(LIFE * 2));
        assert_eq!((new.decrypt(&ticket), new.decrypt(&late).as_deref()), (None, Some(&b"late"[..])));
        NOW.set(Boot(0).after(LIFE * 4));
        assert_eq!((new.encrypt(b"none"), new.lifetime()), (None, 0));
    }

    #[test]
    fn a_ticket_is_of_one_realm_and_of_these_secrets() {
        NOW.set(Boot(0));
        let secrets = Secrets::new(&[1; 40], Boot(0));
        let (public, admin) = (tickets(&secrets, Realm::Public), tickets(&secrets, Realm::Admin));
        let ticket = public.encrypt(b"session").unwrap();
        assert_eq!(admin.decrypt(&ticket), None);
        // The same name, another key.
        let mut random = [1; 40];
        random[39] = 2;
        assert_eq!(tickets(&Secrets::new(&random, Boot(0)), Realm::Public).decrypt(&ticket), None);
        let shown = format!("{public:?}");
        assert!(!shown.contains("key") && !shown.contains("1, 1"), "{shown}");
    }

    proptest! {
        #[test]
        fn a_damaged_ticket_opens_nothing(at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<bool>()) {
            NOW.set(Boot(0));
            let tickets = tickets(&Secrets::new(&[1; 40], Boot(0)), Realm::Public);
            let mut ticket = tickets.encrypt(b"a session of some length").unwrap();
            let at = at.index(ticket.len());
            if cut { ticket.truncate(at) } else { ticket[at] ^= 1 << bit }
            prop_assert_eq!(tickets.decrypt(&ticket), None);
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let tickets = tickets(&Secrets::new(&[1; 40], Boot(0)), Realm::Public);
            prop_assert_eq!(tickets.decrypt(&bytes), None);
        }
    }
}
