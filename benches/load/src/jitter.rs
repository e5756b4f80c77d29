//! Clients that are cut again and again and come back, while messages are published: each message once and in order?

use crate::decoder::Transport;
use crate::jitter_report::Jitter;
use crate::line::Who;
use crate::member::{Member, Record};
use crate::options::{Churn, Ports};
use crate::posting::{ask_all, publish_all};
use crate::stage::Stage;
use crate::units::rate;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

/// Longest time in which all clients connect.
const OPENING: Duration = Duration::from_secs(60);
/// Longest time in which the last clients catch up.
const CLOSING: Duration = Duration::from_secs(30);
/// Time at the end in which duplicates are still noticed.
const TAIL: Duration = Duration::from_secs(1);

/// Cuts clients off again and again; each published message must still come once and in order.
///
/// Clients come back with what they need for it (docs/sessions.md). Exit code 1: a message was lost, came twice or in
/// disorder, and no `resumed: false` has said so; or a 202 was not true.
///
/// A cut closes the connection with whatever is unread. Half of them first stop reading for 300 ms; of the others half
/// are a reset. A ghost leaves the old connection open and unread until the client is back.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) ports: Ports,
    /// Clients, one user each, spread over the transports.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) clients: u32,
    /// Transports of the clients, in turn.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Transport::Ws, Transport::Sse, Transport::Poll])]
    pub(crate) transports: Vec<Transport>,
    /// Messages that are published.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) messages: u32,
    /// Messages a second.
    #[arg(long, default_value_t = 2.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Quotes a second for random users, away or not; every 202 must be true.
    #[arg(long, num_args = 0..=1, default_value = "0", default_missing_value = "50", value_parser = rate)]
    pub(crate) quotes: f64,
    #[command(flatten)]
    pub(crate) churn: Churn,
}

type Records = Vec<(Transport, Rc<RefCell<Record>>)>;

pub(crate) async fn run(options: &Options) -> Result<Jitter, String> {
    if options.rate <= 0.0 {
        return Err("--rate: more than 0".to_owned());
    }
    let stage = Rc::new(Stage::new(Rc::new(options.ports.clone()), options.clients));
    let mut members = JoinSet::new();
    let records = open(&stage, options, &mut members).await?;
    let seconds = stage.start.elapsed().as_secs_f64();
    let quotes =
        (options.quotes > 0.0).then(|| tokio::task::spawn_local(ask_all(stage.clone(), options.quotes)));
    let unanswered = publish_all(&stage, options.rate, options.messages).await?;
    stage.calm.set(true);
    stage.silent.set(true);
    if let Some(quotes) = quotes {
        let _ = quotes.await;
    }
    let settled = settle(&stage, &records).await;
    members.shutdown().await;
    Ok(report(&stage, &records, (seconds, settled, unanswered)))
}

/// Starts all clients and waits for their sessions.
async fn open(stage: &Rc<Stage>, options: &Options, members: &mut JoinSet<()>) -> Result<Records, String> {
    let end = Instant::now() + OPENING;
    let turns = Arc::new(Semaphore::new(options.churn.open_inflight as usize));
    let habit = options.churn.habit(None);
    let mut records = Records::new();
    for (index, transport) in (0..options.clients).zip(options.transports.iter().cycle()) {
        let turn = timeout_at(end, turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { break };
        let (user, channels) = (format!("jitter-{index}"), options.ports.channel.clone());
        let who = Rc::new(Who { index, user, channels });
        stage.present.borrow_mut()[index as usize] = Some(who.clone());
        let (member, record) = Member::new(stage, who, *transport, &habit, Some(turn));
        records.push((*transport, record));
        members.spawn_local(member.live(None));
    }
    let joined = || records.iter().filter(|(_, record)| !record.borrow().tracks.is_empty()).count();
    while joined() < options.clients as usize {
        if timeout_at(end, stage.news.notified()).await.is_err() {
            let (joined, comebacks) = (joined(), stage.comebacks.borrow());
            return Err(format!("only {joined} of {} have a session: {comebacks:?}", options.clients));
        }
    }
    Ok(records)
}

/// Waits until everybody is back and has everything; `false`: somebody has not.
async fn settle(stage: &Stage, records: &Records) -> bool {
    let end = Instant::now() + CLOSING;
    let whole = |(_, record): &(Transport, Rc<RefCell<Record>>)| {
        let record = record.borrow();
        record.connected.is_some()
            && record.tracks.iter().all(|(name, track)| track.has_all(stage.sure(name)))
    };
    while !(records.iter().all(whole) && stage.receipts.borrow().victims().is_empty()) {
        if Instant::now() >= end {
            return false;
        }
        sleep(Duration::from_millis(100)).await;
    }
    sleep(TAIL).await;
    true
}

fn report(stage: &Stage, records: &Records, (seconds, settled, unanswered): (f64, bool, u64)) -> Jitter {
    let published = stage.begun(&stage.ports.channel);
    let mut report = Jitter { seconds, settled, published, unanswered, ..Jitter::default() };
    for (index, (transport, record)) in records.iter().enumerate() {
        let mut record = record.borrow_mut();
        if record.tracks.iter().any(|(name, track)| !track.has_all(stage.sure(name))) {
            let since =
                record.connected.map_or("absent".to_owned(), |at| format!("back {:?} ago", at.elapsed()));
            let next: Vec<u32> = record.tracks.iter().map(|(_, track)| track.next()).collect();
            stage.fault(&format!("jitter-{index} has nothing from {next:?} on; {since}"));
        }
        report.transports.entry(transport.as_str()).or_default().add(stage, &mut record, true);
    }
    stage.accuse("jitter");
    report.quotes = stage.receipts.borrow().tally();
    report.comebacks = stage.comebacks.take();
    report.replay = stage.replay();
    report.slowest = stage.slowest.take().1;
    report.faults = stage.told.take();
    report.untold = stage.untold.get();
    report
}
