//! How a client loses its connection, and how it leaves.

use super::{Member, ON_ITS_WAY};
use crate::comeback::is_final;
use crate::decoder::{End, Transport};
use crate::habit::{Cut, STALL, about};
use crate::line::Line;
use crate::said::Place;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Longest time between the client's close frame and the server's.
const FAREWELL: Duration = Duration::from_secs(2);
/// Longest time from a publication to a connected client.
const LATE: Duration = Duration::from_secs(5);
/// Longest time that a late message is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

impl Member {
    pub(super) async fn cut(&mut self, line: Line) {
        let cut = self.habit.cut();
        *self.stage.comebacks.borrow_mut().cuts.entry(cut.as_str()).or_default() += 1;
        self.gone(cut.as_str());
        match cut {
            Cut::Close => drop(line),
            Cut::Reset => line.reset(),
            Cut::Stall => {
                sleep(STALL).await;
                drop(line);
            }
            Cut::Ghost => self.ghost = Some(line),
        }
        sleep(about(self.habit.away)).await;
    }

    /// Counts an end that the server or the network has caused, and waits before the comeback.
    pub(super) async fn over(&mut self, end: End, asked: Instant) {
        let pause = {
            let mut comebacks = self.stage.comebacks.borrow_mut();
            let pause = Duration::from_millis(fastrand::u64(50..500));
            match end {
                End::NotKept => return,
                End::Lost => comebacks.lost += 1,
                End::Strange => comebacks.strange += 1,
                End::Closed(code) => *comebacks.closed.entry(code).or_default() += 1,
                End::Refused(status) => *comebacks.refused.entry(status).or_default() += 1,
            }
            if is_final(end) {
                comebacks.ended += 1;
                self.place = Place::default();
            }
            pause
        };
        self.gone(match end {
            End::Closed(_) => "a close",
            End::Refused(_) => "a refusal",
            _ => "a loss",
        });
        if is_final(end) || end == End::Strange {
            self.fault(&format!("{end:?} {} ms after the connection", asked.elapsed().as_millis()));
        }
        sleep(pause).await;
    }

    /// Reads on for a while: what had to be there by now may still wait to be read, or be late. Returns the connection.
    async fn linger(&mut self, mut line: Line) -> Option<Line> {
        let since = self.record.borrow().connected?;
        let targets: Vec<u32> =
            self.record.borrow().tracks.iter().map(|(name, _)| self.stage.done(name, LATE)).collect();
        let end = Instant::now() + PATIENCE;
        let mut time = pin!(sleep_until(end));
        loop {
            let ended = line.take(|heard| self.hear(&heard)).is_err();
            let lacks = {
                let record = self.record.borrow();
                record.tracks.iter().zip(&targets).any(|((_, track), target)| !track.has_all(*target))
            };
            if !ended && lacks && since.elapsed() > LATE {
                tokio::select! {
                    () = line.readable() => continue,
                    () = &mut time => (),
                }
                let mut lacking = Vec::new();
                for ((name, track), target) in self.record.borrow_mut().tracks.iter_mut().zip(&targets) {
                    let missing = track.end(*target).iter().filter(|n| !self.stage.unsure(name, **n));
                    lacking.extend(missing.map(|number| format!("{name} {number}")));
                }
                if !lacking.is_empty() {
                    self.fault(&format!("has left without {lacking:?}"));
                }
                return Some(line);
            }
            return (!ended).then_some(line);
        }
    }

    /// Leaves for good, half of the times with a close frame.
    pub(super) async fn leave(mut self, line: Option<Line>) {
        let line = match line {
            Some(line) => self.linger(line).await,
            None => None,
        };
        self.gone("leaving");
        // Cut and away already, it has heard nothing for longer.
        let now = Instant::now();
        let stopped = self.left.map_or(now, |(stopped, _)| stopped);
        let from = stopped.checked_sub(ON_ITS_WAY).unwrap_or(stopped);
        let forever = now + Duration::from_secs(86_400);
        self.stage.receipts.borrow_mut().excuse(self.who.index, from, forever);
        match line {
            Some(mut line) if self.transport == Transport::Ws && fastrand::bool() => {
                line.leave();
                let farewell = async {
                    loop {
                        line.readable().await;
                        if line.take(|heard| self.hear(&heard)).is_err() {
                            return;
                        }
                    }
                };
                let _ = timeout(FAREWELL, farewell).await;
            }
            Some(line) if fastrand::bool() => line.reset(),
            _ => (),
        }
    }
}
