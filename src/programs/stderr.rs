//! Standard error of a program, for the log: a few lines a minute over all its lives, then only their number.

use crate::model::one_line;
use std::time::Duration;
use tokio::time::Instant;

/// Writes a program's standard error to the log, within a rate.
#[derive(Debug, Default)]
pub(crate) struct StderrLog {
    line: Vec<u8>,
    since: Option<Instant>,
    logged: u32,
    suppressed: u64,
}

/// Lines that are logged in a minute.
const LINES: u32 = 5;
const MINUTE: Duration = Duration::from_secs(60);
/// Longest part of a line that is kept, in bytes.
const KEPT: usize = 1024;

impl StderrLog {
    /// Takes some output; returns how many lines ended in it.
    pub(crate) fn push(&mut self, program: &str, bytes: &[u8]) -> u32 {
        let mut lines = 0;
        let mut pieces = bytes.split(|&byte| byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let room = KEPT.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if pieces.peek().is_some() {
                lines += 1;
                self.end(program);
            }
        }
        lines
    }

    /// Ends the line that is being collected.
    pub(crate) fn end(&mut self, program: &str) {
        let line = std::mem::take(&mut self.line);
        if line.trim_ascii().is_empty() {
            return;
        }
        if let Some(suppressed) = self.allow(Instant::now()) {
            let said = one_line(&String::from_utf8_lossy(&line));
            tracing::warn!(program, said, hushed = suppressed, "a program says");
        }
    }

    /// Whether a line may be logged; if so, how many were suppressed before it.
    fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.duration_since(since) >= MINUTE) {
            (self.since, self.logged) = (Some(now), 0);
        }
        if self.logged == LINES {
            self.suppressed += 1;
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_lines_a_minute_are_logged() {
        let (begin, s) = (Instant::now(), Duration::from_secs);
        let mut log = StderrLog::default();
        let allowed = |log: &mut StderrLog, at| log.allow(begin + s(at));
        let first: Vec<_> = (0..100).map(|_| allowed(&mut log, 1)).collect();
        assert_eq!((&first[..5], first[5..].iter().flatten().count()), (&[Some(0); 5][..], 0));
        assert_eq!(
            [allowed(&mut log, 60), allowed(&mut log, 61), allowed(&mut log, 61)],
            [None, Some(96), Some(0)]
        );
        log.push("x", &[b'y'; 1_000_000]);
        assert_eq!(log.line.len(), KEPT, "no line is kept longer than this");
    }
}
