//! The daemon: started in a folder of its own or already running, its processes, its control socket.

use crate::client::Client;
use crate::options::Ports;
use crate::usage::Family;
use crate::watch::Stats;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::Deserialize;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longest start.
const STARTING: Duration = Duration::from_secs(30);
/// Longest stop.
const STOPPING: Duration = Duration::from_secs(15);
/// Longest answer of the control socket.
const COMMAND: Duration = Duration::from_secs(40);
/// The file that says how many workers there are.
const WORKERS: &str = "conf.d/50-workers.toml";

/// Configuration of a daemon that this tool starts.
const BASE: &str = r#"
[cluster]
worker_timeout = "5s"
restart_min = "50ms"
stable_after = "1s"
give_up_after = 1000
[http]
listen = "127.0.0.1:0"
[ws]
listen = "127.0.0.1:0"
echo = true
[admin]
listen = "127.0.0.1:0"
[control]
socket = "{dir}/control.sock"
[limits]
messages_per_session = "0"
quotes_per_user = "0"
sessions_per_address = 0
connections_per_address = 0
[[channels]]
name = "news"
[provider.mock]
tick = "{tick}ms"
[price]
publish_interval = "{tick}ms"
[resume]
sessions = 20000
"#;

/// A process of the daemon, by its command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// What was started: the keeper, or the master where there is none.
    Main,
    Master,
    Feeder,
    Worker,
    Other,
}

/// A running daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    binary: PathBuf,
    socket: PathBuf,
    /// The configuration's folder and the process, where this tool has started it.
    own: Option<(PathBuf, Child)>,
    pub(crate) main: u32,
    pub(crate) ports: Ports,
}

/// `ctl status --json`, as far as it is needed.
#[derive(Debug, Deserialize)]
struct Status {
    listening: Listening,
}

#[derive(Debug, Deserialize)]
struct Listening {
    http: Vec<String>,
    ws: Vec<String>,
    #[serde(default)]
    admin: Vec<String>,
}

/// Says which processes are there, with their roles.
pub(crate) fn processes(main: u32) -> Vec<(u32, Role)> {
    Family::of(main)
        .pids()
        .iter()
        .map(|pid| (*pid, if *pid == main { Role::Main } else { role(*pid) }))
        .collect()
}

fn role(pid: u32) -> Role {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    match words.find(|word| word == "internal").and_then(|_| words.next()).as_deref() {
        Some("master") => Role::Master,
        Some("feeder") => Role::Feeder,
        Some("worker") => Role::Worker,
        _ => Role::Other,
    }
}

/// Whether a process has ended: gone, or a zombie.
pub(crate) fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

pub(crate) fn signal(pid: u32, signal: Signal) -> Result<(), String> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("no process")?;
    kill_process(raw, signal).map_err(|error| format!("{signal:?} to {pid}: {error}"))
}

impl Daemon {
    /// Starts one, with that many workers and a price every `tick` milliseconds.
    pub(crate) async fn start(
        binary: &Path,
        workers: u16,
        tick: u32,
        more: Option<&str>,
    ) -> Result<Self, String> {
        let words = |error: io::Error| format!("{}: {error}", binary.display());
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("btc-chaos-{}-{run}", std::process::id()));
        let dir = folder.to_string_lossy().into_owned();
        fs::create_dir_all(folder.join("conf.d")).map_err(words)?;
        let base = BASE.replace("{dir}", &dir).replace("{tick}", &tick.to_string());
        fs::write(folder.join("btc-cluster.toml"), base).map_err(words)?;
        fs::write(folder.join(WORKERS), workers_file(workers)).map_err(words)?;
        if let Some(more) = more {
            let text = fs::read_to_string(more).map_err(|error| format!("{more}: {error}"))?;
            fs::write(folder.join("conf.d/60-more.toml"), text).map_err(words)?;
        }
        let log = fs::File::create(folder.join("log")).map_err(words)?;
        let mut command = Command::new(binary);
        command.args(["--env", "test", "--config"]).arg(folder.join("btc-cluster.toml"));
        command.current_dir(&folder).process_group(0).stdin(Stdio::null());
        command.stdout(log.try_clone().map_err(words)?).stderr(log);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if ["BTC_CLUSTER_", "NOTIFY_", "WATCHDOG_", "LISTEN_"]
                .iter()
                .any(|theirs| name.starts_with(theirs))
            {
                command.env_remove(&*name);
            }
        }
        let child = command.spawn().map_err(words)?;
        let (socket, main) = (folder.join("control.sock"), child.id());
        let ports = nowhere()?;
        let own = Some((folder, child));
        let mut daemon = Self { binary: binary.to_owned(), socket, own, main, ports };
        let begun = Instant::now();
        while let Err(error) = daemon.find().await {
            if begun.elapsed() > STARTING || daemon.is_dead() {
                return Err(format!("the daemon does not start: {error}\n{}", daemon.log()));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(daemon)
    }

    /// Finds the one behind a control socket.
    pub(crate) async fn running(binary: &Path, socket: &Path) -> Result<Self, String> {
        let (binary, socket) = (binary.to_owned(), socket.to_owned());
        let mut daemon = Self { binary, socket, own: None, main: 0, ports: nowhere()? };
        daemon.find().await?;
        daemon.main = crate::usage::listener(daemon.ports.http.address).ok_or("nobody listens")?;
        Ok(daemon)
    }

    async fn find(&mut self) -> Result<(), String> {
        let said = self.ctl(&["status", "--json"]).await?;
        let status: Status = serde_json::from_str(&said).map_err(|error| error.to_string())?;
        let first = |list: &[String]| list.first().cloned().ok_or("no port");
        let Listening { http, ws, admin } = status.listening;
        self.ports.url = format!("ws://{}/ws", first(&ws)?).parse()?;
        self.ports.http = format!("http://{}", first(&http)?).parse()?;
        self.ports.admin = format!("http://{}", first(&admin).map_err(|_| "no admin port")?).parse()?;
        Ok(())
    }

    /// Runs `btc-cluster ctl`; its output, or what it says instead.
    pub(crate) async fn ctl(&self, words: &[&str]) -> Result<String, String> {
        let mut command = tokio::process::Command::new(&self.binary);
        command.arg("ctl").arg("--socket").arg(&self.socket).args(words).kill_on_drop(true);
        let output = tokio::time::timeout(COMMAND, command.stdin(Stdio::null()).output()).await;
        let output = output.map_err(|_| format!("ctl {}: no answer", words.join(" ")))?;
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("ctl {}: {}: {}", words.join(" "), output.status, said.trim()))
    }

    pub(crate) fn pids(&self, role: Role) -> Vec<u32> {
        let all = processes(self.main).into_iter();
        let mut pids: Vec<u32> = all.filter(|(_, of)| *of == role).map(|(pid, _)| pid).collect();
        // Where there is no keeper, what was started is the master.
        if role == Role::Master && pids.is_empty() && !self.pids(Role::Worker).is_empty() {
            pids.push(self.main);
        }
        pids
    }

    pub(crate) fn is_dead(&self) -> bool {
        is_gone(self.main)
    }

    pub(crate) async fn stats(&self) -> Option<Stats> {
        let mut client = Client::new(self.ports.http.address);
        let answer = client.get(&format!("{}/api/v1/stats", self.ports.http.path)).await;
        let (status, body) = answer.ok()?;
        (status == 200).then(|| serde_json::from_str(&body).ok())?
    }

    /// Whether a worker of each slot and the feeder serve, and nobody else is there.
    pub(crate) async fn is_ready(&self, workers: usize) -> bool {
        let Some(stats) = self.stats().await else { return false };
        let mut pids: Vec<u32> = stats.workers.iter().filter_map(|worker| worker.pid).collect();
        let mut living = self.pids(Role::Worker);
        pids.sort_unstable();
        living.sort_unstable();
        stats.workers.iter().all(|worker| worker.state == "ready")
            && stats.feeder.state == "ready"
            && pids.len() == workers
            && pids == living
    }

    /// Writes the number of workers; `false`: the configuration is not this tool's.
    pub(crate) fn set_workers(&self, workers: u16) -> io::Result<bool> {
        let Some((folder, _)) = &self.own else { return Ok(false) };
        let beside = folder.join("beside");
        fs::write(&beside, workers_file(workers))?;
        fs::rename(beside, folder.join(WORKERS))?;
        Ok(true)
    }

    /// A copy of the binary, for an upgrade to it. Another process writes it: a file that is open for writing here, and so
    /// in each child that another thread starts meanwhile, cannot be executed.
    pub(crate) fn copy(&self) -> io::Result<PathBuf> {
        let folder = self.own.as_ref().map_or_else(std::env::temp_dir, |(folder, _)| folder.clone());
        let copy = folder.join("next");
        if !Command::new("cp").arg(&self.binary).arg(folder.join("beside")).status()?.success() {
            return Err(io::Error::other("cp has failed"));
        }
        fs::rename(folder.join("beside"), &copy)?;
        Ok(copy)
    }

    /// The end of the log.
    pub(crate) fn log(&self) -> String {
        let Some((folder, _)) = &self.own else { return String::new() };
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Ends what this tool has started. Its folder stays when it is to be read; returns where it is.
    pub(crate) async fn stop(mut self, keep: bool) -> Option<PathBuf> {
        let (folder, mut child) = self.own.take()?;
        let _ = signal(self.main, Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < STOPPING && matches!(child.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(50)).await;
        }
        end(&mut child);
        if keep {
            return Some(folder);
        }
        let _ = fs::remove_dir_all(folder);
        None
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some((_, child)) = &mut self.own {
            end(child);
        }
    }
}

/// Ends a process group with all that is left of it.
fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

fn workers_file(workers: u16) -> String {
    format!("[cluster]\nworkers = {workers}\n")
}

fn nowhere() -> Result<Ports, String> {
    let http: crate::target::Target = "http://127.0.0.1:1".parse()?;
    Ok(Ports { url: http.clone(), http: http.clone(), admin: http, channel: "news".to_owned(), pid: None })
}

/// Memory and descriptors of a process and of all below it.
pub(crate) fn usage(main: u32) -> (u64, usize) {
    let family = Family::of(main);
    (family.rss(), family.descriptors().values().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_have_roles() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let found = processes(std::process::id());
        assert!(
            found.contains(&(std::process::id(), Role::Main)) && found.contains(&(child.id(), Role::Other))
        );
        assert!(!is_gone(child.id()));
        signal(child.id(), Signal::KILL).unwrap();
        child.wait().unwrap();
        assert!(is_gone(child.id()) && signal(child.id(), Signal::KILL).is_err());
    }
}
