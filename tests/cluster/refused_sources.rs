//! Sources that refuse, rest and are tried again, by themselves and by an operator.

use crate::harness::{Cluster, cluster, eventually};
use crate::standin::exchange::Exchange;
use crate::standin::{Act, Frame};
use serde_json::Value;

const WAF: &str = "<html><title>Access denied</title>";

fn config(exchange: &Exchange, price: &str) -> String {
    let (rest, stream) = (exchange.server.http(), exchange.server.ws());
    format!(
        "[price]\nproviders = [\"a\"]\n{price}\n[provider.a]\nkind = \"binance\"\nrest_url = \"{rest}\"\n\
         stream_url = \"{stream}\"\nsymbol_map = {{}}\n"
    )
}

/// An exchange that answers everything so, and a daemon that asks it.
async fn that(act: &Act, price: &str) -> (Exchange, Cluster) {
    let exchange = Exchange::start("BTCUSD", "64000.00").await.unwrap();
    does(&exchange, Some(act));
    let cluster = cluster().workers(1).config(&config(&exchange, price)).without_price().start().await;
    (exchange, cluster)
}

/// From now on all new requests are answered so; open streams end.
fn does(exchange: &Exchange, act: Option<&Act>) {
    exchange.rest_does(act.cloned());
    exchange.stream_does(act.cloned());
    exchange.send(Frame::Cut);
}

/// The row of the source, once it shows this.
async fn source(cluster: &Cluster, what: &str, shows: impl Fn(&Value) -> bool) -> Value {
    eventually(what, async || {
        let row = cluster.get("/api/v1/sources").await.json()["sources"][0].clone();
        if shows(&row) { Ok(row) } else { Err(row.to_string()) }
    })
    .await
}

fn refused(row: &Value) -> bool {
    row["state"] == "refused"
}

fn live(row: &Value) -> bool {
    row["state"] == "live"
}

#[tokio::test]
async fn a_refusal_is_tried_again_by_itself_and_says_when() {
    let (exchange, cluster) = that(&Act::answer(403, WAF), "refused_min = \"4s\"").await;
    let row = source(&cluster, "refused", |row| refused(row) && !row["retry_in_ms"].is_null()).await;
    assert!(row["retry_in_ms"].as_u64() <= Some(4_000), "{row}");
    assert!(row["error"].as_str().unwrap().contains("HTTP 403: a page of HTML (\"Access denied\")"), "{row}");
    does(&exchange, None);
    source(&cluster, "all is well again", live).await;
    does(&exchange, Some(&Act::answer(403, WAF)));
    source(&cluster, "refused, though it was well", refused).await;
    does(&exchange, None);
    source(&cluster, "a surprise is tried again in seconds", live).await;
}

#[tokio::test]
async fn an_operator_has_a_source_tried_now() {
    let geographic = Act::answer(451, r#"{"code":0,"msg":"restricted location"}"#);
    let (exchange, cluster) = that(&geographic, "").await;
    let row = source(&cluster, "refused", refused).await;
    assert!(row["retry_in_ms"].as_u64() > Some(3_000_000), "{row}");
    does(&exchange, None);
    let nobody = cluster.ctl_plain(&["retry", "nobody"]).await;
    assert_eq!(
        (nobody.code, nobody.err.trim()),
        (Some(1), "price.providers has no source nobody; it has: a")
    );
    assert_eq!(source(&cluster, "still refused", refused).await["ticks"], 0);
    let told = cluster.ctl(&["retry", "a"]).await;
    assert_eq!((told.code, told.json()), (Some(0), serde_json::json!({"ok": true, "sources": ["a"]})));
    source(&cluster, "tried", live).await;
    does(&exchange, Some(&geographic));
    source(&cluster, "refused again", refused).await;
    does(&exchange, None);
    assert_eq!(cluster.ctl(&["reload"]).await.code, Some(0));
    source(&cluster, "a reload tries it, too", live).await;
}

#[tokio::test]
async fn an_absurd_wait_has_a_limit_and_can_be_lifted() {
    let (exchange, cluster) = that(&Act::later(429, 99_999_999_999, "{}"), "").await;
    let row = source(&cluster, "told to wait", |row| row["state"] == "waiting").await;
    let hours = 3_000_000..4_000_000;
    assert!(row["retry_in_ms"].as_u64().is_some_and(|ms| hours.contains(&ms)), "{row}");
    does(&exchange, None);
    assert_eq!(cluster.ctl(&["retry"]).await.code, Some(0));
    source(&cluster, "all hosts are asked again", live).await;
}

#[tokio::test]
async fn what_is_no_price_is_named_as_what_it_is() {
    let page = Act::ok("<!DOCTYPE html><title>Hotel: please log in</title>");
    let (exchange, cluster) = that(&page, "refresh = \"100ms\"").await;
    let says = |what: &'static str| {
        move |row: &Value| row["error"].as_str().is_some_and(|error| error.contains(what))
    };
    source(&cluster, "a login page", says("a page of HTML (\"Hotel: please log in\")")).await;
    let log = "the log names it";
    eventually(log, async || {
        let log = cluster.log();
        if log.contains("Hotel: please log in") { Ok(()) } else { Err(log) }
    })
    .await;
    does(&exchange, Some(&Act::redirect("https://portal.example/login?session=secret")));
    source(&cluster, "a redirect", says("HTTP 302: a redirect to https://portal.example/login")).await;
    assert!(!cluster.log().contains("session=secret"));
    let packed = Act::Answer {
        status: 200,
        headers: vec![("content-encoding", "gzip".to_owned())],
        body: b"\x1f\x8b\x08\x00".to_vec(),
    };
    does(&exchange, Some(&packed));
    source(&cluster, "gzip", says("packed (gzip) unasked")).await;
    does(&exchange, None);
    source(&cluster, "well", live).await;
}

/// TLS with a certificate that nobody signed.
async fn impostor() -> std::net::SocketAddr {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = include_bytes!("../fixtures/tls/leaf.crt");
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../fixtures/tls/leaf.key")).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    address
}

#[tokio::test]
async fn a_certificate_that_is_refused_again_and_again_is_one_line_of_the_log() {
    let address = impostor().await;
    let config = format!(
        "[price]\nproviders = [\"a\"]\n[provider.a]\nkind = \"http_json\"\nurl = \"https://{address}/\"\n\
         pointer = \"/price\"\ntime_pointer = \"/at\"\n"
    );
    let cluster = cluster().workers(1).config(&config).without_price().start().await;
    let row = source(&cluster, "several tries", |row| row["reconnects"].as_u64() >= Some(4)).await;
    assert!(row["error"].as_str().unwrap().contains("TLS: invalid peer certificate"), "{row}");
    cluster.logged(&["certificate"]).await;
    let log = cluster.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("certificate")).collect();
    assert!(lines.len() == 1 && lines[0].contains("down"), "{lines:?}");
}
