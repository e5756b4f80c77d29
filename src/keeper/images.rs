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
    /// When it must serve; `None`: it does.
    until: Option<Mono>,
    within: Duration,
}

impl<D: Share> Images<D> {
    pub(super) fn new() -> Self {
        Self { current: None, trial: None }
    }

    /// The program of the next process.
    pub(super) fn current(&self) -> Image<D> {
        self.current.as_ref().and_then(D::share)
    }

    /// Another program takes over; once started it must serve within that time.
    pub(super) fn switch(&mut self, image: D, within: Duration) {
        let before = self.current.replace(image);
        // While one is on trial the one before it stays the way back.
        let before = self.trial.take().map_or(before, |trial| trial.before);
        self.trial = Some(Trial { before, until: None, within });
    }

    /// A master has been started.
    pub(super) fn started(&mut self, now: Mono) {
        if let Some(trial) = &mut self.trial {
            trial.until = Some(now.after(trial.within));
        }
    }

    /// The daemon serves.
    pub(super) fn serves(&mut self) {
        if let Some(trial) = &mut self.trial {
            trial.until = None;
        }
    }

    /// Whether the newest program should serve by now and does not.
    pub(super) fn is_late(&self, now: Mono) -> bool {
        self.next_deadline().is_some_and(|until| until <= now)
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.trial.as_ref().and_then(|trial| trial.until)
    }

    /// The newest program has proven itself.
    pub(super) fn settled(&mut self) {
        self.trial = None;
    }

    #[cfg(test)]
    fn is_on_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// Whether the newest program has not served since the start of its master.
    pub(super) fn is_starting(&self) -> bool {
        self.next_deadline().is_some()
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
        images.switch(Program(1), LIMIT);
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
        images.switch(Program(1), LIMIT);
        images.settled();
        images.switch(Program(2), LIMIT);
        images.switch(Program(3), LIMIT);
        assert!(images.fall_back() && images.current() == Some(Program(1)));
        assert!(!images.fall_back());
        let mut images = Images::new();
        images.switch(Program(1), LIMIT);
        assert!(images.fall_back() && images.current().is_none());
    }
}
