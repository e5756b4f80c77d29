//! Identity of clients: whom tokens are believed from, and what they must say.

use super::provider::{Secret, secret_file};
use crate::config::file::{self, Content};
use crate::config::kind::{At, Choice, Distinct, Own, TEXT, Time, one, seconds};
use crate::config::read::{Wrong, list, must_be, place, text, wrong};
use crate::config::table::{row, section};
use crate::config::units;
use crate::config::value::{Item, Value};
use crate::model::PublicKey;
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::path::Path;
use std::time::Duration;
use url::{Host, Url};

section! {
    /// Identity of clients.
    pub struct AuthSection {
        /// "open": the id is what the client says, so ids should be unguessable (the page's are). "token": it is the `sub`
        /// of a signed token (JWT), and the token says what its bearer may do.
        mode: AuthMode = row(MODE, "open"),
        /// Files of secrets for HS256, each a text of at least 32 bytes (`openssl rand -base64 48`), used as it stands but
        /// for white space around it. The first one signs (`btc-cluster token`), all verify, so that a secret can be
        /// replaced while tokens of the old one live. Who has one can sign for anybody. A bare name is looked for among
        /// systemd's credentials first.
        secrets as "secret_file": Vec<Secret> = row(Own("a path or a list of paths", secrets), "[]"),
        /// Files of public keys in PEM, one in each, for ES256 (P-256), EdDSA (Ed25519) or RS256 (RSA, 2048 to 8192 bits).
        /// All verify.
        public_keys as "public_key_file": Vec<PublicKey> = row(Own("a path or a list of paths", public_keys), "[]"),
        /// URL of the issuer's key set (JWKS), https unless it is on this machine; none: no such. The feeder fetches it,
        /// and the last good one is kept in the state directory.
        jwks_url: Option<String> = row(Own("a URL (https), empty for none", jwks_url), ""),
        /// Time from one fetch to the next. A token of an unknown key makes one more, at most every 30 seconds.
        jwks_refresh: Duration = row(seconds(1, 7 * 86_400), "10m"),
        /// Names of this service in `aud`, of which a token must have one. None: a token that has an `aud` is refused.
        audience: Vec<String> = row(Distinct(NAME), "[]"),
        /// Names in `iss` of which a token must have one. None: any.
        issuer: Vec<String> = row(Distinct(NAME), "[]"),
        /// How far the clock of the issuer may be off.
        leeway: Duration = row(Time(Duration::ZERO..=Duration::from_secs(300)), "10s"),
        /// How long before the end of a token its session is told, to bring a fresh one.
        notice: Duration = row(Time(Duration::ZERO..=Duration::from_secs(3600)), "30s"),
        /// Name of the cookie that holds the token of a page of the own origin; none: no cookie is read.
        cookie: Option<String> = row(Own("a cookie's name, empty for none", cookie), ""),
        /// Kinds of channels that may be heard without a token: "price", "candle", "stats", "presence", "message"
        /// (`[[channels]]`).
        anonymous: Vec<AnonymousKind> = row(Distinct(KINDS), "[]"),
    }
}

/// `auth.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthMode {
    /// The id is what the client says.
    Open,
    /// The id is that of a token.
    Token,
}

const MODE: Choice<AuthMode> = one(&[("open", AuthMode::Open), ("token", AuthMode::Token)]);

/// A kind of channels, for `auth.anonymous`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnonymousKind {
    Price,
    Candle,
    Stats,
    Presence,
    /// Channels of `[[channels]]`.
    Message,
    /// Rooms, which nobody is in without a name: no word of the configuration.
    Chat,
    /// Lines of a file or a program: no word of the configuration.
    Lines,
}

const KINDS: Choice<AnonymousKind> = one(&[
    ("price", AnonymousKind::Price),
    ("candle", AnonymousKind::Candle),
    ("stats", AnonymousKind::Stats),
    ("presence", AnonymousKind::Presence),
    ("message", AnonymousKind::Message),
]);

impl AnonymousKind {
    /// The kind of a channel, by its name.
    #[must_use]
    pub fn of(channel: &str) -> Self {
        match channel.split_once(':').map_or(channel, |(kind, _)| kind) {
            "price" => Self::Price,
            "candle" => Self::Candle,
            "stats" => Self::Stats,
            "presence" => Self::Presence,
            "chat" => Self::Chat,
            _ => Self::Message,
        }
    }
}

impl AuthSection {
    /// Tells whether there is anything to verify a token with.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.secrets.is_empty() || !self.public_keys.is_empty() || self.jwks_url.is_some()
    }
}

/// More keys of files than anybody rotates through; each is tried for each token of its algorithm.
const MOST_FILES: usize = 4;

/// Reads a list of files; an empty text is none.
fn files<T>(
    item: &Item,
    at: &mut At<'_>,
    read: fn(&Item, &mut At<'_>) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    if item.as_text() == Some("") {
        return Ok(vec![]);
    }
    match &item.value {
        Value::List(items) if items.len() > MOST_FILES => {
            Err(wrong(item, format!("must name at most {MOST_FILES} files")))
        }
        _ => list(item, |item| read(item, at)),
    }
}

fn secrets(item: &Item, at: &mut At<'_>) -> Result<Vec<Secret>, Wrong> {
    files(item, at, |item, at| secret_file(item, at, &judge_secret)?.ok_or_else(|| must_be(item, "a path")))
}

/// The secret is the text without the white space around it. (RFC 7518, section 3.2: not shorter than the hash.)
fn judge_secret(text: &str) -> Result<(), String> {
    const SHORTEST: usize = 32;
    if text.contains("-----BEGIN") {
        return Err("holds a key in PEM: public keys belong into auth.public_key_file".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("must hold the secret and nothing else, in one line".to_owned());
    }
    if text.len() < SHORTEST {
        return Err(format!(
            "holds a secret of {} bytes: whoever has one token could try them all; it must have at least {SHORTEST} \
             (openssl rand -base64 48)",
            text.len()
        ));
    }
    Ok(())
}

fn public_keys(item: &Item, at: &mut At<'_>) -> Result<Vec<PublicKey>, Wrong> {
    files(item, at, public_key)
}

fn public_key(item: &Item, at: &mut At<'_>) -> Result<PublicKey, Wrong> {
    let path = place(item, at.base())?.ok_or_else(|| must_be(item, "a path"))?;
    let fault = |path: &Path, why: &dyn Display| wrong(item, format!("{}: {why}", path.display()));
    let reading = file::read(&path);
    let key = match &reading.content {
        Content::Text(text) => PublicKey::from_pem(text).map_err(|why| fault(&path, &why))?,
        Content::Absent => return Err(fault(&path, &"no such file")),
        Content::Dangling => return Err(fault(&path, &file::DANGLING)),
        Content::Unreadable(_, why) => return Err(fault(&path, why)),
    };
    // Watched like a secret, for its changes.
    at.secrets.push(reading);
    Ok(key)
}

/// Keys that come over an open network are anybody's.
fn jwks_url(item: &Item, _: &mut At<'_>) -> Result<Option<String>, Wrong> {
    let text = text(item)?;
    if text.is_empty() {
        return Ok(None);
    }
    let url = units::any_url(text, &["https", "http"]).map_err(|why| wrong(item, why))?;
    match url.scheme() == "https" || is_here(&url) {
        true if url.fragment().is_none() => Ok(Some(text.to_owned())),
        true => Err(wrong(item, "must not have a fragment (#)")),
        false => Err(wrong(
            item,
            "must begin with https://; http:// only where the host is a loopback address or localhost",
        )),
    }
}

fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// A `token` of RFC 9110, section 5.6.2.
fn cookie(item: &Item, _: &mut At<'_>) -> Result<Option<String>, Wrong> {
    let name = text(item)?;
    let good = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    match name.len() {
        0 => Ok(None),
        1..=64 if name.bytes().all(good) => Ok(Some(name.to_owned())),
        _ => Err(must_be(item, "a cookie's name (\"__Host-token\"), of at most 64 characters")),
    }
}

const NAME: Own<String> = Own("a text, not empty", |item, at| {
    let name = crate::config::kind::Kind::read(&TEXT, item, at)?;
    if name.is_empty() { Err(wrong(item, "must not be empty")) } else { Ok(name) }
});
