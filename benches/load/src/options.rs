//! The command line's arguments that several files read.

use crate::habit::Habit;
use crate::target::Target;
use crate::units::duration;
use std::time::Duration;

/// Ports of the daemon.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Ports {
    /// The WebSocket endpoint of main sessions; other endpoints are beside it.
    #[arg(long, default_value = "ws://127.0.0.1:8080/ws")]
    pub(crate) url: Target,
    /// The HTTP port: events, polls, quotes, statistics.
    #[arg(long, default_value = "http://127.0.0.1:3000")]
    pub(crate) http: Target,
    /// The admin port, for messages to a channel.
    #[arg(long, default_value = "http://127.0.0.1:3001")]
    pub(crate) admin: Target,
    /// The channel of these messages; the daemon must allow it.
    #[arg(long, default_value = "news")]
    pub(crate) channel: String,
    /// The master's process id; found by its listening socket where it is not given.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
}

/// Arguments of the mode without a name.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Sessions, one user each.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(crate) sessions: u32,
    #[command(flatten)]
    pub(crate) ports: Ports,
    /// Messages to all.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) messages: u32,
    /// Quotes that are asked for at the same time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) post_inflight: u32,
    /// Handshakes at the same time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) open_inflight: u32,
    /// Seconds for which quotes are asked for.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=600))]
    pub(crate) seconds: u32,
    /// Sessions are opened over TLS, with a handshake of their own each; --url names a port of listen_tls.
    #[arg(long)]
    pub(crate) tls: bool,
    /// They come with the tickets that others of them got.
    #[arg(long, requires = "tls")]
    pub(crate) resume: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Cuts and comebacks of `jitter` and `mixed`, with the defaults of `jitter`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Churn {
    /// Mean time between two cuts of a main session (30 % more or less); 0: never.
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub(crate) every: Duration,
    /// Mean time between a cut and the comeback.
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub(crate) away: Duration,
    /// Percent of the cuts that leave the old connection open, unread, until the client is back.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) ghosts: u8,
    /// Percent of the comebacks over another transport.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) wander: u8,
    /// Percent of the comebacks that are cut before the first byte of the answer. Their token may be spent.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) hasty: u8,
    /// Handshakes at the same time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) open_inflight: u32,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Churn {
    /// The habit of a main session; `asks` is the mean time between two questions over a WebSocket.
    pub(crate) fn habit(&self, asks: Option<Duration>) -> Habit {
        Habit {
            every: Some(self.every).filter(|every| !every.is_zero()),
            away: self.away,
            ghosts: self.ghosts,
            wander: self.wander,
            hasty: self.hasty,
            asks,
        }
    }
}
