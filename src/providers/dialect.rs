//! Dialects without their drivers: how a source's bytes read, for who has the bytes from elsewhere.

use super::fault::Reply;
use super::poll::Poll;
use super::push::Push;
use super::{Content, Fault, Http, Sink, build};
use crate::config::{Exchange, Provider, ProviderKind, Secret};
use crate::model::Symbol;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The reading half of a [`Push`], which as a whole is cloned and so cannot be an object.
pub(super) trait Listen: Send {
    /// See [`Push::read`].
    fn read(&mut self, message: &[u8], out: &mut dyn Sink) -> Result<(), Fault>;
}

impl<D: Push> Listen for D {
    fn read(&mut self, message: &[u8], out: &mut dyn Sink) -> Result<(), Fault> {
        Push::read(self, message, out)
    }
}

/// How one leg of a source reads. It keeps what the dialect keeps over a session.
pub(super) enum Dialect {
    /// Messages of a stream.
    Push(Box<dyn Listen>),
    /// Answers over HTTP.
    Poll(Box<dyn Poll>),
}

impl Dialect {
    /// Reads what came; without a `status`, an answer was a good one.
    ///
    /// # Errors
    /// As the dialect says.
    pub(super) fn read(
        &mut self,
        status: Option<u16>,
        bytes: &[u8],
        out: &mut dyn Sink,
    ) -> Result<(), Fault> {
        match self {
            Self::Push(dialect) => dialect.read(bytes, out),
            Self::Poll(dialect) => {
                let reply = Reply { status: status.unwrap_or(200), retry_after: None, body: bytes };
                dialect.read(&reply, out)
            }
        }
    }
}

/// What a source is read with: everything of its configuration but where and how often it is asked, and its key.
pub(super) fn for_reading(kind: &ProviderKind) -> Option<ProviderKind> {
    Some(match kind {
        ProviderKind::Mock { .. } | ProviderKind::Replay { .. } => return None,
        ProviderKind::Binance(own) => ProviderKind::Binance(bare(own.symbol_map.clone(), own.no_tick)),
        ProviderKind::Bitstamp(own) => ProviderKind::Bitstamp(bare(own.symbol_map.clone(), own.no_tick)),
        ProviderKind::Coinbase(own) => ProviderKind::Coinbase(bare(own.symbol_map.clone(), own.no_tick)),
        ProviderKind::Kraken(own) => ProviderKind::Kraken(bare(own.symbol_map.clone(), own.no_tick)),
        ProviderKind::Coindesk { market, .. } => coindesk(market.clone()),
        ProviderKind::HttpJson { .. } | ProviderKind::Command { .. } => kind.clone(),
    })
}

/// A kind of which nothing is configured but the pairs; `None` where that is not enough, or there is no such kind.
fn by_word(word: &str, symbol_map: &BTreeMap<Symbol, Symbol>) -> Option<ProviderKind> {
    let own = bare(symbol_map.clone(), Duration::ZERO);
    Some(match word {
        "binance" => ProviderKind::Binance(own),
        "bitstamp" => ProviderKind::Bitstamp(own),
        "coinbase" => ProviderKind::Coinbase(own),
        "kraken" => ProviderKind::Kraken(own),
        "coindesk" => coindesk("cadli".to_owned()),
        _ => return None,
    })
}

fn bare(symbol_map: BTreeMap<Symbol, Symbol>, no_tick: Duration) -> Exchange {
    let nowhere = String::new;
    Exchange {
        rest_url: nowhere(),
        stream_url: nowhere(),
        symbol_map,
        silence: Duration::ZERO,
        no_tick,
        renew_after: Duration::ZERO,
    }
}

fn coindesk(market: String) -> ProviderKind {
    // Nobody is asked there, and the key is none.
    let (rest_url, api_key) = ("https://unused.invalid".to_owned(), Some(Secret::new("unused".to_owned())));
    ProviderKind::Coindesk { rest_url, api_key, market }
}

/// Who reads the lines of a recording: the sources of the configuration by their names, else kinds by theirs.
pub(super) struct Readers {
    /// See [`for_reading`].
    pub known: BTreeMap<String, ProviderKind>,
    /// The pairs of a source that is not configured.
    pub symbol_map: BTreeMap<Symbol, Symbol>,
    pub symbols: Vec<Symbol>,
    pub symbol: Symbol,
    pub http: Arc<Http>,
}

impl Readers {
    /// The dialect of that leg in its first state; of the usual leg where none is named.
    ///
    /// # Errors
    /// [`Fault::Refused`] when there is no such source, [`Fault::Skip`] when it has no such leg.
    pub(super) fn dialect(&self, source: &str, leg: Option<&str>) -> Result<Dialect, Fault> {
        let made = self.source(source).map_err(Fault::Refused)?;
        let leg = made.legs.iter().find(|own| leg.is_none_or(|leg| own.word == leg));
        match leg.and_then(|leg| leg.reader()) {
            Some(dialect) => dialect,
            None => Err(Fault::Skip(format!("{source} has no such way of being read"))),
        }
    }

    /// Without a price for so long that source is down.
    pub(super) fn no_tick(&self, source: &str) -> Option<Duration> {
        self.source(source).ok().map(|source| source.no_tick)
    }

    fn source(&self, name: &str) -> Result<super::Source, String> {
        let kind = self.known.get(name).cloned().or_else(|| by_word(name, &self.symbol_map));
        let Some(kind) = kind else {
            return Err(format!("nothing here reads lines of {name}: it is no [provider.NAME] and no kind"));
        };
        let provider = Provider { name: name.to_owned(), kind };
        build(&Content::plain(provider, self.symbols.clone(), self.symbol.clone()), &self.http)
    }
}

#[cfg(test)]
mod tests {
    use super::super::http::Proxies;
    use super::*;

    /// Every kind that [`for_reading`] knows.
    fn kinds() -> Vec<ProviderKind> {
        let words = ["binance", "bitstamp", "coinbase", "coindesk", "kraken"];
        let mut kinds: Vec<_> = words.iter().map(|word| by_word(word, &BTreeMap::new()).unwrap()).collect();
        kinds.push(ProviderKind::HttpJson {
            url: "https://unused.invalid/{base}/{quote}".to_owned(),
            pointer: "/price".to_owned(),
            every: Duration::from_secs(1),
            symbol_map: BTreeMap::new(),
        });
        kinds.push(ProviderKind::Command {
            program: vec!["/bin/true".to_owned()],
            symbol_map: BTreeMap::new(),
            no_tick: Duration::from_secs(1),
        });
        kinds
    }

    #[test]
    fn every_leg_that_is_recorded_can_be_read_again() {
        let (symbol, http) = (Symbol::new("BTC-USD").unwrap(), Arc::new(Http::new(Proxies::Ignored)));
        let mut read = 0;
        for kind in kinds() {
            let same = for_reading(&kind).unwrap();
            let provider = Provider { name: "x".to_owned(), kind: same };
            let content = Content::plain(provider, vec![symbol.clone()], symbol.clone());
            assert!(content.recorded());
            match build(&content, &http) {
                Err(why) => panic!("{kind:?}: {why}"),
                Ok(source) => {
                    for leg in &source.legs {
                        let dialect =
                            leg.reader().unwrap_or_else(|| panic!("{kind:?}: {} lacks .reads()", leg.word));
                        assert!(dialect.is_ok(), "{kind:?}: {}", leg.word);
                        read += 1;
                    }
                }
            }
        }
        assert!(read >= 3);
    }

    #[test]
    fn a_key_is_not_kept_for_reading() {
        let kind = ProviderKind::Coindesk {
            rest_url: "https://x.invalid/?api_key=hidden".to_owned(),
            api_key: Some(Secret::new("hidden".to_owned())),
            market: "cadli".to_owned(),
        };
        let kept = serde_json::to_string(&for_reading(&kind).unwrap()).unwrap();
        assert!(!kept.contains("hidden") && kept.contains("cadli"), "{kept}");
    }
}
