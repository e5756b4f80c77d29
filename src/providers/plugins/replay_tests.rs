//! Recordings under virtual time: plain ticks, raw lines of a source, captures of other programs.

use super::*;
use crate::config::{Exchange, ProviderKind};
use crate::model::Wall;
use crate::providers::Http;
use crate::providers::reading::for_reading;
use crate::providers::tests::battery::{Heard, listen, listen_until};
use crate::providers::wire::http::Proxies;
use crate::providers::wire::poll::Poll;
use crate::providers::wire::reply::Reply;

const LINES: &str = concat!(
    "{\"price\":\"1.0\",\"ts\":1763640000000,\"seq\":5}\n# comment\n{}\n",
    "{\"price\":\"2.0\",\"ts\":1763640004000,\"seq\":6}\ngarbage\n",
    "{\"price\":\"9.0\",\"symbol\":\"ETH-USD\",\"ts\":1763640004000}\n",
    "{\"price\":\"3.0\",\"recv_ns\":1763640010000000000,\"ts\":1,\"seq\":7}",
);

async fn play(text: &str, speed: f64, repeat: bool, patience: u64) -> Heard {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let symbol = Symbol::new("BTC-USD").unwrap();
    let mut replay =
        Replay::new(file.path().to_owned(), speed, repeat, std::slice::from_ref(&symbol), symbol.clone());
    listen(&mut replay, Duration::from_secs(patience)).await
}

fn prices(heard: &Heard) -> Vec<String> {
    heard.ticks.iter().map(|tick| tick.price.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn it_plays_at_its_own_speed_and_is_silent_then() {
    let first = play(LINES, 1.0, false, 3).await;
    assert_eq!(prices(&first), ["1.0"]);
    let most = play(LINES, 1.0, false, 9).await;
    assert_eq!(prices(&most), ["1.0", "2.0"]);
    let all = play(LINES, 1.0, false, 100_000).await;
    assert_eq!((prices(&all), all.fault), (["1.0", "2.0", "3.0"].map(str::to_owned).into(), None));
    assert_eq!((all.bad.len(), all.ticks[2].time), (1, None));
}

#[tokio::test(start_paused = true)]
async fn it_plays_faster_and_without_waiting() {
    assert_eq!(prices(&play(LINES, 8.0, false, 1).await), ["1.0", "2.0"].map(str::to_owned));
    let begin = Instant::now();
    assert_eq!(prices(&play(LINES, 0.0, false, 1).await).len(), 3);
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn its_numbers_grow_over_repetitions() {
    let heard = play(LINES, 0.0, true, 1).await;
    assert!(heard.ticks.len() > 30);
    let numbers: Vec<_> = heard.ticks.iter().map(|tick| tick.seq).collect();
    assert_eq!(numbers[..6], [1, 2, 3, 4, 5, 6].map(Some));
}

#[tokio::test(start_paused = true)]
async fn bare_prices_come_one_a_second() {
    assert_eq!(prices(&play("1\n2\n3\n4\n", 1.5, false, 1).await), ["1", "2"].map(str::to_owned));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_refused() {
    let symbol = Symbol::new("BTC-USD").unwrap();
    for path in ["/nowhere/at/all", "/tmp"] {
        let mut replay = Replay::new(path.into(), 1.0, false, &[], symbol.clone());
        let heard = listen(&mut replay, Duration::from_secs(1)).await;
        assert!(matches!(heard.fault, Some(Fault::Refused(_))), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_too_long_is_counted_and_the_next_is_played() {
    let (tick, line) = ("7".repeat(10_000), "[".repeat(recording::LONGEST * 3));
    let heard = play(&format!("1\n{tick}\n2\n{line}\n3\n{line}"), 0.0, false, 1).await;
    assert_eq!((prices(&heard), heard.fault), (["1", "2", "3"].map(str::to_owned).into(), None));
    assert_eq!(heard.bad.len(), 3, "{:?}", heard.bad);
}

fn symbol(text: &str) -> Symbol {
    Symbol::new(text).unwrap()
}

fn tether() -> BTreeMap<Symbol, Symbol> {
    [(symbol("BTC-USD"), symbol("BTC-USDT"))].into()
}

/// The configured source `first`, a Binance whose pair is BTC-USDT. The replay's own pair is BTC-EUR.
fn readers() -> Arc<Readers> {
    let own = Exchange {
        rest_url: String::new(),
        stream_url: String::new(),
        symbol_map: tether(),
        silence: Duration::ZERO,
        no_tick: Duration::from_secs(33),
        renew_after: Duration::ZERO,
    };
    Arc::new(Readers {
        known: [("first".to_owned(), for_reading(&ProviderKind::Binance(own)).unwrap())].into(),
        symbol_map: [(symbol("BTC-USD"), symbol("BTC-EUR"))].into(),
        symbols: vec![symbol("BTC-USD")],
        symbol: symbol("BTC-USD"),
        http: Arc::new(Http::new(Proxies::Ignored)),
        build: crate::providers::build,
    })
}

fn raw(text: &str, speed: f64, repeat: bool, source: &str) -> (Replay, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let usd = symbol("BTC-USD");
    let replay = Replay::new(file.path().to_owned(), speed, repeat, std::slice::from_ref(&usd), usd.clone());
    let source = Some(source.to_owned()).filter(|source| !source.is_empty());
    (replay.raw(source, readers()), file)
}

async fn play_raw(text: &str, speed: f64, source: &str, patience: u64) -> Heard {
    let (mut replay, _file) = raw(text, speed, false, source);
    listen(&mut replay, Duration::from_secs(patience)).await
}

const BEGIN: u64 = 1_763_640_000_000_000_000;

/// A line of a recording, this many milliseconds after its beginning.
fn at(ms: u64, rest: &str) -> String {
    format!("{} {rest}\n", BEGIN + ms * 1_000_000)
}

fn trade(code: &str, price: &str, id: u64) -> String {
    let head = r#""e":"trade","E":1763640000123"#;
    format!(
        r#"{{"stream":"x@trade","data":{{{head},"s":"{code}","t":{id},"p":"{price}","q":"0.1","T":1763640000120,"m":true}}}}"#
    )
}

fn book(code: &str, bid: &str, ask: &str) -> String {
    format!(
        r#"{{"stream":"x@bookTicker","data":{{"u":7,"s":"{code}","b":"{bid}","B":"1.0","a":"{ask}","A":"2.0"}}}}"#
    )
}

fn day(price: &str, id: u64) -> String {
    format!(
        r#"{{"symbol":"BTCUSDT","lastPrice":"{price}","openTime":1,"closeTime":1763640000999,"firstId":1,"lastId":{id}}}"#
    )
}

/// A usual recording: stream, both legs, a stream that is cut and comes back.
fn course(name: &str) -> String {
    let stream = format!("{name}/stream");
    [
        "# btc-cluster recording 1\n".to_owned(),
        at(0, &format!("{stream} !begin")),
        at(100, &format!("{stream} {}", book("BTCUSDT", "63999.90", "64000.20"))),
        at(200, &format!("{stream} {}", trade("BTCUSDT", "64000.10", 10))),
        at(300, &format!("{stream} {}", trade("BTCUSDT", "64000.10", 10))),
        at(400, &format!("{name}/rest !begin")),
        at(500, &format!("{name}/rest:200 {}", day("64001.00", 3))),
        at(600, &format!("{name}/rest:503 busy")),
        at(700, &format!("{name}/rest !end HTTP 503: busy")),
        at(800, &format!("{stream} !end the stream ended")),
        "# lost 3\n".to_owned(),
        at(900, &format!("{stream} !begin")),
        at(1000, &format!("{stream} {}", trade("BTCUSDT", "64002.00", 9))),
    ]
    .concat()
}

#[tokio::test(start_paused = true)]
async fn raw_lines_are_read_by_the_source_s_dialect() {
    for (name, source) in [("first", "first"), ("first", "")] {
        let heard = play_raw(&course(name), 1.0, source, 10).await;
        assert_eq!(heard.fault, None);
        let new: Vec<_> = heard.ticks.iter().filter(|tick| tick.seq != Some(0)).collect();
        let prices: Vec<_> = new.iter().map(|tick| tick.price.to_string()).collect();
        assert_eq!(prices, ["64000.10", "64001.00", "64002.00"]);
        assert_eq!(heard.ticks.len(), 4, "the same trade twice is told as a repetition");
        let numbers: Vec<_> = new.iter().map(|tick| tick.seq).collect();
        assert_eq!(numbers, [1, 2, 3].map(Some), "each leg and session has numbers of its own");
        assert!(new.iter().all(|tick| tick.pair.as_str() == "BTC-USDT"));
        let bids: Vec<_> = new.iter().map(|tick| tick.bid.map(|bid| bid.to_string())).collect();
        assert_eq!(bids, [Some("63999.90".to_owned()), None, None], "a new session knows no old book");
        assert_eq!(
            (new[0].time, new[1].time),
            (Some(Wall(1_763_640_000_120)), Some(Wall(1_763_640_000_999)))
        );
        assert_eq!(heard.bad, ["HTTP 503: busy"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_not_configured_is_a_kind_and_has_the_replay_s_pairs() {
    let text = at(0, &format!("binance/stream {}", trade("BTCEUR", "55000.1", 1)));
    let heard = play_raw(&text, 0.0, "", 1).await;
    let pairs: Vec<_> = heard.ticks.iter().map(|tick| tick.pair.as_str()).collect();
    assert_eq!((pairs, heard.fault), (vec!["BTC-EUR"], None));
}

#[tokio::test(start_paused = true)]
async fn a_capture_without_names_is_read_as_the_source_s() {
    let text = at(0, &trade("BTCUSDT", "64000.10", 1)) + &at(1, &trade("BTCUSDT", "64000.20", 2));
    let heard = play_raw(&text, 0.0, "first", 1).await;
    assert_eq!(prices(&heard), ["64000.10", "64000.20"].map(str::to_owned));
    let nobody = play_raw(&text, 0.0, "", 1).await;
    let Some(Fault::Refused(why)) = nobody.fault else { panic!("{nobody:?}") };
    assert!(why.contains("do not say whose they are"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn of_several_sources_one_must_be_named_and_all_share_a_clock() {
    let text = [
        at(0, "kraken/stream !begin"),
        at(2000, &format!("first/stream {}", trade("BTCUSDT", "64000.10", 1))),
        at(3000, "kraken/stream {}"),
        at(4000, &format!("first/stream {}", trade("BTCUSDT", "64000.20", 2))),
    ]
    .concat();
    let refused = play_raw(&text, 0.0, "", 1).await;
    let Some(Fault::Refused(why)) = &refused.fault else { panic!("{refused:?}") };
    assert!(why.contains("lines of kraken and of first"), "{why}");
    assert_eq!(prices(&play_raw(&text, 1.0, "first", 1).await).len(), 0, "the other's first line began it");
    assert_eq!(prices(&play_raw(&text, 1.0, "first", 3).await).len(), 1);
    assert_eq!(prices(&play_raw(&text, 2.0, "first", 3).await).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_read_is_refused() {
    let line = at(0, "strange/stream {}");
    for (text, source, why) in [
        (line.as_str(), "", "nothing here reads lines of strange"),
        (line.as_str(), "strange", "nothing here reads lines of strange"),
        (line.as_str(), "first", "no line of first in it"),
    ] {
        let heard = play_raw(text, 0.0, source, 1).await;
        let Some(Fault::Refused(told)) = heard.fault else { panic!("{heard:?}") };
        assert!(told.contains(why), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn lines_of_no_use_are_counted() {
    let good = |id| format!("first/stream {}", trade("BTCUSDT", "64000.10", id));
    let text = [
        at(0, &good(1)),
        at(1, "first/stream {\"stream\":"),
        at(2, "first/nonsense {}"),
        at(3, "first/stream <html>"),
        at(4, "first/stream 6100 # torn"),
        at(5, &good(2)),
        at(6, &good(3)).trim_end().to_owned(),
    ]
    .concat();
    let heard = play_raw(&text, 0.0, "first", 1).await;
    assert_eq!((heard.ticks.len(), heard.bad.len(), heard.fault), (2, 5, None), "{:?}", heard.bad);
    assert_eq!(heard.bad[4], "the last line is torn");
}

/// Asks for one pair after the other; an answer does not name its pair.
struct InTurn(u64);

impl Poll for InTurn {
    fn url(&self) -> String {
        String::new()
    }
    fn every(&self) -> Duration {
        Duration::ZERO
    }
    fn read(&mut self, _: &Reply<'_>, out: &mut dyn Sink) -> Result<(), Fault> {
        self.0 += 1;
        out.bad(format!("turn {}", self.0));
        if self.0 == 2 { Err(Fault::Retry("over".to_owned())) } else { Ok(()) }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dialect_that_is_asked_in_turn_keeps_its_turn_as_the_live_one_does() {
    let (replay, _file) = raw("", 0.0, false, "first");
    let (mut number, mut heard) = (0, Heard::default());
    let mut playback = Playback::new(&replay, &mut number, &mut heard);
    let leg = LegState { dialect: Dialect::Poll(Box::new(InTurn(0))), last: HashMap::new(), ended: false };
    playback.legs.insert("rest".to_owned(), leg);
    let mut schedule = Schedule { speed: None, begin: None, at: 0 };
    for rest in ["rest:200 1", "rest:503 2", "rest !end over", "rest !begin", "rest:200 3"] {
        let line = at(0, &format!("first/{rest}"));
        playback.raw(&recording::read(line.trim_end().as_bytes()).unwrap(), &mut schedule).await.unwrap();
    }
    // If our side cut the session off, the live dialect is replaced.
    for rest in ["rest !end cut off", "rest !begin"] {
        let line = at(0, &format!("first/{rest}"));
        playback.raw(&recording::read(line.trim_end().as_bytes()).unwrap(), &mut schedule).await.unwrap();
    }
    assert!(playback.legs.is_empty());
    assert_eq!(heard.bad, ["turn 1", "turn 2", "over", "turn 3"]);
}

#[tokio::test(start_paused = true)]
async fn a_recording_begins_anew_with_growing_numbers() {
    let (mut replay, _file) = raw(&course("first"), 100.0, true, "first");
    let heard = listen(&mut replay, Duration::from_millis(65)).await;
    let numbers: Vec<_> = heard.ticks.iter().filter_map(|tick| tick.seq).filter(|seq| *seq > 0).collect();
    assert!(numbers.len() >= 6, "{numbers:?}");
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_long_way_to_the_next_line_of_ours_leaves_others_their_turn() {
    let mut text: String = (0..5000).map(|n| at(n, "kraken/stream {}")).collect();
    text += &at(0, &format!("first/stream {}", trade("BTCUSDT", "64000.10", 1)));
    let (mut replay, _file) = raw(&text, 1.0, false, "first");
    let mut turns = 0;
    let others = async {
        loop {
            turns += 1;
            tokio::task::yield_now().await;
        }
    };
    let heard = tokio::select! {
        heard = listen_until(&mut replay, |heard| !heard.ticks.is_empty()) => heard,
        () = others => unreachable!(),
    };
    assert_eq!(heard.ticks.len(), 1);
    assert!(turns > 50, "{turns}");
}
