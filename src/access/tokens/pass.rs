//! What a session keeps of its token.

use super::claims::Claims;
use super::life::Life;
use super::rights::Rights;
use crate::model::{Boot, Device, UserId, Wall};
use serde::{Deserialize, Serialize};

/// What a token says that others of the same rights do not: `exp`, `iat`, `jti`, `device`, and how long it holds.
type Own = (Wall, Option<Wall>, Option<Box<str>>, Option<Device>, Life);

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

    /// The pass in two parts, for the process after this one: what many have in common, and what this one has alone.
    #[must_use]
    pub fn split(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let (mut rights, mut own) = (None, None);
        if let Self::Token { claims, life } = self {
            let Claims { user: _, ends, issued, id, device, rights: all } = claims;
            (rights, own) = (Some(all), Some((ends, issued, id, device, life)));
        }
        Some((postcard::to_stdvec(&rights).ok()?, postcard::to_stdvec(&own).ok()?))
    }

    /// The pass of such parts, of that user. `None`: they make none.
    #[must_use]
    pub fn join(user: &UserId, common: &[u8], own: &[u8]) -> Option<Self> {
        let rights: Option<Rights> = postcard::from_bytes(common).ok()?;
        let Some(rights) = rights else { return Some(Self::Anonymous) };
        let own: Option<Own> = postcard::from_bytes(own).ok()?;
        let (ends, issued, id, device, life) = own?;
        let claims = Claims { user: user.clone(), ends, issued, id, device, rights };
        Some(Self::Token { claims, life })
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    fn of(user: &UserId, ends: i64, id: Option<&str>, device: Option<&str>) -> Pass {
        let rights = Rights::read(Some(&json!("quote publish")), Some(&json!({ "subscribe": ["news"] })));
        let claims = Claims {
            user: user.clone(),
            ends: Wall(ends),
            issued: id.map(|_| Wall(ends - 1)),
            id: id.map(Box::from),
            device: device.map(|name| Device::new(name).unwrap()),
            rights: rights.unwrap(),
        };
        Pass::Token { claims, life: Life::new(Duration::from_millis(ends.unsigned_abs()), Boot(7)) }
    }

    #[test]
    fn a_pass_is_made_again_of_its_parts_and_one_of_them_is_the_same_in_many() {
        let user = UserId::new("alice").unwrap();
        let all = [
            of(&user, 9, None, None),
            of(&user, 253_402_300_799_000, Some(&"j".repeat(256)), Some("d")),
            Pass::Anonymous,
        ];
        let parts: Vec<_> = all.iter().map(|pass| pass.split().unwrap()).collect();
        for (pass, (common, own)) in all.iter().zip(&parts) {
            assert_eq!(Pass::join(&user, common, own).as_ref(), Some(pass));
            assert_eq!(Pass::decode(&pass.encode()).as_ref(), Some(pass));
        }
        assert_eq!(parts[0].0, parts[1].0);
        // A token of which half is missing is not one of nobody.
        assert_eq!(Pass::join(&user, &parts[0].0, &parts[2].1), None);
        assert_eq!((Pass::join(&user, &[], &parts[0].1), Pass::join(&user, &parts[0].0, &[])), (None, None));
    }
}
