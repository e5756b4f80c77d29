//! Made-up prices: a random walk that is the same for the same seed, or a [`Script`].

use super::script::ScriptStep;
use crate::model::{Price, Symbol};
use crate::os::files::open_regular;
use crate::providers::{Fault, PriceProvider, Script, Sink, Tick};
use async_trait::async_trait;
use rust_decimal::Decimal;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Resolution of a step: the volatility is divided into this many parts.
const GRAIN: i64 = 1_000_000;

/// The source. It keeps its price from one session to the next.
pub(in crate::providers) struct Mock {
    symbols: Vec<Symbol>,
    price: Price,
    volatility: Decimal,
    tick: Duration,
    chance: fastrand::Rng,
    seq: u64,
    file: Option<PathBuf>,
    script: Option<Script>,
    /// The end of the script's current `walk`.
    walking: Option<Instant>,
}

impl Mock {
    /// A walk that begins at `price`; `volatility` is the largest relative step.
    pub(in crate::providers) fn new(
        symbols: &[Symbol],
        price: Price,
        volatility: f64,
        tick: Duration,
    ) -> Self {
        Self {
            symbols: symbols.to_vec(),
            price,
            volatility: Decimal::try_from(volatility).unwrap_or_default().abs().min(Decimal::ONE),
            tick: tick.max(Duration::from_millis(1)),
            chance: fastrand::Rng::with_seed(0),
            seq: 0,
            file: None,
            script: None,
            walking: None,
        }
    }

    /// Makes the walk reproducible.
    pub(in crate::providers) fn seed(mut self, seed: u64) -> Self {
        self.chance = fastrand::Rng::with_seed(seed);
        self
    }

    /// Follows a script, which is read when the first session begins.
    pub(in crate::providers) fn script(mut self, file: Option<PathBuf>) -> Self {
        self.file = file;
        self
    }

    fn read_script(&mut self) -> Result<(), Fault> {
        if self.script.is_none() {
            let text = match &self.file {
                Some(file) => open_regular(file)
                    .and_then(std::io::read_to_string)
                    .map_err(|error| Fault::Refused(format!("{}: {error}", file.display())))?,
                None => String::new(),
            };
            self.script = Some(Script::parse(&text).map_err(|why| Fault::Refused(format!("script: {why}")))?);
        }
        Ok(())
    }

    /// Sets the price with at least as many decimals as before; ignores a value that is no price.
    fn set(&mut self, price: Decimal) {
        let places = self.price.decimal().scale().max(2);
        let mut price = price.round_dp(places);
        price.rescale(places);
        if let Ok(price) = Price::parse(&price.to_string()) {
            self.price = price;
        }
    }

    fn walk(&mut self) {
        let part = Decimal::from(self.chance.i64(-GRAIN..=GRAIN)) / Decimal::from(GRAIN);
        let price = self.price.decimal();
        if !self.volatility.is_zero() {
            self.set(price + price * self.volatility * part);
        }
    }

    fn tick(&mut self, out: &mut dyn Sink) {
        self.seq += 1;
        for symbol in &self.symbols {
            out.tick(Tick {
                symbol: symbol.clone(),
                pair: symbol.clone(),
                price: self.price,
                bid: None,
                ask: None,
                time: None,
                seq: Some(self.seq),
            });
        }
    }

    /// Does the next step and returns its duration.
    fn step(&mut self, out: &mut dyn Sink) -> Result<Duration, Fault> {
        if self.walking.is_none_or(|end| Instant::now() >= end) {
            self.walking = None;
            let price = self.price.decimal();
            match self.script.as_mut().and_then(Script::next) {
                None => self.walk(),
                Some(ScriptStep::Set(price)) => self.price = price,
                Some(ScriptStep::MoveBy(by)) => self.set(price + by),
                Some(ScriptStep::MovePercent(by)) => self.set(price + price * by / Decimal::ONE_HUNDRED),
                Some(ScriptStep::Walk(time)) => {
                    self.walking = Instant::now().checked_add(time);
                    self.walk();
                }
                Some(ScriptStep::Stall(time)) => return Ok(time),
                Some(ScriptStep::Silent) => return Ok(Duration::MAX),
                Some(ScriptStep::Garbage) => {
                    out.bad("garbage, as the script says".to_owned());
                    return Ok(self.tick);
                }
                Some(ScriptStep::Fault(fault)) => return Err(fault),
            }
        } else {
            self.walk();
        }
        self.tick(out);
        Ok(self.tick)
    }
}

#[async_trait]
impl PriceProvider for Mock {
    async fn session(&mut self, out: &mut dyn Sink) -> Fault {
        if let Err(fault) = self.read_script() {
            return fault;
        }
        // The configured price is the first one: the walk begins after it.
        if self.seq == 0 && self.file.is_none() {
            self.tick(out);
            sleep(self.tick).await;
        }
        loop {
            match self.step(out) {
                Ok(time) => sleep(time).await,
                Err(fault) => return fault,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::tests::battery::{Heard, listen};

    fn mock(volatility: f64) -> Mock {
        let symbol = Symbol::new("BTC-USD").unwrap();
        Mock::new(&[symbol], Price::parse("64000.00").unwrap(), volatility, Duration::from_secs(1))
    }

    fn scripted(text: &str) -> (Mock, tempfile::NamedTempFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        (mock(0.0).script(Some(file.path().to_owned())), file)
    }

    fn prices(heard: &Heard) -> Vec<String> {
        heard.ticks.iter().map(|tick| tick.price.to_string()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_seed_walks_the_same_way() {
        let walk = |seed| async move {
            prices(&listen(&mut mock(0.001).seed(seed), Duration::from_millis(9_500)).await)
        };
        let first = walk(7).await;
        assert_eq!(first.len(), 10);
        assert_eq!(first[0], "64000.00");
        assert_eq!(first, walk(7).await);
        assert_ne!(first, walk(8).await);
        for pair in first.windows(2) {
            let (a, b) = (Price::parse(&pair[0]).unwrap(), Price::parse(&pair[1]).unwrap());
            assert!(b.deviation(a) <= Decimal::new(11, 4), "{pair:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_volatility_it_stands_still_and_ticks_all_the_same() {
        let heard = listen(&mut mock(0.0), Duration::from_millis(4_500)).await;
        assert_eq!(prices(&heard), ["64000.00"; 5]);
        assert!(heard.ticks.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    }

    #[tokio::test(start_paused = true)]
    async fn a_script_is_followed_over_sessions() {
        let (mut mock, _file) = scripted(
            "set 50000\nmove +10%\nstall 5s\nmove -1000.5\ngarbage\nfault wait 2s\nset 1\nwalk 3s\nfault refused",
        );
        let heard = listen(&mut mock, Duration::from_secs(60)).await;
        assert_eq!(prices(&heard), ["50000", "55000.00", "53999.50"]);
        assert_eq!(heard.bad.len(), 1);
        assert_eq!(heard.lasted, Duration::from_secs(9));
        let why = "as the script says".to_owned();
        assert_eq!(heard.fault, Some(Fault::Wait(Duration::from_secs(2), why.clone())));
        let heard = listen(&mut mock, Duration::from_secs(60)).await;
        assert_eq!((prices(&heard).len(), heard.fault), (4, Some(Fault::Refused(why))));
        let heard = listen(&mut mock, Duration::from_millis(2_500)).await;
        assert_eq!((prices(&heard).len(), heard.fault), (3, None), "after the script the walk goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn silent_is_for_ever() {
        let (mut mock, _file) = scripted("set 1\nsilent\nset 2");
        let heard = listen(&mut mock, Duration::from_secs(1_000_000)).await;
        assert_eq!((prices(&heard), heard.fault), (vec!["1".to_owned()], None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_script_that_cannot_be_read_is_refused() {
        let (mut wrong, _file) = scripted("nonsense");
        let mut absent = mock(0.0).script(Some("/nowhere/at/all".into()));
        for mock in [&mut wrong, &mut absent] {
            let heard = listen(mock, Duration::from_secs(1)).await;
            assert!(matches!(heard.fault, Some(Fault::Refused(_))), "{:?}", heard.fault);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_walk_leaves_the_prices() {
        let symbol = Symbol::new("BTC-USD").unwrap();
        let low = Price::parse("0.01").unwrap();
        let mut mock = Mock::new(&[symbol], low, 1.0, Duration::from_millis(1));
        let heard = listen(&mut mock, Duration::from_secs(2)).await;
        assert!(heard.ticks.len() > 1000);
    }
}
