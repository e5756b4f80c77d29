//! Who may come in, by the host and the origin that a request names, and what answers say to browsers and caches.

use crate::harness::{
    Cluster, Raw, Request, Response, cluster, delete, eventually, get, post, send_to, upgrade,
};
use std::net::SocketAddr;

const OUTWARD: &str = "[http]\nlisten = \"0.0.0.0:0\"\n[ws]\nlisten = \"[::]:0\"";

/// A cluster whose admin port is the only one on loopback.
async fn outward() -> Cluster {
    let mut cluster = cluster().config(OUTWARD).start().await;
    cluster.http.set_ip([127, 0, 0, 1].into());
    cluster.ws.set_ip([127, 0, 0, 1].into());
    cluster
}

fn admin_routes() -> [Request; 4] {
    [
        get("/api/v1/sessions"),
        get("/api/v1/stats"),
        post("/api/v1/channels/news/messages", r#"{"data":1}"#),
        delete("/api/v1/sessions/01890a5d-ac96-774b-bcce-b302099a8057"),
    ]
}

#[tokio::test]
async fn a_port_on_loopback_serves_local_names_whatever_the_others_do() {
    let cluster = outward().await;
    let port = cluster.admin.port();
    for host in
        ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "evillocalhost", ".localhost", "127.1"]
    {
        for request in admin_routes() {
            let rebound = format!("{host}:{port}");
            let request = request.header("Host", &rebound).header("Origin", &format!("http://{rebound}"));
            let answer = cluster.administer(&request).await;
            assert_eq!(answer.problem(), (421, "host-not-served".into()), "{request:?}");
            // The name in a whole URL counts, and a stranger's word for the name does not.
            let whole = format!("GET http://{rebound}/api/v1/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert_eq!(raw(cluster.admin, &whole).await.status, 421, "{host}");
            let told = request.header("X-Forwarded-Host", "localhost").header("Forwarded", "host=localhost");
            assert_eq!(cluster.administer(&told).await.status, 421, "{host}");
        }
        assert_eq!(cluster.send(&get("/api/v1/price").header("Host", host)).await.status, 200, "{host}");
    }
    for host in [
        "localhost",
        "LocalHost.",
        "shop.localhost:1",
        "127.0.0.2",
        "[::1]:3001",
        "[::ffff:127.0.0.1]",
        "192.0.2.7",
    ] {
        let answer = cluster.administer(&get("/api/v1/sessions").header("Host", host)).await;
        assert_eq!(answer.status, 200, "{host}");
    }
}

#[tokio::test]
async fn the_websocket_port_and_the_http_port_judge_by_their_own_addresses() {
    let cluster = cluster().config("[http]\nlisten = \"0.0.0.0:0\"").start().await;
    let request = upgrade("/ws?user_id=alice&channels=none").header("Host", "evil.example");
    assert_eq!(send_to(cluster.ws, &request).await.status, 421);
    let mut http = cluster.http;
    http.set_ip([127, 0, 0, 1].into());
    assert_eq!(send_to(http, &request).await.status, 101);
}

async fn raw(to: SocketAddr, text: &str) -> Response {
    let mut client = Raw::connect(to).await;
    client.write(text.as_bytes()).await;
    client.response().await.unwrap()
}

#[tokio::test]
async fn health_answers_any_host_and_none_and_nothing_else_does() {
    for config in ["", "[http]\nhosts = [\"price.example.com\"]"] {
        let cluster = cluster().config(config).start().await;
        let ports = [("http", cluster.http), ("ws", cluster.ws), ("admin", cluster.admin)];
        for (port, address) in ports {
            let mut health = vec!["/healthz", "/livez", "/readyz"];
            health.extend((port == "admin").then_some("/metrics"));
            for path in health {
                for host in
                    ["Host: 10.0.0.5\r\n", "Host: balancer_7.example\r\n", "Host: \r\n", "Host: a b\r\n", ""]
                {
                    for version in ["1.0", "1.1"] {
                        let text = format!("GET {path} HTTP/{version}\r\n{host}\r\n");
                        // 503: a machine so busy that the master's answer is late.
                        let asked = format!("{port} {text:?} is answered");
                        eventually(&asked, async || match raw(address, &text).await.status {
                            503 => Err("busy".to_owned()),
                            200 => Ok(()),
                            status => panic!("{port} {text:?}: {status}"),
                        })
                        .await;
                    }
                }
                let page = format!(
                    "GET {path} HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://foreign.example\r\n\r\n"
                );
                assert_eq!(raw(address, &page).await.status, 403, "{port} {path}");
                let post = format!("POST {path} HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n");
                assert_eq!(raw(address, &post).await.status, 421, "{port} {path}");
                let two = format!("GET {path} HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n");
                assert_eq!(raw(address, &two).await.status, 400, "{port} {path}");
            }
            for path in
                ["/", "/api/v1/stats", "/api/v1/info", "/metrics/", "/healthz/", "/ws?user_id=a", "//healthz"]
            {
                let text = format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n");
                assert_eq!(raw(address, &text).await.status, 421, "{port} {text:?}");
            }
        }
        let public = raw(cluster.http, "GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
        assert_eq!(public.status, 421);
    }
}

#[tokio::test]
async fn a_foreign_page_opens_no_session_by_an_image() {
    let cluster = cluster().config("[http]\nallowed_origins = [\"https://app.example\"]").start().await;
    let events = async |request: &Request| {
        let mut client = Raw::connect(cluster.http).await;
        client.write(&request.bytes("localhost")).await;
        let (_, text) = client.more().await;
        text.get(9..12).and_then(|status| status.parse::<u16>().ok()).unwrap()
    };
    for path in
        ["/api/v1/poll?user_id=victim", "/api/v1/events?user_id=victim", "/ws?user_id=victim", "/broadcast"]
    {
        let socket = !path.starts_with("/api");
        let usual = if socket { upgrade(path) } else { get(path) };
        let good = if socket { 101 } else { 200 };
        for (site, origin, status) in [
            ("cross-site", None, 403),
            ("same-site", None, 403),
            ("same-origin", None, good),
            ("none", None, good),
            ("cross-site", Some("https://app.example"), good),
            ("same-site", Some("http://localhost:5173"), good),
            ("cross-site", Some("https://evil.example"), 403),
            ("cross-site", Some("null"), 403),
        ] {
            let mut request = usual.clone().header("Sec-Fetch-Site", site);
            request = origin.map_or(request.clone(), |origin| request.header("Origin", origin));
            assert_eq!(events(&request).await, status, "{request:?}");
        }
    }
    let price = get("/api/v1/price").header("Sec-Fetch-Site", "cross-site");
    assert_eq!(cluster.send(&price).await.status, 200, "reading has no effect");
    let sessions = get("/api/v1/sessions").header("Sec-Fetch-Site", "same-site");
    let page = sessions.clone().header("Origin", "http://127.0.0.1:5173");
    assert_eq!(cluster.administer(&sessions).await.status, 403);
    assert_eq!(cluster.administer(&page).await.status, 403, "a page of another port of this host");
    assert_eq!(cluster.administer(&get("/healthz").header("Sec-Fetch-Site", "cross-site")).await.status, 200);
}

#[tokio::test]
async fn only_websocket_is_a_websocket() {
    let cluster = cluster().start().await;
    for (upgrade, connection) in [
        ("h2c", "Upgrade, HTTP2-Settings"),
        ("", "Upgrade"),
        ("TLS/1.0", "Upgrade"),
        ("websocket2", "Upgrade"),
        ("web", "Upgrade"),
        ("websocket", "keep-alive"),
        ("h2c, TLS/1.0", "upgrade"),
    ] {
        let offer = |path: &str| get(path).header("Upgrade", upgrade).header("Connection", connection);
        let page = cluster.send(&offer("/")).await;
        assert_eq!(
            (page.status, page.header("Content-Type")),
            (200, Some("text/html; charset=utf-8")),
            "{upgrade:?}"
        );
        assert_eq!(cluster.send(&offer("/api/v1/price")).await.status, 200, "{upgrade:?}");
        for (port, path) in [
            (cluster.http, "/ws?user_id=a"),
            (cluster.http, "/stream1?user_id=a"),
            (cluster.http, "/broadcast"),
            (cluster.ws, "/ws?user_id=a"),
            (cluster.ws, "/"),
            (cluster.ws, "/nothing"),
        ] {
            let answer = send_to(port, &offer(path)).await;
            assert_eq!(answer.problem(), (426, "upgrade-required".into()), "{upgrade:?} {path}");
            assert_eq!(answer.header("Upgrade"), Some("websocket"));
        }
        assert_eq!(cluster.send(&offer("/nothing")).await.status, 404);
    }
    for (name, connection) in [("WebSocket", "keep-alive, UPGRADE"), ("h2c, websocket", "upgrade")] {
        for path in ["/", "/ws?user_id=a&channels=none", "/stream1?user_id=a"] {
            let request = upgrade(path).header("Upgrade", name).header("Connection", connection);
            assert_eq!(cluster.send(&request).await.status, 101, "{name} {path}");
            assert_eq!(send_to(cluster.ws, &request).await.status, 101, "{name} {path}");
        }
    }
}

#[tokio::test]
async fn pages_of_apps_and_their_libraries_come_in_when_listed() {
    let apps =
        ["capacitor://localhost", "tauri://localhost", "chrome-extension://abcdefghijklmnop", "file://"];
    let cluster = cluster().config(&format!("[http]\nallowed_origins = {apps:?}")).start().await;
    for app in apps {
        let answer = cluster.send(&get("/api/v1/price").header("Origin", app)).await;
        assert_eq!((answer.status, answer.header("Access-Control-Allow-Origin")), (200, Some(app)));
        assert_eq!(cluster.send(&upgrade("/ws?user_id=a").header("Origin", app)).await.status, 101);
        let question = get("/api/v1/quotes")
            .method("OPTIONS")
            .header("Origin", app)
            .header("Access-Control-Request-Method", "POST")
            .header(
                "Access-Control-Request-Headers",
                "baggage,content-type,sentry-trace,traceparent,x-forwarded-for",
            );
        let told = cluster.send(&question).await;
        let names = told.header("Access-Control-Allow-Headers").unwrap();
        for name in ["baggage", "content-type", "sentry-trace", "traceparent", "authorization"] {
            assert!(names.split(", ").any(|told| told == name), "{name}: {names}");
        }
        assert!(!names.contains("x-forwarded-for"), "{names}");
        assert!(vary(&told).contains(&"access-control-request-headers".to_owned()), "{told:?}");
    }
    for other in ["null", "chrome-extension://abcdefghijklmnoq", "ionic://localhost"] {
        assert_eq!(cluster.send(&get("/api/v1/price").header("Origin", other)).await.status, 403, "{other}");
    }
}

fn vary(answer: &Response) -> Vec<String> {
    let lines = answer.headers().filter(|(name, _)| name.eq_ignore_ascii_case("vary"));
    lines.flat_map(|(_, value)| value.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect()
}

#[tokio::test]
async fn every_answer_guards_itself() {
    let cluster = cluster().config("[http]\nallowed_origins = [\"https://app.example\"]").start().await;
    let evil = get("/api/v1/price").header("Host", "evil.example");
    let requests = [
        get("/"),
        get("/app.js"),
        get("/app.js").header("Origin", "https://app.example"),
        get("/nothing"),
        get("/api/v1/price"),
        get("/api/v1/stats"),
        get("/api/v1/poll?user_id=a"),
        get("/api/v1/events"),
        get("/healthz"),
        get("/readyz"),
        get("/ws"),
        post("/api/v1/quotes", "{}"),
        post("/api/v1/price", "{}"),
        evil,
        get("/api/v1/price").header("Origin", "https://evil.example"),
    ];
    for request in &requests {
        for port in [cluster.http, cluster.ws] {
            let answer = send_to(port, request).await;
            assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"), "{request:?} {answer:?}");
            assert_eq!(answer.header("Cross-Origin-Resource-Policy"), Some("same-origin"), "{request:?}");
            assert_eq!(
                answer.header("Referrer-Policy"),
                Some("no-referrer"),
                "ids stand in addresses {request:?}"
            );
            for banner in ["Server", "X-Powered-By", "Via"] {
                assert_eq!(answer.header(banner), None, "{request:?}");
            }
            assert!(vary(&answer).contains(&"origin".to_owned()), "{request:?} {answer:?}");
            assert!(answer.header("Cache-Control").is_some(), "{request:?} {answer:?}");
        }
    }
    let metrics = cluster.administer(&get("/metrics")).await;
    assert_eq!(metrics.header("Cache-Control"), Some("no-store"));
    assert_eq!(metrics.header("X-Content-Type-Options"), Some("nosniff"));
}

#[tokio::test]
async fn metrics_come_in_the_form_that_is_asked_for() {
    let cluster = cluster().start().await;
    let (text, open) = (
        "text/plain; version=0.0.4; charset=utf-8",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    );
    // What Prometheus 2.42 sends.
    let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                      text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (accept, kind) in
        [(None, text), (Some("*/*"), text), (Some("text/plain"), text), (Some(prometheus), open)]
    {
        for method in ["GET", "HEAD"] {
            let mut request = get("/metrics").method(method);
            request = accept.map_or(request.clone(), |accept| request.header("Accept", accept));
            let answer = cluster.administer(&request).await;
            assert_eq!((answer.status, answer.header("Content-Type")), (200, Some(kind)), "{request:?}");
            assert!(vary(&answer).contains(&"accept".to_owned()), "{answer:?}");
            if method == "GET" {
                assert_eq!(answer.text().ends_with("# EOF\n"), kind == open, "{accept:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let cluster = cluster().start().await;
    let (http, ws, admin) = (cluster.http, cluster.ws, cluster.admin);
    for (port, path, allowed) in [
        (http, "/api/v1/quotes", "POST"),
        (http, "/api/v1/price", "GET, HEAD"),
        (http, "/api/v1/stats", "GET, HEAD"),
        (http, "/healthz", "GET, HEAD"),
        (http, "/", "GET, HEAD"),
        (http, "/index.html", "GET, HEAD"),
        (http, "/ws", "GET"),
        (http, "/stream1", "GET"),
        (ws, "/ws", "GET"),
        (ws, "/", "GET"),
        (ws, "/stream1", "GET"),
        (ws, "/readyz", "GET, HEAD"),
        (admin, "/metrics", "GET, HEAD"),
        (admin, "/api/v1/sessions", "GET, HEAD"),
        (admin, "/api/v1/channels/news/messages", "POST"),
        (admin, "/api/v1/sessions/x", "DELETE"),
    ] {
        for method in ["PUT", "OPTIONS", "BREW", "PATCH", "TRACE"] {
            let answer = send_to(port, &get(path).method(method)).await;
            assert_eq!(answer.problem(), (405, "method-not-allowed".into()), "{method} {path}");
            let mut told: Vec<_> =
                answer.header("Allow").unwrap_or_default().split(',').map(str::trim).collect();
            told.sort_unstable();
            assert_eq!(told.join(", "), allowed, "{method} {path}");
        }
    }
    for path in ["/api/v1/poll?user_id=a", "/api/v1/events?user_id=a"] {
        let answer = send_to(http, &get(path).method("HEAD")).await;
        assert_eq!((answer.status, answer.header("Allow")), (405, Some("GET")), "{path}");
    }
}

#[tokio::test]
async fn a_body_that_two_readers_would_end_at_two_places_is_refused() {
    let cluster = cluster().start().await;
    let body = "1b\r\n{\"user_id\":\"nobody\",\"x\":\"\"}\r\n0\r\n\r\n";
    let send = async |codings: &str| {
        let head = "POST /api/v1/quotes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
        raw(cluster.http, &format!("{head}{codings}\r\n{body}")).await
    };
    assert_eq!(send("Transfer-Encoding: Chunked\r\n").await.status, 404);
    for codings in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let answer = send(codings).await;
        assert_eq!(answer.problem(), (400, "bad-framing".into()), "{codings}");
        assert!(answer.is_last(), "nobody knows where the next request begins: {codings}");
    }
}

#[tokio::test]
async fn a_network_of_ipv4_may_be_written_as_ipv6() {
    let setup =
        cluster().config("[http]\ntrusted_proxies = [\"::ffff:127.0.0.0/104\"]\nallowed_origins = []");
    let cluster = setup.start().await;
    let proxied =
        get("/api/v1/price").header("Origin", "https://btc.org").header("X-Forwarded-Host", "btc.org");
    assert_eq!(cluster.send(&proxied).await.status, 200);
}

#[tokio::test]
async fn links_do_not_lead_out_of_the_page_s_folder() {
    let setup = cluster().config("[http]\nstatic_dir = \"{dir}/static\"").file("secret.css", "secret");
    let setup = setup.subfolder("static").file("static/a.css", "b{}");
    let cluster = setup.start().await;
    let at = |name: &str| cluster.folder().join("static").join(name);
    std::os::unix::fs::symlink("a.css", at("inside.css")).unwrap();
    std::os::unix::fs::symlink("../secret.css", at("outside.css")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at("passwd.css")).unwrap();
    for (name, status) in [("a.css", 200), ("inside.css", 200), ("outside.css", 404), ("passwd.css", 404)] {
        assert_eq!(cluster.get(&format!("/{name}")).await.status, status, "{name}");
    }
}
