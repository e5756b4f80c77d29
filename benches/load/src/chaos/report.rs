//! The table of events, the sums, and the promises that are broken.

use super::verdict::{Flow, Noticed, Row};
use crate::report::{as_f64, counts};
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
use std::fmt;
use std::path::PathBuf;

/// The report of `chaos`.
#[derive(Debug)]
pub(crate) struct Chaos {
    pub(crate) clients: u32,
    pub(crate) workers: u16,
    pub(crate) silence: Option<u32>,
    pub(crate) rows: Vec<Row>,
    /// Clients with a connection at the end, before all leave.
    pub(crate) connected: u32,
    pub(crate) absent: u32,
    /// Of all processes, before the first client and after the last one.
    pub(crate) descriptors: (usize, usize),
    pub(crate) leaked: bool,
    pub(crate) rss_bytes: (u64, u64),
    /// Faults in words.
    pub(crate) told: Vec<String>,
    /// The end of the daemon's log, where something is broken.
    pub(crate) log: String,
    pub(crate) folder: Option<PathBuf>,
}

impl Chaos {
    /// Whether every promise was kept.
    pub(crate) fn good(&self) -> bool {
        self.broken().is_empty()
    }

    fn broken(&self) -> Vec<String> {
        let of = |row: &Row| {
            let event = row.event.name();
            row.broken(self.silence)
                .into_iter()
                .map(move |what| format!("{event}: {what}"))
                .collect::<Vec<_>>()
        };
        let mut broken: Vec<String> = self.rows.iter().flat_map(of).collect();
        if self.absent > 0 {
            broken.push(format!("{} clients did not come back", self.absent));
        }
        if self.leaked {
            let (before, after) = self.descriptors;
            broken.push(format!("{before} descriptors before the first client, {after} after the last one"));
        }
        broken
    }

    fn total(&self) -> Noticed {
        let mut total = Noticed::default();
        self.rows.iter().for_each(|row| total += &row.noticed);
        total
    }
}

impl Serialize for Chaos {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Chaos", 12)?;
        out.serialize_field("good", &self.good())?;
        out.serialize_field("broken", &self.broken())?;
        out.serialize_field("clients", &self.clients)?;
        out.serialize_field("workers", &self.workers)?;
        out.serialize_field("events", &self.rows)?;
        out.serialize_field("total", &self.total())?;
        out.serialize_field("connected_at_end", &self.connected)?;
        out.serialize_field("absent", &self.absent)?;
        out.serialize_field("descriptors", &self.descriptors)?;
        out.serialize_field("rss_bytes", &self.rss_bytes)?;
        out.serialize_field("faults", &self.told)?;
        out.serialize_field("log", &self.log)?;
        out.end()
    }
}

/// `lost/doubled/disorder`
fn flow(flow: Flow) -> String {
    if flow.is_clean() { "0".to_owned() } else { format!("{}/{}/{}", flow.lost, flow.doubled, flow.disorder) }
}

/// A line as soon as an event is over; losses are known at the end only.
pub(crate) fn progress(row: &Row, noticed: &Noticed) {
    let closed: u32 = noticed.closed.values().sum();
    let state = match (&row.skipped, &row.failed, row.took_ms) {
        (Some(why), ..) => format!("skipped: {why}"),
        (_, Some(why), _) => format!("FAILED: {why}"),
        (.., Some(ms)) => format!("ready after {ms} ms"),
        _ => "NOT READY".to_owned(),
    };
    println!("{:7.1} s  {:<15} {state}; {closed} closed  {}", row.second, row.event, row.detail);
}

impl Chaos {
    fn line(&self, f: &mut fmt::Formatter<'_>, row: &Row) -> fmt::Result {
        let noticed = &row.noticed;
        let held = row.connected.saturating_sub(row.closed());
        let took = row.took_ms.map_or("-".to_owned(), |ms| ms.to_string());
        let verdict = match (&row.skipped, row.broken(self.silence).is_empty()) {
            (Some(_), _) => "skipped",
            (None, true) => "kept",
            (None, false) => "BROKEN",
        };
        writeln!(
            f,
            "{:<15} {took:>6} {held:>6} {:>6} {:>5} {:>6} {:>6} {:>9} {:>9} {:>7} {:>9} {:>6} {:>5} {:>5} {:>6.1} {:>6}  {verdict}",
            row.event,
            row.closed(),
            row.dirty,
            row.silence_ms,
            row.answer_ms,
            flow(noticed.answers),
            flow(noticed.messages),
            row.accepted,
            flow(noticed.quotes),
            noticed.resumed,
            noticed.not_resumed,
            noticed.lies,
            as_f64(row.rss_bytes) / f64::from(1 << 20),
            row.descriptors,
        )
    }
}

impl fmt::Display for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<15} {:>6} {:>6} {:>6} {:>5} {:>6} {:>6} {:>9} {:>9} {:>7} {:>9} {:>6} {:>5} {:>5} {:>6} {:>6}",
            "event",
            "ms",
            "held",
            "closed",
            "dirty",
            "silent",
            "answer",
            "answers",
            "messages",
            "quotes",
            "q.faults",
            "resum.",
            "not",
            "lies",
            "MiB",
            "files"
        )?;
        self.rows.iter().try_for_each(|row| self.line(f, row))?;
        let total = self.total();
        let mib = |bytes| as_f64(bytes) / f64::from(1 << 20);
        writeln!(f, "closed       {}", counts(&total.closed))?;
        writeln!(f, "POSTs        {}; {} falsely 404", counts(&total.posts), total.denied)?;
        writeln!(f, "connections  refused: {}", counts(&total.refused))?;
        writeln!(f, "moved        {} told, {} ms at most", total.moved, total.told_silence_ms)?;
        writeln!(f, "prices back  {}", total.prices_back)?;
        writeln!(f, "at the end   {} of {} connected, {} absent", self.connected, self.clients, self.absent)?;
        writeln!(f, "descriptors  {} -> {}", self.descriptors.0, self.descriptors.1)?;
        writeln!(f, "memory       {:.1} -> {:.1} MiB", mib(self.rss_bytes.0), mib(self.rss_bytes.1))?;
        self.told.iter().try_for_each(|fault| writeln!(f, "fault        {fault}"))?;
        let broken = self.broken();
        if broken.is_empty() {
            return writeln!(f, "kept         every promise");
        }
        self.log.lines().try_for_each(|line| writeln!(f, "log          {line}"))?;
        if let Some(folder) = &self.folder {
            writeln!(f, "folder       {} is kept", folder.display())?;
        }
        broken.iter().try_for_each(|what| writeln!(f, "BROKEN       {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::Kind;
    use super::*;

    fn chaos(closed: u32) -> Chaos {
        let mut row = Row { took_ms: Some(1), connected: 10, ..Row::new(Kind::Usr2) };
        if closed > 0 {
            row.noticed.closed = [(1012, closed)].into();
        }
        Chaos {
            clients: 10,
            workers: 2,
            silence: None,
            rows: vec![row.clone(), Row { event: Kind::Move, skipped: Some("x".to_owned()), ..row }],
            connected: 10,
            absent: 0,
            descriptors: (5, 5),
            leaked: false,
            rss_bytes: (1, 1),
            told: vec![],
            log: String::new(),
            folder: None,
        }
    }

    #[test]
    fn a_broken_promise_is_named() {
        let good = chaos(0);
        assert!(good.good() && good.to_string().ends_with("every promise\n"), "{good}");
        let bad = chaos(3);
        assert!(!bad.good() && bad.to_string().ends_with("BROKEN       usr2: 3 closed\n"), "{bad}");
        let json = serde_json::to_value(&bad).unwrap();
        assert_eq!((&json["good"], &json["broken"][0]), (&false.into(), &"usr2: 3 closed".into()));
        assert_eq!(
            (&json["events"][0]["event"], &json["total"]["closed"]["1012"]),
            (&"usr2".into(), &6.into())
        );
        assert!(!Chaos { absent: 1, ..chaos(0) }.good() && !Chaos { leaked: true, ..chaos(0) }.good());
    }
}
