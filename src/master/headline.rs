//! The line that `systemctl status` shows.

use super::core::{Master, workers};

impl Master {
    /// Tells systemd, when the line has changed.
    pub(super) fn tell_status(&mut self) {
        let refused = self.reloads.last.as_ref().filter(|last| !last.ok).and_then(|last| last.faults.first());
        let text = Line {
            stopping: self.stopping,
            told_ready: self.told_ready,
            ready: self.children.ready_workers().count(),
            wanted: workers(&self.config).into(),
            sessions: self.directory.totals().sessions as u64,
            price: &self.price_words(),
            refused: refused.map(String::as_str),
        }
        .text();
        if text != self.status {
            self.notifier.status(&text);
            self.status = text;
        }
    }
}

/// What it is made of.
struct Line<'a> {
    stopping: bool,
    told_ready: bool,
    ready: usize,
    wanted: usize,
    sessions: u64,
    price: &'a str,
    refused: Option<&'a str>,
}

impl Line<'_> {
    /// `4 workers, 1,203 sessions, BTC-USD 64250.12 from binance, 0.2 s old`
    fn text(&self) -> String {
        let Self { ready, wanted, .. } = self;
        let sessions = plural(self.sessions, "session");
        if self.stopping {
            return format!("stopping, {sessions} left");
        }
        let workers = match plural(*ready as u64, "worker") {
            all if ready >= wanted => all,
            _ => format!("{ready} of {}", plural(*wanted as u64, "worker")),
        };
        if !self.told_ready {
            return format!("starting, {workers} ready");
        }
        let refused = self.refused.map(|fault| format!("; RELOAD REFUSED: {fault}")).unwrap_or_default();
        format!("{workers}, {sessions}, {}{refused}", self.price)
    }
}

fn plural(n: u64, word: &str) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text} {word}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_something() {
        let price = "BTC-USD 64250.12 from binance, 0.2 s old";
        let line = || Line {
            stopping: false,
            told_ready: true,
            ready: 4,
            wanted: 4,
            sessions: 1203,
            price,
            refused: None,
        };
        assert_eq!(line().text(), format!("4 workers, 1,203 sessions, {price}"));
        let less = Line { ready: 1, wanted: 2, sessions: 1_000_000, price: "no price of BTC-USD", ..line() };
        assert_eq!(less.text(), "1 of 2 workers, 1,000,000 sessions, no price of BTC-USD");
        let refused = Line { refused: Some("x.toml:3: no"), sessions: 1, ..line() };
        assert_eq!(refused.text(), format!("4 workers, 1 session, {price}; RELOAD REFUSED: x.toml:3: no"));
        assert_eq!(
            Line { told_ready: false, ready: 0, wanted: 1, ..line() }.text(),
            "starting, 0 of 1 worker ready"
        );
        assert_eq!(Line { stopping: true, sessions: 12, ..line() }.text(), "stopping, 12 sessions left");
    }
}
