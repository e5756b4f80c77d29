//! The master's part in a message between two workers, which it does not read.

use super::beat::digest;
use super::role::Generation;
use crate::model::SessionId;
use serde::{Deserialize, Serialize};

/// Names a resume token without its secret. A session and its copies have the same id, and a token each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenName {
    pub session: SessionId,
    /// A part of the secret.
    pub tag: u32,
}

impl TokenName {
    /// The name of the token of that session with that secret.
    #[must_use]
    pub fn new(session: SessionId, secret: u128) -> Self {
        let [.., a, b, c, d] = secret.to_be_bytes();
        Self { session, tag: u32::from_be_bytes([a, b, c, d]) }
    }

    /// Folds the name for [`super::cluster::Beat::kept`].
    #[must_use]
    pub fn digest(self) -> u64 {
        digest(self.session) ^ u64::from(self.tag).rotate_left(29)
    }
}

/// Where a relayed message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum To {
    Process(Generation),
    /// The worker to which a token leads at the moment when the master passes the message on.
    Home(TokenName),
}

/// The master's notice to the sender of a relayed message. The number is the sender's for its question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    None,
    /// [`super::cluster::ToWorker::Taking`] at the moment when it is passed on, or
    /// [`super::cluster::ToWorker::Unheard`], if it cannot be.
    Passed(u64),
}
