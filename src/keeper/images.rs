//! The programs that processes are started from: the keeper's own, or the one that has taken over. The one before is
//! kept until the newest has proven itself. Pure: `D` is a descriptor.

use crate::model::Mono;
use crate::os::descriptors::Share;
use std::time::Duration;

/// A program; `None` is the keeper's own.
type Image<D> = Option<D>;

#[derive(Debug)]
pub(super) struct Images<D> {
    current: Image<D>,
    trial: Option<Trial<D>>,
}

/// The newest program has not proven itself yet.
#[derive(Debug)]
struct Trial<D> {
    before: Image<D>,
    within: Duration,
    /// It takes over from living processes, which go on if it fails.
    succeeds: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its master is not started yet.
    Ordered,
    /// Its master has been started, and must give a sign until then; `None`: it has.
    Starts { until: Option<Mono> },
    /// The daemon serves.
    Serves,
}

impl<D: Share> Images<D> {
    pub(super) fn new() -> Self {
        Self { current: None, trial: None }
    }

    /// The program of the next process.
    pub(super) fn current(&self) -> Image<D> {
        self.current.as_ref().and_then(D::share)
    }

    /// Another program takes over; once started it must serve within that time. `succeeds`: it must give a beat by then,
    /// and takes over from living processes.
    pub(super) fn switch(&mut self, image: D, within: Duration, succeeds: bool) {
        let before = self.current.replace(image);
        // While one is on trial the one before it stays the way back.
        let before = self.trial.take().map_or(before, |trial| trial.before);
        self.trial = Some(Trial { before, within, succeeds, stage: Stage::Ordered });
    }

    /// A master has been started.
    pub(super) fn started(&mut self, now: Mono) {
        if let Some(trial) = self.trial.as_mut().filter(|trial| trial.stage != Stage::Serves) {
            trial.stage = Stage::Starts { until: Some(now.after(trial.within)) };
        }
    }

    /// The master gives a sign of life.
    pub(super) fn beat(&mut self) {
        if let Some(Trial { succeeds: true, stage: Stage::Starts { until }, .. }) = &mut self.trial {
            *until = None;
        }
    }

    /// The daemon serves.
    pub(super) fn serves(&mut self) {
        if let Some(trial) = &mut self.trial {
            trial.stage = Stage::Serves;
        }
    }

    /// Whether the newest program should serve by now and does not.
    pub(super) fn is_late(&self, now: Mono) -> bool {
        self.next_deadline().is_some_and(|until| until <= now)
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        match self.trial.as_ref()?.stage {
            Stage::Starts { until } => until,
            Stage::Ordered | Stage::Serves => None,
        }
    }

    /// Whether the newest program takes over from living processes, and is not done with that.
    pub(super) fn succeeds(&self) -> bool {
        self.trial.as_ref().is_some_and(|trial| trial.succeeds && trial.stage != Stage::Serves)
    }

    /// Whether the master of the newest program is still to be started.
    pub(super) fn is_ordered(&self) -> bool {
        self.trial.as_ref().is_some_and(|trial| trial.stage == Stage::Ordered)
    }

    /// The newest program has proven itself.
    pub(super) fn settled(&mut self) {
        self.trial = None;
    }

    /// Programs that are open.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        usize::from(self.current.is_some())
            + usize::from(self.trial.as_ref().is_some_and(|trial| trial.before.is_some()))
    }

    #[cfg(test)]
    fn is_on_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// Whether the newest program has not served since the start of its master.
    pub(super) fn is_starting(&self) -> bool {
        self.trial.as_ref().is_some_and(|trial| matches!(trial.stage, Stage::Starts { .. }))
    }

    /// The master of the newest program has ended. True: the program before is in use again.
    pub(super) fn fall_back(&mut self) -> bool {
        let Some(Trial { before, .. }) = self.trial.take() else { return false };
        self.current = before;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Program(u8);

    impl Share for Program {
        fn share(&self) -> Option<Self> {
            Some(self.clone())
        }
    }

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_program_that_proves_itself_stays() {
        let mut images = Images::new();
        assert_eq!((images.current(), images.fall_back(), images.is_on_trial()), (None, false, false));
        images.switch(Program(1), LIMIT, false);
        assert_eq!((images.current(), images.next_deadline()), (Some(Program(1)), None));
        images.started(Mono(5));
        assert_eq!(images.next_deadline(), Some(Mono(5).after(LIMIT)));
        assert!(!images.is_late(Mono(6)) && images.is_late(Mono(5).after(LIMIT)));
        images.serves();
        assert!(!images.is_late(Mono(5).after(LIMIT * 2)) && images.is_on_trial());
        images.settled();
        assert!(!images.fall_back() && images.current() == Some(Program(1)));
    }

    #[test]
    fn the_way_back_leads_to_the_last_that_had_proven_itself() {
        let mut images = Images::new();
        images.switch(Program(1), LIMIT, false);
        images.settled();
        images.switch(Program(2), LIMIT, false);
        images.switch(Program(3), LIMIT, false);
        assert!(images.fall_back() && images.current() == Some(Program(1)));
        assert!(!images.fall_back());
        let mut images = Images::new();
        images.switch(Program(1), LIMIT, false);
        assert!(images.fall_back() && images.current().is_none());
    }

    #[test]
    fn a_program_that_has_served_is_not_late_again() {
        let mut images = Images::new();
        images.switch(Program(1), LIMIT, false);
        images.started(Mono(5));
        images.serves();
        images.started(Mono(6));
        assert!(!images.is_starting() && images.next_deadline().is_none());
    }

    #[test]
    fn one_that_takes_over_from_living_processes_has_time_once_it_beats() {
        let mut images = Images::new();
        images.switch(Program(1), LIMIT, true);
        assert!(images.is_ordered() && images.succeeds() && !images.is_starting());
        images.started(Mono(5));
        assert!(images.is_late(Mono(5).after(LIMIT)));
        images.beat();
        assert!(images.is_starting() && images.succeeds() && !images.is_late(Mono(5).after(LIMIT * 99)));
        images.serves();
        assert!(!images.is_starting() && !images.succeeds() && images.is_on_trial());
    }
}
