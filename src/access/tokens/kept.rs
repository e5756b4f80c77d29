//! The last good JWKS with the address that it is of: what the feeder keeps in the state directory, and what workers get.
//! Keys of one address never count for another.

use super::jwks::{Jwks, JwksFault};
use crate::config::AuthSection;

/// The last good JWKS of one address, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptJwks {
    url: Box<str>,
    text: Option<Box<[u8]>>,
}

impl KeptJwks {
    /// Nothing is known of that address.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self { url: url.into(), text: None }
    }

    /// Takes what [`KeptJwks::encode`] wrote before. A broken one, or one of another address, counts as none: it is fetched
    /// soon.
    #[must_use]
    pub fn from_file(url: &str, bytes: &[u8]) -> Self {
        let mut kept = Self::new(url);
        if let Some((_, text)) = split(bytes).filter(|(of, _)| *of == url) {
            // Nothing is better than a text without keys.
            let _ = kept.take(text);
        }
        kept
    }

    /// Takes a fetched text, and tells whether it is news: then it is to be kept and passed on. One that is no JWKS
    /// changes nothing.
    ///
    /// # Errors
    /// Why it is none.
    pub fn take(&mut self, text: &[u8]) -> Result<bool, JwksFault> {
        Jwks::parse(text)?;
        let is_news = self.text.as_deref() != Some(text);
        if is_news {
            self.text = Some(text.into());
        }
        Ok(is_news)
    }

    /// The keys, if there are any.
    #[must_use]
    pub fn jwks(&self) -> Option<Jwks> {
        Jwks::parse(self.text.as_deref()?).ok()
    }

    /// The address, a line end and the text; empty: there are no keys.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let text = self.text.as_deref();
        text.map_or_else(Vec::new, |text| [self.url.as_bytes(), b"\n", text].concat())
    }
}

/// The keys that a worker has been given.
#[derive(Clone, Debug)]
pub struct FetchedJwks {
    url: Box<str>,
    jwks: Jwks,
}

impl FetchedJwks {
    /// Reads what [`KeptJwks::encode`] wrote.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (url, text) = split(bytes)?;
        Some(Self { url: url.into(), jwks: Jwks::parse(text).ok()? })
    }

    /// The keys, if they are those that the configuration asks for.
    pub(super) fn of(&self, auth: &AuthSection) -> Option<&Jwks> {
        (auth.jwks_url.as_deref() == Some(&*self.url)).then_some(&self.jwks)
    }
}

fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (url, text) = bytes.split_at_checked(end)?;
    Some((std::str::from_utf8(url).ok()?, text.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str =
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    const URL: &str = "https://a.example/jwks";

    #[test]
    fn the_last_good_one_is_kept_whatever_comes_after_it() {
        let mut kept = KeptJwks::new(URL);
        assert_eq!(kept.take(b"<html>Bad gateway"), Err(JwksFault::Shape));
        assert_eq!((kept.encode(), kept.jwks().is_none()), (vec![], true));
        assert_eq!(kept.take(ONE.as_bytes()), Ok(true));
        assert_eq!(kept.take(ONE.as_bytes()), Ok(false), "no news");
        for bad in ["", "{}", r#"{"keys":[]}"#, &ONE[..60]] {
            assert!(kept.take(bad.as_bytes()).is_err());
            assert_eq!(kept.encode(), format!("{URL}\n{ONE}").into_bytes());
        }
        let other = ONE.replace("\"kty\"", "\"kid\":\"b\",\n\"kty\"");
        assert_eq!(kept.take(other.as_bytes()), Ok(true));
        assert_eq!(KeptJwks::from_file(URL, &kept.encode()), kept);
        assert_eq!(kept.jwks().map(|jwks| jwks.len()), Some(1));
    }

    #[test]
    fn keys_of_another_address_are_none() {
        let mut kept = KeptJwks::new(URL);
        kept.take(ONE.as_bytes()).unwrap();
        for (url, bytes) in [
            ("https://b.example/jwks", &*kept.encode()),
            (URL, b"".as_slice()),
            (URL, URL.as_bytes()),
            (URL, ONE.as_bytes()),
            (URL, &kept.encode()[..100]),
        ] {
            assert_eq!(KeptJwks::from_file(url, bytes), KeptJwks::new(url));
        }
        let fetched = FetchedJwks::decode(&kept.encode()).unwrap();
        let auth = |url: &str| AuthSection {
            jwks_url: Some(url.to_owned()),
            ..crate::access::tokens::tests::auth()
        };
        assert!(fetched.of(&auth(URL)).is_some() && fetched.of(&auth("https://b.example/jwks")).is_none());
        assert!(FetchedJwks::decode(b"").is_none() && FetchedJwks::decode(ONE.as_bytes()).is_none());
    }
}
