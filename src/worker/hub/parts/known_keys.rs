//! The keys that the master has passed on (JWKS), and who waits for newer ones.

use crate::access::tokens::{Asked, FetchedJwks, KeyQuestions, Refusal};
use crate::model::Boot;
use tokio::sync::watch;

/// What a request is to do whose token cannot be judged with the keys that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The master is to be asked, and the answer is waited for.
    Ask,
    /// The answer is waited for.
    Wait,
    /// Nothing: it stays as it is.
    Nothing,
}

/// Outlive a configuration.
#[derive(Debug, Default)]
pub(in crate::worker) struct KnownKeys {
    fetched: Option<FetchedJwks>,
    questions: KeyQuestions,
    /// A fetch has ended: where there are no keys still, nobody waits for them.
    heard: bool,
    answers: watch::Sender<()>,
}

impl KnownKeys {
    pub fn fetched(&self) -> Option<&FetchedJwks> {
        self.fetched.as_ref()
    }

    /// The keys of a welcome; empty: none.
    pub fn begin(&mut self, bytes: &[u8]) {
        self.fetched = FetchedJwks::decode(bytes);
    }

    /// There is another endpoint, whose keys are on their way.
    pub fn begin_anew(&mut self) {
        self.heard = false;
    }

    /// A fetch has ended; empty: without news. Whether there are other keys.
    pub fn answer(&mut self, bytes: &[u8]) -> bool {
        let news = if bytes.is_empty() { None } else { FetchedJwks::decode(bytes) };
        let is_news = news.is_some();
        if is_news {
            self.fetched = news;
        }
        self.heard = true;
        self.questions.answered();
        is_news
    }

    /// Those who wait look again, with the keys in force.
    pub fn wake(&self) {
        self.answers.send_replace(());
    }

    /// A token was refused.
    pub fn wish(&mut self, refusal: Refusal, now: Boot) -> Wish {
        match refusal {
            Refusal::KeysUnavailable if !self.heard => Wish::Wait,
            refusal if refusal.wants_keys() => match self.questions.ask(now) {
                Asked::Started => Wish::Ask,
                Asked::Joined => Wish::Wait,
                Asked::TooSoon => Wish::Nothing,
            },
            _ => Wish::Nothing,
        }
    }

    pub fn answers(&self) -> watch::Receiver<()> {
        self.answers.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::tokens::Reason;

    const NOW: Boot = Boot(100_000_000_000);
    const UNKNOWN: Refusal = Refusal::Invalid(Reason::UnknownKey);
    const SET: &[u8] = b"https://a.example/\n{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\
        \"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";

    #[test]
    fn one_question_for_all_and_the_first_answer_is_waited_for() {
        let mut keys = KnownKeys::default();
        assert_eq!(keys.wish(Refusal::KeysUnavailable, NOW), Wish::Wait);
        assert!(!keys.answer(&[]) && keys.fetched().is_none());
        assert_eq!(keys.wish(Refusal::KeysUnavailable, NOW), Wish::Nothing);
        assert_eq!(keys.wish(UNKNOWN, NOW), Wish::Ask);
        assert!((0..1000).all(|_| keys.wish(UNKNOWN, NOW) == Wish::Wait));
        assert!(keys.answer(SET) && keys.fetched().is_some());
        assert_eq!(keys.wish(UNKNOWN, NOW), Wish::Nothing);
        assert!(!keys.answer(b"garbage") && keys.fetched().is_some(), "they stay");
        assert_eq!(keys.wish(Refusal::Expired, NOW), Wish::Nothing);
    }
}
