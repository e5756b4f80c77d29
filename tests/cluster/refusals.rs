//! What the main job refuses, and in which order: size, type, syntax, shape, symbol, limit, user, price.

use crate::harness::{Raw, Request, cluster, get, post};
use serde_json::json;

const QUOTES: &str = "/api/v1/quotes";

fn quote(body: impl AsRef<[u8]>) -> Request {
    post(QUOTES, body)
}

#[tokio::test]
async fn what_is_no_json_is_400() {
    let cluster = cluster().workers(1).start().await;
    let _tab = cluster.quiet_tab("alice").await;
    let deep = format!(r#"{{"user_id":"alice","more":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    let bodies: [&[u8]; 15] = [
        b"",
        b" ",
        b"{",
        b"nonsense",
        b"{\"user_id\":\"alice\"",
        b"{\"user_id\":\"alice\"}}",
        b"{\"user_id\":\"alice\"} {}",
        b"{\"user_id\":NaN}",
        b"{\"user_id\":5, x",
        b"{'user_id':'alice'}",
        b"{\"user_id\":\"\\ud800\"}",
        b"{\"user_id\":\"al\xffice\"}",
        b"\xff\xfe{\x00",
        b"{\"user_id\":\"ali\nce\"}",
        deep.as_bytes(),
    ];
    for body in bodies {
        let answer = cluster.send(&quote(body)).await;
        assert_eq!(answer.problem(), (400, "invalid-json".into()), "{:.80}", String::from_utf8_lossy(body));
    }
    assert_eq!(cluster.quote("alice").await.status, 202, "it serves on");
}

#[tokio::test]
async fn json_of_another_shape_is_422() {
    let cluster = cluster().workers(1).start().await;
    let _tab = cluster.quiet_tab("alice").await;
    let bodies = [
        "null",
        "true",
        "7",
        "\"alice\"",
        "[]",
        "[\"alice\"]",
        "{}",
        r#"{"user":"alice"}"#,
        r#"{"USER_ID":"alice"}"#,
        r#"{"user_id":null}"#,
        r#"{"user_id":5}"#,
        r#"{"user_id":["alice"]}"#,
        r#"{"user_id":{"a":1}}"#,
        r#"{"user_id":"alice","user_id":"bob"}"#,
        r#"{"user_id":"alice","user_id":"alice"}"#,
        r#"{"user_id":"alice","symbol":5}"#,
        r#"{"user_id":"alice","symbol":["BTC-USD"]}"#,
    ];
    for body in bodies {
        assert_eq!(cluster.send(&quote(body)).await.problem(), (422, "invalid-body".into()), "{body}");
    }
    let named = cluster.send(&quote("{}")).await;
    assert!(named.text().contains("user_id"), "the field is named: {}", named.text());
}

#[tokio::test]
async fn an_id_has_one_alphabet_and_one_length() {
    let cluster = cluster().workers(1).start().await;
    let long = "x".repeat(128);
    let good = ["a", "AZaz09._~:@-", "..", "-", &long];
    for id in good {
        let answer = cluster.send(&quote(json!({ "user_id": id }).to_string())).await;
        assert_eq!(answer.problem(), (404, "user-not-connected".into()), "{id}");
    }
    let (longer, longest) = ("x".repeat(129), "x".repeat(10_000));
    let bad = [
        "",
        " ",
        "a b",
        "a ",
        "*",
        ">",
        "a/b",
        "a\\b",
        "ä",
        "аdmin",
        "a\0",
        "a\r\nb",
        "a\tb",
        "a+b",
        "a%20b",
        "a,b",
        "a=b",
        "<b>",
        "\u{1F600}",
        &longer,
        &longest,
    ];
    for id in bad {
        let answer = cluster.send(&quote(json!({ "user_id": id }).to_string())).await;
        assert_eq!(answer.problem(), (422, "invalid-user-id".into()), "{id:?}");
        assert!(answer.text().contains("user_id"), "the field is named: {}", answer.text());
    }
}

#[tokio::test]
async fn a_symbol_that_is_not_priced_is_unknown_everywhere() {
    let cluster = cluster().workers(1).start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    for symbol in ["ETH-USD", "btc-usd", "BTC", "BTC-USD-X", "", "BTC/USD", "*"] {
        let answer = cluster.send(&quote(json!({ "user_id": "alice", "symbol": symbol }).to_string())).await;
        assert_eq!(answer.problem(), (422, "unknown-symbol".into()), "{symbol}");
        let error = tab.ask(&json!({ "type": "quote", "symbol": symbol }), "error").await;
        assert_eq!(error["code"], "unknown-symbol", "{symbol}");
    }
    for symbol in ["ETH-USD", "btc-usd", "BTC", "%00"] {
        let answer = cluster.get(&format!("/api/v1/price?symbol={symbol}")).await;
        assert_eq!(answer.problem(), (422, "unknown-symbol".into()), "{symbol}");
    }
}

#[tokio::test]
async fn only_json_is_taken() {
    let cluster = cluster().workers(1).start().await;
    let _tab = cluster.quiet_tab("alice").await;
    let body = r#"{"user_id":"alice"}"#;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json", "*/*", ""] {
        let answer = cluster.send(&quote(body).header("Content-Type", kind)).await;
        assert_eq!(answer.problem(), (415, "unsupported-media-type".into()), "{kind}");
    }
    let answer = cluster.send(&quote(body).without("Content-Type")).await;
    assert_eq!(answer.problem(), (415, "unsupported-media-type".into()));
    for kind in ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.x+json"] {
        let answer = cluster.send(&quote(body).header("Content-Type", kind)).await;
        assert_eq!(answer.status, 202, "{kind}: {answer:?}");
    }
}

#[tokio::test]
async fn a_body_has_a_largest_size_however_it_comes() {
    let cluster = cluster().workers(1).config("[http]\nmax_body = \"1KiB\"").start().await;
    let _tab = cluster.quiet_tab("alice").await;
    let padded = |size: usize| format!("{:<size$}", r#"{"user_id":"alice"}"#);
    assert_eq!(cluster.send(&quote(padded(1024))).await.status, 202, "the limit itself is allowed");
    assert_eq!(cluster.send(&quote(padded(1025))).await.problem(), (413, "body-too-large".into()));

    // Announced: refused before it comes.
    let host = cluster.http.to_string();
    let mut raw = Raw::connect(cluster.http).await;
    let head = format!("POST {QUOTES} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n");
    raw.write(format!("{head}Content-Length: 99999999999\r\n\r\n").as_bytes()).await;
    assert_eq!(raw.response().await.unwrap().problem().0, 413);

    // In pieces: refused when it is too much.
    let mut raw = Raw::connect(cluster.http).await;
    raw.write(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await;
    raw.write(format!("400\r\n{}\r\n", padded(1024)).as_bytes()).await;
    raw.write(b"1\r\n \r\n0\r\n\r\n").await;
    assert_eq!(raw.response().await.unwrap().problem().0, 413);

    // In pieces and small enough.
    let mut raw = Raw::connect(cluster.http).await;
    raw.write(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await;
    raw.write(b"a\r\n{\"user_id\"\r\n9\r\n:\"alice\"}\r\n0\r\n\r\n").await;
    assert_eq!(raw.response().await.unwrap().status, 202);
}

#[tokio::test]
async fn another_method_is_405_and_says_which() {
    let cluster = cluster().workers(1).start().await;
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let answer = cluster.send(&get(QUOTES).method(method)).await;
        assert_eq!(answer.problem(), (405, "method-not-allowed".into()), "{method}");
        assert_eq!(answer.header("Allow"), Some("POST"), "{method}");
    }
    for path in ["/api/v1/price", "/api/v1/stats", "/api/v1/info", "/healthz", "/readyz"] {
        let answer = cluster.send(&get(path).method("DELETE")).await;
        assert_eq!(answer.problem(), (405, "method-not-allowed".into()), "{path}");
        assert!(answer.header("Allow").is_some_and(|allow| allow.contains("GET")), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn the_first_fault_in_the_order_is_told() {
    let cluster = cluster().workers(1).config("[limits]\nquotes_per_user = \"1/h\"").start().await;
    let told = async |request: Request| cluster.send(&request).await.problem().0;
    let large = "x".repeat(20_000);
    assert_eq!(told(quote(&large).header("Content-Type", "text/plain")).await, 413, "size before type");
    assert_eq!(told(quote("nonsense").header("Content-Type", "text/plain")).await, 415, "type before syntax");
    assert_eq!(told(quote(r#"{"user_id":5, x"#)).await, 400, "syntax before shape");
    let both = cluster.send(&quote(r#"{"user_id":"a b","symbol":"NO-PE"}"#)).await;
    assert_eq!(both.problem(), (422, "invalid-user-id".into()), "shape before symbol");
    for _ in 0..3 {
        let unknown = quote(r#"{"user_id":"bob","symbol":"NO-PE"}"#);
        assert_eq!(
            told(unknown).await,
            422,
            "symbol before limit and user; what is refused so is not counted"
        );
    }
    assert_eq!(cluster.quote("bob").await.problem().0, 404, "the first is within the limit");
    assert_eq!(cluster.quote("bob").await.problem().0, 429, "limit before user");
}
