//! The feeder as a process: the link to the master on one side, [`super::run`] on the other.

use super::candles::{CandleRequest, CandleService};
use super::core::serve;
use super::lines::{LineReaders, Marks};
use super::{Clock, Plan};
use crate::config::Config;
use crate::log;
use crate::os::loops::Loops;
use crate::os::process::usage;
use crate::programs::guard_programs;
use crate::protocol::cluster::{Counters, FromFeeder, Hello, ToFeeder, VERSION, send_beats};
use crate::protocol::link::{LinkReceiver, LinkSender};
use crate::protocol::{Attached, attach};
use crate::providers::{Http, Proxies};
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
    let Attached { link: (sender, mut receiver, writer), .. } = attach(&mut loops).await?;
    loops.spawn("link", writer.run());
    let hello =
        Hello { version: VERSION, program: env!("CARGO_PKG_VERSION").into(), pid: std::process::id() };
    sender.send(&FromFeeder::Hello(hello)).map_err(io::Error::other)?;
    let (questions, asks) = mpsc::channel(ASKS);
    let mut inbox = Inbox { questions, sender: sender.clone(), marks: Marks::new(), plan: None };
    let Some((plan, config)) = inbox.next_plan(&mut receiver).await? else { return Ok(()) };
    let candles = CandleService::open(&config, plan.made_up_only()).await;
    let http = Http::new(Proxies::Environment);
    guard_programs();
    let mut lines = LineReaders::new(sender.clone());
    lines.adopt(&config, &mut inbox.marks);
    let (plans, watching) = watch::channel(Arc::new(plan));
    sender.send(&FromFeeder::Ready).map_err(io::Error::other)?;
    loops.spawn("beat", beat(sender.clone()));
    // A master that does not read is dead or will kill this process: the lost price does not matter.
    let out = move |message| _ = sender.send(&message);
    let feeding = serve(watching, (asks, candles), Clock::system(), Arc::new(http), out);
    let hearing = async {
        while let Some((plan, config)) = inbox.next_plan(&mut receiver).await? {
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
    sender: LinkSender,
    marks: Marks,
    /// The newest plan, with its configuration.
    plan: Option<(Plan, Config)>,
}

impl Inbox {
    /// The newest plan received, and its configuration; `None`: end.
    async fn next_plan(&mut self, receiver: &mut LinkReceiver) -> io::Result<Option<(Plan, Config)>> {
        loop {
            let Ok(mut batch) = receiver.receive().await else { return Ok(None) };
            let mut news = false;
            while let Some(message) = batch.next::<ToFeeder<'_>>() {
                match message.map_err(io::Error::other)? {
                    ToFeeder::Stop => return Ok(None),
                    ToFeeder::ReopenLog => log::reopen(),
                    ToFeeder::Config { config, real_before } => {
                        let config: Config = serde_json::from_str(config)?;
                        log::init(&config.log, "feeder");
                        log::adopt(&config.log);
                        let (price, providers) = (config.price.clone(), config.providers.clone());
                        let before = self.plan.take().map(|(plan, _)| plan.retries.reloaded());
                        let retries = before.unwrap_or_default();
                        self.plan = Some((Plan { price, providers, real_before, retries }, config));
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
                }
            }
            if news {
                return Ok(self.plan.clone());
            }
        }
    }

    fn ask(&self, ask: CandleRequest) {
        if let Err(error) = self.questions.try_send(ask) {
            let CandleRequest { to, request, .. } = error.into_inner();
            let _ = self.sender.send(&FromFeeder::Answer { to, request, text: None });
        }
    }
}

async fn beat(sender: LinkSender) {
    let beat = || {
        let usage = usage();
        FromFeeder::Beat(Box::new(Counters { cpu_us: usage.cpu_us, rss: usage.rss, ..Counters::default() }))
    };
    send_beats(&sender, beat).await;
}
