//! What exchanges send, through the dialects that read it.

#![allow(clippy::expect_used, reason = "a panic is what is looked for")]

use super::content::Content;
use super::dialect::Dialect;
use super::reading::by_word;
use super::{Fault, Http, Proxies, Sink, Tick, build, recording};
use crate::config::{Provider, ProviderKind};
use crate::fuzzing::Parts;
use crate::model::Symbol;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

const WORDS: [&str; 5] = ["binance", "bitstamp", "coinbase", "coindesk", "kraken"];
const SYMBOLS: [&str; 2] = ["BTC-USD", "ETH-EUR"];
/// The number of the dialect of programs.
const PROGRAM: u8 = 6;
/// Of answers over HTTP.
const STATUS: [u16; 8] = [200, 200, 200, 302, 400, 429, 451, 503];

static HTTP: LazyLock<Arc<Http>> = LazyLock::new(|| Arc::new(Http::new(Proxies::Ignored)));

fn kind(number: u8) -> ProviderKind {
    if let Some(word) = WORDS.get(usize::from(number)) {
        return by_word(word, &BTreeMap::new()).expect("a kind");
    }
    if number == 5 {
        return ProviderKind::HttpJson {
            url: "https://unused.invalid/{base}/{quote}".to_owned(),
            pointer: "/{base}/price".to_owned(),
            time_pointer: "/at".to_owned(),
            every: Duration::from_secs(1),
            symbol_map: BTreeMap::new(),
        };
    }
    let program = vec!["/bin/true".to_owned()];
    ProviderKind::Command { program, symbol_map: BTreeMap::new(), no_tick: Duration::from_secs(1) }
}

fn dialects(number: u8) -> Vec<Dialect> {
    let symbols: Vec<_> = SYMBOLS.iter().map(|text| Symbol::new(text).expect("a symbol")).collect();
    let provider = Provider { name: "x".to_owned(), kind: kind(number) };
    let content = Content::plain(provider, symbols.clone(), symbols[0].clone());
    let source = build(&content, &HTTP).expect("a source");
    source.legs.iter().map(|leg| leg.reader().expect("it reads").expect("a dialect")).collect()
}

/// The first byte says whose and which dialect, the second the status; the rest are messages, a line each, since a
/// dialect remembers. Prices are prices of what was asked for, and nobody is called by an endless name.
pub fn dialect(data: &[u8]) {
    let mut parts = Parts(data);
    let (which, status) = (parts.byte(), parts.byte());
    let _ = parts.0.split(|byte| *byte == b'\n').map(recording::read).count();
    // A program may name anything: the feeder drops what nobody asked for.
    let mut judge = Judge { is_asked: which % 7 != PROGRAM };
    let mut dialects = dialects(which % 7);
    let number = usize::from(which / 7) % dialects.len();
    let dialect = &mut dialects[number];
    let status = STATUS[usize::from(status) % STATUS.len()];
    for message in parts.0.split(|byte| *byte == b'\n').take(32) {
        match dialect.read(Some(status), message, &mut judge) {
            Ok(()) => {}
            Err(
                Fault::Skip(why)
                | Fault::Reconnect(why)
                | Fault::Retry(why)
                | Fault::Wait(_, why)
                | Fault::Refused(why)
                | Fault::Barred(why)
                | Fault::Unknown(why),
            ) => is_a_line(&why),
        }
    }
}

/// What is logged is a line, and not a long one.
fn is_a_line(why: &str) {
    assert!(why.len() < 2000 && !why.contains(['\n', '\r', '\u{1b}']), "{why:?}");
}

struct Judge {
    /// Only what was asked for comes.
    is_asked: bool,
}

impl Sink for Judge {
    fn tick(&mut self, tick: Tick) -> bool {
        assert!(!self.is_asked || SYMBOLS.contains(&tick.symbol.as_str()), "{tick:?}");
        for price in [Some(tick.price), tick.bid, tick.ask].into_iter().flatten() {
            let text = price.to_string();
            assert_eq!(crate::model::Price::parse(&text), Ok(price), "{text}");
            assert!(!text.starts_with('-') && text.bytes().any(|digit| (b'1'..=b'9').contains(&digit)));
        }
        true
    }

    fn bad(&mut self, why: String) {
        is_a_line(&why);
    }

    fn trading(&mut self, _: Option<&Symbol>, halt: Option<&str>) {
        halt.into_iter().for_each(is_a_line);
    }
}
