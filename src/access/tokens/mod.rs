//! Tokens: which are trusted, and what they allow. Pure: keys, token, rules and moment in; claims or a refusal out.
//!
//! `carried` finds a token in a request; `verify` checks it (`encoding`, `json`, `key`, `keys`, `jwks`, `claims`), with a
//! `refusal` where it is not good; `rights` and `permission` say what its bearer may do; `life` and `revocations` (in their file: `stored`) when
//! it ends; `plan` when keys are fetched, `kept` which of them stay; `sign` makes one.

mod carried;
mod claims;
mod encoding;
#[cfg(any(test, fuzzing))]
#[path = "../../../tests/fuzz/targets/tokens.rs"]
pub mod fuzzed;
mod json;
mod jwks;
mod kept;
mod key;
mod keys;
mod life;
mod pass;
mod permission;
mod plan;
mod refusal;
mod revocations;
mod rights;
mod sign;
mod stored;
#[cfg(test)]
mod tests;
mod trust;
mod verify;

pub use carried::{Ways, carried, masked};
pub use claims::{Claims, Rules};
pub use jwks::{Jwks, JwksFault, LONGEST_JWKS};
pub use kept::{FetchedJwks, KeptJwks};
pub use keys::Keys;
pub use life::{Due, Life};
pub use pass::Pass;
pub use permission::{Action, Bearer, Channel, Door, Policy};
pub use plan::{Asked, JwksPlan, KeyQuestions};
pub use refusal::{Reason, Refusal};
pub use revocations::{Full, Looked, Revocation, Revocations};
pub use rights::{Rights, Scope};
pub use sign::sign;
pub use stored::{HEAD as REVOCATIONS_HEAD, Read as ReadRevocations};
pub use trust::{Revoked, Trust};
pub use verify::{LONGEST_TOKEN, verify};
