//! The last good JWKS: what the feeder keeps in the state directory, and says to the workers when it changes.

use super::jwks::{Jwks, JwksFault};

/// The text of the last good JWKS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptJwks {
    text: Option<Box<[u8]>>,
}

impl KeptJwks {
    /// Takes a text that was kept before. A broken one counts as none: it is fetched soon.
    #[must_use]
    pub fn from_file(text: &[u8]) -> Self {
        let mut kept = Self::default();
        // Nothing is better than a text without keys.
        let _ = kept.take(text);
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

    /// The text.
    #[must_use]
    pub fn text(&self) -> Option<&[u8]> {
        self.text.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str =
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    #[test]
    fn the_last_good_one_is_kept_whatever_comes_after_it() {
        let mut kept = KeptJwks::default();
        assert_eq!((kept.take(b"<html>Bad gateway"), kept.text()), (Err(JwksFault::Shape), None));
        assert_eq!(kept.take(ONE.as_bytes()), Ok(true));
        assert_eq!(kept.take(ONE.as_bytes()), Ok(false), "no news");
        for bad in ["", "{}", r#"{"keys":[]}"#, &ONE[..60]] {
            assert!(kept.take(bad.as_bytes()).is_err());
            assert_eq!(kept.text(), Some(ONE.as_bytes()));
        }
        let other = ONE.replace("\"kty\"", "\"kid\":\"b\",\"kty\"");
        assert_eq!(kept.take(other.as_bytes()), Ok(true));
        assert_eq!(KeptJwks::from_file(other.as_bytes()), kept);
        assert_eq!(KeptJwks::from_file(b"{"), KeptJwks::default());
    }
}
