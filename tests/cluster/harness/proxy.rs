//! Real proxies in front of a cluster.

use super::http::{Connection, Request, Response};
use super::secure::certificate;
use super::{eventually, skipped};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Finds a program of Debian's; without it says that the test is skipped.
pub(crate) fn which(program: &str, test: &str) -> Option<PathBuf> {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let found = folders.iter().map(|folder| PathBuf::from(folder).join(program)).find(|path| path.exists());
    if found.is_none() {
        skipped(test, &format!("{program} is not installed"));
    }
    found
}

/// A running proxy; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Proxy {
    _folder: TempDir,
    _child: Child,
    pub(crate) address: SocketAddr,
}

impl Proxy {
    /// nginx with the first server of docs/operations.md, its upstream being these addresses.
    pub(crate) async fn nginx(program: PathBuf, upstreams: &[SocketAddr]) -> Self {
        Self::nginx_with(program, upstreams, "").await
    }

    /// The same, with TLS.
    pub(crate) async fn secure_nginx(program: PathBuf, upstream: SocketAddr) -> Self {
        let [certificate, key] = certificate().map(|path| path.display().to_string());
        let more = format!(" ssl; ssl_certificate {certificate}; ssl_certificate_key {key}");
        Self::nginx_with(program, &[upstream], &more).await
    }

    async fn nginx_with(program: PathBuf, upstreams: &[SocketAddr], tls: &str) -> Self {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
        let page = std::fs::read_to_string(page).unwrap();
        let block = page.split("```nginx\n").nth(1).and_then(|rest| rest.split("```").next());
        let address = free();
        let servers: Vec<_> = upstreams.iter().map(|address| format!("server {address};")).collect();
        let block = block.expect("a server of nginx");
        let changed = block
            .replace("server 127.0.0.1:3000;", &servers.join(" "))
            .replace("listen 80;", &format!("listen {address}{tls};"));
        assert!(changed.contains(&servers.join(" ")) && changed.contains(&address.to_string()), "{changed}");
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {{dir}}/{kind};"))
            .join("\n");
        let text = format!(
            "daemon off; master_process off; pid {{dir}}/pid; error_log {{dir}}/error.log;\n\
             events {{ worker_connections 1024; }}\nhttp {{ access_log off;\n{temporary}\n{changed}\n}}\n"
        );
        let words = ["-e", "{dir}/error.log", "-c", "{dir}/proxy.conf"];
        Self::start(program, &words, &text, address).await
    }

    /// `HAProxy` with that backend.
    pub(crate) async fn haproxy(program: PathBuf, backend: &str) -> Self {
        Self::haproxy_with(program, backend, "", None).await
    }

    /// `HAProxy` with TLS.
    pub(crate) async fn secure_haproxy(program: PathBuf, upstream: SocketAddr) -> Self {
        let both = certificate().map(|path| std::fs::read_to_string(path).unwrap()).concat();
        let backend = format!("  timeout tunnel 1h\n  server a {upstream}");
        Self::haproxy_with(program, &backend, " ssl crt {dir}/both.pem", Some(both)).await
    }

    async fn haproxy_with(program: PathBuf, backend: &str, tls: &str, pem: Option<String>) -> Self {
        let address = free();
        let text = format!(
            "defaults\n  mode http\n  timeout connect 2s\n  timeout client 20s\n  timeout server 20s\n\
             frontend in\n  bind {address}{tls}\n  default_backend cluster\nbackend cluster\n{backend}\n"
        );
        let folder = TempDir::with_prefix("btc-proxy-").unwrap();
        if let Some(pem) = pem {
            std::fs::write(folder.path().join("both.pem"), pem).unwrap();
        }
        Self::start_in(folder, program, &["-db", "-f", "{dir}/proxy.conf"], &text, address).await
    }

    /// Caddy with TLS.
    pub(crate) async fn secure_caddy(program: PathBuf, upstream: SocketAddr) -> Self {
        let address = free();
        let [certificate, key] = certificate().map(|path| path.display().to_string());
        let text = format!(
            "{{\n\tadmin off\n\tauto_https off\n\tstorage file_system {{dir}}/storage\n}}\n\
             https://localhost:{} {{\n\tbind {}\n\ttls {certificate} {key}\n\
             \treverse_proxy {upstream} {{\n\t\tflush_interval -1\n\t}}\n}}\n",
            address.port(),
            address.ip(),
        );
        let words = ["run", "--adapter", "caddyfile", "--config", "{dir}/proxy.conf"];
        Self::start(program, &words, &text, address).await
    }

    async fn start(program: PathBuf, words: &[&str], text: &str, address: SocketAddr) -> Self {
        Self::start_in(TempDir::with_prefix("btc-proxy-").unwrap(), program, words, text, address).await
    }

    async fn start_in(
        folder: TempDir,
        program: PathBuf,
        words: &[&str],
        text: &str,
        address: SocketAddr,
    ) -> Self {
        let dir = folder.path().to_str().unwrap();
        std::fs::write(folder.path().join("proxy.conf"), text.replace("{dir}", dir)).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command.args(words.iter().map(|word| word.replace("{dir}", dir))).kill_on_drop(true);
        // Caddy keeps its configuration there.
        command.env("XDG_CONFIG_HOME", dir).env("XDG_DATA_HOME", dir);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = command.spawn().unwrap();
        eventually("the proxy listens", async || {
            let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
            assert_eq!(child.try_wait().unwrap(), None, "the proxy ended: {log}");
            Connection::open(address).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        Self { _folder: folder, _child: child, address }
    }

    /// Sends a request over a connection of its own.
    pub(crate) async fn send(&self, request: &Request) -> Response {
        super::send_to(self.address, request).await
    }
}

/// An address that nobody listens on. Its ports are none that the kernel gives to other tests meanwhile.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.7:0").and_then(|listener| listener.local_addr()).unwrap()
}
