//! What a session keeps of its token.

use super::claims::Claims;
use super::life::Life;
use crate::model::{Boot, Wall};
use serde::{Deserialize, Serialize};

/// How a session was admitted where tokens are asked for. A session that has none was admitted in open mode. It goes
/// with its session wherever that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pass {
    /// No token was shown: the session hears what is free to everybody.
    Anonymous,
    /// A token: what it says, and until when it holds.
    Token { claims: Claims, life: Life },
}

impl Pass {
    /// Admits a verified token. What is left of its time is taken here, and runs on the clock that also runs in sleep.
    #[must_use]
    pub fn new(claims: Claims, wall: Wall, now: Boot) -> Self {
        let life = Life::new(claims.left(wall), now);
        Self::Token { claims, life }
    }

    /// What the token says.
    #[must_use]
    pub fn claims(&self) -> Option<&Claims> {
        if let Self::Token { claims, .. } = self { Some(claims) } else { None }
    }

    /// Until when the token holds.
    #[must_use]
    pub fn life(&self) -> Option<&Life> {
        if let Self::Token { life, .. } = self { Some(life) } else { None }
    }

    /// The same, to be told what is due.
    pub fn life_mut(&mut self) -> Option<&mut Life> {
        if let Self::Token { life, .. } = self { Some(life) } else { None }
    }

    /// The bytes of the pass, for another process.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// The pass of such bytes. `None`: another program wrote them. A session of such a pass has none, so it ends where
    /// tokens are asked for.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}
