//! The driver against servers that misbehave, with a dialect whose limits are short.

use super::*;
use crate::model::{Price, Symbol};
use crate::providers::Tick;
use crate::providers::tests::battery::{Heard, listen, listen_until};
use crate::providers::tests::standin::{Act, Frame, Standin, eventually};

/// Reads every text that is a price, `1#7` with a number; `move` asks to reconnect.
#[derive(Clone)]
struct Plain {
    url: String,
}

impl Push for Plain {
    fn url(&self) -> String {
        self.url.clone()
    }
    fn hello(&self) -> Vec<String> {
        vec!["one".to_owned(), "two".to_owned()]
    }
    fn keepalive(&self) -> Option<(Duration, String)> {
        Some((Duration::from_millis(300), "still here".to_owned()))
    }
    fn read(&mut self, message: &[u8], out: &mut dyn Sink) -> Result<(), Fault> {
        let text = String::from_utf8_lossy(message);
        if text == "move" {
            return Err(Fault::Reconnect("moved".to_owned()));
        }
        let (text, seq) = match text.split_once('#') {
            Some((price, seq)) => (price, seq.parse().ok()),
            None => (&*text, None),
        };
        let price = Price::parse(text).map_err(|error| Fault::Skip(error.to_string()))?;
        let symbol = Symbol::new("BTC-USD").unwrap();
        out.tick(Tick { pair: symbol.clone(), symbol, price, bid: None, ask: None, time: None, seq });
        Ok(())
    }
}

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(200);

async fn server(frames: Vec<Frame>) -> Standin {
    Standin::always(Act::Stream(frames)).await.unwrap()
}

fn provider(server: &Standin, silence: Duration, no_tick: Duration) -> Pushed<Plain> {
    let limits = Limits { silence, no_tick, renew_after: Duration::ZERO };
    Pushed::new(Plain { url: server.ws() }, limits, Http::within(LONG))
}

async fn fault(frames: Vec<Frame>) -> Fault {
    let server = server(frames).await;
    listen(&mut provider(&server, LONG, LONG), LONG).await.fault.unwrap()
}

fn text(text: &str) -> Frame {
    Frame::Text(text.to_owned())
}

#[tokio::test]
async fn it_says_hello_and_that_it_is_still_there() {
    let server = server(vec![]).await;
    let mut provider = provider(&server, LONG, LONG);
    let said = || server.said().starts_with(&["text:one", "text:two", "text:still here"].map(str::to_owned));
    tokio::select! {
        heard = listen(&mut provider, LONG) => panic!("{heard:?}"),
        said = eventually(said) => assert!(said, "{:?}", server.said()),
    }
}

#[tokio::test]
async fn a_silent_connection_is_left() {
    let server = server(vec![text("1")]).await;
    let heard = listen(&mut provider(&server, SHORT, LONG), LONG).await;
    assert_eq!((heard.ticks.len(), heard.fault), (1, Some(Fault::Retry("silent for 200ms".to_owned()))));
    assert!(heard.lasted >= SHORT);
}

#[tokio::test]
async fn heartbeats_keep_a_connection_but_not_without_a_price() {
    let beat = [Frame::Wait(SHORT / 4), Frame::Ping(vec![]), Frame::Wait(SHORT / 4), text("noise")];
    let beats: Vec<_> = std::iter::repeat_n(beat, 100).flatten().collect();
    let server = server(beats).await;
    let heard = listen(&mut provider(&server, LONG, SHORT * 2), LONG).await;
    assert_eq!((heard.ticks.len(), heard.fault), (0, Some(Fault::Retry("no price for 400ms".to_owned()))));
}

#[tokio::test]
async fn prices_keep_a_connection() {
    let price = [Frame::Wait(SHORT / 4), text("1")];
    let server = server(std::iter::repeat_n(price, 20).flatten().collect()).await;
    let heard: Heard =
        listen_until(&mut provider(&server, SHORT * 4, SHORT * 4), |heard| heard.ticks.len() == 20).await;
    assert_eq!(heard.fault, None);
}

#[tokio::test]
async fn a_price_that_is_said_again_and_again_keeps_no_connection() {
    let price = [Frame::Wait(SHORT / 4), text("1#7")];
    let server = server(std::iter::repeat_n(price, 1000).flatten().collect()).await;
    let heard = listen(&mut provider(&server, LONG, SHORT * 2), LONG).await;
    assert_eq!(heard.fault, Some(Fault::Retry("no price for 400ms".to_owned())));
}

#[tokio::test]
async fn an_end_of_the_stream_has_its_reason() {
    let retry = |why: &str| Fault::Retry(why.to_owned());
    assert_eq!(
        fault(vec![Frame::Close(1001, "going\naway")]).await,
        retry("closed by the source: 1001 going away")
    );
    let policy = fault(vec![Frame::Close(1008, "too many requests")]).await;
    assert_eq!(
        policy,
        Fault::Wait(Duration::from_secs(60), "closed by the source: 1008 too many requests".to_owned())
    );
    assert!(matches!(fault(vec![text("1"), Frame::Cut]).await, Fault::Retry(_)));
    assert!(matches!(fault(vec![Frame::Text("1".repeat(300_000))]).await, Fault::Retry(_)));
}

#[tokio::test]
async fn a_handshake_that_is_not_one_is_refused() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n";
    for rest in ["\r\n", "sec-websocket-accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"] {
        let server = Standin::always(Act::Bytes(format!("{switching}{rest}").into_bytes())).await.unwrap();
        let heard = listen(&mut provider(&server, LONG, LONG), LONG).await;
        let expected = Fault::Retry("the handshake is not that of a WebSocket".to_owned());
        assert_eq!(heard.fault, Some(expected));
    }
}
