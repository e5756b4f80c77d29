//! The part of a source's configuration that reading its recording needs.

use crate::config::{Exchange, ProviderKind, Secret};
use crate::model::Symbol;
use std::collections::BTreeMap;
use std::time::Duration;

/// Drops addresses, intervals and keys from a configuration; `None` for kinds that are not recorded.
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

/// A kind configured by its pairs only; `None` if that is not enough, or there is no such kind.
pub(super) fn by_word(word: &str, symbol_map: &BTreeMap<Symbol, Symbol>) -> Option<ProviderKind> {
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
    // Nothing contacts this address.
    let (rest_url, api_key) = ("https://unused.invalid".to_owned(), Some(Secret::new("unused".to_owned())));
    ProviderKind::Coindesk { rest_url, api_key, market }
}
