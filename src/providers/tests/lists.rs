//! One bad symbol in a question or an answer about several costs its own price only.

use super::battery::{Heard, listen_until};
use super::remotes::LIMITS;
use super::standin::{Act, Frame, Standin, binance_ticker, eventually, says};
use super::verdicts::wanted;
use crate::config::Secret;
use crate::model::Symbol;
use crate::providers::exchanges::{binance, coinbase, coindesk, kraken};
use crate::providers::wire::poll::{Poll, Polled};
use crate::providers::wire::push::Push;
use crate::providers::wire::pushed::Pushed;
use crate::providers::wire::reply::Reply;
use crate::providers::{Fault, Http};
use std::time::Duration;

const EVERY: Duration = Duration::from_millis(20);

fn binance(symbols: &str) -> binance::Rest {
    binance::Rest::new("https://rest.example", &wanted(symbols), EVERY)
}

fn coindesk(symbols: &str) -> coindesk::Coindesk {
    let symbols: Vec<_> = symbols.split(' ').map(|text| Symbol::new(text).unwrap()).collect();
    let key = Secret::new("key".to_owned());
    coindesk::Coindesk::new("https://rest.example", "cadli", key, &symbols, EVERY).unwrap()
}

/// The prices of an answer, as `BTC-USD 64000.10`, and the fault.
fn read(dialect: &mut dyn Poll, status: u16, body: &str) -> (Vec<String>, Option<Fault>) {
    let mut heard = Heard::default();
    let fault = dialect.read(&Reply { status, body: body.as_bytes(), ..Reply::default() }, &mut heard).err();
    (prices(&heard), fault)
}

fn prices(heard: &Heard) -> Vec<String> {
    heard.ticks.iter().map(|tick| format!("{} {}", tick.symbol, tick.price)).collect()
}

#[test]
fn a_halted_symbol_in_a_common_answer_costs_its_own_price_only() {
    let good = binance_ticker("BTCUSDT", "64000.10", 7);
    for bad in [
        r#"{"symbol":"ETHUSDT","lastPrice":"0.00000000","closeTime":1,"firstId":-1,"lastId":-1}"#,
        r#"{"symbol":"ETHUSDT","lastId":-1}"#,
        r#"{"symbol":"XYZUSDT","lastPrice":"1"}"#,
        r#"{"symbol":"ETHUSDT","lastPrice":null}"#,
        r#"{"symbol":7}"#,
        "null",
        "[]",
    ] {
        for body in [format!("[{good},{bad}]"), format!("[{bad},{good}]")] {
            let (told, fault) = read(&mut binance("BTC-USDT ETH-USDT"), 200, &body);
            assert_eq!(told, ["BTC-USDT 64000.10"], "{body}");
            assert!(matches!(fault, Some(Fault::Skip(_))), "{body}: {fault:?}");
        }
    }
    // A number or a stamp that is none costs neither the price nor the others.
    let odd = r#"{"symbol":"ETHUSDT","lastPrice":"1.5","closeTime":"x","lastId":-1}"#;
    let (told, fault) = read(&mut binance("BTC-USDT ETH-USDT"), 200, &format!("[{odd},{good}]"));
    assert_eq!((told.len(), fault), (2, None));
}

#[test]
fn a_bad_value_of_an_index_costs_its_own_price_only() {
    let body = r#"{"Data":{"BTC-USD":{"VALUE":64000.10,"CCSEQ":1},"ETH-USD":BAD},"Err":{}}"#;
    for bad in ["{}", r#"{"VALUE":0}"#, r#"{"VALUE":-1}"#, "7", r#"{"VALUE":1,"CCSEQ":"x"}"#] {
        let (told, fault) = read(&mut coindesk("ETH-USD BTC-USD"), 200, &body.replace("BAD", bad));
        assert_eq!(told, ["BTC-USD 64000.10"], "{bad}");
        assert!(matches!(fault, Some(Fault::Skip(_))), "{bad}: {fault:?}");
    }
    // A complaint about one of them beside the values of the others.
    let err = r#"{"Data":{"BTC-USD":{"VALUE":64000.10}},"Err":{"type":1,"message":"instrument XYZ-USD not found"}}"#;
    for status in [200, 400, 404] {
        let (told, fault) = read(&mut coindesk("XYZ-USD BTC-USD"), status, err);
        assert_eq!((told, fault), (vec!["BTC-USD 64000.10".to_owned()], None), "{status}");
    }
    let limit = r#"{"Data":{},"Err":{"type":99,"message":"You are over your rate limit"}}"#;
    assert!(matches!(read(&mut coindesk("BTC-USD ETH-USD"), 200, limit).1, Some(Fault::Wait(..))));
}

#[test]
fn a_refused_list_is_asked_for_without_the_bad_one() {
    let invalid = r#"{"code":-1121,"msg":"Invalid symbol."}"#;
    let mut dialect = binance("BTC-USDT XYZ-USDT ETH-USDT");
    // The halves: BTC; XYZ and ETH, which are XYZ; ETH. What is good is asked in between.
    for (url, status) in [
        ("symbols=%5B%22BTCUSDT%22,%22XYZUSDT%22,%22ETHUSDT%22%5D", 400),
        ("symbol=BTCUSDT", 200),
        ("symbol=BTCUSDT", 200),
        ("symbols=%5B%22XYZUSDT%22,%22ETHUSDT%22%5D", 400),
        ("symbol=BTCUSDT", 200),
        ("symbol=XYZUSDT", 400),
        ("symbol=BTCUSDT", 200),
        ("symbol=ETHUSDT", 200),
        ("symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D", 200),
        ("symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D", 200),
    ] {
        assert!(dialect.url().contains(&format!("?{url}&")), "{url}: {}", dialect.url());
        let body = if status == 200 { "[]" } else { invalid };
        let fault = read(&mut dialect, status, body).1;
        assert!(fault.is_none() || matches!(fault, Some(Fault::Skip(_))), "{url}: {fault:?}");
    }
    let mut dialect = coindesk("BTC-USD XYZ-USD ETH-USD");
    let named = r#"{"Data":{},"Err":{"type":1,"message":"instruments not found","other_info":{"values":["XYZ-USD"]}}}"#;
    assert!(matches!(read(&mut dialect, 404, named).1, Some(Fault::Skip(_))));
    assert!(dialect.url().contains("instruments=BTC-USD%2CETH-USD&"), "{}", dialect.url());
    // What is no matter of one symbol, and the last symbol of all.
    assert!(matches!(read(&mut binance("BTC-USDT ETH-USDT"), 403, ""), (_, Some(Fault::Refused(_)))));
    assert!(matches!(read(&mut binance("BTC-USDT ETH-USDT"), 451, ""), (_, Some(Fault::Barred(_)))));
    assert!(matches!(read(&mut binance("XYZ-USDT"), 400, invalid), (_, Some(Fault::Unknown(_)))));
}

#[tokio::test]
async fn a_list_with_an_unknown_symbol_is_found_out_by_asking() {
    let server = Standin::start(|seen| match seen.target.contains("XYZUSDT") {
        true => Act::answer(400, r#"{"code":-1121,"msg":"Invalid symbol."}"#),
        false => Act::ok(format!(
            "[{},{}]",
            binance_ticker("BTCUSDT", "64000.10", 7),
            binance_ticker("ETHUSDT", "3000.10", 7)
        )),
    });
    let server = server.await.unwrap();
    let symbols = wanted("BTC-USDT XYZ-USDT ETH-USDT");
    let dialect = binance::Rest::new(&server.http(), &symbols, EVERY);
    let mut provider = Polled::new(dialect, Http::within(Duration::from_secs(20)));
    let heard = listen_until(&mut provider, |heard| heard.ticks.len() >= 8).await;
    assert!(heard.fault.is_none() && heard.bad.len() == 3, "{heard:?}");
    assert!(prices(&heard).ends_with(&["BTC-USDT 64000.10".to_owned(), "ETH-USDT 3000.10".to_owned()]));
}

#[test]
fn one_bad_entry_of_a_stream_s_message_costs_its_own_price_only() {
    let good = r#"{"symbol":"BTC/USD","last":64000.10}"#;
    for bad in
        [r#"{"symbol":"ETH/USD","last":0}"#, r#"{"symbol":7}"#, "null", r#"{"symbol":"XYZ/USD","last":1}"#]
    {
        for data in [format!("{bad},{good}"), format!("{good},{bad}")] {
            let message = format!(r#"{{"channel":"ticker","type":"update","data":[{data}]}}"#);
            let mut heard = Heard::default();
            let mut dialect = kraken::Stream::new("wss://stream.example", &wanted("BTC-USD ETH-USD"));
            let fault = Push::read(&mut dialect, message.as_bytes(), &mut heard).unwrap_err();
            assert!(matches!(fault, Fault::Skip(_)), "{message}");
            assert_eq!(prices(&heard), ["BTC-USD 64000.10"], "{message}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_refuses_a_list_is_asked_for_the_others() {
    let symbols = wanted("BTC-USD XYZ-USD");
    let refusals = [
        (
            r#"{"type":"error","message":"Failed to subscribe","reason":"XYZ-USD is not a valid product"}"#,
            vec![r#"["BTC-USD"]"#],
        ),
        (r#"{"type":"error","message":"Failed to subscribe"}"#, vec![r#"["BTC-USD"]"#, r#"["XYZ-USD"]"#]),
    ];
    for (refusal, again) in refusals {
        // The price comes after the refusal, as it would after the second message.
        let frames = vec![
            Frame::Text(refusal.to_owned()),
            Frame::Wait(Duration::from_millis(1200)),
            Frame::Text(says::coinbase_ticker("64000.10", 7)),
        ];
        let server = Standin::always(Act::Stream(frames)).await.unwrap();
        let dialect = coinbase::Stream::new(&server.ws(), &symbols);
        let mut provider = Pushed::new(dialect, LIMITS, Http::within(Duration::from_secs(20)));
        let heard = listen_until(&mut provider, |heard| !heard.ticks.is_empty()).await;
        assert_eq!((prices(&heard).len(), heard.fault), (1, None));
        let said =
            || server.said().into_iter().filter(|said| said.contains("product_ids")).collect::<Vec<_>>();
        assert!(eventually(|| said().len() > again.len()).await, "{:?}", said());
        for ids in &again {
            assert!(said()[1..].iter().any(|said| said.contains(&format!("\"product_ids\":{ids}"))), "{ids}");
        }
    }
}

#[test]
fn kraken_s_refusal_without_a_symbol_names_it_or_all_are_asked_for_alone() {
    let mut heard = Heard::default();
    let mut read = |dialect: &mut kraken::Stream, message: &str| {
        Push::read(dialect, message.as_bytes(), &mut heard).unwrap_err()
    };
    let mut dialect = kraken::Stream::new("wss://stream.example", &wanted("BTC-USD XYZ-USD"));
    let fault = read(&mut dialect, r#"{"error":"Currency pair not supported XYZ/USD","success":false}"#);
    assert!(matches!(fault, Fault::Skip(_)));
    let again = dialect.follow_up();
    assert!(again.len() == 1 && again[0].contains(r#""symbol":["BTC/USD"]"#), "{again:?}");
    let of_one = r#"{"error":"Currency pair not supported XYZ/USD","success":false,"symbol":"XYZ/USD"}"#;
    let mut dialect = kraken::Stream::new("wss://stream.example", &wanted("BTC-USD XYZ-USD"));
    assert!(matches!(read(&mut dialect, of_one), Fault::Skip(_)));
    assert!(dialect.follow_up().is_empty(), "the others have answers of their own");
}
