//! What a request may do. One function decides; the table of all its answers is a test, and in docs/access.md.

use super::claims::Claims;
use super::refusal::Refusal;
use super::rights::Scope;
use crate::config::{AnonymousKind, AuthMode, AuthSection, Hearers, Publish};
use crate::model::UserId;

/// The way that a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// A port for clients.
    Public,
    /// The admin port or the control socket: who reaches it is an administrator.
    Admin,
}

/// The one who asks.
#[derive(Clone, Copy, Debug)]
pub enum Bearer<'a> {
    /// No token was sent.
    Nobody,
    /// A verified token.
    Token(&'a Claims),
}

/// A channel, with what its configuration allows.
#[derive(Clone, Copy, Debug)]
pub struct Channel<'a> {
    pub name: &'a str,
    pub hearers: Hearers,
    pub publishers: Publish,
    /// Kind that `auth.anonymous` names it by.
    kind: AnonymousKind,
}

impl<'a> Channel<'a> {
    /// A channel of that name.
    #[must_use]
    pub fn new(name: &'a str, hearers: Hearers, publishers: Publish) -> Self {
        Self { name, hearers, publishers, kind: AnonymousKind::of(name) }
    }

    /// The lines of a file or a program, by the name of their stream, which may be a channel's as well.
    #[must_use]
    pub fn lines(stream: &'a str) -> Self {
        let (hearers, publishers) = (Hearers::Anyone, Publish::Admin);
        Self { name: stream, hearers, publishers, kind: AnonymousKind::Lines }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// The page and its files, health, metrics, `/api/v1/info`, schemas.
    Public,
    /// `/api/v1/sources`, `/api/v1/streams`: of all of the feed, nothing of one channel.
    Overview,
    /// To hear a channel, or to read the same over REST.
    Hear(Channel<'a>),
    /// To open, resume, poll or move a session of that user; `None`: of whom the token names.
    Open(Option<&'a UserId>),
    /// To open a stream that carries this channel.
    Stream(Option<&'a UserId>, Channel<'a>),
    /// To open `/command` or `/echo`, which answer their client only.
    Tool,
    /// To open `/chat` or `/broadcast`, by its name: who opens it can speak to all.
    Talk(&'a str),
    /// To publish.
    Publish(Channel<'a>),
    /// To send the price to that user's sessions.
    Quote(&'a UserId),
    /// To send a message to a user's sessions.
    Message,
    /// The admin routes.
    Administer,
}

/// What the configuration says of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    mode: AuthMode,
    anonymous: Vec<AnonymousKind>,
}

impl Policy {
    /// The policy of a configuration.
    #[must_use]
    pub fn new(auth: &AuthSection) -> Self {
        Self { mode: auth.mode, anonymous: auth.anonymous.clone() }
    }

    /// Decides. What a limit, a missing user or a missing price refuses is decided elsewhere.
    ///
    /// # Errors
    /// Why it may not be: no token, or not with this one. In open mode, admin routes are not there.
    pub fn decide(&self, door: Door, bearer: Bearer<'_>, action: Action<'_>) -> Result<(), Refusal> {
        match (door, self.mode, bearer) {
            (Door::Admin, ..) => Ok(()),
            (Door::Public, AuthMode::Open, _) => in_open_mode(action),
            (Door::Public, AuthMode::Token, Bearer::Nobody) => match self.is_free(action) {
                true => Ok(()),
                false => Err(Refusal::Missing),
            },
            (Door::Public, AuthMode::Token, Bearer::Token(claims)) => match allows(claims, action) {
                true => Ok(()),
                false => Err(Refusal::Forbidden),
            },
        }
    }

    /// Tells whether no token is needed. A user's name needs one: nobody speaks in another's.
    fn is_free(&self, action: Action<'_>) -> bool {
        let free = |channel: Channel<'_>| {
            channel.hearers == Hearers::Anyone && self.anonymous.contains(&channel.kind)
        };
        match action {
            Action::Public => true,
            Action::Overview | Action::Open(None) => !self.anonymous.is_empty(),
            Action::Hear(channel) | Action::Stream(None, channel) => free(channel),
            Action::Open(Some(_))
            | Action::Stream(Some(_), _)
            | Action::Tool
            | Action::Talk(_)
            | Action::Publish(_)
            | Action::Quote(_)
            | Action::Message
            | Action::Administer => false,
        }
    }
}

/// The id is what the client says, and nobody is an administrator.
fn in_open_mode(action: Action<'_>) -> Result<(), Refusal> {
    match action {
        Action::Hear(channel) | Action::Stream(_, channel) if channel.hearers != Hearers::Anyone => {
            Err(Refusal::Forbidden)
        }
        Action::Publish(channel) if channel.publishers != Publish::Anyone => Err(Refusal::Forbidden),
        Action::Message | Action::Administer => Err(Refusal::NotHere),
        _ => Ok(()),
    }
}

/// Tells whether a token gives that right. A session is always that of the token's own user, also an administrator's.
fn allows(claims: &Claims, action: Action<'_>) -> bool {
    let rights = &claims.rights;
    let own = |user: Option<&UserId>| user.is_none_or(|user| *user == claims.user);
    let hears = |channel: Channel<'_>| {
        let open = channel.hearers != Hearers::Admin || rights.has(Scope::Admin);
        open && rights.may_hear(channel.name)
    };
    match action {
        Action::Public | Action::Overview | Action::Tool => true,
        Action::Hear(channel) => hears(channel),
        Action::Open(user) => own(user),
        Action::Stream(user, channel) => own(user) && hears(channel),
        Action::Talk(name) => {
            rights.has(Scope::Publish) && rights.may_hear(name) && rights.may_publish_to(name)
        }
        Action::Publish(channel) => {
            let scope = match channel.publishers {
                Publish::Anyone => Scope::Publish,
                Publish::Admin => Scope::Admin,
            };
            rights.has(scope) && rights.may_publish_to(channel.name)
        }
        Action::Quote(user) => rights.has(Scope::QuoteAny) || (own(Some(user)) && rights.has(Scope::Quote)),
        Action::Message => rights.has(Scope::MessageAny),
        Action::Administer => rights.has(Scope::Admin),
    }
}
