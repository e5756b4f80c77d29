//! Whether the sources of a median agree, for the log and for clients that ask why there is no new price. Sources at
//! the edge of an agreement come and go many times a second: the log reports it at most once in [`PAUSE`].

use crate::model::{Mono, Symbol};
use std::collections::BTreeMap;
use std::time::Duration;

/// Least time between two log lines about a symbol.
const PAUSE: Duration = Duration::from_secs(60);
/// Time for the first prices after a start.
const START: Duration = Duration::from_secs(5);

/// Whether each symbol's sources agree, and what was reported of it.
#[derive(Debug)]
pub(super) struct Agreement {
    /// Why the sources of these symbols give no price.
    refused: BTreeMap<Symbol, String>,
    told: BTreeMap<Symbol, String>,
    mentions: BTreeMap<Symbol, Mention>,
    /// No log line before this moment.
    from: Mono,
}

/// The last logged state of a symbol.
#[derive(Debug, Default)]
struct Mention {
    refused: bool,
    next: Mono,
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogLine {
    symbol: Symbol,
    /// `None`: the sources agree.
    why: Option<String>,
}

impl LogLine {
    /// Writes the line.
    pub(super) fn log(&self) {
        let symbol = &self.symbol;
        match &self.why {
            Some(why) => {
                tracing::warn!(event = "price-refused", %symbol, why, "no new price: sources do not agree")
            }
            None => tracing::info!(event = "price-agreed", %symbol, "sources agree"),
        }
    }
}

impl Agreement {
    /// No symbol is known yet.
    pub(super) fn new(now: Mono) -> Self {
        let (refused, told, mentions) = Default::default();
        Self { refused, told, mentions, from: now.after(START) }
    }

    /// Forgets symbols other than these.
    pub(super) fn retain(&mut self, symbols: &[Symbol]) {
        self.refused.retain(|symbol, _| symbols.contains(symbol));
        self.mentions.retain(|symbol, _| symbols.contains(symbol));
    }

    /// Takes whether the sources of a symbol agree (`None`), or why they do not.
    pub(super) fn take(&mut self, symbol: Symbol, why: Option<String>) {
        self.mentions.entry(symbol.clone()).or_default();
        match why {
            Some(why) => _ = self.refused.insert(symbol, why),
            None => _ = self.refused.remove(&symbol),
        }
    }

    /// The lines to log now.
    pub(super) fn mention(&mut self, now: Mono) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for (symbol, mention) in &mut self.mentions {
            let why = self.refused.get(symbol).cloned();
            if why.is_some() != mention.refused && now >= mention.next.max(self.from) {
                *mention = Mention { refused: why.is_some(), next: now.after(PAUSE) };
                lines.push(LogLine { symbol: symbol.clone(), why });
            }
        }
        lines
    }

    /// When [`Agreement::mention`] has lines.
    pub(super) fn due(&self) -> Option<Mono> {
        let open =
            self.mentions.iter().filter(|(symbol, said)| self.refused.contains_key(*symbol) != said.refused);
        open.map(|(_, mention)| mention.next.max(self.from)).min()
    }

    /// Whether [`Agreement::tell`] has changes.
    pub(super) fn is_news(&self) -> bool {
        self.refused != self.told
    }

    /// All refusals, if they have changed since the last call.
    pub(super) fn tell(&mut self) -> Option<BTreeMap<Symbol, String>> {
        let news = self.is_news();
        self.told.clone_from(&self.refused);
        news.then(|| self.refused.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_hears_it_once() {
        let symbol = Symbol::new("BTC-USD").unwrap();
        let at = |ms: u64| Mono(ms * 1_000_000);
        let mut agreement = Agreement::new(at(0));
        let mut said = Vec::new();
        // Five minutes at the edge, a change each 100 ms; then refused for good.
        for n in 0..3_001 {
            agreement.take(symbol.clone(), (n % 2 == 0).then(|| format!("why {n}")));
            said.extend(agreement.mention(at(n * 100)));
        }
        assert!((5..=6).contains(&said.len()), "{said:?}");
        assert!(said.windows(2).all(|pair| pair[0].why.is_some() != pair[1].why.is_some()), "{said:?}");
        if let Some(due) = agreement.due() {
            said.extend(agreement.mention(due));
        }
        assert!(said.last().unwrap().why.is_some(), "how it is now is said at last");
        assert_eq!(agreement.due(), None);
    }

    #[test]
    fn a_start_is_no_refusal() {
        let symbol = Symbol::new("BTC-USD").unwrap();
        let mut agreement = Agreement::new(Mono(0));
        agreement.take(symbol.clone(), Some("nobody yet".into()));
        assert_eq!((agreement.mention(Mono(0)), agreement.due()), (vec![], Some(Mono(0).after(START))));
        assert_eq!(agreement.tell().unwrap().len(), 1, "who asks may know");
        assert_eq!(agreement.tell(), None);
        agreement.take(symbol, None);
        assert_eq!((agreement.due(), agreement.tell()), (None, Some(BTreeMap::new())));
    }
}
