//! The keys that the master has passed on (JWKS), and who waits for newer ones.

use super::sessions::SessionRef;
use crate::access::tokens::{Asked, FetchedJwks, KeyQuestions, Refusal};
use crate::model::Boot;
use serde_json::value::RawValue;
use std::time::Duration;
use tokio::sync::watch;

/// Tokens of sessions that wait for keys, each of 4 KiB at most. A further one is answered at once.
const MOST: usize = 1024;
/// Longest wait of a request or a session for newer keys. Longer than a fetch takes.
pub(in crate::worker) const PATIENCE: Duration = Duration::from_secs(5);

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

/// A fresh token of a session that waits for keys.
#[derive(Debug)]
pub struct Held {
    pub at: SessionRef,
    pub token: Box<str>,
    /// The client's number for it.
    pub id: Option<Box<RawValue>>,
}

/// Outlive a configuration.
#[derive(Debug, Default)]
pub(in crate::worker) struct KnownKeys {
    fetched: Option<FetchedJwks>,
    questions: KeyQuestions,
    /// A fetch has ended: where there are no keys still, nobody waits for them.
    heard: bool,
    answers: watch::Sender<()>,
    /// Since when the oldest waits, and all.
    held: (Boot, Vec<Held>),
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

    /// Keeps a token until keys are fetched; false: there is no room, or one of its session waits already.
    pub fn hold(&mut self, held: Held, now: Boot) -> bool {
        let (since, all) = &mut self.held;
        if all.is_empty() {
            *since = now;
        }
        let fits = all.len() < MOST && all.iter().all(|other| other.at != held.at);
        if fits {
            all.push(held);
        }
        fits
    }

    /// Those that wait.
    pub fn take_held(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.held.1)
    }

    /// Those that wait, once the oldest has waited too long: the answer is lost.
    pub fn overdue(&mut self, now: Boot) -> Vec<Held> {
        if self.held.1.is_empty() || now < self.held.0.after(PATIENCE) {
            return Vec::new();
        }
        self.heard = true;
        self.take_held()
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

    #[test]
    fn tokens_of_sessions_wait_one_for_each_and_not_for_ever() {
        let mut keys = KnownKeys::default();
        let held = |key| Held { at: SessionRef::invented(key, 1), token: "t".into(), id: None };
        assert!(keys.hold(held(0), NOW) && !keys.hold(held(0), NOW));
        let later = NOW.after(PATIENCE / 2);
        assert!((1..1024).all(|key| keys.hold(held(key), later)) && !keys.hold(held(1024), later));
        assert!(keys.overdue(later).is_empty());
        assert_eq!((keys.overdue(NOW.after(PATIENCE)).len(), keys.take_held().len()), (1024, 0));
    }
}
