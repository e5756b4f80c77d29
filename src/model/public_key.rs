//! Public keys that verify tokens: of three algorithms, each checked when it is made.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaParameters,
    RsaPublicKeyComponents, VerificationAlgorithm,
};
use rustls::pki_types::pem::{PemObject, SectionKind};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Algorithm of a public key (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyKind {
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 to 8192 bits.
    Rs256,
}

/// Why a key is none of ours. The text never holds a part of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// No PEM block "PUBLIC KEY".
    None,
    /// More than one PEM block.
    Several,
    /// A private key, which nobody but its signer should have.
    Private,
    /// A certificate, whose end, names and issuer nobody would check.
    Certificate,
    /// Broken PEM.
    Pem,
    /// A key of another algorithm, or a broken one.
    Unknown,
    /// RSA with fewer or more bits.
    Size,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "holds no public key in PEM (BEGIN PUBLIC KEY)",
            Self::Several => "holds more than one key: each has a file of its own",
            Self::Private => {
                "holds a private key: only its public half belongs here (openssl pkey -in FILE -pubout)"
            }
            Self::Certificate => {
                "holds a certificate: only its key belongs here (openssl x509 -in FILE -pubkey -noout)"
            }
            Self::Pem => "is broken PEM",
            Self::Unknown => {
                "holds a key of an unknown kind: it must be P-256 (ES256), Ed25519 (EdDSA) or RSA (RS256)"
            }
            Self::Size => "holds an RSA key of the wrong size: it must have 2048 to 8192 bits",
        })
    }
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    kind: KeyKind,
    /// `SubjectPublicKeyInfo`, or a point of a curve.
    der: Vec<u8>,
}

impl PublicKey {
    /// Reads the one key of a PEM file.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn from_pem(text: &str) -> Result<Self, KeyFault> {
        let blocks: Vec<(SectionKind, Vec<u8>)> = PemObject::pem_slice_iter(text.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| KeyFault::Pem)?;
        if blocks.iter().any(|(kind, _)| {
            matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey)
        }) {
            return Err(KeyFault::Private);
        }
        match blocks.as_slice() {
            [(SectionKind::PublicKey, der)] => Self::from_spki(der),
            [(SectionKind::Certificate, _), ..] => Err(KeyFault::Certificate),
            [_, _, ..] => Err(KeyFault::Several),
            _ => Err(KeyFault::None),
        }
    }

    /// Reads a `SubjectPublicKeyInfo` (RFC 5280, section 4.1).
    fn from_spki(der: &[u8]) -> Result<Self, KeyFault> {
        const CURVES: [KeyKind; 2] = [KeyKind::Es256, KeyKind::EdDsa];
        match CURVES.into_iter().find(|kind| kind.takes(der)) {
            Some(kind) => Ok(Self { kind, der: der.to_vec() }),
            None => Self::rsa_of(der),
        }
    }

    /// A point of P-256 by its coordinates.
    ///
    /// # Errors
    /// No point of the curve.
    pub fn p256(x: &[u8], y: &[u8]) -> Result<Self, KeyFault> {
        if (x.len(), y.len()) != (32, 32) {
            return Err(KeyFault::Unknown);
        }
        Self::checked(KeyKind::Es256, [&[4], x, y].concat())
    }

    /// A point of Ed25519.
    ///
    /// # Errors
    /// No such point.
    pub fn ed25519(x: &[u8]) -> Result<Self, KeyFault> {
        if x.len() != 32 {
            return Err(KeyFault::Unknown);
        }
        Self::checked(KeyKind::EdDsa, x.to_vec())
    }

    /// RSA by modulus and exponent, in big-endian bytes without leading zeros.
    ///
    /// # Errors
    /// No such key, or one of the wrong size.
    pub fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyFault> {
        let der: PublicKeyX509Der<'_> =
            RsaPublicKeyComponents { n, e }.as_der().map_err(|_| KeyFault::Unknown)?;
        Self::rsa_of(der.as_ref())
    }

    fn rsa_of(der: &[u8]) -> Result<Self, KeyFault> {
        let key = rsa::PublicKey::from_der(der).map_err(|_| KeyFault::Unknown)?;
        let bits = RsaParameters::public_modulus_len(key.as_ref()).map_err(|_| KeyFault::Unknown)?;
        if !(2048..=8192).contains(&bits) {
            return Err(KeyFault::Size);
        }
        Ok(Self { kind: KeyKind::Rs256, der: der.to_vec() })
    }

    fn checked(kind: KeyKind, der: Vec<u8>) -> Result<Self, KeyFault> {
        if kind.takes(&der) { Ok(Self { kind, der }) } else { Err(KeyFault::Unknown) }
    }

    /// The algorithm.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The key as the cryptography takes it.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

impl KeyKind {
    fn takes(self, der: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self {
            Self::Es256 => &ECDSA_P256_SHA256_FIXED,
            Self::EdDsa => &ED25519,
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        };
        ParsedPublicKey::new(algorithm, der).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! file {
        ($name:literal) => {
            include_str!(concat!("../../tests/fixtures/tokens/", $name, ".pem"))
        };
    }

    #[test]
    fn keys_of_three_kinds_are_known() {
        for (pem, kind) in [
            (file!("es256.public"), KeyKind::Es256),
            (file!("eddsa.public"), KeyKind::EdDsa),
            (file!("rs256.public"), KeyKind::Rs256),
        ] {
            let key = PublicKey::from_pem(pem).unwrap();
            assert_eq!(key.kind(), kind);
            let json = serde_json::to_string(&key).unwrap();
            assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key);
        }
    }

    #[test]
    fn other_files_are_refused_each_with_its_reason() {
        let two = [file!("es256.public"), file!("eddsa.public")].concat();
        let cut: String = file!("rs256.public").lines().take(3).collect::<Vec<_>>().join("\n");
        let certificate = include_str!("../../tests/fixtures/tokens/certificate.pem");
        let mixed = [file!("es256.public"), file!("es256.private")].concat();
        for (text, fault) in [
            ("", KeyFault::None),
            ("hello", KeyFault::None),
            (two.as_str(), KeyFault::Several),
            (file!("es256.private"), KeyFault::Private),
            (file!("rs256.private"), KeyFault::Private),
            (mixed.as_str(), KeyFault::Private),
            (certificate, KeyFault::Certificate),
            (cut.as_str(), KeyFault::Pem),
            (file!("p384.public"), KeyFault::Unknown),
            (file!("x25519.public"), KeyFault::Unknown),
            (file!("rsa1024.public"), KeyFault::Size),
        ] {
            assert_eq!(PublicKey::from_pem(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn components_that_are_no_key_are_refused() {
        assert_eq!(PublicKey::p256(&[1; 32], &[1; 32]), Err(KeyFault::Unknown), "not on the curve");
        assert_eq!(PublicKey::p256(&[1; 31], &[1; 33]), Err(KeyFault::Unknown));
        assert_eq!(PublicKey::p256(&[0; 32], &[0; 32]), Err(KeyFault::Unknown));
        assert_eq!(PublicKey::ed25519(&[1; 31]), Err(KeyFault::Unknown));
        assert_eq!(PublicKey::rsa(&[], &[1, 0, 1]), Err(KeyFault::Unknown));
        assert_eq!(PublicKey::rsa(&[0xff; 128], &[1, 0, 1]), Err(KeyFault::Size));
        assert!(PublicKey::rsa(&[0xff; 256], &[1]).is_err(), "an exponent of 1 signs nothing");
    }
}
