//! Sections of what clients reach: ports, limits, signs of life.

use crate::config::kind::{
    At, BaseUrl, COUNT, Choice, Distinct, FLAG, Kind, LISTEN, List, Listen, Own, PATH, PORT, RATE, SOME,
    Size, TEXT, Whole, one,
};
use crate::config::read::{Wrong, must_be, text, wrong};
use crate::config::table::{row, section};
use crate::config::units;
use crate::config::value::{Item, Value};
use crate::model::Rate;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

/// Most bytes that a size may name: enough for any message, little enough for any machine.
pub(super) const LARGEST: u64 = 64 << 20;

section! {
    /// The page, REST and health; every WebSocket endpoint, too, for proxies that forward one port.
    pub struct HttpSection {
        /// Addresses. `[::]` takes IPv4 as well, and is 0.0.0.0 on a machine without IPv6. Port 0 takes a free port. An
        /// address of the defaults that this machine does not have (no IPv6) is left out.
        listen: Listen = row(PORT, r#"["[::]:3000"]"#)
            .development(r#"["127.0.0.1:3000", "[::1]:3000"]"#)
            .test(r#"["127.0.0.1:3000", "[::1]:3000"]"#)
            .workers(),
        /// Addresses for TLS (https, wss), beside the others; none: no such port. They need tls.cert.
        listen_tls: Option<Listen> = row(LISTEN, "[]").workers(),
        /// Largest body of a request; a larger one is answered with 413.
        max_body: usize = row(Size(1..=LARGEST), "16KiB"),
        /// How much of a refused body, or of what follows a closing answer, is read and dropped, within body_timeout, so
        /// that its client or proxy hears the answer instead of a reset.
        max_discard: usize = row(Size(0..=LARGEST), "16MiB"),
        /// Time that the head of a request may take.
        header_timeout: Duration = row(SOME, "10s"),
        /// Time that the body of a request may take.
        body_timeout: Duration = row(SOME, "10s"),
        /// Time that an open connection may wait for its next request.
        idle_timeout: Duration = row(SOME, "75s"),
        /// Time that reading a file of static_dir may take (a network file system may hang); beyond it 503.
        file_timeout: Duration = row(SOME, "2s"),
        /// Folder of the page's files; none: the page that is compiled in. Links are followed inside of the folder only.
        static_dir: Option<PathBuf> = row(PATH, ""),
        /// Foreign origins that may use this server from a browser: `https://example.com`, or of pages that come with an
        /// app or an extension (`capacitor://localhost`, `chrome-extension://ID`, `file://`). The own host is always
        /// allowed. There are no wildcards.
        allowed_origins: Vec<String> = row(Distinct(ORIGIN), "[]"),
        /// Host names that are served; none: any. On a port whose addresses are all loopback, addresses, localhost and
        /// *.localhost are served beside them, and nothing else.
        hosts: Vec<String> = row(Distinct(HOST), "[]"),
        /// Networks of reverse proxies whose X-Forwarded-For and X-Forwarded-Host are believed, "10.0.0.0/8" for instance.
        trusted_proxies: Vec<IpNet> = row(List(NETWORK), "[]"),
        /// How they tell the client's address and the host: "x-forwarded-for" (with X-Forwarded-Host) or "forwarded" (RFC
        /// 7239, for= and host=). Only the one that the proxies themselves write: they pass the other on as a client sent it.
        forwarded_header: ForwardedHeader = row(FORWARDED, "x-forwarded-for"),
        /// Whether connections of trusted_proxies to this port begin with a header of the PROXY protocol, version 1 or 2,
        /// before TLS and HTTP; one without it ends. Others speak for themselves.
        proxy_protocol: bool = row(FLAG, "false"),
        /// URL of the page's WebSocket; {host} stands for the page's own host name. None: the page's own origin. In
        /// development the default is "ws://{host}:8080/ws", with the port of ws.listen.
        page_ws_url: Option<String> = row(Own("a URL (ws, wss), empty for none", page_ws_url), ""),
    }
}

/// `http.forwarded_header`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, `X-Forwarded-Host`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

const FORWARDED: Choice<ForwardedHeader> =
    one(&[("x-forwarded-for", ForwardedHeader::XForwardedFor), ("forwarded", ForwardedHeader::Forwarded)]);

const ORIGIN: Own<String> = Own("an origin", |item, _| parsed(item, units::origin));
const HOST: Own<String> = Own("a host name", |item, _| parsed(item, units::host));
const NETWORK: Own<IpNet> = Own("a network", |item, _| parsed(item, units::network));

fn parsed<T>(item: &Item, parse: fn(&str) -> Result<T, String>) -> Result<T, Wrong> {
    parse(text(item)?).map_err(|why| wrong(item, format!("{}: {why}", item.value)))
}

fn page_ws_url(item: &Item, at: &mut At<'_>) -> Result<Option<String>, Wrong> {
    match text(item)? {
        "" => Ok(None),
        _ => BaseUrl(&["ws", "wss"]).read(item, at).map(Some),
    }
}

section! {
    /// The WebSocket port, and what all sessions share.
    pub struct WsSection {
        /// Addresses, as http.listen.
        listen: Listen = row(PORT, r#"["[::]:8080"]"#)
            .development(r#"["127.0.0.1:8080", "[::1]:8080"]"#)
            .test(r#"["127.0.0.1:8080", "[::1]:8080"]"#)
            .workers(),
        /// Addresses for TLS (wss), as http.listen_tls.
        listen_tls: Option<Listen> = row(LISTEN, "[]").workers(),
        /// As http.proxy_protocol, for this port.
        proxy_protocol: bool = row(FLAG, "false"),
        /// Endpoint that answers at "/", for clients that name no path: "broadcast", "command", "chat", "ws", "echo" or a
        /// stream.
        root: String = row(TEXT, "broadcast"),
        /// Whether /echo is there, which gives every message back: for conformance tests and latency probes.
        echo: bool = row(FLAG, "false").development("true").test("true"),
        /// Largest message from a client; a larger one closes its session with 1009.
        max_message: usize = row(Size(1..=LARGEST), "64KiB"),
        /// Most bytes that wait for one session. Prices and statistics give way to newer ones; an answer that does not fit
        /// closes the session with 4102.
        outbox: usize = row(Size(1024..=LARGEST), "64KiB"),
        /// Most bytes that the kernel holds for a client that does not read, of any connection on any port: as SO_SNDBUF,
        /// of which Linux takes twice as much for its own book-keeping, and at most net.core.wmem_max. Too little slows
        /// clients far away: so many bytes are on their way at once.
        send_buffer: usize = row(Size(4096..=LARGEST), "128KiB"),
        /// Most bytes that the kernel holds of a client before they are read, as SO_RCVBUF; at most net.core.rmem_max.
        receive_buffer: usize = row(Size(4096..=LARGEST), "64KiB"),
        /// A session to which nothing could be written for this time is closed with 4102.
        slow_timeout: Duration = row(SOME, "10s"),
        /// Time that a handshake may take, from the connection to its answer.
        handshake_timeout: Duration = row(SOME, "10s"),
    }
}

section! {
    /// A port for operators' programs: admin routes without a token, /metrics and process figures, which then leave the
    /// HTTP port. It must never be reachable for strangers.
    pub struct AdminSection {
        /// Addresses; none: no such port.
        listen: Option<Listen> = row(LISTEN, "[]").development(r#"["127.0.0.1:3001"]"#).workers(),
        /// Addresses for TLS, as http.listen_tls. With tls.client_ca each client needs a certificate.
        listen_tls: Option<Listen> = row(LISTEN, "[]").workers(),
    }
}

section! {
    /// Signs of life on WebSockets.
    pub struct HeartbeatSection {
        /// A session from which nothing has come for this time is pinged.
        interval: Duration = row(SOME, "25s"),
        /// A session from which nothing has come for this time is closed with 4201. More than the interval.
        timeout: Duration = row(SOME, "40s"),
    }
}

section! {
    /// POST /api/v1/quotes.
    pub struct QuotesSection {
        /// Longest time from the receipt of the request to its answer.
        timeout: Duration = row(SOME, "2s"),
    }
}

section! {
    /// The statistics, as a message and as GET /api/v1/stats.
    pub struct StatsSection {
        /// At most one message in this time.
        interval: Duration = row(SOME, "1s"),
        /// Whether they name the users. An id is as good as a password while auth.mode is "open".
        users: bool = row(FLAG, "false").development("true").test("true"),
    }
}

section! {
    /// How much one client may take; 0 is no limit unless said otherwise.
    pub struct LimitsSection {
        /// Open streams of one user (the user_id, else the address) in the whole cluster; beyond it 429.
        connections_per_user: u32 = row(COUNT, "3"),
        /// Sessions in all; beyond it 503. 0: those that have a connection of their own are at most 95 % of what the
        /// open-file limit allows, and poll.sessions counts the others.
        sessions: u32 = row(COUNT, "0"),
        /// Sessions of one user.
        sessions_per_user: u32 = row(COUNT, "0"),
        /// Sessions from one address (IPv6: from one /64; behind http.trusted_proxies the forwarded one); beyond it 429.
        /// "auto": a quarter of limits.sessions or what stands for it. A loopback address may then have more for as long
        /// as nobody else needs the room.
        sessions_per_address: Share = row(SHARE, "auto"),
        /// Connections from one address to one worker, those of its sessions among them. Beyond it the one that has been
        /// idle longest ends, else 429. "auto": a quarter of what the open-file limit allows, for all but loopback
        /// addresses. http.trusted_proxies have no such limit.
        connections_per_address: Share = row(SHARE, "auto"),
        /// Opened sessions from one address, "20/m" for instance.
        connects_per_address: Rate = row(RATE, r#""0""#),
        /// Subscriptions of one session.
        channels_per_session: u32 = row(COUNT, "128"),
        /// Messages from one session; beyond it the session is closed with 4101.
        messages_per_session: Rate = row(RATE, "5/s"),
        /// Messages from one session at once.
        messages_burst: u32 = row(Whole(1..=u32::MAX), "20"),
        /// Bytes from one session, "64KiB/s" for instance; beyond it the session is closed with 4101. "auto": 64KiB/s, and
        /// no limit where messages_per_session has none.
        bytes_per_session: ByteRate = row(Own("\"auto\" or a rate of bytes, 0 for no limit", byte_rate), "auto"),
        /// Bytes from one session at once, beside one message of ws.max_message.
        bytes_burst: usize = row(Size(1..=LARGEST), "256KiB"),
        /// Quotes of one user, counted for the whole cluster; beyond it 429.
        quotes_per_user: Rate = row(RATE, "10/s"),
        /// POSTs of quotes from one address (IPv6: from one /64; behind http.trusted_proxies the forwarded one), counted for
        /// the whole cluster; beyond it 429. A back end posts for many users from one address.
        quotes_per_poster: Rate = row(RATE, r#""0""#),
    }
}

/// `limits.bytes_per_session`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ByteRate {
    /// [`ByteRate::DEFAULT`] where messages are limited, too.
    Auto,
    /// A number of bytes in a time.
    Exactly(Rate),
}

impl ByteRate {
    const DEFAULT: Rate = Rate { count: 64 << 10, per: Duration::from_secs(1) };
}

impl LimitsSection {
    /// Bytes from one session; off: no limit.
    #[must_use]
    pub fn bytes(&self) -> Rate {
        match self.bytes_per_session {
            ByteRate::Exactly(rate) => rate,
            ByteRate::Auto if self.messages_per_session == Rate::OFF => Rate::OFF,
            ByteRate::Auto => ByteRate::DEFAULT,
        }
    }
}

/// The part of a whole that one address may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Share {
    /// A quarter, for all but loopback addresses: behind those may be a proxy that is not trusted.
    Auto,
    /// So many; 0 is no limit.
    Most(u32),
}

impl Share {
    /// The most that `address` may have of `whole`; `None`: no limit.
    #[must_use]
    pub fn of(self, whole: u32, address: IpAddr) -> Option<u32> {
        match self {
            Self::Auto => (!is_local(address)).then(|| quarter(whole)),
            Self::Most(most) => (most > 0).then_some(most),
        }
    }
}

fn byte_rate(item: &Item, _: &mut At<'_>) -> Result<ByteRate, Wrong> {
    match &item.value {
        Value::Text(word) if word == "auto" => Ok(ByteRate::Auto),
        Value::Whole(0) => Ok(ByteRate::Exactly(Rate::OFF)),
        Value::Text(text) => units::byte_rate(text).map(ByteRate::Exactly).ok_or_else(|| not_bytes(item)),
        _ => Err(not_bytes(item)),
    }
}

fn not_bytes(item: &Item) -> Wrong {
    must_be(item, "\"auto\" or a rate of bytes (\"64KiB/s\", \"1MiB/10s\", 0 for no limit)")
}

/// The part of a whole that an address may have at the expense of others.
#[must_use]
pub fn quarter(whole: u32) -> u32 {
    whole.div_ceil(4)
}

/// Tells whether an address is of this machine. Limits count `::1` by its /64, `::`.
#[must_use]
pub fn is_local(address: IpAddr) -> bool {
    address.is_loopback() || address == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
}

const SHARE: Own<Share> = Own("\"auto\" or a number, 0 for no limit", |item, _| match &item.value {
    Value::Text(word) if word == "auto" => Ok(Share::Auto),
    Value::Whole(number) => u32::try_from(*number)
        .map(Share::Most)
        .map_err(|_| wrong(item, format!("must be between 0 and {}, not {number}", u32::MAX))),
    _ => Err(must_be(item, "\"auto\" or a number, 0 for no limit")),
});
