//! The feeder as a process: the link to the master on one side, [`super::run`] on the other.

use super::candles::{CandleRequest, CandleService};
use super::core::serve;
use super::keys::KeyWishes;
use super::lines::{LineReaders, Marks};
use super::uplink::Uplink;
use super::{Clock, Plan};
use crate::config::{Config, Lines};
use crate::log;
use crate::os::clock;
use crate::os::loops::Loops;
use crate::os::process::usage;
use crate::programs::guard_programs;
use crate::protocol::attach_to_masters;
use crate::protocol::cluster::{Counters, FromFeeder, ToFeeder, fingerprint, send_beats};
use crate::protocol::link::Batch;
use crate::protocol::renewal::{Heard, MasterLink};
use crate::providers::{Http, Proxies};
use std::collections::BTreeSet;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// Requests that may wait; workers send few at a time, and further ones are answered with nothing.
const ASKS: usize = 64;
/// Time-out of the work at the end.
const LAST: Duration = Duration::from_secs(2);

/// Runs the feeder until the master ends it.
#[must_use]
pub fn run() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(16).build();
    let result = runtime.and_then(|runtime| {
        let result = runtime.block_on(live());
        // The lookup of a name may still hold a thread.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(event = "feeder-failed", %error);
            ExitCode::FAILURE
        }
    }
}

async fn live() -> io::Result<()> {
    let mut loops = Loops::default();
    let mut master =
        attach_to_masters(&mut loops, |message, _| tracing::debug!(?message, "unasked")).await?.1;
    let Heard::Master(link) = master.next().await else { return Ok(()) };
    // Above the numbers of all feeders before, which had no more lines than microseconds.
    let uplink = Uplink::new(link, clock::wall().0.unsigned_abs().saturating_mul(1000));
    let (questions, asks) = mpsc::channel(ASKS);
    let mut inbox = Inbox {
        questions,
        uplink: uplink.clone(),
        marks: Marks::new(),
        keys: KeyWishes::new(),
        plan: None,
        config: None,
    };
    loops.spawn("keys", inbox.keys.clone().fetch_all(uplink.clone()));
    let Some((plan, config)) = inbox.next_plan(&mut master).await? else { return Ok(()) };
    let candles = CandleService::open(&config, plan.made_up_only()).await;
    let http = Http::new(Proxies::Environment);
    guard_programs();
    let mut lines = LineReaders::new(uplink.clone());
    lines.adopt(&config, &mut inbox.marks);
    let (plans, watching) = watch::channel(Arc::new(plan));
    uplink.say_ready();
    loops.spawn("beat", beat(uplink.clone()));
    let out = move |message| uplink.tell(&message);
    let feeding = serve(watching, (asks, candles), Clock::system(), Arc::new(http), out);
    let hearing = async {
        while let Some((plan, config)) = inbox.next_plan(&mut master).await? {
            lines.adopt(&config, &mut inbox.marks);
            let _ = plans.send(Arc::new(plan));
        }
        io::Result::Ok(())
    };
    tokio::pin!(feeding);
    let living = async {
        tokio::select! {
            () = &mut feeding => Ok(false),
            heard = hearing => heard.map(|()| true),
        }
    };
    let told = loops.during(living).await.map_err(|ended| io::Error::other(ended.to_string()))??;
    drop((plans, lines));
    if told {
        let _ = timeout(LAST, feeding).await;
    }
    Ok(())
}

/// Turns the master's messages into plans, questions and read positions.
struct Inbox {
    questions: mpsc::Sender<CandleRequest>,
    uplink: Uplink,
    marks: Marks,
    keys: KeyWishes,
    /// The newest plan, with its configuration.
    plan: Option<(Plan, Config)>,
    /// Fingerprint of that configuration.
    config: Option<u64>,
}

impl Inbox {
    /// The newest plan received, and its configuration; `None`: end.
    async fn next_plan(&mut self, master: &mut MasterLink) -> io::Result<Option<(Plan, Config)>> {
        loop {
            let news = match master.next().await {
                Heard::Batch(mut batch) => self.hear(&mut batch)?,
                Heard::Lost => {
                    self.uplink.lose();
                    Some(false)
                }
                Heard::Master(link) => {
                    self.uplink.renew(link, self.config);
                    Some(false)
                }
                Heard::End => None,
            };
            match news {
                None => return Ok(None),
                Some(true) => return Ok(self.plan.clone()),
                Some(false) => {}
            }
        }
    }

    /// Hears what came together: whether there is a new plan; `None`: end.
    fn hear(&mut self, batch: &mut Batch) -> io::Result<Option<bool>> {
        let mut news = false;
        while let Some(message) = batch.next::<ToFeeder<'_>>() {
            match message.map_err(io::Error::other)? {
                ToFeeder::Stop => return Ok(None),
                ToFeeder::ReopenLog => log::reopen(),
                ToFeeder::Config { config, real_before } => {
                    self.configure(config, real_before)?;
                    news = true;
                }
                ToFeeder::Retry { source } => {
                    if let Some((plan, _)) = &mut self.plan {
                        plan.retries.order(source);
                        news = true;
                    }
                }
                ToFeeder::Resume { of, mark } => _ = self.marks.insert(of.to_owned(), mark),
                ToFeeder::Ask { to, request, symbol, interval, limit } => {
                    self.ask(CandleRequest { to, request, symbol: symbol.into(), interval, limit });
                }
                ToFeeder::WantKeys => self.keys.want(),
                ToFeeder::Heard { lines } => self.uplink.heard(lines.as_deref()),
            }
        }
        Ok(Some(news))
    }

    fn configure(&mut self, text: &str, real_before: bool) -> io::Result<()> {
        let config: Config = serde_json::from_str(text)?;
        self.config = Some(fingerprint(text));
        log::init(&config.log, "feeder");
        log::adopt(&config.log);
        let channels: BTreeSet<_> = config.lines().map(Lines::channel).collect();
        self.keys.adopt(&config);
        self.uplink.retain(&config.price.symbols, |of| channels.contains(of));
        let (price, providers) = (config.price.clone(), config.providers.clone());
        let before = self.plan.take().map(|(plan, _)| plan.retries.reloaded());
        let retries = before.unwrap_or_default();
        self.plan = Some((Plan { price, providers, real_before, retries }, config));
        Ok(())
    }

    fn ask(&self, ask: CandleRequest) {
        if let Err(error) = self.questions.try_send(ask) {
            let CandleRequest { to, request, .. } = error.into_inner();
            self.uplink.tell(&FromFeeder::Answer { to, request, text: None });
        }
    }
}

async fn beat(uplink: Uplink) {
    let beat = || {
        log::tell_left_out();
        let usage = usage();
        let counters = Counters { cpu_us: usage.cpu_us, rss: usage.rss, ..Counters::default() };
        uplink.tell(&FromFeeder::Beat(Box::new(counters)));
    };
    send_beats(beat).await;
}
