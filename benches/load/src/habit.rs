//! Habits of a client: when and how it is cut, and when it comes back.

use crate::decoder::Transport;
use std::time::Duration;

/// Time without reading before a stalled cut.
pub(crate) const STALL: Duration = Duration::from_millis(300);

/// When and how a client is cut, and when it comes back.
#[derive(Clone, Debug)]
pub(crate) struct Habit {
    /// Mean time between two cuts; `None`: no cuts.
    pub(crate) every: Option<Duration>,
    /// Mean time between a cut and the comeback.
    pub(crate) away: Duration,
    /// Percent of the cuts that leave the old connection open, unread, until the client is back.
    pub(crate) ghosts: u8,
    /// Percent of the comebacks over another transport.
    pub(crate) wander: u8,
    /// Percent of the comebacks that are cut before the first byte of the answer.
    pub(crate) hasty: u8,
    /// Mean time between two questions over a WebSocket; `None`: no questions.
    pub(crate) asks: Option<Duration>,
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Closed with what is unread.
    Close,
    /// Reset.
    Reset,
    /// Nothing is read for a while, then closed.
    Stall,
    /// The old connection stays, unread: its network is gone, and the server does not know.
    Ghost,
}

impl Cut {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Reset => "reset",
            Self::Stall => "stall",
            Self::Ghost => "ghost",
        }
    }
}

impl Habit {
    /// Half of them stall.
    pub(crate) fn cut(&self) -> Cut {
        if fastrand::u8(0..100) < self.ghosts {
            return Cut::Ghost;
        }
        [Cut::Stall, Cut::Stall, Cut::Close, Cut::Reset][fastrand::usize(0..4)]
    }

    /// Whether it is cut while it comes back.
    pub(crate) fn is_hasty(&self) -> bool {
        fastrand::u8(0..100) < self.hasty
    }

    /// The transport for the next connection.
    pub(crate) fn next(&self, transport: Transport) -> Transport {
        if fastrand::u8(0..100) >= self.wander {
            return transport;
        }
        [Transport::Ws, Transport::Sse, Transport::Poll][fastrand::usize(0..3)]
    }
}

/// Varies a time by 30 %.
pub(crate) fn about(time: Duration) -> Duration {
    time.mul_f64(0.7 + 0.6 * fastrand::f64())
}

/// A life of that length on average, as lives of sessions are: many short ones, a few long.
pub(crate) fn life(mean: Duration) -> Duration {
    mean.mul_f64((-fastrand::f64().max(1e-9).ln()).min(5.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_and_cuts_are_spread() {
        let mean = (0..20_000).map(|_| life(Duration::from_secs(60)).as_secs_f64()).sum::<f64>() / 20_000.0;
        assert!((57.0..63.0).contains(&mean), "{mean}");
        let habit = Habit { every: None, away: Duration::ZERO, ghosts: 10, wander: 0, hasty: 0, asks: None };
        let cuts: Vec<Cut> = (0..10_000).map(|_| habit.cut()).collect();
        let of = |kind| cuts.iter().filter(|cut| **cut == kind).count();
        assert!((800..1200).contains(&of(Cut::Ghost)) && (4200..4800).contains(&of(Cut::Stall)));
        assert_eq!(habit.next(Transport::Sse), Transport::Sse);
    }
}
