//! The page and its files.

use crate::harness::{Cluster, Request, cluster, get};

/// The policy that every file must come with: nothing from elsewhere, nothing inline, no text that becomes HTML.
fn guarded(answer: &crate::harness::Response) {
    let policy = policy(answer);
    for rule in ["default-src 'none'", "script-src 'self'", "require-trusted-types-for 'script'"] {
        assert!(policy.contains(rule), "{policy}");
    }
    shielded(answer);
}

fn policy(answer: &crate::harness::Response) -> &str {
    answer.header("Content-Security-Policy").unwrap_or_else(|| panic!("no policy: {answer:?}"))
}

/// What every page comes with, also one of one's own.
fn shielded(answer: &crate::harness::Response) {
    let policy = policy(answer);
    assert!(policy.contains("connect-src 'self' ws: wss:"), "{policy}");
    assert_eq!(answer.header("X-Frame-Options"), Some("DENY"));
    assert_eq!(answer.header("Cross-Origin-Opener-Policy"), Some("same-origin"));
    assert!(answer.header("Permissions-Policy").is_some());
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
    assert_eq!(answer.header("Referrer-Policy"), Some("no-referrer"), "ids stand in the page's address");
}

/// Files that a text names: in quotes after these words, without those of other places.
fn named<'a>(text: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    let after =
        words.iter().flat_map(|word| text.split(word).skip(1).filter_map(|rest| rest.split('"').next()));
    after
        .map(|name| name.trim_start_matches("./"))
        .filter(|name| !name.is_empty() && !name.contains(':'))
        .collect()
}

async fn file(cluster: &Cluster, request: Request) -> crate::harness::Response {
    let answer = cluster.send(&request).await;
    guarded(&answer);
    answer
}

#[tokio::test]
async fn the_page_comes_with_its_policy_and_all_its_files() {
    let cluster = cluster().start().await;
    let page = file(&cluster, get("/?user_id=alice")).await;
    assert_eq!((page.status, page.header("Content-Type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text().contains("data-testid=\"price\"") && !page.text().contains(" style=\""));
    let names = named(page.text(), &["href=\"", "src=\""]);
    assert!(names.len() >= 3 && names.contains(&"app.js"), "{names:?}");
    for name in &names {
        let answer = file(&cluster, get(&format!("/{name}"))).await;
        let kind = match name.rsplit('.').next().unwrap() {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("{other}"),
        };
        assert_eq!((answer.status, answer.header("Content-Type")), (200, Some(kind)), "{name}");
        assert!(!answer.body.is_empty(), "{name}");
        for import in named(answer.text(), &[" from \"", "import \""]) {
            assert!(names.contains(&import), "{name} imports {import}, which the page does not load ahead");
        }
    }
}

#[tokio::test]
async fn a_file_that_is_known_is_not_sent_again() {
    let cluster = cluster().start().await;
    let first = file(&cluster, get("/app.js")).await;
    let tag = first.header("ETag").expect("a tag");
    assert_eq!(first.header("Cache-Control"), Some("no-cache"));
    let again = cluster.send(&get("/app.js").header("If-None-Match", tag)).await;
    assert_eq!((again.status, again.body.len(), again.header("ETag")), (304, 0, Some(tag)));
    let other = cluster.send(&get("/app.js").header("If-None-Match", "\"0\"")).await;
    assert_eq!((other.status, &other.body), (200, &first.body));
    let head = cluster.send(&get("/app.js").method("HEAD")).await;
    assert_eq!((head.status, head.header("ETag")), (200, Some(tag)));
    assert_eq!(cluster.send(&get("/app.js").method("POST")).await.problem().0, 405);
}

#[tokio::test]
async fn the_page_may_be_a_folder_of_ones_own() {
    let cluster = cluster();
    let cluster = cluster
        .config("[http]\nstatic_dir = \"{dir}/conf.d\"")
        .file("conf.d/index.html", "mine")
        .start()
        .await;
    let page = cluster.get("/").await;
    shielded(&page);
    assert!(policy(&page).starts_with("default-src 'self'"), "it may bring fonts and frameworks");
    assert_eq!((page.status, page.text()), (200, "mine"));
    std::fs::write(cluster.folder().join("conf.d/new.css"), "b{}").unwrap();
    assert_eq!(cluster.get("/new.css").await.text(), "b{}", "what comes later is there, too");
    assert_eq!(cluster.get("/app.js").await.problem().0, 404);
    for path in ["/../log", "/..%2flog", "/%2e%2e/log", "/conf.d/../../log", "/.hidden", "/.."] {
        let answer = cluster.get(path).await;
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn an_unknown_path_is_a_problem_and_never_the_page() {
    let cluster = cluster().start().await;
    let long = format!("/{}", "x".repeat(9_000));
    let paths = [
        "/nothing",
        "/index.htm",
        "/api",
        "/api/",
        "/api/v1",
        "/api/v1/nothing",
        "/api/v1/quotes/",
        "/API/V1/QUOTES",
        "/api/v2/quotes",
        "//",
        "/%00",
        "/static/app.js",
        "/app.js/",
        "/../app.js",
        "/%2e%2e/Cargo.toml",
        "/etc/passwd",
        "/favicon.svg%0d%0aX:%20y",
        &long,
    ];
    for path in paths {
        assert_eq!(cluster.get(path).await.problem(), (404, "not-found".into()), "{path:.60}");
    }
}

#[tokio::test]
async fn a_pipe_in_the_folder_is_no_file_and_blocks_nobody() {
    let cluster = cluster().workers(1);
    let cluster = cluster
        .config("[http]\nstatic_dir = \"{dir}/conf.d\"")
        .file("conf.d/index.html", "mine")
        .start()
        .await;
    let pipe = cluster.folder().join("conf.d/pipe.css");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success(), "mkfifo {}", pipe.display());
    assert_eq!(cluster.get("/pipe.css").await.problem(), (404, "not-found".into()));
    assert_eq!(cluster.get("/").await.status, 200, "the worker serves on");
}
