//! The feeder's main loop: carries the sources' notes, new configurations and time to the policy.

use super::Clock;
use super::agreement::{Agreement, LogLine};
use super::belief::{Belief, WallWatch, Witnesses};
use super::candles::{CandleRequest, CandleService};
use super::mailbox::{Delivered, Notes, mailbox};
use super::note::{Note, What};
use super::plan::Plan;
use super::policy::{Action, Member, Policy, Settings, SourceTick};
use super::recorder::Recorder;
use super::running::{RunningSource, tell};
use super::source::{Orders, supervise};
use super::table::{Row, SourceStatus};
use crate::config::PriceSection;
use crate::model::{Health, LogLimiter, Mono, Rules, SourceVerdict, Symbol};
use crate::protocol::cluster::FromFeeder;
use crate::providers::{Content, Fault, Http, HttpLimits, PauseLimits, Source, build};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

/// Longest work without letting sessions and timers have a turn.
const SLICE: Duration = Duration::from_micros(500);
/// A source with a wait up to this long is left only if it does not come back.
const BRIEF: Duration = Duration::from_millis(1500);
/// Interval of the numbers of sources while nothing else changes.
const TABLE_INTERVAL: Duration = Duration::from_secs(1);

/// `serve` without requests and without a file.
pub async fn run(
    plans: watch::Receiver<Arc<Plan>>,
    clock: Clock,
    http: Arc<Http>,
    out: impl FnMut(FromFeeder),
) {
    let (_nobody, asks) = mpsc::channel(1);
    serve(plans, (asks, CandleService::default()), clock, http, out).await;
}

/// Runs until the sender of `plans` is dropped. A new plan applies at once; sources with unchanged content keep their
/// session.
pub(super) async fn serve(
    mut plans: watch::Receiver<Arc<Plan>>,
    (mut asks, candles): (mpsc::Receiver<CandleRequest>, CandleService),
    clock: Clock,
    http: Arc<Http>,
    out: impl FnMut(FromFeeder),
) {
    let plan = plans.borrow_and_update().clone();
    let (notes, mut inbox) = mailbox();
    let mut core = Core::new(&plan, (clock.clone(), candles), http, notes, out);
    let mut slice = Instant::now();
    loop {
        let wake = core.wake_at();
        tokio::select! {
            changed = plans.changed() => {
                if changed.is_err() {
                    return core.finish().await;
                }
                let plan = plans.borrow_and_update().clone();
                core.reconfigure(&plan);
            }
            delivered = inbox.recv() => core.delivered(delivered),
            // At most a single request between two notes: a long answer must not delay prices.
            Some(ask) = asks.recv() => core.answer(&ask),
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
        }
        core.turn();
        if slice.elapsed() >= SLICE {
            yield_now().await;
            slice = Instant::now();
        }
    }
}

struct Core<F> {
    running: Vec<RunningSource>,
    next_id: u32,
    /// The default symbol.
    symbol: Symbol,
    policy: Policy,
    candles: CandleService,
    clock: Clock,
    witnesses: Arc<Mutex<Witnesses>>,
    wall: WallWatch,
    http: Arc<Http>,
    notes: Notes,
    out: F,
    recorder: Recorder,
    /// When to tell the table; `None` while nothing has changed.
    table_due: Option<Mono>,
    table_told: Mono,
    /// Each source's part in the default symbol's price when the table was last told.
    parts: Vec<(bool, Option<SourceVerdict>)>,
    /// The age limits of prices.
    rules: Rules,
    agreement: Agreement,
    /// Limits log lines about the served source.
    served: BTreeMap<Symbol, LogLimiter<Arc<str>>>,
    /// Limits log lines about sources that send more than is taken, and how much that was since the last one.
    flooding: (LogLimiter<()>, u64),
}

impl<F: FnMut(FromFeeder)> Core<F> {
    fn new(
        plan: &Plan,
        (clock, candles): (Clock, CandleService),
        http: Arc<Http>,
        notes: Notes,
        out: F,
    ) -> Self {
        let now = clock.now().mono;
        let nobody = settings(&PriceSection { symbols: Vec::new(), ..plan.price.clone() }, Vec::new());
        let policy = Policy::new(nobody, plan.real_before, now);
        let mut core = Self {
            running: Vec::new(),
            next_id: 0,
            symbol: plan.price.symbol.clone(),
            policy,
            candles,
            clock,
            witnesses: Arc::default(),
            wall: WallWatch::default(),
            http,
            notes,
            out,
            recorder: Recorder::default(),
            table_due: Some(now),
            table_told: now,
            parts: Vec::new(),
            rules: plan.price.rules(),
            agreement: Agreement::new(now),
            served: BTreeMap::new(),
            flooding: (LogLimiter::default(), 0),
        };
        core.reconfigure(plan);
        core
    }

    fn reconfigure(&mut self, plan: &Plan) {
        self.http.adopt(HttpLimits::of(&plan.price));
        self.recorder.adopt(plan.price.record.as_deref(), plan.price.record_max);
        let mut before = std::mem::take(&mut self.running);
        for name in &plan.price.providers {
            // The configuration has been checked: every name exists.
            let Some(provider) = plan.providers.get(name) else { continue };
            let content = Content::new(provider, &plan.price).among(&plan.providers);
            let orders = Orders {
                pauses: PauseLimits::of(&plan.price),
                retries: plan.retries.of(name),
                reloads: plan.retries.reloads(),
            };
            let running = match before.iter().position(|old| old.content == content) {
                Some(same) => before.swap_remove(same),
                None => {
                    let belief = before.iter().find(|old| old.is_like(name, &content));
                    let belief = belief.map(|old| old.belief.clone());
                    self.begin(name, content, belief, orders)
                }
            };
            running.order(orders, &self.http);
            self.running.push(running);
        }
        drop(before);
        self.symbol = plan.price.symbol.clone();
        self.rules = plan.price.rules();
        self.agreement.retain(&plan.price.symbols);
        self.served.retain(|symbol, _| plan.price.symbols.contains(symbol));
        self.candles.reconfigure(&plan.price.symbols, plan.made_up_only());
        let member = |running: &RunningSource| Member {
            id: running.id,
            name: running.row.status.name.clone(),
            made_up: running.row.status.mock,
            no_tick: running.no_tick,
        };
        let settings = settings(&plan.price, self.running.iter().map(member).collect());
        let actions = self.policy.reconfigure(settings, self.clock.now());
        self.perform(actions);
        self.table_due = Some(self.clock.now().mono);
    }

    /// Starts a source, with what is known of it, if it ran before with other settings.
    fn begin(
        &mut self,
        name: &str,
        content: Content,
        belief: Option<Belief>,
        orders: Orders,
    ) -> RunningSource {
        self.next_id += 1;
        let (id, made_up) = (self.next_id, content.made_up());
        let (source, off) = match build(&content, &self.http) {
            Ok(source) => (source, None),
            Err(why) => {
                tracing::warn!(source = name, why, "source is off");
                (Source { legs: Vec::new(), no_tick: Duration::ZERO }, Some(why))
            }
        };
        let words = off.map_or_else(|| Ok(source.legs.iter().map(|leg| leg.word).collect()), Err);
        let row = Row::new(name, made_up, words);
        let legs = source.legs.iter().map(|leg| (leg.interval, leg.live)).collect();
        let recorder = content.recorded().then(|| self.recorder.for_source(name));
        let belief = belief.unwrap_or_else(|| Belief::new(name, self.witnesses.clone()));
        let known = (content.pairs(), belief.clone());
        let (orders, ordered) = watch::channel(orders);
        let outside = (self.clock.clone(), self.notes.clone());
        let task = supervise(id, source.legs, known, outside, ordered, recorder);
        let task = AbortOnDropHandle::new(tokio::spawn(task));
        RunningSource {
            id,
            content,
            row,
            no_tick: source.no_tick,
            limiter: LogLimiter::default(),
            held: LogLimiter::default(),
            bad: LogLimiter::default(),
            belief,
            legs,
            orders,
            _task: task,
        }
    }

    /// Takes a note from the mailbox.
    fn delivered(&mut self, Delivered { note, conflated }: Delivered) {
        if conflated > 0
            && let Some(running) = self.running.iter_mut().find(|running| running.id == note.source)
        {
            running.row.status.ticks += conflated;
            let (limiter, lost) = &mut self.flooding;
            *lost += conflated;
            if limiter.change((), self.clock.now().mono).is_some() {
                let source = &*running.row.status.name;
                tracing::warn!(source, lost = *lost, "the feeder does not keep up with a source");
                *lost = 0;
            }
        }
        self.note(note);
    }

    fn note(&mut self, note: Note) {
        let Some(running) = self.running.iter_mut().find(|running| running.id == note.source) else {
            return;
        };
        let changed = running.row.note(note.leg, &note.what);
        let now = self.clock.now();
        if changed {
            running.tell(now.mono);
        }
        if let What::Bad(why) = &note.what
            && let Some(hushed) = running.bad.change((), now.mono)
        {
            let source = &*running.row.status.name;
            tracing::warn!(event = "source-rejected", source, hushed, why, "not a price");
        }
        let due = if changed { now.mono } else { self.table_told.after(TABLE_INTERVAL) };
        self.table_due = Some(self.table_due.map_or(due, |before| before.min(due)));
        let elsewhere = running.row.live_elsewhere(note.leg);
        let (interval, _) = running.legs.get(note.leg).copied().unwrap_or_default();
        let actions = match note.what {
            What::Tick(tick, lag, at) => {
                self.policy.take(note.source, SourceTick { tick, interval, lag, halted: false }, at)
            }
            What::Halted(tick, halted, at) => {
                // An unknown age is more than that of a fresh price.
                let stale = self.rules.stale_after(interval) + Duration::from_secs(1);
                let before = if halted.known { Duration::ZERO } else { stale };
                let lag = halted.age + before;
                self.policy.take(note.source, SourceTick { tick, interval, lag, halted: true }, at)
            }
            // While another leg gives prices the source has not ended.
            What::Ended(..) if elsewhere => Vec::new(),
            // A short wait is over before the policy would react.
            What::Ended(Fault::Wait(time, _)) if time <= BRIEF => self.policy.ended(note.source, false, now),
            What::Ended(_) if running.row.out() => self.policy.out(note.source, now),
            What::Ended(fault) => self.policy.ended(note.source, matches!(fault, Fault::Reconnect(_)), now),
            What::Began
            | What::Halt(_)
            | What::Repeated
            | What::Old(_)
            | What::Bad(_)
            | What::Budget(_)
            | What::Pause(_)
            | What::StandBy => Vec::new(),
        };
        self.perform(actions);
    }

    /// Does what is due by time.
    fn turn(&mut self) {
        let now = self.clock.now();
        let actions = self.policy.wake(now);
        self.perform(actions);
        for candles in self.candles.wake(now) {
            (self.out)(FromFeeder::Candles(candles));
        }
        let ahead = self.witnesses.lock().unwrap_or_else(PoisonError::into_inner).wall_ahead(now);
        let now = now.mono;
        self.wall.look(ahead, now);
        for running in &mut self.running {
            let silent = running.row.silent_at(running.no_tick).is_some_and(|at| at <= now);
            if silent && running.row.silent(running.no_tick) {
                running.tell(now);
                self.table_due = Some(now);
            }
            if let Some((_, hushed)) = running.limiter.wake(now) {
                tell(&running.row.status, hushed);
            }
        }
        for (symbol, limiter) in &mut self.served {
            if let Some((to, hushed)) = limiter.wake(now) {
                tracing::info!(event = "price-served", %symbol, to = &*to, hushed);
            }
        }
        self.agreement.mention(now).iter().for_each(LogLine::log);
        let part = |running: &RunningSource| self.policy.part(&self.symbol, running.id);
        let parts: Vec<_> = self.running.iter().map(part).map(|part| (part.serving, part.verdict)).collect();
        if parts != self.parts || self.agreement.is_news() {
            let due = self.table_told.after(TABLE_INTERVAL).max(now);
            self.table_due = Some(self.table_due.map_or(due, |before| before.min(due)));
        }
        if self.table_due.is_some_and(|due| due <= now) {
            (self.table_due, self.table_told, self.parts) = (None, now, parts);
            self.tell_table();
        }
    }

    fn tell_table(&mut self) {
        let row = |running: &RunningSource| running.row.told(&self.policy.part(&self.symbol, running.id));
        let table: Vec<SourceStatus> = self.running.iter().map(row).collect();
        if let Ok(json) = serde_json::to_string(&table) {
            (self.out)(FromFeeder::Sources(json.into()));
        }
        if let Some(refused) = self.agreement.tell() {
            (self.out)(FromFeeder::Refused(refused));
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let now = self.clock.now();
        let second = Some(self.candles.next(now));
        let silent = self.running.iter().filter_map(|running| running.row.silent_at(running.no_tick)).min();
        let hushed = self.running.iter().filter_map(|running| running.limiter.due()).min();
        let served = self.served.values().filter_map(LogLimiter::due).min();
        let next =
            [self.policy.next(now), self.table_due, silent, hushed, self.agreement.due(), served, second]
                .into_iter()
                .flatten()
                .min()?;
        Some(Instant::now() + next.since(now.mono))
    }

    /// Whether the source's time stamps are not current.
    fn is_recorded(&self, source: &str) -> bool {
        let running = self.running.iter().find(|running| &*running.row.status.name == source);
        running.is_some_and(|running| {
            let recorded = !running.legs.is_empty() && running.legs.iter().all(|(_, live)| !live);
            recorded && !running.row.status.mock
        })
    }

    fn answer(&mut self, ask: &CandleRequest) {
        let text = self.candles.answer(ask);
        (self.out)(FromFeeder::Answer { to: ask.to, request: ask.request, text });
    }

    /// Writes out the candles, for the end of the process.
    async fn finish(self) {
        self.candles.finish(self.clock.now()).await;
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Accept(quote) => {
                    let (recorded, now) = (self.is_recorded(&quote.source), self.clock.now());
                    // A late price is none of this moment.
                    if quote.lag.is_zero() || quote.health(&self.rules, now.boot) == Health::Fresh {
                        self.candles.take(&quote, recorded, now);
                    }
                }
                Action::Publish(quote) => (self.out)(FromFeeder::Tick(quote)),
                Action::Serve { symbol, from, to } => {
                    let now = self.clock.now().mono;
                    let limiter = self.served.entry(symbol.clone()).or_default();
                    if let Some(hushed) = limiter.change(to.clone(), now) {
                        let from = from.as_deref();
                        tracing::info!(event = "price-served", %symbol, from, to = &*to, hushed);
                    }
                    self.table_due = Some(now);
                }
                Action::Refused { symbol, why } => self.agreement.take(symbol, why),
                Action::Held { symbol, source, price, believed } => {
                    let now = self.clock.now().mono;
                    let running = self.running.iter_mut().find(|r| r.row.status.name == source);
                    let Some(running) = running else { continue };
                    running.row.status.rejected += 1;
                    if let Some(hushed) = running.held.change((), now) {
                        let believed = believed.map(|price| price.to_string());
                        tracing::warn!(event = "price-held", %symbol, source = &*source, %price, believed, hushed, "it jumps");
                    }
                }
            }
        }
    }
}

/// The policy's part of the configuration.
fn settings(price: &PriceSection, members: Vec<Member>) -> Settings {
    Settings {
        members,
        symbols: price.symbols.clone(),
        start_wait: price.start_wait,
        publish_interval: price.publish_interval,
        mode: price.policy,
        min_sources: price.min_sources as usize,
        max_deviation: price.max_deviation,
        rules: price.rules(),
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "believed_tests.rs"]
mod believed_tests;

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod exchange_tests;

#[cfg(test)]
#[path = "replay_tests.rs"]
mod replay_tests;

#[cfg(test)]
#[path = "flood_tests.rs"]
mod flood_tests;
