//! The life of the daemon as systemd sees it. Pure: events and the moment in, what is to be said out.
//!
//! `READY=1` is said once when the daemon serves, and once at the end of reloads that were announced; nothing of
//! either while it starts (systemd would take it for the end of the start) and nothing after `STOPPING=1`
//! (`sd_notify(3)`; `Type=notify-reload` waits for `RELOADING=1` with a moment after its signal, then for `READY=1`).

use super::journal::Life;
use crate::model::{Mono, Wall};
use crate::os::notify::Notification;
use std::time::Duration;

/// Phase of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    /// `announced`: systemd waits for the end of a reload.
    Ready {
        announced: bool,
    },
    Stopping,
}

/// The state of the daemon as a whole.
#[derive(Debug)]
pub(super) struct Service {
    phase: Phase,
    /// The end of the daemon, once its loop must end.
    end: Option<Result<(), AllFailed>>,
    started: Mono,
    /// The same on the wall clock.
    since: Wall,
    /// The last message of any worker.
    heard: Mono,
    status: String,
}

/// All workers were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AllFailed;

impl Service {
    /// A daemon that starts.
    pub(super) fn new(now: Mono, wall: Wall) -> Self {
        Self {
            phase: Phase::Starting,
            end: None,
            started: now,
            since: wall,
            heard: now,
            status: String::new(),
        }
    }

    /// A daemon that goes on under another master.
    pub(super) fn resume(life: Life, now: Mono) -> Self {
        let ready = Phase::Ready { announced: life.reloading };
        let phase = if life.ready { ready } else { Phase::Starting };
        Self { phase, started: life.started, since: life.since, ..Self::new(now, life.since) }
    }

    /// What the next master goes on with.
    pub(super) fn life(&self) -> Life {
        let (ready, stopping) = (self.phase != Phase::Starting, self.is_stopping());
        let reloading = self.phase == Phase::Ready { announced: true };
        Life { since: self.since, started: self.started, ready, reloading, stopping }
    }

    /// Every worker that will be there is there. Said again it is nothing new.
    pub(super) fn all_ready(&mut self) -> Option<Notification> {
        if self.phase != Phase::Starting {
            return None;
        }
        self.phase = Phase::Ready { announced: false };
        Some(Notification::Ready)
    }

    /// Somebody asks for a reload.
    pub(super) fn reload_begins(&mut self) -> Option<Notification> {
        let Phase::Ready { announced } = &mut self.phase else { return None };
        *announced = true;
        // Said again for each that asks: systemd waits for one that is younger than its own signal.
        Some(Notification::Reloading)
    }

    /// No reload that was asked for is under way any more.
    pub(super) fn reloads_over(&mut self) -> Option<Notification> {
        let Phase::Ready { announced } = &mut self.phase else { return None };
        std::mem::take(announced).then_some(Notification::Ready)
    }

    /// The end begins, and may take so long. Said again, systemd gives the time anew.
    pub(super) fn stop(&mut self, within: Duration) -> Notification {
        self.phase = Phase::Stopping;
        Notification::Stopping(within)
    }

    /// The loop is to end. The first reason counts.
    pub(super) fn end(&mut self, how: Result<(), AllFailed>) {
        self.end.get_or_insert(how);
    }

    /// A worker said something.
    pub(super) fn hear(&mut self, now: Mono) {
        self.heard = now;
    }

    /// The line for `systemctl status`, when it has changed.
    pub(super) fn status(&mut self, text: String) -> Option<Notification> {
        if text == self.status {
            return None;
        }
        self.status.clone_from(&text);
        Some(Notification::Status(text))
    }

    /// Whether the daemon is of use. If it serves and has not heard a word of any worker for `limit`, it is not,
    /// however alive its loop: systemd's watchdog is not fed any more and may start it anew. While it starts or stops,
    /// systemd's other limits count.
    pub(super) fn is_of_use(&self, limit: Duration, now: Mono) -> bool {
        let serves = matches!(self.phase, Phase::Ready { .. });
        !serves || now.since(self.heard) <= limit
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready { .. })
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.phase == Phase::Stopping
    }

    /// The end of the daemon; `None` while the loop goes on.
    pub(super) fn is_over(&self) -> Option<Result<(), AllFailed>> {
        self.end
    }

    /// Since when the daemon runs.
    pub(super) fn since(&self) -> Wall {
        self.since
    }

    pub(super) fn uptime(&self, now: Mono) -> Duration {
        now.since(self.started)
    }
}

impl Phase {
    /// The word in `ctl status`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready { .. } => "ready",
            Self::Stopping => "stopping",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn service() -> Service {
        Service::new(Mono(1_000_000_000_000), Wall(0))
    }

    #[test]
    fn the_watchdog_is_fed_until_no_worker_has_said_a_word_for_worker_timeout() {
        let (mut service, heard) = (service(), Mono(1_000_000_000_000));
        let fed = |service: &Service, after| service.is_of_use(LIMIT, heard.after(after));
        assert!(fed(&service, LIMIT * 9), "TimeoutStartSec= counts");
        service.all_ready();
        service.hear(heard);
        assert!(fed(&service, Duration::ZERO) && fed(&service, LIMIT));
        assert!(!fed(&service, LIMIT + Duration::from_millis(1)));
        service.stop(LIMIT);
        assert!(fed(&service, LIMIT * 9), "TimeoutStopSec= counts");
    }

    #[test]
    fn a_reload_during_the_start_is_not_its_end() {
        let mut service = service();
        assert_eq!((service.reload_begins(), service.reloads_over()), (None, None));
        assert_eq!(service.all_ready(), Some(Notification::Ready));
        assert_eq!((service.reloads_over(), service.all_ready()), (None, None));
        assert_eq!(
            (service.reload_begins(), service.reloads_over()),
            (Some(Notification::Reloading), Some(Notification::Ready))
        );
    }

    #[test]
    fn a_line_of_status_is_said_once() {
        let mut service = service();
        let said: Vec<_> =
            ["a", "a", "b"].map(|text| service.status(text.into())).into_iter().flatten().collect();
        assert_eq!(said, [Notification::Status("a".into()), Notification::Status("b".into())]);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        AllReady,
        Begin,
        Over,
        Stop,
    }

    proptest! {
        /// systemd as the manual has it: it starts, is reloading between RELOADING and READY, and a stop is for good.
        #[test]
        fn systemd_never_hears_what_it_does_not_expect(
            steps in prop::collection::vec(
                prop_oneof![
                    2 => Just(Step::AllReady), 6 => Just(Step::Begin), 6 => Just(Step::Over), 1 => Just(Step::Stop)
                ],
                1..40,
            )
        ) {
            let (mut service, mut heard) = (service(), "starting");
            for step in steps {
                let said = match step {
                    Step::AllReady => service.all_ready(),
                    Step::Begin => service.reload_begins(),
                    Step::Over => service.reloads_over(),
                    Step::Stop => Some(service.stop(LIMIT)),
                };
                heard = match (heard, said) {
                    (_, None) => heard,
                    ("starting", Some(Notification::Ready)) => {
                        prop_assert!(matches!(step, Step::AllReady));
                        "running"
                    }
                    ("reloading", Some(Notification::Ready)) => "running",
                    ("running" | "reloading", Some(Notification::Reloading)) => "reloading",
                    (_, Some(Notification::Stopping(_))) => "stopping",
                    (state, said) => panic!("{said:?} while {state}"),
                };
                if heard == "reloading" {
                    prop_assert_eq!(service.phase(), Phase::Ready { announced: true });
                }
            }
        }
    }
}
