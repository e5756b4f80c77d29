//! A recording, played at its own speed, faster, or as fast as it can be read.

use super::{Fault, PriceProvider, Sink, line};
use crate::model::Symbol;
use async_trait::async_trait;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Between two lines without a stamp.
const BARE: i64 = 1_000_000_000;

/// The source. Its file is read line by line, never whole: a recording may be larger than the memory.
pub(super) struct Replay {
    file: PathBuf,
    /// `None`: as fast as it can be read.
    speed: Option<f64>,
    repeat: bool,
    symbols: Vec<Symbol>,
    /// What a line without a symbol prices.
    symbol: Symbol,
}

impl Replay {
    pub(super) fn new(file: PathBuf, speed: f64, repeat: bool, symbols: &[Symbol], symbol: Symbol) -> Self {
        let speed = (speed.is_finite() && speed > 0.0).then_some(speed);
        Self { file, speed, repeat, symbols: symbols.to_vec(), symbol }
    }

    /// Only regular files: reading a pipe could take for ever, and with it the whole process.
    fn open(&self) -> Result<BufReader<File>, Fault> {
        let refused = |why: String| Fault::Refused(format!("{}: {why}", self.file.display()));
        let about = std::fs::metadata(&self.file).map_err(|error| refused(error.to_string()))?;
        if !about.is_file() {
            return Err(refused("not a regular file".to_owned()));
        }
        File::open(&self.file).map(BufReader::new).map_err(|error| refused(error.to_string()))
    }

    /// Plays the file once; returns the highest number of a tick. `base` is added to all of them.
    async fn play(&self, base: u64, out: &mut dyn Sink) -> Result<u64, Fault> {
        let mut reader = self.open()?;
        let (mut highest, mut bytes) = (base, Vec::new());
        let mut pace = Pace { speed: self.speed, begin: None, at: 0 };
        loop {
            bytes.clear();
            let most = line::LONGEST as u64 + 1;
            let read = (&mut reader).take(most).read_until(b'\n', &mut bytes);
            match read.map_err(|error| Fault::Retry(error.to_string()))? {
                0 => return Ok(highest),
                length if length > line::LONGEST => {
                    return Err(Fault::Refused(format!("a line of more than {} bytes", line::LONGEST)));
                }
                _ => {}
            }
            match line::read(&bytes, &self.symbol) {
                Ok(None) => {}
                Ok(Some(mut line)) => {
                    pace.wait(line.at).await;
                    out.raw(&bytes);
                    line.tick.seq = line.tick.seq.map(|seq| seq.saturating_add(base));
                    highest = highest.max(line.tick.seq.unwrap_or_default());
                    if self.symbols.contains(&line.tick.symbol) {
                        out.tick(line.tick);
                    }
                }
                Err(Fault::Skip(why)) => out.bad(why),
                Err(fault) => return Err(fault),
            }
        }
    }
}

#[async_trait]
impl PriceProvider for Replay {
    async fn session(&mut self, out: &mut dyn Sink) -> Fault {
        let mut base = 0;
        loop {
            match self.play(base, out).await {
                // Numbers grow over the repetitions, as within a session they must.
                Ok(highest) => base = highest,
                Err(fault) => return fault,
            }
            if !self.repeat {
                std::future::pending::<()>().await;
            }
            // A file with nothing to wait for must not become a loop without a pause.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// When a line is due.
struct Pace {
    speed: Option<f64>,
    /// When the first line was played, and its stamp.
    begin: Option<(Instant, i64)>,
    /// The stamp of the line before.
    at: i64,
}

impl Pace {
    async fn wait(&mut self, at: Option<i64>) {
        let Some(speed) = self.speed else {
            // The others of this thread must have their turn between two lines.
            return tokio::task::yield_now().await;
        };
        let at = at.unwrap_or_else(|| self.at.saturating_add(if self.begin.is_some() { BARE } else { 0 }));
        let (begin, first) = *self.begin.get_or_insert_with(|| (Instant::now(), at));
        self.at = at;
        let nanos = u64::try_from(at.saturating_sub(first)).unwrap_or(0);
        let later = Duration::try_from_secs_f64(Duration::from_nanos(nanos).as_secs_f64() / speed);
        match begin.checked_add(later.unwrap_or(Duration::MAX)) {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::battery::{Heard, listen};
    use super::*;

    const LINES: &str = concat!(
        "{\"price\":\"1.0\",\"ts\":1763640000000,\"seq\":5}\n# comment\n{}\n",
        "{\"price\":\"2.0\",\"ts\":1763640004000,\"seq\":6}\ngarbage\n",
        "{\"price\":\"9.0\",\"symbol\":\"ETH-USD\",\"ts\":1763640004000}\n",
        "{\"price\":\"3.0\",\"recv_ns\":1763640010000000000,\"ts\":1,\"seq\":7}",
    );

    async fn play(text: &str, speed: f64, repeat: bool, patience: u64) -> Heard {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let symbol = Symbol::new("BTC-USD").unwrap();
        let mut replay =
            Replay::new(file.path().to_owned(), speed, repeat, std::slice::from_ref(&symbol), symbol.clone());
        listen(&mut replay, Duration::from_secs(patience)).await
    }

    fn prices(heard: &Heard) -> Vec<String> {
        heard.ticks.iter().map(|tick| tick.price.to_string()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn it_plays_at_its_own_speed_and_is_silent_then() {
        let first = play(LINES, 1.0, false, 3).await;
        assert_eq!(prices(&first), ["1.0"]);
        let most = play(LINES, 1.0, false, 9).await;
        assert_eq!(prices(&most), ["1.0", "2.0"]);
        let all = play(LINES, 1.0, false, 100_000).await;
        assert_eq!((prices(&all), all.fault), (["1.0", "2.0", "3.0"].map(str::to_owned).into(), None));
        assert_eq!((all.bad.len(), all.ticks[2].time), (1, None));
    }

    #[tokio::test(start_paused = true)]
    async fn it_plays_faster_and_without_waiting() {
        assert_eq!(prices(&play(LINES, 8.0, false, 1).await), ["1.0", "2.0"].map(str::to_owned));
        let begin = Instant::now();
        assert_eq!(prices(&play(LINES, 0.0, false, 1).await).len(), 3);
        assert!(begin.elapsed() < Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn its_numbers_grow_over_repetitions() {
        let heard = play(LINES, 0.0, true, 1).await;
        assert!(heard.ticks.len() > 30);
        let numbers: Vec<_> = heard.ticks.iter().map(|tick| tick.seq).collect();
        assert_eq!(numbers[..6], [5, 6, 7, 12, 13, 14].map(Some));
    }

    #[tokio::test(start_paused = true)]
    async fn bare_prices_come_one_a_second() {
        assert_eq!(prices(&play("1\n2\n3\n4\n", 1.5, false, 1).await), ["1", "2"].map(str::to_owned));
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_is_refused() {
        let symbol = Symbol::new("BTC-USD").unwrap();
        for path in ["/nowhere/at/all", "/tmp"] {
            let mut replay = Replay::new(path.into(), 1.0, false, &[], symbol.clone());
            let heard = listen(&mut replay, Duration::from_secs(1)).await;
            assert!(matches!(heard.fault, Some(Fault::Refused(_))), "{path}");
        }
        let long = format!("1\n{}\n2", "7".repeat(10_000));
        let heard = play(&long, 0.0, false, 1).await;
        assert!(matches!(heard.fault, Some(Fault::Refused(_))));
    }
}
