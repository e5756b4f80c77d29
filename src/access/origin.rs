//! The host that a request names and the origin of a browser: no foreign page may use this server through its
//! visitors (cross-site WebSockets, DNS rebinding).

use super::client::Client;
use super::forwarded;
use super::host::{Host, Site};
use crate::config::{Config, ForwardedHeader};
use crate::protocol::client::ProblemKind;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};

mod own;

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Methods that a foreign page may use.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
/// Headers that it may send without asking for each.
const HEADERS: &str = "authorization, content-type, last-event-id";
/// Headers by which proxies speak: a page may not.
const OF_PROXIES: [&str; 3] = ["forwarded", "x-forwarded-", "x-real-ip"];
/// Most names that a page is told it may send.
const NAMES: usize = 32;
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Headers that a foreign page may read.
const EXPOSED: HeaderValue = HeaderValue::from_static("retry-after");
/// Seconds for which a browser may remember these answers. Short: the configuration is live.
const REMEMBERED: HeaderValue = HeaderValue::from_static("600");

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No `Host`, several, or no host in it.
    BadHost,
    /// A host that is not served here.
    HostNotServed,
    /// A browser's page of somewhere else.
    ForeignOrigin,
}

impl Denied {
    /// The answer to the request.
    #[must_use]
    pub fn kind(self) -> ProblemKind {
        match self {
            Self::BadHost => ProblemKind::BadHost,
            Self::HostNotServed => ProblemKind::HostNotServed,
            Self::ForeignOrigin => ProblemKind::OriginNotAllowed,
        }
    }
}

/// Verdict on an admitted request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// A client that is no page, or an own page.
    Own,
    /// A page of an allowed foreign origin: answers to it say so.
    Foreign(HeaderValue),
}

impl Admitted {
    /// The headers that let the foreign page read an answer (CORS); none for others.
    pub fn mark(&self, answer: &mut HeaderMap) {
        if let Self::Foreign(origin) = self {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

/// The headers of the answer (204) to a browser that asks before it sends a foreign page's request; `None` when the
/// request is no such question. [`Admitted::mark`] comes on top.
#[must_use]
pub fn preflight(admitted: &Admitted, method: &Method, headers: &HeaderMap) -> Option<HeaderMap> {
    let asks = *method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    (asks && matches!(admitted, Admitted::Foreign(_))).then(|| {
        HeaderMap::from_iter([
            (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, may_send(headers)),
            (header::ACCESS_CONTROL_MAX_AGE, REMEMBERED),
            (header::VARY, HeaderValue::from_static("access-control-request-headers")),
        ])
    })
}

/// The headers that a listed page may send: the usual ones, and those that it asks for, since libraries for tracing add
/// theirs to every request.
fn may_send(headers: &HeaderMap) -> HeaderValue {
    let lines = headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let asked = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).map(str::trim);
    let mut names: Vec<_> = HEADERS.split(", ").map(str::to_owned).collect();
    for name in asked.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()) {
        let of_proxies = OF_PROXIES.iter().any(|prefix| name.as_str().starts_with(prefix));
        if !of_proxies && names.len() < NAMES && !names.iter().any(|known| known == name.as_str()) {
            names.push(name.as_str().to_owned());
        }
    }
    HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static(HEADERS))
}

/// Whether a browser says that a page of another origin makes it send this request, and names no `Origin` that could be
/// judged: an `<img>`, a link, a form. Such a request must have no effect.
#[must_use]
pub fn is_planted(headers: &HeaderMap) -> bool {
    is_foreign(headers) && !headers.contains_key(header::ORIGIN)
}

/// Whether a browser says that a page of another origin makes it send this request (W3C, Fetch Metadata).
#[must_use]
pub fn is_foreign(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all(FETCH_SITE).iter();
    sites.any(|site| [&b"cross-site"[..], b"same-site"].contains(&site.as_bytes()))
}

/// Where a request arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// All sockets of its port are loopback: a name of the network that leads here is an attack, unless it is listed.
    pub only_local: bool,
    /// The route answers whatever host is named, for balancers and monitors that name none of ours.
    pub any_host: bool,
}

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub version: Version,
    pub uri: &'a Uri,
    pub headers: &'a HeaderMap,
}

impl Head<'_> {
    fn names_at_most_one(&self) -> bool {
        self.headers.get_all(header::HOST).iter().nth(1).is_none()
    }
}

/// The rules of one configuration.
#[derive(Clone, Debug)]
pub struct Gate {
    hosts: Vec<Host>,
    origins: Vec<String>,
    /// How trusted proxies tell the host that they heard.
    told_by: ForwardedHeader,
}

impl Gate {
    /// Makes the rules of the section `http`.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            hosts: config.http.hosts.iter().filter_map(|host| Host::parse(host)).collect(),
            origins: config.http.allowed_origins.clone(),
            told_by: config.http.forwarded_header,
        }
    }

    /// Checks the head of a request.
    ///
    /// # Errors
    /// The request is refused.
    pub fn check(&self, place: Place, head: &Head<'_>, client: &Client) -> Result<Admitted, Denied> {
        let host = match named(head) {
            Err(Denied::BadHost) if place.any_host && head.names_at_most_one() => None,
            site => site?.map(|site| site.host),
        };
        if !place.any_host && !self.serves(place, host.as_ref()) {
            return Err(Denied::HostNotServed);
        }
        self.admit(host.as_ref(), head.headers, client)
    }

    /// Whether answers depend on the page that asks.
    #[must_use]
    pub fn tells_origins_apart(&self) -> bool {
        !self.origins.is_empty()
    }

    fn serves(&self, place: Place, host: Option<&Host>) -> bool {
        match host {
            _ if !place.only_local && self.hosts.is_empty() => true,
            // HTTP/1.0 without a host: that is no browser.
            None => self.hosts.is_empty(),
            Some(host) => (place.only_local && host.is_local()) || self.hosts.contains(host),
        }
    }

    fn admit(&self, host: Option<&Host>, headers: &HeaderMap, client: &Client) -> Result<Admitted, Denied> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(value) = origins.next() else { return Ok(Admitted::Own) };
        let origin = value.to_str().ok().filter(|_| origins.next().is_none()).ok_or(Denied::ForeignOrigin)?;
        if self.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) {
            return Ok(Admitted::Foreign(value.clone()));
        }
        let (scheme, host_of_page) = origin.split_once("://").ok_or(Denied::ForeignOrigin)?;
        // The page of an app or an extension may call itself `localhost`: it is none of this server.
        if !["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web)) {
            return Err(Denied::ForeignOrigin);
        }
        let from = Host::parse(host_of_page).ok_or(Denied::ForeignOrigin)?;
        let heard = || heard(headers, self.told_by).is_some_and(|site| site.host == from);
        let is_own = host == Some(&from) || (client.proxied && heard());
        if is_own { Ok(Admitted::Own) } else { Err(Denied::ForeignOrigin) }
    }
}

/// The host that the request names: in its target if that is a whole URL, else in its one `Host` header (RFC 9112,
/// section 3.2). Only HTTP/1.0 may name none.
fn named(head: &Head<'_>) -> Result<Option<Site>, Denied> {
    let Head { version, uri, headers } = *head;
    let mut hosts = headers.get_all(header::HOST).iter();
    let parse = |text: &str| Site::parse(text).ok_or(Denied::BadHost);
    let host = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(Denied::BadHost),
        (Some(value), None) => Some(parse(value.to_str().map_err(|_| Denied::BadHost)?)?),
        (None, _) if version < Version::HTTP_11 => None,
        // From HTTP/2 on it is always part of the target.
        (None, _) if version > Version::HTTP_11 && uri.authority().is_some() => None,
        (None, _) => return Err(Denied::BadHost),
    };
    uri.authority().map_or(Ok(host), |authority| parse(authority.as_str()).map(Some))
}

/// The host that the nearest proxy heard: it appends to the header of the request.
fn heard(headers: &HeaderMap, by: ForwardedHeader) -> Option<Site> {
    told(headers, by, (&FORWARDED_HOST, "host")).and_then(Site::parse)
}

/// What the nearest proxy says by a header of its own, or by a parameter of `Forwarded`.
fn told<'h>(
    headers: &'h HeaderMap,
    by: ForwardedHeader,
    (own, parameter): (&HeaderName, &str),
) -> Option<&'h str> {
    let last = |name: &str| headers.get_all(name).iter().next_back()?.to_str().ok()?.rsplit(',').next();
    match by {
        ForwardedHeader::XForwardedFor => last(own.as_str()).map(str::trim),
        ForwardedHeader::Forwarded => {
            let value = forwarded::parameter(last(forwarded::NAME)?.as_bytes(), parameter)?;
            Some(std::str::from_utf8(value).ok()?.trim_matches('"'))
        }
    }
}

#[cfg(test)]
mod tests;
