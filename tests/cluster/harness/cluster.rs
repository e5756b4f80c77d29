//! A running cluster.

use super::http::{Connection, Request, Response, get, post, upgrade};
use super::patience::{eventually, in_time, within};
use super::process::{self, kill};
use super::setup::{BINARY, Output as Out, binary, log_of, spawn};
use super::tab::Tab;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Child;

/// Lines of the log that a failed test shows.
const SHOWN: usize = 60;

/// A running cluster; dropping it kills all its processes.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: TempDir,
    child: Child,
    /// The keeper: systemd's main process.
    pub(crate) pid: u32,
    pub(crate) http: SocketAddr,
    pub(crate) ws: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// A worker, as the statistics tell.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) id: u64,
    pub(crate) pid: Option<u32>,
    pub(crate) state: String,
    pub(crate) restarts: u64,
    pub(crate) sessions: u64,
}

/// Exit code and output of a command.
#[derive(Debug)]
pub(crate) struct Ctl {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ctl {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Cluster {
    pub(super) async fn wait_for(folder: TempDir, child: Child, workers: u16, until_ready: bool) -> Self {
        let pid = child.id().expect("a running process");
        let nowhere: SocketAddr = ([0, 0, 0, 0], 0).into();
        let mut it = Self { folder, child, pid, http: nowhere, ws: nowhere, admin: nowhere };
        it.until_listening().await;
        it.until_ready(workers.into(), until_ready).await;
        it
    }

    async fn until_listening(&mut self) {
        let patience = Duration::from_secs(15);
        let listening = within(patience, "the daemon listens", async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the daemon ended with {status}");
            }
            let status = self.ctl(&["status"]).await;
            if status.code == Some(0) { Ok(status.json()["listening"].clone()) } else { Err(status.err) }
        })
        .await;
        let port = |name: &str| listening[name][0].as_str().and_then(|text| text.parse().ok());
        self.http = port("http").expect("an HTTP port");
        self.ws = port("ws").expect("a WebSocket port");
        self.admin = port("admin").unwrap_or(self.admin);
    }

    async fn until_ready(&self, workers: usize, price: bool) {
        within(Duration::from_secs(15), "every worker is ready", async || {
            let all = self.try_workers().await?;
            let ready = all.iter().filter(|worker| worker.state == "ready").count();
            if ready == workers && all.len() == workers { Ok(()) } else { Err(format!("{all:?}")) }
        })
        .await;
        if price {
            eventually("there is a price", async || {
                let answer = self.get("/readyz").await;
                if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
            })
            .await;
        }
    }

    /// The daemon's folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    /// Reads the daemon's log.
    pub(crate) fn log(&self) -> String {
        log_of(self.folder.path())
    }

    /// Waits for a line of the log that has all these words. Lines are written by a thread of their own: one may come
    /// later than what it tells of.
    pub(crate) async fn logged(&self, words: &[&str]) -> String {
        eventually("it is logged", async || {
            let log = self.log();
            let line = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
            line.map(str::to_owned).ok_or_else(|| format!("no line with {words:?}: {log}"))
        })
        .await
    }

    /// Runs `btc-cluster ctl ... --json`.
    pub(crate) async fn ctl(&self, words: &[&str]) -> Ctl {
        let mut words = words.to_vec();
        words.push("--json");
        self.ctl_plain(&words).await
    }

    /// Runs `btc-cluster ctl ...`, as a person would.
    pub(crate) async fn ctl_plain(&self, words: &[&str]) -> Ctl {
        let mut command = binary();
        let output =
            command.arg("ctl").arg("--socket").arg(self.socket()).args(words).output().await.unwrap();
        Ctl::from(output)
    }

    /// Runs the binary in the cluster's folder.
    pub(crate) async fn run(&self, words: &[&str]) -> Ctl {
        let mut command = binary();
        Ctl::from(command.args(words).current_dir(self.folder()).output().await.unwrap())
    }

    /// Sends a request over a connection of its own.
    pub(crate) async fn send(&self, request: &Request) -> Response {
        send_to(self.http, request).await
    }

    /// Sends a request to the admin port.
    pub(crate) async fn administer(&self, request: &Request) -> Response {
        send_to(self.admin, request).await
    }

    /// `GET` on the HTTP port.
    pub(crate) async fn get(&self, path: &str) -> Response {
        self.send(&get(path)).await
    }

    /// The main job, for this user.
    pub(crate) async fn quote(&self, user: &str) -> Response {
        self.send(&quote_for(user)).await
    }

    /// A session at that path of the WebSocket port, or the refusal.
    pub(crate) async fn open(&self, path: &str) -> Result<Tab, Response> {
        Tab::open(self.ws, path).await
    }

    /// A user's tab with the channels that one has by default.
    pub(crate) async fn tab(&self, user: &str) -> Tab {
        self.tab_with(&format!("user_id={user}")).await
    }

    /// A user's tab that only hears what it asks for.
    pub(crate) async fn quiet_tab(&self, user: &str) -> Tab {
        self.tab_with(&format!("user_id={user}&channels=none")).await
    }

    /// A tab with that query.
    pub(crate) async fn tab_with(&self, query: &str) -> Tab {
        let tab = self.open(&format!("/ws?{query}")).await;
        tab.unwrap_or_else(|refusal| panic!("refused: {refusal:?}")).greeted().await
    }

    /// Quiet tabs of one user, at least one on each of so many workers.
    pub(crate) async fn tabs_on_all(&self, user: &str, workers: usize) -> Vec<Tab> {
        let mut tabs: Vec<Tab> = vec![];
        while tabs.iter().map(Tab::worker).collect::<BTreeSet<_>>().len() < workers {
            assert!(
                tabs.len() < 40 * workers,
                "40 sessions each and one of {workers} workers still has none"
            );
            tabs.push(self.quiet_tab(user).await);
        }
        tabs
    }

    /// Quiet tabs of users of their own (`prefix-0`, `prefix-1`, ...), at least one on each of so many workers.
    pub(crate) async fn users_on_all(&self, prefix: &str, workers: usize) -> Vec<(String, Tab)> {
        let mut tabs: Vec<(String, Tab)> = vec![];
        while tabs.iter().map(|(_, tab)| tab.worker()).collect::<BTreeSet<_>>().len() < workers {
            assert!(
                tabs.len() < 40 * workers,
                "40 sessions each and one of {workers} workers still has none"
            );
            let user = format!("{prefix}-{}", tabs.len());
            let tab = self.quiet_tab(&user).await;
            tabs.push((user, tab));
        }
        tabs
    }

    /// Connections to the HTTP port, one served by each of so many workers.
    pub(crate) async fn connections_to_all(&self, workers: usize) -> Vec<Connection> {
        let (mut all, mut seen) = (vec![], BTreeSet::new());
        for _ in 0..200 * workers {
            let mut connection = Connection::open(self.http).await.expect("a connection");
            let worker = connection.ask(&get("/healthz")).await.json()["worker"].as_u64().expect("a worker");
            if seen.insert(worker) {
                all.push(connection);
            }
            if all.len() == workers {
                return all;
            }
        }
        panic!("connections reach only workers {seen:?}");
    }

    /// The statistics of this moment.
    pub(crate) async fn stats(&self) -> Value {
        let answer = self.get("/api/v1/stats").await;
        if answer.status == 401 {
            return self.administer(&get("/api/v1/stats")).await.json();
        }
        answer.json()
    }

    /// The workers of this moment.
    pub(crate) async fn workers(&self) -> Vec<Worker> {
        self.try_workers().await.unwrap_or_else(|why| panic!("{why}"))
    }

    /// The workers, where a worker answers at all.
    pub(crate) async fn try_workers(&self) -> Result<Vec<Worker>, String> {
        let mut connection = Connection::open(self.http).await.map_err(|error| error.to_string())?;
        let mut answer = connection.send(&get("/api/v1/stats")).await.map_err(|error| error.to_string())?;
        if answer.status == 401 {
            answer = self.administer(&get("/api/v1/stats")).await;
        }
        if answer.status != 200 {
            return Err(format!("{answer:?}"));
        }
        let stats = answer.json();
        Ok(stats["workers"].as_array().expect("workers").iter().map(Worker::from).collect())
    }

    /// The worker of a place.
    pub(crate) async fn worker(&self, id: u64) -> Worker {
        let all = self.workers().await;
        all.into_iter().find(|worker| worker.id == id).unwrap_or_else(|| panic!("no worker {id}"))
    }

    /// Waits until that many sessions would survive the death of their worker.
    pub(crate) async fn until_covered(&self, sessions: usize) {
        let wanted = format!("btc_cluster_crash_cover_sessions{{cover=\"covered\"}} {sessions}.0");
        eventually("all sessions are covered", async || {
            let text = self.administer(&get("/metrics")).await.text().to_owned();
            let is = |line: &&str| line.starts_with("btc_cluster_crash_cover_sessions");
            let told: Vec<_> = text.lines().filter(is).collect();
            if told.contains(&wanted.as_str()) { Ok(()) } else { Err(format!("{told:?}")) }
        })
        .await;
    }

    /// Waits until that many deaths are settled: sessions adopted, or lost.
    pub(crate) async fn until_settled(&self, deaths: usize) {
        eventually("the sessions of the dead are settled", async || {
            let log = self.log();
            let now = log.matches("sessions-adopted").count() + log.matches("sessions-lost").count();
            if now >= deaths { Ok(()) } else { Err(format!("{now} of {deaths}: {log}")) }
        })
        .await;
    }

    /// The process of the master.
    pub(crate) async fn master(&self) -> u32 {
        let status = self.ctl(&["status"]).await.json();
        status["master"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a master")
    }

    /// The processes of this cluster but keeper and master: workers and feeder.
    pub(crate) async fn children(&self) -> Vec<u32> {
        let feeder = self.stats().await["feeder"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        self.workers().await.iter().filter_map(|worker| worker.pid).chain(feeder).collect()
    }

    /// Sends a signal to the daemon's main process.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid, signal);
    }

    /// Replaces a configuration file as an editor does: written beside, then renamed over it.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let text = text.replace("{dir}", self.folder().to_str().unwrap());
        let beside = self.folder().join("beside");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.folder().join(name)).unwrap();
    }

    /// Replaces the test's own configuration.
    pub(crate) fn configure(&self, text: &str) {
        self.write("conf.d/50-test.toml", text);
    }

    /// Replaces the test's own configuration and reloads, which must succeed.
    pub(crate) async fn reconfigure(&self, text: &str) -> Value {
        self.configure(text);
        let reload = self.ctl(&["reload"]).await;
        assert_eq!(reload.code, Some(0), "{reload:?}");
        reload.json()
    }

    /// Number of the configuration in force.
    pub(crate) async fn revision(&self) -> u64 {
        self.ctl(&["status"]).await.json()["revision"].as_u64().expect("a revision")
    }

    /// Waits for the keeper's end. The kernel may report it later than it happens: closing inotify waits for a worker
    /// of the kernel's, for seconds on a busy machine.
    pub(crate) async fn ended(&mut self, patience: Duration) -> ExitStatus {
        within(patience, "the daemon ends", async || {
            if process::is_gone(self.pid) { Ok(()) } else { Err("it runs".to_owned()) }
        })
        .await;
        in_time("the kernel reports the end", self.child.wait()).await.unwrap()
    }

    /// Starts the daemon of the same folder again, after its end.
    pub(crate) async fn start_again(mut self, workers: u16) -> Self {
        assert!(self.child.try_wait().unwrap().is_some(), "the daemon still runs");
        self.child = spawn(self.folder.path(), &[], &[], Out::Log);
        self.pid = self.child.id().expect("a running process");
        self.until_listening().await;
        self.until_ready(workers.into(), true).await;
        self
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let from = lines.len().saturating_sub(SHOWN);
            eprintln!(
                "--- the last of {} lines of the daemon's log:\n{}",
                lines.len(),
                lines[from..].join("\n")
            );
        }
        match i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // As long as nobody has asked after the keeper, its number and its group's are nobody else's.
            Some(group) if self.child.id().is_some() => {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            _ => process::members(self.pid, BINARY).into_iter().for_each(|pid| kill(pid, Signal::KILL)),
        }
    }
}

impl From<Output> for Ctl {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl From<&Value> for Worker {
    fn from(row: &Value) -> Self {
        let number = |key: &str| row[key].as_u64().unwrap_or_else(|| panic!("{key}: {row}"));
        Self {
            id: number("id"),
            pid: row["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()),
            state: row["state"].as_str().expect("a state").to_owned(),
            restarts: number("restarts"),
            sessions: number("sessions"),
        }
    }
}

/// Sends a request to a port over a connection of its own.
pub(crate) async fn send_to(port: SocketAddr, request: &Request) -> Response {
    let mut connection =
        Connection::open(port).await.unwrap_or_else(|error| panic!("connect to {port}: {error}"));
    connection.ask(request).await
}

/// The request that is the main job.
pub(crate) fn quote_for(user: &str) -> Request {
    post("/api/v1/quotes", json!({ "user_id": user }).to_string())
}

/// The request for a quiet session of a user.
pub(crate) fn quiet(user: &str) -> Request {
    upgrade(&format!("/ws?user_id={user}&channels=none"))
}

/// A quiet tab of a user, where the cluster takes it now.
pub(crate) async fn quiet_tab_of(cluster: &Cluster, user: &str) -> Option<Tab> {
    let mut connection = Connection::open(cluster.ws).await.ok()?;
    let answer = connection.send(&quiet(user)).await.ok()?;
    if answer.status != 101 {
        return None;
    }
    Tab::after(connection).await.try_greeted().await
}
