//! A cluster before it runs: its configuration, its folder, its process.

use super::cluster::Cluster;
use super::patience::{PATIENCE, within};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_btc-cluster");

/// Configuration of every cluster of these tests; a test adds its own in `conf.d`.
const BASE: &str = r#"
[cluster]
workers = {workers}
[http]
listen = "127.0.0.1:0"
[ws]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[control]
socket = "{dir}/control.sock"
[provider.mock]
price = "64000.00"
volatility = 0.0
tick = "100ms"
"#;

/// A cluster that does not run yet.
#[derive(Debug)]
pub(crate) struct Setup {
    folder: TempDir,
    workers: u16,
    variables: Vec<(String, String)>,
    through: Vec<String>,
    until_ready: bool,
    output: Output,
}

/// Where the daemon's output goes.
#[derive(Debug)]
pub(super) enum Output {
    /// To the file `log` of its folder.
    Log,
    /// Nowhere: the reader has gone.
    Closed,
    /// Standard error goes there.
    To(OwnedFd),
}

/// A cluster with two workers and a price that stands still.
pub(crate) fn cluster() -> Setup {
    let folder = TempDir::with_prefix("btc-").unwrap();
    std::fs::create_dir(folder.path().join("conf.d")).unwrap();
    Setup { folder, workers: 2, variables: vec![], through: vec![], until_ready: true, output: Output::Log }
}

impl Setup {
    /// The cluster's folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sets the number of workers.
    pub(crate) fn workers(mut self, workers: u16) -> Self {
        self.workers = workers;
        self
    }

    /// More configuration, in TOML; `{dir}` is the cluster's own folder.
    pub(crate) fn config(self, text: &str) -> Self {
        self.file("conf.d/50-test.toml", text)
    }

    /// A file in the cluster's folder; `{dir}` is that folder.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        let text = self.filled(text);
        std::fs::write(self.folder.path().join(name), text).unwrap();
        self
    }

    /// A folder in the cluster's folder.
    pub(crate) fn subfolder(self, name: &str) -> Self {
        std::fs::create_dir(self.folder.path().join(name)).unwrap();
        self
    }

    /// An environment variable of the daemon.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Lets each of its processes have so many files open.
    pub(crate) fn files(self, most: u64) -> Self {
        self.through(&["sh", "-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")])
    }

    /// Starts it by another program, which becomes the daemon.
    pub(crate) fn through(mut self, words: &[&str]) -> Self {
        self.through = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Does not wait for a price: there will be none.
    pub(crate) fn without_price(mut self) -> Self {
        self.until_ready = false;
        self
    }

    /// Closes the daemon's output as soon as it runs.
    pub(crate) fn without_output(mut self) -> Self {
        self.output = Output::Closed;
        self
    }

    /// Gives the daemon this standard error.
    pub(crate) fn stderr(mut self, stderr: impl Into<OwnedFd>) -> Self {
        self.output = Output::To(stderr.into());
        self
    }

    /// Runs it and waits until every worker serves.
    pub(crate) async fn start(self) -> Cluster {
        let until_ready = self.until_ready;
        let (workers, (folder, child)) = (self.workers, self.spawn());
        Cluster::wait_for(folder, child, workers, until_ready).await
    }

    /// Runs it and waits for its end, which must come by itself.
    pub(crate) async fn ended(self) -> Ended {
        let (folder, mut child) = self.spawn();
        let status = within(PATIENCE, "the daemon ends by itself", async || {
            child.try_wait().unwrap().ok_or_else(|| log_of(folder.path()))
        });
        let code = status.await.code();
        Ended { code, log: log_of(folder.path()) }
    }

    fn filled(&self, text: &str) -> String {
        text.replace("{dir}", self.folder.path().to_str().unwrap())
            .replace("{workers}", &self.workers.to_string())
    }

    fn spawn(self) -> (TempDir, Child) {
        let main = self.folder.path().join("btc-cluster.toml");
        if !main.exists() {
            std::fs::write(&main, self.filled(BASE)).unwrap();
        }
        let child = spawn(self.folder.path(), &self.variables, &self.through, self.output);
        (self.folder, child)
    }
}

/// The binary under test, without the variables by which a developer's shell, or the systemd of a service that runs
/// these tests, speaks to a daemon.
pub(super) fn binary() -> Command {
    clean(Command::new(BINARY))
}

fn clean(mut command: Command) -> Command {
    let theirs = ["BTC_CLUSTER_", "NOTIFY_", "WATCHDOG_", "LISTEN_", "JOURNAL_", "STATE_DIR", "CREDENTIALS_"];
    for (name, _) in std::env::vars_os() {
        if theirs.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

/// Starts the daemon of a folder, in a process group of its own.
pub(super) fn spawn(
    folder: &Path,
    variables: &[(String, String)],
    through: &[String],
    output: Output,
) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = match through {
        [] => binary(),
        [program, words @ ..] => {
            let mut command = clean(Command::new(program));
            command.args(words).arg(BINARY);
            command
        }
    };
    command.args(["--env", "test", "--config"]).arg(folder.join("btc-cluster.toml"));
    command.envs(variables.iter().cloned()).current_dir(folder).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null());
    match output {
        Output::Log => command.stdout(log.try_clone().unwrap()).stderr(log),
        Output::Closed => command.stdout(Stdio::piped()).stderr(Stdio::piped()),
        Output::To(stderr) => command.stdout(log).stderr(stderr),
    };
    let mut child = command.spawn().expect("the binary under test");
    // The reading ends go with these.
    drop((child.stdout.take(), child.stderr.take()));
    child
}

/// Reads the log of the daemon of a folder.
pub(super) fn log_of(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// A daemon that is no more.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None`: a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
}
