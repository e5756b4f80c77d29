//! The script of a mock source: one step a line, in order.
//!
//! | line | effect |
//! |---|---|
//! | `set 64000.00` | a tick at that price |
//! | `move +1.5%`, `move -250` | a tick at the price moved by that part, or by that amount |
//! | `walk 5s` | the usual random walk for that time |
//! | `stall 3s` | no tick for that time; the connection stays |
//! | `silent` | no tick for the rest of the session |
//! | `garbage` | an unreadable message |
//! | `fault retry`, `fault reconnect`, `fault refused`, `fault wait 2s` | the session ends with that fault; the next one continues with the next line |
//! | `repeat` | start again at the top; only as the last line |
//!
//! A step with a tick, and `garbage`, takes the source's `tick` of time. After the last line the random walk goes on.
//! `#` begins a comment; empty lines are ignored. Times are a number with `ms`, `s`, `m` or `h`.

use crate::model::Price;
use crate::providers::Fault;
use rust_decimal::Decimal;
use std::time::Duration;

/// A parsed script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    steps: Vec<ScriptStep>,
    repeat: bool,
    next: usize,
}

/// A line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::providers) enum ScriptStep {
    Set(Price),
    MoveBy(Decimal),
    MovePercent(Decimal),
    Walk(Duration),
    Stall(Duration),
    Silent,
    Garbage,
    Fault(Fault),
}

impl Script {
    /// Parses a script.
    ///
    /// # Errors
    /// The first line that is no step, with its number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut script = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            if script.repeat {
                return Err(format!("line {number}: nothing can follow `repeat`"));
            }
            if line == "repeat" {
                script.repeat = true;
            } else {
                let step = step(line).ok_or_else(|| format!("line {number}: `{line:.60}` is no step"))?;
                script.steps.push(step);
            }
        }
        if script.repeat && script.steps.is_empty() {
            return Err("there is nothing to repeat".to_owned());
        }
        Ok(script)
    }

    /// The next step; `None` at the end.
    pub(in crate::providers) fn next(&mut self) -> Option<ScriptStep> {
        if self.repeat && self.next == self.steps.len() {
            self.next = 0;
        }
        let step = self.steps.get(self.next).cloned()?;
        self.next += 1;
        Some(step)
    }
}

fn step(line: &str) -> Option<ScriptStep> {
    let words: Vec<&str> = line.split_whitespace().collect();
    Some(match words[..] {
        ["set", digits] => ScriptStep::Set(Price::parse(digits).ok()?),
        ["move", by] => match by.strip_suffix('%') {
            Some(percent) => ScriptStep::MovePercent(signed(percent)?),
            None => ScriptStep::MoveBy(signed(by)?),
        },
        ["walk", time] => ScriptStep::Walk(duration(time)?),
        ["stall", time] => ScriptStep::Stall(duration(time)?),
        ["silent"] => ScriptStep::Silent,
        ["garbage"] => ScriptStep::Garbage,
        ["fault", ref how @ ..] => ScriptStep::Fault(fault(how)?),
        _ => return None,
    })
}

fn fault(words: &[&str]) -> Option<Fault> {
    let why = || "as the script says".to_owned();
    Some(match words {
        ["retry"] => Fault::Retry(why()),
        ["reconnect"] => Fault::Reconnect(why()),
        ["refused"] => Fault::Refused(why()),
        ["wait", time] => Fault::Wait(duration(time)?, why()),
        _ => return None,
    })
}

fn signed(text: &str) -> Option<Decimal> {
    let (digits, sign) = match text.strip_prefix('-') {
        Some(digits) => (digits, -Decimal::ONE),
        None => (text.strip_prefix('+').unwrap_or(text), Decimal::ONE),
    };
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number = plain.then(|| Decimal::from_str_exact(digits).ok())??;
    // No price is above it, and sums and products of such numbers are exact.
    (number < Decimal::from(1_000_000_000)).then_some(number * sign)
}

/// At least a millisecond, so that no script can be a busy loop.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let number: u64 = digits.parse().ok()?;
    let millis = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_reads() {
        let text = "# a bad day\nset 64000.00\nmove +1.5%\n\n move -250 # down\nwalk 5s\nstall 300ms\ngarbage\n\
                    fault retry\nfault reconnect\nfault refused\nfault wait 2s\nsilent\nrepeat";
        let mut script = Script::parse(text).unwrap();
        let why = || "as the script says".to_owned();
        let steps = [
            ScriptStep::Set(Price::parse("64000.00").unwrap()),
            ScriptStep::MovePercent(Decimal::new(15, 1)),
            ScriptStep::MoveBy(Decimal::from(-250)),
            ScriptStep::Walk(Duration::from_secs(5)),
            ScriptStep::Stall(Duration::from_millis(300)),
            ScriptStep::Garbage,
            ScriptStep::Fault(Fault::Retry(why())),
            ScriptStep::Fault(Fault::Reconnect(why())),
            ScriptStep::Fault(Fault::Refused(why())),
            ScriptStep::Fault(Fault::Wait(Duration::from_secs(2), why())),
            ScriptStep::Silent,
        ];
        for step in steps.iter().chain(&steps[..2]) {
            assert_eq!(script.next().as_ref(), Some(step));
        }
    }

    #[test]
    fn a_script_ends() {
        let mut script = Script::parse("silent").unwrap();
        assert_eq!((script.next(), script.next()), (Some(ScriptStep::Silent), None));
        assert_eq!(Script::parse("").unwrap().next(), None);
    }

    #[test]
    fn a_wrong_line_is_named() {
        for bad in [
            "set",
            "set x",
            "set -1",
            "set 0",
            "move",
            "move x%",
            "move 1_0",
            "move --1",
            "stall",
            "stall 3",
            "stall s",
            "stall 3d",
            "fault",
            "fault wait",
            "fault tired",
            "quiet",
            "silent now",
            "SET 1",
            "move %",
            "move 9999999999",
        ] {
            let said = Script::parse(&format!("silent\n{bad}")).unwrap_err();
            assert!(said.starts_with("line 2: "), "{bad}: {said}");
        }
        assert!(Script::parse("silent\nrepeat\nsilent").unwrap_err().starts_with("line 3"));
        assert!(Script::parse("repeat").is_err());
    }
}
