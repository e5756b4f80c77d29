//! The line that `systemctl status` shows.

use super::core::Master;
use super::service::Phase;
use crate::os::clock;
use crate::supervisor::workers;

impl Master {
    /// Tells systemd, when the line has changed.
    pub(super) fn tell_status(&mut self) {
        let last = self.in_force.reloads.last();
        let refused = last.filter(|last| !last.ok).and_then(|last| last.faults.first());
        let text = Headline {
            phase: self.service.phase(),
            ready: self.children.ready_workers().count(),
            wanted: workers(&self.in_force.config().cluster).into(),
            sessions: self.directory.totals().sessions as u64,
            price: &self.feed.words(clock::boot()),
            refused: refused.map(String::as_str),
        }
        .text();
        let notice = self.service.status(text);
        self.notify(notice);
    }
}

/// Values of the line.
struct Headline<'a> {
    phase: Phase,
    ready: usize,
    wanted: usize,
    sessions: u64,
    price: &'a str,
    refused: Option<&'a str>,
}

impl Headline<'_> {
    /// `4 workers, 1,203 sessions, BTC-USD 64250.12 from binance, 0.2 s old`
    fn text(&self) -> String {
        let Self { ready, wanted, .. } = self;
        let sessions = plural(self.sessions, "session");
        if self.phase == Phase::Stopping {
            return format!("stopping, {sessions} left");
        }
        let workers = match plural(*ready as u64, "worker") {
            all if ready >= wanted => all,
            _ => format!("{ready} of {}", plural(*wanted as u64, "worker")),
        };
        if self.phase == Phase::Starting {
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
        let ready = Phase::Ready { announced: false };
        let line = || Headline { phase: ready, ready: 4, wanted: 4, sessions: 1203, price, refused: None };
        assert_eq!(line().text(), format!("4 workers, 1,203 sessions, {price}"));
        let less =
            Headline { ready: 1, wanted: 2, sessions: 1_000_000, price: "no price of BTC-USD", ..line() };
        assert_eq!(less.text(), "1 of 2 workers, 1,000,000 sessions, no price of BTC-USD");
        let refused = Headline { refused: Some("x.toml:3: no"), sessions: 1, ..line() };
        assert_eq!(refused.text(), format!("4 workers, 1 session, {price}; RELOAD REFUSED: x.toml:3: no"));
        assert_eq!(
            Headline { phase: Phase::Starting, ready: 0, wanted: 1, ..line() }.text(),
            "starting, 0 of 1 worker ready"
        );
        assert_eq!(
            Headline { phase: Phase::Stopping, sessions: 12, ..line() }.text(),
            "stopping, 12 sessions left"
        );
    }
}
