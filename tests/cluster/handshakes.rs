//! From HTTP to a WebSocket, and everything that is refused before.

use crate::harness::{Cluster, Raw, Request, Response, cluster, get, post, send_to, upgrade};

const PATH: &str = "/ws?user_id=alice&channels=none";

async fn on_both(cluster: &Cluster, request: &Request) -> [Response; 2] {
    [send_to(cluster.ws, request).await, send_to(cluster.http, request).await]
}

#[tokio::test]
async fn a_plain_get_of_an_endpoint_is_426_on_both_ports() {
    let cluster = cluster().start().await;
    for path in [PATH, "/echo"] {
        for answer in on_both(&cluster, &get(path)).await {
            assert_eq!(answer.problem(), (426, "upgrade-required".into()), "{path}");
            assert_eq!(answer.header("Upgrade"), Some("websocket"), "{path}");
        }
    }
    assert_eq!(cluster.stats().await["totals"]["sessions"], 0, "asking is not coming");
}

#[tokio::test]
async fn any_other_plain_request_on_the_websocket_port_is_426() {
    let cluster = cluster().start().await;
    let quote = post("/api/v1/quotes", r#"{"user_id":"alice"}"#);
    let requests = [get("/"), get("/nothing"), get("/api/v1/stats"), get("/metrics"), quote];
    for request in requests {
        let answer = send_to(cluster.ws, &request).await;
        assert_eq!(answer.problem(), (426, "upgrade-required".into()), "{request:?}");
        assert_eq!(answer.header("Upgrade"), Some("websocket"));
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(send_to(cluster.ws, &get(path)).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_plain_get_on_the_http_port_answers_what_an_upgrade_would_get() {
    let cluster = cluster().config("[limits]\nsessions_per_user = 1").start().await;
    let told = async |path: &str| send_to(cluster.http, &get(path)).await.problem();
    assert_eq!(told("/ws").await, (400, "invalid-user-id".into()));
    assert_eq!(told("/ws?user_id=a%20b").await, (400, "invalid-user-id".into()));
    assert_eq!(told("/ws?user_id=alice&channels=nowhere").await, (400, "unknown-channel".into()));
    assert_eq!(told(PATH).await.0, 426);
    let tab = cluster.quiet_tab("alice").await;
    assert_eq!(told(PATH).await, (429, "user-session-limit".into()));
    tab.leave().await;
    crate::harness::eventually("there is room again", async || match told(PATH).await {
        (426, _) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test]
async fn a_wrong_handshake_is_counted_as_refused() {
    let cluster = cluster().workers(1).start().await;
    let request = upgrade(PATH).without("Sec-WebSocket-Key");
    assert_eq!(send_to(cluster.ws, &request).await.problem(), (400, "bad-handshake".into()));
    crate::harness::eventually("it is in the metrics", async || {
        let answer = cluster.administer(&get("/metrics")).await;
        let metrics = answer.text();
        let line = metrics.lines().find(|line| line.contains(r#"reason="bad-handshake""#)).map(str::to_owned);
        line.filter(|line| line.ends_with(" 1")).map(|_| ()).ok_or_else(|| "no such line".to_owned())
    })
    .await;
}

#[tokio::test]
async fn a_wrong_handshake_is_refused_as_http() {
    let cluster = cluster().start().await;
    let right = upgrade(PATH);
    let key = "Sec-WebSocket-Key";
    let table = [
        (right.clone().header("Sec-WebSocket-Version", "8"), 426, "an old version"),
        (right.clone().header("Sec-WebSocket-Version", "13, 8"), 426, "two versions"),
        (right.clone().without("Sec-WebSocket-Version"), 426, "no version"),
        (right.clone().without(key), 400, "no key"),
        (right.clone().header(key, ""), 400, "an empty key"),
        (right.clone().header(key, "dGhlIHNhbXBsZQ=="), 400, "a short key"),
        (right.clone().header(key, "not base64 at all! =="), 400, "a key that is none"),
        (right.clone().also(key, "dGhlIHNhbXBsZSBub25jZQ=="), 400, "two keys"),
        (right.clone().header("Upgrade", "h2c"), 426, "another protocol"),
        (right.clone().header("Connection", "close"), 426, "no wish to upgrade"),
        (right.clone().method("POST"), 405, "another method"),
        (right.clone().method("PUT"), 405, "another method"),
    ];
    for (request, status, what) in table {
        for answer in on_both(&cluster, &request).await {
            assert_eq!(answer.problem().0, status, "{what}");
            if status == 426 {
                assert_eq!(answer.header("Sec-WebSocket-Version"), Some("13"), "{what}");
            }
        }
    }
    let mut raw = Raw::connect(cluster.ws).await;
    let old = String::from_utf8(right.bytes("127.0.0.1")).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    raw.write(old.as_bytes()).await;
    assert_eq!(raw.response().await.unwrap().status, 400, "HTTP/1.0");
    assert_eq!(cluster.stats().await["totals"]["sessions"], 0);
}

#[tokio::test]
async fn what_the_query_says_is_checked() {
    let cluster = cluster().start().await;
    let told = async |query: &str| cluster.open(&format!("/ws{query}")).await.unwrap_err().problem();
    let long = "x".repeat(129);
    for query in [
        "",
        "?",
        "?user_id=",
        "?user_id=a%20b",
        "?user_id=a/b",
        "?user_id=%00",
        "?user_id=%C3%A4",
        "?user_id=*",
    ] {
        assert_eq!(told(query).await, (400, "invalid-user-id".into()), "{query}");
    }
    assert_eq!(told(&format!("?user_id={long}")).await, (400, "invalid-user-id".into()));
    for device in ["", "a%20b", &long[..65], "%0d%0a"] {
        assert_eq!(
            told(&format!("?user_id=a&device={device}")).await,
            (400, "invalid-device".into()),
            "{device}"
        );
    }
    assert_eq!(told("?user_id=a&user_id=b").await.0, 400, "twice is not once");
    assert!(cluster.open(&format!("/ws?user_id={}", &long[..128])).await.is_ok());
    assert!(cluster.open(&format!("/ws?user_id=a%3Ab&device={}&future=1", &long[..64])).await.is_ok());
}

#[tokio::test]
async fn the_subprotocol_is_echoed_where_it_is_offered_and_no_extension_is() {
    let cluster = cluster().start().await;
    let chosen = async |offer: &str| {
        let request = upgrade(PATH).header("Sec-WebSocket-Protocol", offer);
        let request =
            request.header("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits");
        let answer = send_to(cluster.ws, &request).await;
        assert_eq!((answer.status, answer.header("Sec-WebSocket-Extensions")), (101, None));
        answer.header("Sec-WebSocket-Protocol").map(str::to_owned)
    };
    assert_eq!(chosen("btc-cluster.v1.json").await.as_deref(), Some("btc-cluster.v1.json"));
    assert_eq!(
        chosen("graphql-ws, btc-cluster.v1.json, bearer.x").await.as_deref(),
        Some("btc-cluster.v1.json")
    );
    assert_eq!(chosen("btc-cluster.v9.json, bearer.secret").await, None);
    assert_eq!(send_to(cluster.ws, &upgrade(PATH)).await.header("Sec-WebSocket-Protocol"), None);
}

#[tokio::test]
async fn only_the_own_origin_may_come_from_a_browser() {
    let cluster = cluster().config("[http]\nallowed_origins = [\"https://friend.example\"]").start().await;
    let from = |request: Request, origin: &str| request.header("Origin", origin);
    let quote = post("/api/v1/quotes", r#"{"user_id":"nobody"}"#);
    for origin in
        ["http://evil.example", "null", "https://friend.example.evil.example", "http://localhost", "garbage"]
    {
        for answer in on_both(&cluster, &from(upgrade(PATH), origin)).await {
            assert_eq!(answer.problem().0, 403, "{origin}");
        }
        let answer = cluster.send(&from(quote.clone(), origin)).await;
        assert_eq!(answer.problem().0, 403, "{origin}: {answer:?}");
        assert_eq!(answer.header("Access-Control-Allow-Origin"), None);
    }
    let own = [
        format!("http://{}", cluster.http),
        "http://127.0.0.1:1".into(),
        "https://127.0.0.1".into(),
        "https://friend.example".into(),
    ];
    for origin in &own {
        for answer in on_both(&cluster, &from(upgrade(PATH), origin)).await {
            assert_eq!(answer.status, 101, "{origin}: {answer:?}");
        }
        assert_eq!(cluster.send(&from(quote.clone(), origin)).await.status, 404, "{origin}");
    }
}

#[tokio::test]
async fn a_friendly_origin_gets_its_cors_headers() {
    let friend = "https://friend.example";
    let cluster = cluster().config("[http]\nallowed_origins = [\"https://friend.example\"]").start().await;
    let answer = cluster.send(&get("/api/v1/price").header("Origin", friend)).await;
    assert_eq!((answer.status, answer.header("Access-Control-Allow-Origin")), (200, Some(friend)));
    assert!(answer.header("Vary").is_some_and(|vary| vary.to_lowercase().contains("origin")), "{answer:?}");
    let preflight = get("/api/v1/quotes")
        .method("OPTIONS")
        .header("Origin", friend)
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "content-type");
    let answer = cluster.send(&preflight).await;
    assert!(matches!(answer.status, 200 | 204), "{answer:?}");
    assert_eq!(answer.header("Access-Control-Allow-Origin"), Some(friend));
    let listed = |name: &str, word: &str| {
        answer.header(name).is_some_and(|value| value.to_lowercase().contains(word) || value == "*")
    };
    assert!(listed("Access-Control-Allow-Methods", "post"), "{answer:?}");
    assert!(listed("Access-Control-Allow-Headers", "content-type"), "{answer:?}");
    assert_eq!(cluster.send(&preflight.header("Origin", "http://evil.example")).await.status, 403);
}

#[tokio::test]
async fn a_foreign_host_is_421_while_everything_is_loopback() {
    let cluster = cluster().start().await;
    for host in ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "a"] {
        for answer in on_both(&cluster, &upgrade(PATH).header("Host", host)).await {
            assert_eq!(answer.problem().0, 421, "{host}");
        }
        assert_eq!(cluster.send(&get("/").header("Host", host)).await.problem().0, 421, "{host}");
        assert_eq!(
            cluster.administer(&get("/api/v1/sessions").header("Host", host)).await.problem().0,
            421,
            "{host}"
        );
    }
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:9", "[::1]", "[::1]:3000", "192.0.2.1"] {
        for answer in on_both(&cluster, &upgrade(PATH).header("Host", host)).await {
            assert_eq!(answer.status, 101, "{host}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn paths_that_are_no_endpoint_are_404() {
    let cluster = cluster().config("[ws]\necho = false").start().await;
    for path in ["/echo", "/ws/", "/ws2", "/stream5", "/stream1/", "/api/v1/quotes"] {
        let answer = send_to(cluster.ws, &upgrade(path)).await;
        assert_eq!(answer.problem().0, 404, "{path}");
    }
    for path in ["/echo", "/ws/", "/ws2", "/chat/"] {
        assert_eq!(send_to(cluster.http, &upgrade(path)).await.problem().0, 404, "{path}");
    }
    assert_eq!(send_to(cluster.admin, &upgrade(PATH)).await.problem().0, 404, "no session on the admin port");
}

#[tokio::test]
async fn the_root_is_the_endpoint_that_the_configuration_names() {
    let cluster = cluster().config("[ws]\nroot = \"ws\"").start().await;
    for answer in on_both(&cluster, &upgrade("/?user_id=alice")).await {
        assert_eq!(answer.status, 101, "{answer:?}");
    }
    let page = cluster.get("/").await;
    assert_eq!((page.status, page.header("Content-Type")), (200, Some("text/html; charset=utf-8")));
}

#[tokio::test]
async fn a_handshake_in_small_pieces_is_served() {
    let cluster = cluster().start().await;
    let mut raw = Raw::connect(cluster.ws).await;
    for piece in upgrade(PATH).bytes(&cluster.ws.to_string()).chunks(16) {
        raw.write(piece).await;
    }
    assert_eq!(raw.response().await.unwrap().status, 101);
    assert_eq!(raw.next().await.unwrap().json()["type"], "welcome");
}
