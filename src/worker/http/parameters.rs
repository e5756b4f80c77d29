//! Parameters that several routes take: a query, a user, a symbol.

use crate::config::PriceSection;
use crate::model::{Symbol, UserId};
use crate::protocol::client::{Problem, ProblemKind};
use axum::extract::{FromRequestParts, Query};
use axum::http::Uri;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

/// The parameters of a query, as an extractor.
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        query(&parts.uri).map(Self)
    }
}

/// Reads the parameters of a query; a parameter that is named twice is refused.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    let parameters = Query::try_from_uri(uri);
    parameters.map(|Query(all)| all).map_err(|why| ProblemKind::QueryInvalid.with(why.body_text()))
}

/// Reads a user id; `refusal` says whether it stands in a query or in a body.
pub(super) fn user(text: &str, refusal: ProblemKind) -> Result<UserId, Problem> {
    UserId::new(text).map_err(|error| refusal.with(format!("user_id {error}.")))
}

/// Reads a symbol that is priced here; without a text, the default symbol.
pub(super) fn symbol(text: Option<&str>, config: &PriceSection) -> Result<Symbol, Problem> {
    let Some(text) = text else { return Ok(config.symbol.clone()) };
    let known = Symbol::new(text).ok().filter(|symbol| config.symbols.contains(symbol));
    known.ok_or_else(|| ProblemKind::UnknownSymbol.into())
}
