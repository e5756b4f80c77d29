//! Supervises one source: session, fault, pause, next session, for ever.

use super::Clock;
use super::belief::{Belief, Said, Verdict};
use super::halt::Halts;
use super::mailbox::Notes;
use super::note::{Note, What};
use super::recorder::{SessionRecorder, SourceRecorder};
use crate::model::{Boot, Symbol};
use crate::providers::{
    Budget, Ended, Fault, Leg, PauseLimits, Pauses, PriceProvider, Sink, Tick, believable,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::task::AbortOnDropHandle;

/// A session with a price that lasted this long starts the back-off anew. A session that ticks once and breaks does
/// not: Binance allows 300 connections in five minutes.
const STABLE: Duration = Duration::from_secs(5);
/// The second leg stands in if the first gave nothing for this time; at the beginning it waits less.
const QUIET: Duration = Duration::from_secs(3);
const QUIET_AT_FIRST: Duration = Duration::from_secs(1);
/// Pause between two sessions of the second leg.
const STAND_IN_PAUSE: Duration = Duration::from_secs(1);

/// The state of the first leg, for the second one.
#[derive(Clone, Debug)]
struct LegActivity {
    ticks: u64,
    /// When the last price came.
    priced: Option<Instant>,
    down: bool,
    /// For each symbol: whether it has had a price here, and when the last one came, or when the leg started.
    last: BTreeMap<Symbol, (bool, Instant)>,
}

impl LegActivity {
    fn new(pairs: &Pairs) -> Self {
        let now = Instant::now();
        Self {
            ticks: 0,
            priced: None,
            down: false,
            last: pairs.keys().map(|symbol| (symbol.clone(), (false, now))).collect(),
        }
    }

    fn tick(&mut self, symbol: &Symbol) {
        let now = Instant::now();
        (self.ticks, self.priced, self.down) = (self.ticks + 1, Some(now), false);
        if let Some(last) = self.last.get_mut(symbol) {
            *last = (true, now);
        }
    }

    /// When the first symbol will have been without a price for too long.
    fn quiet_at(&self) -> Instant {
        let patience = |ticked| if ticked { QUIET } else { QUIET_AT_FIRST };
        self.last.values().map(|(ticked, at)| *at + patience(*ticked)).min().unwrap_or_else(Instant::now)
    }

    fn quiet(&self) -> bool {
        self.down || self.quiet_at() <= Instant::now()
    }

    /// Whether this symbol needs no stand-in.
    fn lively(&self, symbol: &Symbol) -> bool {
        let last = self.last.get(symbol).filter(|(ticked, _)| *ticked && !self.down);
        last.is_some_and(|(_, at)| at.elapsed() < QUIET)
    }
}

/// The symbols that a source may price, each with the pair that stands for it. Any other price is rejected, so that
/// none is ever served under another name.
pub(super) type Pairs = BTreeMap<Symbol, Symbol>;

/// What a source is told while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Orders {
    pub pauses: PauseLimits,
    /// Grows when the source is to be tried now, whatever it said.
    pub retries: u64,
    /// Grows with each reload: a refusal is tried again, a demanded wait is obeyed.
    pub reloads: u64,
}

/// Runs a source until it is dropped. With a `recorder` all its messages are recorded.
pub(super) async fn supervise(
    id: u32,
    legs: Vec<Leg>,
    (pairs, belief): (Pairs, Belief),
    (clock, notes): (Clock, Notes),
    orders: watch::Receiver<Orders>,
    recorder: Option<SourceRecorder>,
) {
    let pairs = Arc::new(pairs);
    let halts = Arc::<Mutex<Halts>>::default();
    let mut legs = legs.into_iter().enumerate().map(|(leg, way)| {
        let (pairs, halts, notes, clock) = (pairs.clone(), halts.clone(), notes.clone(), clock.clone());
        let sender = NoteSender { source: id, leg, pairs, halts, notes, clock };
        let ordered = (belief.clone(), orders.clone());
        RunningLeg::new(way, sender, ordered, recorder.clone())
    });
    let (Some(mut first), second) = (legs.next(), legs.next()) else { return };
    match second {
        None => first.go_on().await,
        Some(second) => {
            let activity = first.activity.subscribe();
            let second = RunningLeg { first: Some(activity.clone()), ..second };
            tokio::join!(first.go_on(), stand_in(second, activity));
        }
    }
}

/// Runs the second leg while the first gives no price of some symbol.
async fn stand_in(mut leg: RunningLeg, mut first: watch::Receiver<LegActivity>) {
    loop {
        quiet(&mut first).await;
        tokio::select! {
            () = leg.go_on() => return,
            ticked = first.wait_for(|activity| !activity.quiet()) => if ticked.is_err() { return },
        }
        leg.not_before = leg.not_before.max(Instant::now() + STAND_IN_PAUSE);
        leg.sender.send(What::StandBy);
    }
}

/// Returns when the first leg is down or has been quiet for too long.
async fn quiet(first: &mut watch::Receiver<LegActivity>) {
    loop {
        let (quiet, until) = {
            let activity = first.borrow_and_update();
            (activity.quiet(), activity.quiet_at())
        };
        if quiet || !matches!(timeout_at(until, first.changed()).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// A running leg, with what must outlive its sessions.
struct RunningLeg {
    leg: Leg,
    provider: Option<Box<dyn PriceProvider>>,
    pauses: Pauses,
    orders: watch::Receiver<Orders>,
    /// The orders when the last session began.
    obeyed: Orders,
    /// Whether the source demanded the pause.
    told: bool,
    not_before: Instant,
    activity: watch::Sender<LegActivity>,
    /// The first leg, if this one stands in for it.
    first: Option<watch::Receiver<LegActivity>>,
    sender: NoteSender,
    belief: Belief,
    recorder: Option<SourceRecorder>,
}

impl RunningLeg {
    fn new(
        leg: Leg,
        sender: NoteSender,
        (belief, orders): (Belief, watch::Receiver<Orders>),
        recorder: Option<SourceRecorder>,
    ) -> Self {
        let obeyed = *orders.borrow();
        Self {
            leg,
            provider: None,
            pauses: Pauses::new(obeyed.pauses),
            orders,
            obeyed,
            told: false,
            not_before: Instant::now(),
            activity: watch::Sender::new(LegActivity::new(&sender.pairs)),
            first: None,
            sender,
            belief,
            recorder,
        }
    }

    /// Runs session after session. If this is dropped and called again, it still keeps the pause.
    async fn go_on(&mut self) {
        loop {
            self.rest().await;
            let (begin, before) = (Instant::now(), self.activity.borrow().ticks);
            self.sender.send(What::Began);
            let fault = self.session().await;
            let good = self.activity.borrow().ticks > before && begin.elapsed() >= STABLE;
            let priced = self.activity.borrow().priced.map(|at| at.elapsed());
            let pause = self.pauses.next(Ended { fault: &fault, good, priced }, fastrand::f64());
            (self.not_before, self.told) = (Instant::now() + pause, matches!(fault, Fault::Wait(..)));
            self.activity.send_modify(|activity| activity.down = true);
            tracing::debug!(source = self.sender.source, leg = self.leg.word, %fault, ?pause, "session ended");
            // Before the end: that has the table told.
            self.sender.pause(pause);
            self.sender.send(What::Ended(fault));
        }
    }

    /// Waits until the next session may begin, or is ordered.
    async fn rest(&mut self) {
        let (Orders { retries, reloads, .. }, told) = (self.obeyed, self.told);
        let ordered = |now: &Orders| now.retries != retries || (now.reloads != reloads && !told);
        let at_once = tokio::select! {
            biased;
            Ok(_) = self.orders.wait_for(ordered) => true,
            () = sleep_until(self.not_before) => false,
        };
        self.obeyed = *self.orders.borrow();
        if at_once {
            self.pauses.reset(self.obeyed.pauses);
        }
    }

    /// Runs one session in a task of its own: a panic ends only the session.
    async fn session(&mut self) -> Fault {
        let made = self.provider.take().map_or_else(|| self.leg.make(), Ok);
        let mut provider = match made {
            Ok(provider) => provider,
            Err(fault) => return fault,
        };
        let recorder = self.recorder.as_ref().map(|recorder| recorder.session(self.leg.word));
        let (sender, activity, first) = (self.sender.clone(), self.activity.clone(), self.first.clone());
        let (live, counts) = (self.leg.live, self.leg.counts);
        // Stamps and numbers of a recording may begin anew with each session.
        let belief = if live { self.belief.clone() } else { self.belief.anew() };
        let said = Said { counts, age: None };
        let mut sink = SessionSink { sender, activity, first, belief, live, said, recorder };
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let fault = provider.session(&mut sink).await;
            if let Some(recorder) = &mut sink.recorder {
                recorder.end(&fault);
            }
            (provider, fault)
        }));
        match task.await {
            Ok((provider, fault)) => {
                self.provider = Some(provider);
                fault
            }
            Err(error) => Fault::Retry(format!("the provider's code failed: {error}")),
        }
    }
}

/// Sends notes to the core. Never waits.
#[derive(Clone)]
struct NoteSender {
    source: u32,
    leg: usize,
    pairs: Arc<Pairs>,
    /// Shared by the legs, never locked for long.
    halts: Arc<Mutex<Halts>>,
    notes: Notes,
    clock: Clock,
}

impl NoteSender {
    fn send(&self, what: What) {
        self.notes.send(Note { source: self.source, leg: self.leg, what });
    }

    fn pause(&self, time: Duration) {
        let at = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.send(What::Pause(Boot(self.clock.now().boot.0.saturating_add(at))));
    }

    fn halts(&self) -> MutexGuard<'_, Halts> {
        self.halts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes what one session reads.
struct SessionSink {
    sender: NoteSender,
    activity: watch::Sender<LegActivity>,
    first: Option<watch::Receiver<LegActivity>>,
    belief: Belief,
    /// See [`Leg::live`].
    live: bool,
    /// What its numbers count ([`Leg::counts`]), and how old the answer is that is read.
    said: Said,
    recorder: Option<SessionRecorder>,
}

impl SessionSink {
    /// Why a price was not requested.
    fn stranger(&self, tick: &Tick) -> Option<String> {
        let Tick { symbol, pair, .. } = tick;
        match self.sender.pairs.get(symbol) {
            Some(asked) if asked == pair => None,
            Some(asked) => {
                Some(format!("a price of {pair} for {symbol}, where {asked} is meant: see symbol_map"))
            }
            None => Some(format!("a price of {symbol}, which nobody asked for")),
        }
    }
}

impl SessionSink {
    fn judge(&mut self, tick: Tick) -> What {
        let now = self.sender.clock.now();
        if let Some(why) = self.stranger(&tick) {
            return What::Bad(why);
        }
        // While the first leg gives prices of a symbol, the second one would only give older ones.
        if self.first.as_ref().is_some_and(|first| first.borrow().lively(&tick.symbol)) {
            return What::Repeated;
        }
        let verdict = match self.live {
            true => self.belief.take(&tick, self.said, now),
            false => self.belief.take_recorded(&tick, self.said.counts, now),
        };
        match verdict {
            Verdict::Known => match self.sender.halts().judge(&tick, false, now) {
                Some(halted) => What::Halted(believable(tick), halted, now),
                None => What::Repeated,
            },
            Verdict::Old(why) => What::Old(why),
            Verdict::News(lag) => {
                // A halted one, too: the other leg would give the same price.
                self.activity.send_modify(|activity| activity.tick(&tick.symbol));
                let halted = self.sender.halts().judge(&tick, true, now);
                let tick = believable(tick);
                match halted {
                    Some(halted) => What::Halted(tick, halted.at_least(lag), now),
                    None => What::Tick(tick, lag, now),
                }
            }
        }
    }
}

impl Sink for SessionSink {
    fn tick(&mut self, tick: Tick) -> bool {
        let what = self.judge(tick);
        let current = matches!(what, What::Tick(..) | What::Halted(..) | What::Repeated);
        self.sender.send(what);
        current
    }

    fn trading(&mut self, symbol: Option<&Symbol>, halt: Option<&str>) {
        let (before, after) = {
            let (mut halts, pairs) = (self.sender.halts(), &self.sender.pairs);
            let before = halts.word(pairs.keys());
            halts.said(symbol, halt);
            (before, halts.word(pairs.keys()))
        };
        if before != after {
            self.sender.send(What::Halt(after));
        }
    }

    fn bad(&mut self, why: String) {
        self.sender.send(What::Bad(why));
    }

    fn raw(&mut self, bytes: &[u8]) {
        if let Some(recorder) = &self.recorder {
            recorder.raw(None, bytes);
        }
    }

    fn answer(&mut self, status: u16, body: &[u8]) {
        if let Some(recorder) = &self.recorder {
            recorder.raw(Some(status), body);
        }
    }

    fn age(&mut self, age: Option<Duration>) {
        self.said.age = age;
    }

    fn budget(&mut self, budget: Budget) {
        self.sender.send(What::Budget(budget));
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
