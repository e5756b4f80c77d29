//! Any address that answers with JSON: a source without code. The configuration gives the address, and where in the
//! answer the price is.

use crate::model::{Symbol, Wall, one_line};
use crate::providers::Fault;
use crate::providers::wire::digits;
use crate::providers::wire::each::{Ask, Each};
use crate::providers::wire::pairs::{PairPrice, Wanted};
use crate::providers::wire::reply::Reply;
use crate::providers::wire::stamp;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::time::Duration;

/// An address and a pointer, with `{base}` and `{quote}` for the halves of a pair.
pub(in crate::providers) struct HttpJson {
    url: String,
    pointer: String,
    /// Where the answer's stamp is, if it has one.
    time_pointer: String,
}

impl HttpJson {
    /// `pointer` as in RFC 6901; empty if the whole answer is the price.
    pub(in crate::providers) fn each(
        url: &str,
        pointer: &str,
        time_pointer: &str,
        wanted: &Wanted,
        every: Duration,
    ) -> Each<Self> {
        let [url, pointer, time_pointer] = [url, pointer, time_pointer].map(str::to_owned);
        Each::new(Self { url, pointer, time_pointer }, wanted, every)
    }

    /// The answer's stamp. A price that should have one and has none is not taken: it may be of any time.
    fn stamp(&self, body: &RawValue, pair: &Symbol) -> Result<Option<Wall>, Fault> {
        if self.time_pointer.is_empty() {
            return Ok(None);
        }
        let pointer = fill(&self.time_pointer, pair);
        let value = find(body, &pointer).ok_or_else(|| Fault::Skip(format!("no time stamp at {pointer}")))?;
        let text = value.get().trim_matches('"');
        let wrong = || Fault::Skip(format!("no time stamp at {pointer}: {:.40}", one_line(text)));
        stamp::any(text).map(Some).ok_or_else(wrong)
    }
}

fn fill(text: &str, pair: &Symbol) -> String {
    text.replace("{base}", pair.base()).replace("{quote}", pair.quote())
}

impl Ask for HttpJson {
    fn url(&self, pair: &Symbol) -> String {
        fill(&self.url, pair)
    }

    fn read(&self, pair: &Symbol, reply: &Reply<'_>) -> Result<PairPrice, Fault> {
        let body: &RawValue = reply.good()?;
        let pointer = fill(&self.pointer, pair);
        let value = find(body, &pointer).ok_or_else(|| Fault::Skip(format!("nothing at {pointer}")))?;
        let time = self.stamp(body, pair)?;
        Ok(PairPrice { price: digits::price(value)?, bid: None, ask: None, time, seq: None })
    }
}

/// The text of the value at `pointer`: a number keeps its digits.
fn find<'a>(whole: &'a RawValue, pointer: &str) -> Option<&'a RawValue> {
    pointer.split('/').skip(1).try_fold(whole, |value, token| {
        if value.get().starts_with('[') {
            let index: usize =
                token.parse().ok().filter(|_| token == "0" || !token.starts_with(['0', '+']))?;
            let items: Vec<&'a RawValue> = serde_json::from_str(value.get()).ok()?;
            return items.get(index).copied();
        }
        let members: BTreeMap<String, &'a RawValue> = serde_json::from_str(value.get()).ok()?;
        members.get(&token.replace("~1", "/").replace("~0", "~")).copied()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::tests::battery::Heard;
    use crate::providers::wire::poll::Poll;

    fn found(json: &str, pointer: &str) -> Option<String> {
        find(serde_json::from_str(json).unwrap(), pointer).map(|value| value.get().to_owned())
    }

    #[test]
    fn a_pointer_finds_what_rfc_6901_says() {
        let json = r#"{"foo":["bar","baz"],"":0,"a/b":1,"m~n":8,"x":{"y":[{"z":105899.40}]},"~1":2}"#;
        for (pointer, value) in [
            ("", json),
            ("/foo/0", "\"bar\""),
            ("/foo/1", "\"baz\""),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/m~0n", "8"),
            ("/~01", "2"),
            ("/x/y/0/z", "105899.40"),
        ] {
            assert_eq!(found(json, pointer).as_deref(), Some(value), "{pointer}");
        }
        for nothing in ["/foo/2", "/foo/00", "/foo/+1", "/foo/-", "/foo/x", "/nope", "/x/y/0/z/0", "/foo/0/b"]
        {
            assert_eq!(found(json, nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_pair_goes_into_address_and_pointer() {
        let symbols = ["BTC-USD", "ETH-EUR"].map(|text| Symbol::new(text).unwrap());
        let wanted = symbols.map(|symbol| (symbol.clone(), symbol));
        let url = "https://a.example/{base}?vs={quote}";
        let mut each = HttpJson::each(url, "/{base}/{quote}", "", &wanted, Duration::from_secs(10));
        let body = br#"{"BTC":{"USD":64250.10},"ETH":{"EUR":"3100.00"}}"#;
        for (url, price) in [("BTC?vs=USD", "64250.10"), ("ETH?vs=EUR", "3100.00")] {
            assert_eq!(each.url(), format!("https://a.example/{url}"));
            let mut heard = Heard::default();
            each.read(&Reply { status: 200, body, ..Reply::default() }, &mut heard).unwrap();
            assert_eq!(heard.ticks[0].price.to_string(), price);
        }
    }

    #[test]
    fn the_answer_s_own_stamp_is_taken_and_must_be_there() {
        let symbol = Symbol::new("BTC-USD").unwrap();
        let wanted = [(symbol.clone(), symbol)];
        let every = Duration::from_secs(10);
        let mut each = HttpJson::each("https://a.example", "/price", "/{base}/at", &wanted, every);
        let mut read = |body: &str| {
            let mut heard = Heard::default();
            let fault = each
                .read(&Reply { status: 200, body: body.as_bytes(), ..Reply::default() }, &mut heard)
                .err();
            (heard.ticks.first().and_then(|tick| tick.time), fault)
        };
        let at = Some(Wall(1_795_000_000_000));
        assert_eq!(read(r#"{"price":1,"BTC":{"at":"2026-11-18T11:06:40Z"}}"#), (at, None));
        assert_eq!(read(r#"{"price":1,"BTC":{"at":1795000000}}"#), (at, None));
        assert_eq!(read(r#"{"price":1,"BTC":{"at":"1795000000000"}}"#), (at, None));
        let skip = |why: &str| (None, Some(Fault::Skip(why.to_owned())));
        assert_eq!(read(r#"{"price":1}"#), skip("BTC-USD: no time stamp at /BTC/at"));
        assert_eq!(read(r#"{"price":1,"BTC":{"at":null}}"#), skip("BTC-USD: no time stamp at /BTC/at: null"));
    }
}
