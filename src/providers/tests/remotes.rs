//! The sources that are reached over the network, one row each: all batteries test all of them.

use super::standin::says::*;
use super::standin::{Act, Frame, Standin};
use crate::config::Secret;
use crate::model::Symbol;
use crate::providers::exchanges::coindesk::Coindesk;
use crate::providers::exchanges::{binance, bitstamp, coinbase, kraken};
use crate::providers::plugins::http_json::HttpJson;
use crate::providers::wire::pairs::Wanted;
use crate::providers::wire::poll::{Poll, Polled};
use crate::providers::wire::push::{Limits, Push};
use crate::providers::wire::pushed::Pushed;
use crate::providers::{Http, PriceProvider};
use std::sync::Arc;
use std::time::Duration;

/// All sources. `message` makes a message with a price of [`symbol`].
#[rustfmt::skip]
pub(super) fn remotes() -> Vec<Remote> {
    vec![
        stream("binance stream", binance::Stream::new, |digits, seq| binance_trade("BTCUSDT", digits, seq))
            .pair("BTC-USDT").goodbye(r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}"#),
        rest("binance rest", binance::Rest::new, |digits, seq| binance_ticker("BTCUSDT", digits, seq)).pair("BTC-USDT"),
        stream("bitstamp stream", bitstamp::Stream::new, bitstamp_trade)
            .goodbye(r#"{"event":"bts:request_reconnect","channel":"","data":""}"#),
        rest("bitstamp rest", bitstamp::rest, bitstamp_ticker).without_number().without_name().missing("retry"),
        stream("coinbase stream", coinbase::Stream::new, coinbase_ticker),
        rest("coinbase rest", coinbase::rest, coinbase_product).without_name(),
        rest("coindesk rest", coindesk, |digits, seq| coindesk_index("BTC-USD", digits, seq)),
        rest("http_json rest", http_json, some_json).without_number().without_stamp(),
        stream("kraken stream", kraken::Stream::new, kraken_ticker).without_number(),
        rest("kraken rest", kraken::rest, kraken_result).without_number().without_stamp().without_name(),
    ]
}

fn coindesk(url: &str, wanted: &Wanted, every: Duration) -> Coindesk {
    let symbols: Vec<_> = wanted.iter().map(|(symbol, _)| symbol.clone()).collect();
    Coindesk::new(url, "cadli", Secret::new("the-key".to_owned()), &symbols, every).unwrap()
}

fn http_json(url: &str, wanted: &Wanted, every: Duration) -> crate::providers::wire::each::Each<HttpJson> {
    HttpJson::each(&format!("{url}/{{base}}?vs={{quote}}"), "/data/0/{base}/{quote}", "", wanted, every)
}

/// A source that talks to a server, and how its server sends a price.
pub(super) struct Remote {
    pub name: &'static str,
    /// The quoted pair.
    pub pair: &'static str,
    pub streams: bool,
    /// Whether its prices have numbers and time stamps, and name their pair.
    pub numbered: bool,
    pub stamped: bool,
    pub named: bool,
    /// The server's last message before it closes.
    pub goodbye: Option<&'static str>,
    /// The fault of a 404.
    pub missing: &'static str,
    make: Make,
    message: fn(&str, u64) -> String,
}

type Make = Box<dyn Fn(&At<'_>, &Symbol) -> Box<dyn PriceProvider> + Send + Sync>;

/// A provider's server, and its time-outs.
pub(super) struct At<'a> {
    /// `127.0.0.1:1234`, with the `s` of `https` and `wss` or without.
    pub host: &'a str,
    pub tls: bool,
    pub http: Arc<Http>,
    pub limits: Limits,
}

/// Limits that no test reaches.
pub(super) const LIMITS: Limits = Limits {
    silence: Duration::from_secs(45),
    no_tick: Duration::from_secs(60),
    renew_after: Duration::ZERO,
};
/// Time-out of a whole request, for tests that do not measure it, however busy the machine.
pub(super) const LONG: Duration = Duration::from_secs(20);
/// Interval between two requests.
const EVERY: Duration = Duration::from_millis(20);

pub(super) fn symbol() -> Symbol {
    Symbol::new("BTC-USD").unwrap()
}

pub(super) fn remote(name: &str) -> Remote {
    remotes().into_iter().find(|remote| remote.name == name).unwrap()
}

fn stream<S: Push>(
    name: &'static str,
    new: fn(&str, &Wanted) -> S,
    message: fn(&str, u64) -> String,
) -> Remote {
    let make = move |at: &At<'_>, pair: &Symbol| -> Box<dyn PriceProvider> {
        let url = format!("ws{}://{}", if at.tls { "s" } else { "" }, at.host);
        Box::new(Pushed::new(new(&url, &[(symbol(), pair.clone())]), at.limits, at.http.clone()))
    };
    Remote::new(name, true, make, message)
}

fn rest<R: Poll>(
    name: &'static str,
    new: fn(&str, &Wanted, Duration) -> R,
    message: fn(&str, u64) -> String,
) -> Remote {
    let make = move |at: &At<'_>, pair: &Symbol| -> Box<dyn PriceProvider> {
        let url = format!("http{}://{}", if at.tls { "s" } else { "" }, at.host);
        Box::new(Polled::new(new(&url, &[(symbol(), pair.clone())], EVERY), at.http.clone()))
    };
    Remote::new(name, false, make, message)
}

/// Deviations from the usual in a row of the table.
impl Remote {
    fn new(
        name: &'static str,
        streams: bool,
        make: impl Fn(&At<'_>, &Symbol) -> Box<dyn PriceProvider> + Send + Sync + 'static,
        message: fn(&str, u64) -> String,
    ) -> Self {
        let make = Box::new(make);
        Self {
            name,
            pair: "BTC-USD",
            streams,
            numbered: true,
            stamped: true,
            named: true,
            goodbye: None,
            missing: "refused",
            make,
            message,
        }
    }

    fn pair(self, pair: &'static str) -> Self {
        Self { pair, ..self }
    }

    fn goodbye(self, message: &'static str) -> Self {
        Self { goodbye: Some(message), ..self }
    }

    fn missing(self, missing: &'static str) -> Self {
        Self { missing, ..self }
    }

    fn without_number(self) -> Self {
        Self { numbered: false, ..self }
    }

    fn without_stamp(self) -> Self {
        Self { stamped: false, ..self }
    }

    fn without_name(self) -> Self {
        Self { named: false, ..self }
    }
}

impl Remote {
    pub(super) fn at(&self, at: &At<'_>) -> Box<dyn PriceProvider> {
        (self.make)(at, &Symbol::new(self.pair).unwrap())
    }

    /// The provider for that server, with long time-outs.
    pub(super) fn of(&self, server: &Standin) -> Box<dyn PriceProvider> {
        let host = server.address.to_string();
        self.at(&At { host: &host, tls: false, http: Http::within(LONG), limits: LIMITS })
    }

    pub(super) fn message(&self, digits: &str, seq: u64) -> String {
        (self.message)(digits, seq)
    }

    /// A server that sends these messages in order, and repeats the last answer.
    pub(super) async fn server(&self, messages: Vec<Vec<u8>>) -> Standin {
        let server = if self.streams {
            Standin::always(Act::Stream(messages.into_iter().map(Frame::Binary).collect())).await
        } else {
            Standin::script(messages.into_iter().map(Act::ok).collect()).await
        };
        server.unwrap()
    }
}
