//! The arguments of the command line. Their doc comments are the help texts.

use crate::access::tokens::Scope;
use crate::config::{Faults, Source};
use crate::model::{Device, NamedMoment, UserId, Wall};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Live bitcoin price for browser tabs: a supervised cluster of WebSocket workers.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(super) struct Arguments {
    /// The configuration file; without it ./etc/btc-cluster.toml in a checkout, else /etc/btc-cluster/btc-cluster.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// development, production or test
    #[arg(long, global = true, value_name = "NAME")]
    env: Option<String>,
    /// Sets one key, over all files and variables: --set http.listen=127.0.0.1:0
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon (the same as no command)
    Run,
    /// Validate the configuration and print it with the origin of each value
    Check,
    /// Print the price: the running daemon's, else asked of the sources
    Price(Price),
    /// Try each price source and say what is in the way: name, connection, TLS, status, first price, clock
    Probe(Probe),
    /// Sign a token with the first secret of auth.secret_file
    Token(Token),
    /// Ask or tell the running daemon
    Ctl(Ctl),
    /// Print what a shell needs to complete these commands
    #[command(hide = true)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print what explains every key of the configuration
    #[command(hide = true)]
    Reference {
        /// file: etc/btc-cluster.toml; markdown: docs/configuration.md; manual: btc-cluster.toml(5)
        form: Form,
    },
    /// Start a process of the daemon
    #[command(hide = true)]
    Internal {
        /// The process
        role: Role,
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Form {
    File,
    Markdown,
    Manual,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Role {
    /// Serves clients
    Worker,
    /// Serves prices
    Feeder,
    /// Leads the others
    Master,
    /// Becomes another program
    Exec,
    /// Says what it could take over, and ends
    Trial,
}

#[derive(Debug, Args)]
pub(super) struct Price {
    /// The symbol; without it price.symbol of the configuration
    #[arg(long)]
    pub(super) symbol: Option<String>,
    /// Print the quote as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Seconds to wait for the sources if no daemon runs
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(super) timeout: u64,
}

#[derive(Debug, Args)]
pub(super) struct Probe {
    /// Only this one, configured or not; without it all of price.providers
    #[arg(long, value_name = "NAME")]
    pub(super) provider: Option<String>,
    /// Print a JSON list
    #[arg(long)]
    pub(super) json: bool,
    /// Seconds to wait for each step and for each first price
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(super) timeout: u64,
}

#[derive(Debug, Args)]
pub(super) struct Token {
    /// The user that it is for
    #[arg(long, value_name = "USER_ID", value_parser = UserId::new)]
    pub(super) user: UserId,
    /// How long it is good
    #[arg(long, default_value = "1h", value_parser = ttl)]
    pub(super) ttl: Duration,
    /// The device that it is for
    #[arg(long, value_parser = Device::new)]
    pub(super) device: Option<Device>,
    /// Its rights, words between spaces: quote, quote:any, message:any, publish, admin; without it quote
    #[arg(long, value_parser = scope)]
    pub(super) scope: Option<String>,
    /// The only channels to hear, with commas between; * at the end of one stands for any ending; empty: none
    #[arg(long, value_name = "CHANNELS", value_parser = channels)]
    pub(super) subscribe: Option<Channels>,
    /// The only channels to publish to
    #[arg(long, value_name = "CHANNELS", value_parser = channels)]
    pub(super) publish: Option<Channels>,
}

/// Names of channels. (A plain vector would be many arguments to clap.)
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Channels(Vec<String>);

#[expect(clippy::unnecessary_wraps, reason = "what clap asks of a parser")]
fn channels(text: &str) -> Result<Channels, String> {
    Ok(Channels(text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()))
}

fn moment(text: &str) -> Result<Wall, &'static str> {
    NamedMoment::parse(text).map(|NamedMoment(moment)| moment)
}

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = crate::config::duration(text).filter(|ttl| *ttl >= Duration::from_secs(1));
    ttl.ok_or_else(|| "must be a duration of at least a second (\"1h\", \"30d\")".to_owned())
}

/// A misspelt right would be a token that does less than its maker believes.
fn scope(text: &str) -> Result<String, String> {
    match text.split(' ').find(|word| Scope::named(word).is_none() && !word.is_empty()) {
        Some(word) => Err(format!("unknown right {word:?}: quote, quote:any, message:any, publish, admin")),
        None => Ok(text.to_owned()),
    }
}

#[derive(Debug, Args)]
pub(super) struct Ctl {
    /// The control socket; without it the one of the configuration
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) what: What,
}

#[derive(Debug, Subcommand)]
pub(super) enum What {
    /// The daemon as a whole
    Status,
    /// The workers, one line each
    Workers,
    /// The sessions, of one user or all
    Sessions {
        /// Only of this user
        #[arg(long, value_name = "USER_ID")]
        user: Option<String>,
    },
    /// The price sources and how they are
    Sources,
    /// Read the configuration again; waits, and fails with every fault named
    Reload,
    /// Try a price source now that rests after a refusal, a wait or a fault
    Retry {
        /// Its name, as in `sources`; without it all of them
        source: Option<String>,
    },
    /// Replace a worker, or start one that was given up
    RestartWorker {
        /// Its id, as in `workers`
        id: u16,
    },
    /// Move a session to another worker; its client notices nothing
    Move {
        /// Its id, as in `sessions`
        session: String,
        /// The worker's id, as in `workers`
        worker: u16,
    },
    /// Move all sessions of a worker to the others; it takes no more until `restart-worker` or a reload
    Drain {
        /// Its id, as in `workers`
        worker: u16,
    },
    /// Make all workers even, at `cluster.rebalance`; waits until they are
    Rebalance,
    /// Disconnect a session
    Kick {
        /// Its id, as in `sessions`
        session: String,
    },
    /// Refuse a token, or those of a user, and close their sessions
    Revoke {
        /// The `jti` of the token
        #[arg(long, conflicts_with = "user", required_unless_present = "user")]
        jti: Option<String>,
        /// All tokens of this user
        #[arg(long)]
        user: Option<String>,
        /// Only those issued before: 2026-11-20T08:14:23Z, or seconds since 1970 [default: now]
        #[arg(long, requires = "user", value_name = "TIME", value_parser = moment)]
        issued_before: Option<Wall>,
        /// Forget it then: none of these tokens is good any more
        #[arg(long, value_name = "TIME", value_parser = moment)]
        until: Option<Wall>,
    },
    /// Have the sessions of a user connect again, each with a fresh token
    Reconnect {
        /// The user
        #[arg(value_name = "USER_ID")]
        user: String,
    },
    /// Send a message to all subscribers of a channel
    Publish {
        /// Its name, one of `[[channels]]`
        channel: String,
        /// JSON, kept byte by byte; anything else is sent as a string
        #[arg(allow_negative_numbers = true)]
        data: String,
    },
    /// The workers, again each second until interrupted
    Watch,
    /// Replace the program by another version, which every session outlives; waits for the outcome
    Upgrade {
        /// The program; without it the installed one
        binary: Option<PathBuf>,
    },
    /// End the daemon
    Stop {
        /// Keep all sessions for the next start, by systemd's descriptor store
        #[arg(long)]
        keep_sessions: bool,
    },
}

impl Arguments {
    /// The arguments that say which configuration is meant, for another process.
    pub(super) fn configuration(&self) -> Vec<OsString> {
        let path = self.config.iter().flat_map(|path| ["--config".into(), path.into()]);
        let env = self.env.iter().flat_map(|name| ["--env".into(), name.into()]);
        // One word: a value may begin with a dash.
        path.chain(env).chain(self.set.iter().map(|set| format!("--set={set}").into())).collect()
    }

    /// The layers of the configuration.
    pub(super) fn source(&self) -> Result<Source, Faults> {
        let mut source = Source::of_process(self.config.as_deref(), self.env.as_deref())?;
        source.overrides = self
            .set
            .iter()
            .map(|set| match set.split_once('=') {
                Some((key, value)) => (key.trim().to_owned(), value.trim().to_owned()),
                None => (set.trim().to_owned(), String::new()),
            })
            .collect();
        Ok(source)
    }
}
