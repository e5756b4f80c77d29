//! What a session keeps of its token.

use super::claims::Claims;
use super::life::Life;
use crate::model::{Boot, Wall};
use serde::{Deserialize, Serialize};

/// A token that was admitted: what it says, and until when it holds. It goes with its session wherever that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    pub claims: Claims,
    pub life: Life,
}

impl Pass {
    /// Admits a verified token. What is left of its time is taken here, and runs on the clock that also runs in sleep.
    #[must_use]
    pub fn new(claims: Claims, wall: Wall, now: Boot) -> Self {
        let life = Life::new(claims.left(wall), now);
        Self { claims, life }
    }

    /// The bytes of the pass, for another process.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// The pass of such bytes. `None`: another program wrote them.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}
