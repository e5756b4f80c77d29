//! Everything at once for minutes: sessions of all kinds come, are cut and go, quotes and messages are posted, and
//! workers may die. Is every 202 true, does everything return to where it was?

use crate::crowd::Crowd;
use crate::mixed_report::{Mixed, row};
use crate::options::{Churn, Ports};
use crate::posting::{ask_all, publish_all};
use crate::speaker::speak;
use crate::stage::Stage;
use crate::units::{duration, minutes, rate};
use crate::watch::{Sample, kill_workers, sample, slope, until_empty};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Longest time in which the last clients leave and the last posters stop.
const CLOSING: Duration = Duration::from_secs(60);
/// From the last session's end to the last sample: closed connections are gone then.
const SETTLE: Duration = Duration::from_secs(3);

/// Everything at once for minutes: sessions of all kinds come and go, workers may die.
///
/// Main sessions over all transports, in rooms, cut and coming back; streams, /broadcast, /chat, /command; quotes,
/// messages and questions to them; once a minute a line about the daemon. At the end all leave, and it must be empty
/// again. Exit code 1: a 202 was not true, something was lost without `resumed: false`, came twice, or remained.
///
/// Columns: second, processes, RSS and PSS of all of them in MiB, their descriptors, sessions by the statistics, main
/// sessions by this tool (some are away), worst lag of a worker in ms, quotes accepted so far, workers killed so far.
#[derive(Clone, Debug, clap::Args)]
#[command(mut_arg("every", |arg| arg.default_value("30s")))]
#[command(mut_arg("ghosts", |arg| arg.default_value("5")))]
#[command(mut_arg("wander", |arg| arg.default_value("10")))]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) ports: Ports,
    /// Sessions at the same time: 62 % main ones (of all transports), the others on streams, /broadcast, /chat and
    /// /command.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) sessions: u32,
    /// Minutes of load; fractions are allowed.
    #[arg(long, default_value_t = 10.0, value_parser = minutes)]
    pub(crate) minutes: f64,
    /// Mean lifetime of a session. Then the client leaves, half of them without a word, and another takes its place.
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub(crate) lifetime: Duration,
    /// Chat rooms; half of the main sessions are in one. 0: none.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=120))]
    pub(crate) rooms: u32,
    /// Quotes a second, for random main sessions.
    #[arg(long, default_value_t = 100.0, value_parser = rate)]
    pub(crate) quotes: f64,
    /// Messages a second to the channel.
    #[arg(long, default_value_t = 0.5, value_parser = rate)]
    pub(crate) news: f64,
    /// Messages a second to the rooms, one after another.
    #[arg(long, default_value_t = 5.0, value_parser = rate)]
    pub(crate) says: f64,
    /// Kill (SIGKILL) one of the master's workers about so often; never unless it is given.
    #[arg(long, value_parser = duration)]
    pub(crate) kill_every: Option<Duration>,
    /// Longest time after the last client's end until the statistics are empty.
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub(crate) settle: Duration,
    #[command(flatten)]
    pub(crate) churn: Churn,
}

pub(crate) async fn run(options: &Options, master: u32) -> Result<Mixed, String> {
    let stage = Rc::new(Stage::new(Rc::new(options.ports.clone()), options.sessions));
    let mut report = Mixed { start: sample(&stage, master, 0).await, ..Mixed::default() };
    let end = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
    let crowd = Rc::new(crowd(&stage, options, end));
    let living = spawn_local(crowd.clone().live(options.sessions));
    let helpers = help(&stage, options, master);
    watch(&crowd, options, master, &mut report).await;
    stage.silent.set(true);
    let _ = timeout(CLOSING, living).await;
    report.left_behind = crowd.alive.borrow().len();
    for helper in helpers {
        match timeout(CLOSING, helper).await {
            Ok(Ok(Err(error))) => report.skipped.push(error),
            Err(_) => report.skipped.push("a poster did not stop".to_owned()),
            _ => (),
        }
    }
    (report.empty_after_s, report.totals) = until_empty(&stage, options.settle).await;
    sleep(SETTLE).await;
    report.end = sample(&stage, master, crowd.connected()).await;
    finish(&crowd, &mut report);
    Ok(report)
}

fn crowd(stage: &Rc<Stage>, options: &Options, end: Instant) -> Crowd {
    Crowd {
        stage: stage.clone(),
        habit: options.churn.habit(Some(Duration::from_secs(10))),
        lifetime: options.lifetime.max(Duration::from_secs(1)),
        rooms: if options.says > 0.0 { options.rooms } else { 0 },
        end,
        turns: Arc::new(Semaphore::new(options.churn.open_inflight as usize)),
        born: Cell::new(1),
        alive: RefCell::default(),
        losses: RefCell::default(),
    }
}

type Helper = tokio::task::JoinHandle<Result<(), String>>;

/// Starts the tasks that post, speak and kill.
fn help(stage: &Rc<Stage>, options: &Options, master: u32) -> Vec<Helper> {
    let mut helpers = Vec::new();
    if options.quotes > 0.0 {
        let (stage, rate) = (stage.clone(), options.quotes);
        helpers.push(spawn_local(async move {
            ask_all(stage, rate).await;
            Ok(())
        }));
    }
    if options.news > 0.0 {
        let (stage, rate) = (stage.clone(), options.news);
        helpers.push(spawn_local(async move { publish_all(&stage, rate, u32::MAX).await.map(|_| ()) }));
    }
    if options.rooms > 0 && options.says > 0.0 {
        let (stage, rooms, rate) = (stage.clone(), options.rooms, options.says);
        helpers.push(spawn_local(async move {
            speak(stage, rooms, rate).await;
            Ok(())
        }));
    }
    if let Some(every) = options.kill_every {
        let stage = stage.clone();
        // Ended by force: its next turn may be far.
        let killing = spawn_local(kill_workers(stage.clone(), master, every));
        helpers.push(spawn_local(async move {
            while !stage.silent.get() {
                sleep(Duration::from_millis(200)).await;
            }
            killing.abort();
            Ok(())
        }));
    }
    helpers
}

/// A sample each minute until the end.
async fn watch(crowd: &Crowd, options: &Options, master: u32, report: &mut Mixed) {
    let stage = &crowd.stage;
    let told = |sample: &Sample| {
        if !options.churn.json {
            println!("{}", row(sample, &stage.receipts.borrow().tally(), stage.kills.borrow().len()));
        }
    };
    told(&report.start);
    let mut next = Instant::now();
    while next < crowd.end {
        next = (next + Duration::from_secs(60)).min(crowd.end);
        sleep_until(next).await;
        let sample = sample(stage, master, crowd.connected()).await;
        told(&sample);
        report.minutes.push(sample);
    }
}

fn finish(crowd: &Crowd, report: &mut Mixed) {
    let stage = &crowd.stage;
    // The first minute is the crowd's coming.
    let later = report.minutes.iter().skip(1);
    let memory = later.map(|at| (at.seconds, at.pss_bytes.unwrap_or(at.rss_bytes)));
    report.memory_bytes_per_minute = slope(&memory.collect::<Vec<_>>());
    stage.accuse("mix");
    report.sessions_born = crowd.born.get() - 1;
    report.transports = crowd.losses.take();
    report.quotes = stage.receipts.borrow().tally();
    report.comebacks = stage.comebacks.take();
    report.replay = stage.replay();
    report.slowest = stage.slowest.take().1;
    report.talks = stage.talks.take();
    report.guests = stage.guests.take();
    report.kills = stage.kills.take();
    report.published = stage.courses.borrow().values().map(|course| u64::from(course.begun)).sum();
    report.unanswered = stage.courses.borrow().values().map(|course| course.unsure.len()).sum();
    report.faults = stage.told.take();
    report.untold = stage.untold.get();
}
