//! What a program says on standard error, for the log: a few lines a minute, over all its lives, then their number.

use super::text::one_line;
use std::time::Duration;
use tokio::time::Instant;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Murmur {
    line: Vec<u8>,
    since: Option<Instant>,
    told: u32,
    hushed: u64,
}

/// So many lines of standard error are logged in a minute.
const TOLD: u32 = 5;
const MINUTE: Duration = Duration::from_secs(60);
/// As much of a line is kept.
const KEPT: usize = 1024;

impl Murmur {
    /// Says how many lines there were.
    pub(crate) fn hear(&mut self, program: &str, bytes: &[u8]) -> u32 {
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

    /// The line is whole.
    pub(crate) fn end(&mut self, program: &str) {
        let line = std::mem::take(&mut self.line);
        if line.trim_ascii().is_empty() {
            return;
        }
        if let Some(hushed) = self.allow(Instant::now()) {
            let said = one_line(&String::from_utf8_lossy(&line));
            tracing::warn!(program, said, hushed, "a program says");
        }
    }

    /// `Some`: a line may be logged, after so many that were not.
    fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.duration_since(since) >= MINUTE) {
            (self.since, self.told) = (Some(now), 0);
        }
        if self.told == TOLD {
            self.hushed += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.hushed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_lines_a_minute_are_logged() {
        let (begin, s) = (Instant::now(), Duration::from_secs);
        let mut murmur = Murmur::default();
        let allowed = |murmur: &mut Murmur, at| murmur.allow(begin + s(at));
        let first: Vec<_> = (0..100).map(|_| allowed(&mut murmur, 1)).collect();
        assert_eq!((&first[..5], first[5..].iter().flatten().count()), (&[Some(0); 5][..], 0));
        assert_eq!(
            [allowed(&mut murmur, 60), allowed(&mut murmur, 61), allowed(&mut murmur, 61)],
            [None, Some(96), Some(0)]
        );
        murmur.hear("x", &[b'y'; 1_000_000]);
        assert_eq!(murmur.line.len(), KEPT, "no line is kept longer than this");
    }
}
