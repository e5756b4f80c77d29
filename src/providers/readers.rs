//! Finds the dialect that reads a line of a recording.

use super::content::Content;
use super::dialect::Dialect;
use super::reading::by_word;
use super::source::Source;
use super::{Fault, Http};
use crate::config::{Provider, ProviderKind};
use crate::model::Symbol;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The configured sources by name, and the known kinds for other names.
pub(super) struct Readers {
    /// See [`super::reading::for_reading`].
    pub known: BTreeMap<String, ProviderKind>,
    /// The pairs of a source that is not configured.
    pub symbol_map: BTreeMap<Symbol, Symbol>,
    pub symbols: Vec<Symbol>,
    pub symbol: Symbol,
    pub http: Arc<Http>,
    /// [`super::build()`], passed in because it also builds replays.
    pub build: fn(&Content, &Arc<Http>) -> Result<Source, String>,
}

impl Readers {
    /// The dialect of a leg in its first state; of the first leg if none is named.
    ///
    /// # Errors
    /// [`Fault::Refused`] if there is no such source, [`Fault::Skip`] if it has no such leg.
    pub(super) fn dialect(&self, source: &str, leg: Option<&str>) -> Result<Dialect, Fault> {
        let made = self.source(source).map_err(Fault::Refused)?;
        let leg = made.legs.iter().find(|own| leg.is_none_or(|leg| own.word == leg));
        match leg.and_then(|leg| leg.reader()) {
            Some(dialect) => dialect,
            None => Err(Fault::Skip(format!("{source} has no such way of being read"))),
        }
    }

    /// The time without a price after which the source counts as down.
    pub(super) fn no_tick(&self, source: &str) -> Option<Duration> {
        self.source(source).ok().map(|source| source.no_tick)
    }

    fn source(&self, name: &str) -> Result<Source, String> {
        let kind = self.known.get(name).cloned().or_else(|| by_word(name, &self.symbol_map));
        let Some(kind) = kind else {
            return Err(format!("nothing here reads lines of {name}: it is no [provider.NAME] and no kind"));
        };
        let provider = Provider { name: name.to_owned(), kind };
        let content = Content::plain(provider, self.symbols.clone(), self.symbol.clone());
        (self.build)(&content, &self.http)
    }
}

#[cfg(test)]
mod tests {
    use super::super::build;
    use super::super::reading::for_reading;
    use super::super::wire::http::Proxies;
    use super::*;
    use crate::config::Secret;

    /// Every kind that [`for_reading`] knows.
    fn kinds() -> Vec<ProviderKind> {
        let words = ["binance", "bitstamp", "coinbase", "coindesk", "kraken"];
        let mut kinds: Vec<_> = words.iter().map(|word| by_word(word, &BTreeMap::new()).unwrap()).collect();
        kinds.push(ProviderKind::HttpJson {
            url: "https://unused.invalid/{base}/{quote}".to_owned(),
            pointer: "/price".to_owned(),
            time_pointer: String::new(),
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
