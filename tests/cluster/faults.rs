//! A whole cluster among sources each of which has a fault of its own, and one that is well, last in the order:
//! whatever the others do, tabs get the price that it is, the log says each thing once, and memory stays bounded.

use crate::harness::{Tab, cluster, eventually, resident};
use crate::standin::says::*;
use crate::standin::{Act, Frame, Standin, nobody};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// What bitcoin costs here, wherever it is said truly.
const TRUE: &str = "64250.10";

/// How a kind of source says a price.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    stream: Option<fn(&str, u64) -> String>,
    rest: fn(&str, u64) -> String,
    /// What it says before it goes.
    goodbye: Option<&'static str>,
    /// Whether its prices have numbers.
    numbered: bool,
}

fn kinds() -> [Kind; 5] {
    let binance = Kind {
        name: "binance",
        stream: Some(|digits, seq| binance_trade("BTCUSD", digits, seq)),
        rest: |digits, seq| binance_ticker("BTCUSD", digits, seq),
        goodbye: Some(r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}"#),
        numbered: true,
    };
    let other = Kind { goodbye: None, ..binance };
    [
        binance,
        Kind {
            name: "bitstamp",
            stream: Some(bitstamp_trade),
            rest: bitstamp_ticker,
            goodbye: Some(r#"{"event":"bts:request_reconnect","channel":"","data":""}"#),
            ..binance
        },
        Kind { name: "coinbase", stream: Some(coinbase_ticker), rest: coinbase_product, ..other },
        Kind { name: "kraken", stream: Some(kraken_ticker), rest: kraken_result, numbered: false, ..other },
        Kind { name: "http_json", stream: None, rest: some_json, numbered: false, ..other },
    ]
}

/// One fault of one kind: what the server does with each request, and what is to be seen of it.
struct Case {
    name: String,
    kind: Kind,
    /// Stream and REST.
    acts: [Act; 2],
    /// The states that it may be told to have.
    states: &'static [&'static str],
    /// Whether what it says must have been rejected.
    rejected: bool,
}

/// The other side refuses, hangs, or is something else.
fn broken() -> Vec<(&'static str, Act, &'static [&'static str])> {
    const DOWN: &[&str] = &["connecting", "down"];
    const WAITING: &[&str] = &["waiting"];
    const REFUSED: &[&str] = &["refused"];
    vec![
        ("429", Act::later(429, 600, "{}"), WAITING),
        ("418", Act::later(418, 600, r#"{"code":-1003,"msg":"banned"}"#), WAITING),
        ("451", Act::answer(451, r#"{"code":0,"msg":"restricted location"}"#), REFUSED),
        ("403", Act::answer(403, "<html>WAF</html>"), REFUSED),
        ("500", Act::answer(500, "oops"), DOWN),
        ("hang", Act::Hang, DOWN),
        ("cut", Act::Cut, DOWN),
        ("drip", Act::Drip(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{".to_vec(), SLOWLY), DOWN),
        ("flood", Act::ok(vec![b' '; 3_000_000]), DOWN),
        ("half-open", Act::Stream(vec![]), DOWN),
    ]
}

const SLOWLY: Duration = Duration::from_millis(30);
/// What is no price in anybody's words.
const NONSENSE: [(&str, &str); 9] = [
    ("nan", "NaN"),
    ("negative", "-64250.10"),
    ("zero", "0"),
    ("absurd", "6425010000000000"),
    ("underscore", "64_250.10"),
    ("forty-digits", "6425010000000000000000000000000000000000"),
    ("exponent", "6e40"),
    ("html", "<html>"),
    ("truncated", "\u{0}"),
];

fn cases(of: &str) -> Vec<Case> {
    let mut all = Vec::new();
    for kind in kinds().into_iter().filter(|kind| kind.name == of) {
        let mut add = |fault: &str, acts, states, rejected| {
            let name = format!("{}-{fault}", kind.name);
            all.push(Case { name, kind, acts, states, rejected });
        };
        for (fault, act, states) in broken() {
            let rest = if fault == "half-open" { Act::Hang } else { act.clone() };
            add(fault, [act, rest], states, false);
        }
        for (fault, digits) in NONSENSE {
            let say = |say: fn(&str, u64) -> String| match fault {
                "html" => "<html><body>We will be back</body></html>".to_owned(),
                "truncated" => say(TRUE, 7).split_at(20).0.to_owned(),
                _ => say(digits, 7),
            };
            let stream = Act::Stream(vec![Frame::Text(kind.stream.map(say).unwrap_or_default())]);
            add(fault, [stream, Act::ok(say(kind.rest))], &["connecting", "down"], true);
        }
        let Some(stream) = kind.stream else { continue };
        let text = |digits, seq| Frame::Text(stream(digits, seq));
        let busy = Act::answer(503, "busy");
        // A slip between true prices; old news after new ones; a server that goes; one that breaks again and again.
        let slip =
            vec![text(TRUE, 7), text("640.10", 8), text(TRUE, 9), text("9964250.10", 10), text(TRUE, 11)];
        add("slip", [Act::Stream(slip), busy.clone()], &["live", "down"], true);
        if kind.numbered {
            let late =
                vec![text(TRUE, 7), text(TRUE, 7), text("64260.00", 6), text("64240.00", 2), text(TRUE, 8)];
            add("reordered", [Act::Stream(late), busy.clone()], &["live", "down"], false);
        }
        if let Some(goodbye) = kind.goodbye {
            let leaving = vec![text(TRUE, 7), Frame::Text(goodbye.to_owned())];
            add("leaving", [Act::Stream(leaving), busy.clone()], &["live", "connecting", "down"], false);
        }
        let flapping = vec![text(TRUE, 7), Frame::Cut];
        add("flapping", [Act::Stream(flapping), busy], &["live", "connecting", "down"], false);
    }
    all
}

fn section(name: &str, kind: &str, host: &str) -> String {
    let about = if kind == "http_json" {
        format!("url = \"http://{host}/\"\npointer = \"/data/0/BTC/USD\"\nevery = \"100ms\"")
    } else {
        format!(
            "rest_url = \"http://{host}\"\nstream_url = \"ws://{host}\"\nsymbol_map = {{}}\nsilence = \"2s\"\nno_tick = \"2s\""
        )
    };
    format!("[provider.{name}]\nkind = \"{kind}\"\n{about}\n")
}

/// The servers, and a configuration that names them all, the good one last.
async fn town(of: &str, cases: &[Case]) -> (Vec<Standin>, String) {
    let (mut servers, mut names, mut sections) = (Vec::new(), Vec::new(), String::new());
    for case in cases {
        let [stream, rest] = case.acts.clone();
        let server =
            Standin::start(move |seen| if seen.wants_stream() { stream.clone() } else { rest.clone() });
        let server = server.await.unwrap();
        sections += &section(&case.name, case.kind.name, &server.address.to_string());
        names.push(case.name.clone());
        servers.push(server);
    }
    for (fault, host) in
        [("nobody", nobody().await.unwrap().to_string()), ("no-name", "x.invalid:1".to_owned())]
    {
        let name = format!("{of}-{fault}");
        sections += &section(&name, of, &host);
        names.push(name);
    }
    let good = Standin::always(Act::ok(some_json(TRUE, 1))).await.unwrap();
    sections += &section("good", "http_json", &good.address.to_string());
    names.push("good".to_owned());
    servers.push(good);
    let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let price = "publish_interval = \"20ms\"\nfresh_for = \"10s\"\nrefresh = \"200ms\"";
    (servers, format!("[price]\nproviders = [{}]\n{price}\n{sections}", names.join(", ")))
}

/// All prices that a tab gets in that time.
async fn listen(tab: &mut Tab, time: Duration) -> Vec<Value> {
    let (end, mut all) = (Instant::now() + time, Vec::new());
    while Instant::now() < end {
        all.push(tab.next("price").await);
    }
    all
}

#[tokio::test]
async fn no_fault_of_a_binance_gets_to_a_tab() {
    among_faults("binance").await;
}

#[tokio::test]
async fn no_fault_of_a_bitstamp_gets_to_a_tab() {
    among_faults("bitstamp").await;
}

#[tokio::test]
async fn no_fault_of_a_coinbase_gets_to_a_tab() {
    among_faults("coinbase").await;
}

#[tokio::test]
async fn no_fault_of_a_kraken_gets_to_a_tab() {
    among_faults("kraken").await;
}

#[tokio::test]
async fn no_fault_of_any_address_gets_to_a_tab() {
    among_faults("http_json").await;
}

async fn among_faults(kind: &str) {
    let cases = cases(kind);
    let (_servers, config) = town(kind, &cases).await;
    let cluster = cluster().config(&config).start().await;
    let feeder = || async { cluster.stats().await["feeder"]["pid"].as_u64().unwrap() as u32 };
    let (mut tab, pid) = (cluster.tab("alice").await, feeder().await);
    let before = resident(pid);
    let mut prices = listen(&mut tab, Duration::from_secs(8)).await;
    // On a busy machine it may take longer until the last of them has shown its fault.
    let shown = eventually("each source is in its state", async || {
        let sources = cluster.ctl(&["sources"]).await.json();
        let row = |name: &str| sources.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
        let odd = cases.iter().map(|case| (case, row(&case.name))).find(|(case, row)| {
            let state = row["state"].as_str().unwrap();
            !case.states.contains(&state) || (case.rejected && row["rejected"] == 0)
        });
        match odd {
            None if row("good")["state"] == "live" => Ok(()),
            odd => Err(format!("{:?}, {}", odd.map(|(_, row)| row), row("good"))),
        }
    });
    shown.await;
    prices.extend(listen(&mut tab, Duration::from_millis(1)).await);
    let said: BTreeSet<_> = prices.iter().map(|price| price["price"].as_str().unwrap_or("none")).collect();
    assert_eq!(said, BTreeSet::from([TRUE]), "nothing but the truth");
    assert!(prices.iter().all(|price| price["stale"] == false), "and it is fresh");
    assert_eq!(feeder().await, pid, "the feeder lives");
    let grown = resident(pid).saturating_sub(before);
    assert!(grown < 64 << 20, "the feeder grew by {grown} bytes");

    // A state is said when it comes, and not again and again.
    let log = cluster.log();
    let mut lines = BTreeMap::<&str, usize>::new();
    for line in log.lines().filter(|line| line.contains("source=")) {
        let name = line
            .split("source=")
            .nth(1)
            .and_then(|rest| rest.split(['"', ' ']).find(|word| !word.is_empty()));
        *lines.entry(name.unwrap_or_default()).or_default() += 1;
    }
    assert!(lines.len() > cases.len() / 2, "they are in the log: {lines:?}");
    let loud: Vec<_> = lines.iter().filter(|(_, count)| **count > 12).collect();
    assert!(loud.is_empty(), "{loud:?}\n{log}");
}

#[tokio::test]
async fn a_feeder_among_faults_is_killed_and_comes_back() {
    let good = Standin::always(Act::ok(some_json(TRUE, 1))).await.unwrap();
    let bad =
        Standin::always(Act::Stream(vec![Frame::Text(kraken_ticker(TRUE, 1)), Frame::Cut])).await.unwrap();
    let (bad, good) = (bad.address.to_string(), good.address.to_string());
    let sections = section("flaps", "kraken", &bad) + &section("good", "http_json", &good);
    let cluster =
        cluster().config(&format!("[price]\nproviders = [\"flaps\", \"good\"]\n{sections}")).start().await;
    let mut tab = cluster.tab("alice").await;
    let before = tab.next("price").await["seq"].as_u64().unwrap();
    let feeder = cluster.stats().await["feeder"]["pid"].as_u64().unwrap();
    crate::harness::kill(u32::try_from(feeder).unwrap(), rustix::process::Signal::KILL);
    let quote = cluster.quote("alice").await;
    assert_eq!(quote.status, 202, "quotes go on, with the price that was");
    eventually("another feeder prices", async || {
        let stats = cluster.stats().await;
        let (pid, seq) = (stats["feeder"]["pid"].as_u64(), stats["price"]["seq"].as_u64());
        if pid.is_some_and(|pid| pid != feeder) && seq > Some(before) {
            Ok(())
        } else {
            Err(stats.to_string())
        }
    })
    .await;
    assert_eq!(tab.until_pong().await.iter().filter(|message| message["price"] == Value::Null).count(), 0);
}
