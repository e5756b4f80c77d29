//! Plays a recording at its own speed, faster, or as fast as it can be read: raw lines through the dialect of the
//! recorded source, and plain ticks.

use super::tick_line;
use crate::model::Symbol;
use crate::os::files::open_regular;
use crate::providers::dialect::Dialect;
use crate::providers::readers::Readers;
use crate::providers::recording::{self, RecordedEvent};
use crate::providers::{Fault, PriceProvider, Sink, Tick};
use async_trait::async_trait;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Time between two lines without a time stamp, in nanoseconds.
const BARE: i64 = 1_000_000_000;
/// Lines that may be skipped before other tasks run.
const TURN: u32 = 64;
/// Most legs of one source; no source has so many.
const MOST_LEGS: usize = 16;

/// The source. Its file is read line by line: a recording may be larger than the memory.
pub(in crate::providers) struct Replay {
    file: PathBuf,
    /// `None`: as fast as it can be read.
    speed: Option<f64>,
    repeat: bool,
    symbols: Vec<Symbol>,
    /// The symbol of a line that names none.
    symbol: Symbol,
    /// The source whose raw lines are played.
    source: Option<String>,
    readers: Option<Arc<Readers>>,
}

impl Replay {
    /// A replay of plain ticks.
    pub(in crate::providers) fn new(
        file: PathBuf,
        speed: f64,
        repeat: bool,
        symbols: &[Symbol],
        symbol: Symbol,
    ) -> Self {
        let speed = (speed.is_finite() && speed > 0.0).then_some(speed);
        Self { file, speed, repeat, symbols: symbols.to_vec(), symbol, source: None, readers: None }
    }

    /// Plays raw lines, too: those of `source`, or if it is `None` those of the only source in the file.
    pub(in crate::providers) fn raw(mut self, source: Option<String>, readers: Arc<Readers>) -> Self {
        (self.source, self.readers) = (source, Some(readers));
        self
    }

    fn refused(&self, why: &str) -> Fault {
        Fault::Refused(format!("{}: {why}", self.file.display()))
    }

    /// Only regular files: reading a pipe could block for ever, and with it the whole process.
    fn open(&self) -> Result<RecordingLines, Fault> {
        let file = open_regular(&self.file).map_err(|error| self.refused(&error.to_string()))?;
        Ok(RecordingLines {
            reader: BufReader::with_capacity(64 << 10, file),
            line: Vec::new(),
            skipping: false,
        })
    }

    /// Plays the file once. `number` is the number of the last tick.
    async fn play(&self, number: &mut u64, out: &mut dyn Sink) -> Result<(), Fault> {
        let mut lines = self.open()?;
        let mut schedule = Schedule { speed: self.speed, begin: None, at: 0 };
        let mut playback = Playback::new(self, number, out);
        let mut since = 0_u32;
        loop {
            match lines.next().map_err(|error| Fault::Retry(error.to_string()))? {
                Piece::End => break,
                Piece::Long => playback.out.bad(format!("a line of more than {} bytes", recording::LONGEST)),
                Piece::Rest => {}
                Piece::Line(bytes, whole) => match recording::read(bytes) {
                    None => playback.plain(bytes, &mut schedule).await,
                    // The last bytes are missing, and the rest may read as another price.
                    Some(_) if !whole => playback.out.bad("the last line is torn".to_owned()),
                    Some(line) => playback.raw(&line, &mut schedule).await?,
                },
            }
            // Other tasks of this thread must get their turn: between two prices, and while lines are skipped.
            since += 1;
            if self.speed.is_none() || since >= TURN {
                since = 0;
                tokio::task::yield_now().await;
            }
        }
        match &self.source {
            Some(source) if !playback.seen => Err(self.refused(&format!("no line of {source} in it"))),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl PriceProvider for Replay {
    async fn session(&mut self, out: &mut dyn Sink) -> Fault {
        let mut number = 0;
        loop {
            if let Err(fault) = self.play(&mut number, out).await {
                return fault;
            }
            if !self.repeat {
                std::future::pending::<()>().await;
            }
            // A file without pauses must not become a busy loop.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A pass through the file.
struct Playback<'a> {
    replay: &'a Replay,
    /// The source whose raw lines are played; `None` until the first line names it.
    whose: Option<String>,
    /// By their words; `""` for lines without a source.
    legs: BTreeMap<String, LegState>,
    /// The last number of each symbol's plain ticks.
    plain: HashMap<Symbol, u64>,
    /// The number of the last tick that was passed on.
    number: &'a mut u64,
    out: &'a mut dyn Sink,
    /// Whether any line has been played.
    seen: bool,
}

/// State that a live source's dialect and supervisor keep during a session.
struct LegState {
    dialect: Dialect,
    last: HashMap<Symbol, u64>,
    /// Whether the session ended by itself.
    ended: bool,
}

impl<'a> Playback<'a> {
    fn new(replay: &'a Replay, number: &'a mut u64, out: &'a mut dyn Sink) -> Self {
        let whose = replay.source.clone();
        Self { replay, whose, legs: BTreeMap::new(), plain: HashMap::new(), number, out, seen: false }
    }

    /// Plays a plain tick, skips a comment, or counts an unreadable line.
    async fn plain(&mut self, bytes: &[u8], schedule: &mut Schedule) {
        if bytes.len() > tick_line::LONGEST {
            return self.out.bad(format!("a tick of more than {} bytes", tick_line::LONGEST));
        }
        match tick_line::read(bytes, &self.replay.symbol) {
            Ok(None) => {}
            Ok(Some(line)) => {
                schedule.wait(line.at).await;
                self.seen = true;
                let symbols = &self.replay.symbols;
                Numbered { out: self.out, last: &mut self.plain, number: self.number, symbols }
                    .tick(line.tick);
            }
            Err(fault) => self.out.bad(fault.to_string()),
        }
    }

    /// Plays a line of a recorded source.
    ///
    /// # Errors
    /// [`Fault::Refused`] if its source, or the way to read it, is unknown.
    async fn raw(
        &mut self,
        line: &recording::RecordedLine<'_>,
        schedule: &mut Schedule,
    ) -> Result<(), Fault> {
        // The first line starts the clock, whatever its source: so replays of one file stay in step.
        schedule.begin(line.at);
        if !self.ours(line.of.map(|(source, _)| source))? {
            return Ok(());
        }
        self.seen = true;
        let word = line.of.map_or("", |(_, leg)| leg);
        let (status, bytes) = match line.event {
            RecordedEvent::Raw(status, bytes) => (status, bytes),
            RecordedEvent::Begin => {
                self.begin(word);
                return Ok(());
            }
            RecordedEvent::End(why) => {
                self.end(word, why);
                return Ok(());
            }
        };
        schedule.wait(Some(line.at)).await;
        match self.read(word, status, bytes) {
            Err(fault @ Fault::Refused(_)) => Err(fault),
            Err(fault) => {
                self.out.bad(fault.to_string());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Begins a session. A stream's dialect is replaced with it. A polled dialect keeps its state, as in live use: it
    /// may ask for one pair after the other, and must know whose answer is next.
    fn begin(&mut self, word: &str) {
        match self.legs.get_mut(word) {
            Some(leg) if leg.ended && matches!(leg.dialect, Dialect::Poll(_)) => {
                (leg.ended, leg.last) = (false, HashMap::new());
            }
            _ => _ = self.legs.remove(word),
        }
    }

    fn end(&mut self, word: &str, why: &str) {
        if let Some(leg) = self.legs.get_mut(word) {
            leg.ended = why != recording::CUT_OFF;
        }
    }

    /// Whether to play a line of `source`.
    fn ours(&mut self, source: Option<&str>) -> Result<bool, Fault> {
        match (source, &self.whose) {
            (Some(source), Some(whose)) if source == whose => Ok(true),
            (Some(_), Some(_)) if self.replay.source.is_some() => Ok(false),
            (Some(source), Some(whose)) => {
                let why =
                    format!("it has lines of {whose} and of {source}: `source` must say whose are played");
                Err(self.replay.refused(&why))
            }
            (Some(source), None) => {
                self.whose = Some(source.to_owned());
                Ok(true)
            }
            (None, Some(_)) => Ok(true),
            (None, None) => {
                Err(self.replay.refused("its lines do not say whose they are: `source` must say it"))
            }
        }
    }

    /// Reads a raw line by its leg's dialect.
    ///
    /// # Errors
    /// [`Fault::Refused`] if the source cannot be read at all, [`Fault::Skip`] for this line only.
    fn read(&mut self, word: &str, status: Option<u16>, bytes: &[u8]) -> Result<(), Fault> {
        if !self.legs.contains_key(word) {
            let (Some(readers), Some(whose)) = (&self.replay.readers, &self.whose) else {
                return Err(self.replay.refused("raw lines cannot be read here"));
            };
            if self.legs.len() >= MOST_LEGS {
                return Err(Fault::Skip(format!("more than {MOST_LEGS} legs")));
            }
            let dialect = readers.dialect(whose, Some(word).filter(|word| !word.is_empty()))?;
            self.legs.insert(word.to_owned(), LegState { dialect, last: HashMap::new(), ended: false });
        }
        let Some(leg) = self.legs.get_mut(word) else { return Ok(()) };
        let symbols = &self.replay.symbols;
        let mut out = Numbered { out: self.out, last: &mut leg.last, number: self.number, symbols };
        match leg.dialect.read(status, bytes, &mut out) {
            Ok(()) => Ok(()),
            Err(Fault::Skip(why)) => Err(Fault::Skip(why)),
            // The fault ended the session then; the recording tells what came next.
            Err(fault) => Err(Fault::Skip(fault.to_string())),
        }
    }
}

/// Numbers ticks anew, growing over legs, sessions and repetitions, because to the supervisor all of it is one session.
/// A tick that the recorded session would have dropped as old is dropped here.
struct Numbered<'a> {
    out: &'a mut dyn Sink,
    last: &'a mut HashMap<Symbol, u64>,
    number: &'a mut u64,
    symbols: &'a [Symbol],
}

impl Sink for Numbered<'_> {
    fn tick(&mut self, mut tick: Tick) -> bool {
        if !self.symbols.contains(&tick.symbol) {
            return false;
        }
        if let Some(seq) = tick.seq {
            let newer = self.last.get(&tick.symbol).is_none_or(|last| seq > *last);
            if newer {
                self.last.insert(tick.symbol.clone(), seq);
                *self.number += 1;
            }
            // Zero is never newer than the last number, so the tick is dropped.
            tick.seq = Some(if newer { *self.number } else { 0 });
        }
        self.out.tick(tick)
    }

    fn bad(&mut self, why: String) {
        self.out.bad(why);
    }
}

/// Reads a file line by line, in bounded memory.
struct RecordingLines {
    reader: BufReader<File>,
    line: Vec<u8>,
    /// Whether the rest of a too long line is being skipped.
    skipping: bool,
}

/// The next piece of a file.
enum Piece<'a> {
    /// A line without its end; `false`: the file ended within it.
    Line(&'a [u8], bool),
    /// The beginning of a line that is too long.
    Long,
    /// The rest of such a line.
    Rest,
    End,
}

impl RecordingLines {
    fn next(&mut self) -> io::Result<Piece<'_>> {
        self.line.clear();
        let most = recording::LONGEST as u64;
        let read = (&mut self.reader).take(most).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(Piece::End);
        }
        let whole = self.line.pop_if(|last| *last == b'\n').is_some();
        if std::mem::replace(&mut self.skipping, false) {
            self.skipping = !whole;
            return Ok(Piece::Rest);
        }
        if !whole && read == recording::LONGEST {
            self.skipping = true;
            return Ok(Piece::Long);
        }
        Ok(Piece::Line(&self.line, whole))
    }
}

/// Computes when a line is due.
struct Schedule {
    speed: Option<f64>,
    /// When the first line was played, and its time stamp.
    begin: Option<(Instant, i64)>,
    /// The time stamp of the previous line.
    at: i64,
}

impl Schedule {
    /// Starts the clock, unless it runs.
    fn begin(&mut self, at: i64) {
        if self.begin.is_none() {
            (self.begin, self.at) = (Some((Instant::now(), at)), at);
        }
    }

    async fn wait(&mut self, at: Option<i64>) {
        let Some(speed) = self.speed else { return };
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
#[path = "replay_tests.rs"]
mod tests;
