//! Reloads: who asked for one, the one on trial, and what became of the last. Pure.
//!
//! A configuration that needs new processes is a *candidate*: on trial until the first process that was born with it
//! is ready, and withdrawn when none gets ready. Whoever asks during a trial waits for the next reading of the files.

use crate::protocol::cluster::Generation;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// The outcome of one reload, in the words of `ctl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) ok: bool,
    /// Number of the configuration in force now.
    pub(super) revision: u64,
    /// Keys that changed.
    pub(super) changed: Vec<String>,
    /// Keys that changed but need a restart of the daemon.
    pub(super) restart: Vec<String>,
    /// Every fault of a configuration that was refused.
    pub(super) faults: Vec<String>,
}

/// Receives an outcome.
pub(super) type Waiter = oneshot::Sender<Outcome>;

#[derive(Debug)]
struct Trial<C> {
    candidate: C,
    /// Processes started after this one are born with the candidate.
    after: Generation,
    waiters: Vec<Waiter>,
}

/// All reloads; `C` is a candidate.
#[derive(Debug)]
pub(super) struct Reloads<C> {
    /// The files are to be read because somebody asked.
    wished: bool,
    /// The watcher has been asked and has not answered yet.
    reading: bool,
    waiters: Vec<Waiter>,
    trial: Option<Trial<C>>,
    last: Option<Outcome>,
    refused: u64,
    done: u64,
}

impl<C> Default for Reloads<C> {
    fn default() -> Self {
        Self {
            wished: false,
            reading: false,
            waiters: Vec::new(),
            trial: None,
            last: None,
            refused: 0,
            done: 0,
        }
    }
}

impl<C> Reloads<C> {
    /// Somebody asks for one.
    pub(super) fn ask(&mut self, waiter: Option<Waiter>) {
        self.waiters.extend(waiter);
        self.wished = true;
    }

    /// Whether the watcher is to be asked now.
    pub(super) fn take_wish(&mut self) -> bool {
        let wished = std::mem::take(&mut self.wished);
        self.reading |= wished;
        wished
    }

    /// The watcher has answered, asked or not.
    pub(super) fn read(&mut self) {
        self.reading = false;
    }

    /// Puts a candidate on trial; all who wait now wait for its outcome.
    pub(super) fn try_out(&mut self, candidate: C, after: Generation) {
        let waiters = std::mem::take(&mut self.waiters);
        self.trial = Some(Trial { candidate, after, waiters });
    }

    /// The candidate on trial, which newborn processes get.
    pub(super) fn candidate(&self) -> Option<&C> {
        self.trial.as_ref().map(|trial| &trial.candidate)
    }

    /// Whether a process was born with the candidate on trial.
    pub(super) fn was_born_with(&self, generation: Generation) -> bool {
        self.trial.as_ref().is_some_and(|trial| generation > trial.after)
    }

    /// Ends the trial, for better or worse. Its waiters are answered next, before those who came later.
    pub(super) fn end_trial(&mut self) -> Option<(C, Vec<Waiter>)> {
        self.trial.take().map(|trial| (trial.candidate, trial.waiters))
    }

    /// All who wait and are not bound to a trial.
    pub(super) fn take_waiters(&mut self) -> Vec<Waiter> {
        std::mem::take(&mut self.waiters)
    }

    /// Tells the outcome to `waiters` and keeps it.
    pub(super) fn conclude(&mut self, outcome: Outcome, waiters: Vec<Waiter>) {
        *(if outcome.ok { &mut self.done } else { &mut self.refused }) += 1;
        for waiter in waiters {
            // A client of the control socket may have hung up.
            let _ = waiter.send(outcome.clone());
        }
        self.last = Some(outcome);
    }

    /// Forgets wishes and readings: the daemon stops, nothing will be read any more.
    pub(super) fn stop(&mut self) {
        (self.wished, self.reading) = (false, false);
    }

    /// Whether a reload that somebody asked for is not concluded yet.
    pub(super) fn is_pending(&self) -> bool {
        self.wished || self.reading || self.trial.is_some()
    }

    /// What [`Reloads::resume`] needs, as text.
    pub(super) fn pack(&self) -> String {
        serde_json::to_string(&(self.done, self.refused, &self.last)).unwrap_or_default()
    }

    /// Goes on counting.
    pub(super) fn resume(&mut self, packed: &str) {
        if let Ok((done, refused, last)) = serde_json::from_str(packed) {
            (self.done, self.refused, self.last) = (done, refused, last);
        }
    }

    /// The last outcome.
    pub(super) fn last(&self) -> Option<&Outcome> {
        self.last.as_ref()
    }

    /// Count of reloads taken, and of reloads refused.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.done, self.refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::sync::oneshot::Receiver;
    use tokio::sync::oneshot::error::TryRecvError;

    fn outcome(revision: u64) -> Outcome {
        Outcome { ok: true, revision, changed: vec![], restart: vec![], faults: vec![] }
    }

    #[test]
    fn who_asks_during_a_trial_waits_for_the_next_reading() {
        let mut reloads = Reloads::default();
        let (first, mut first_hears) = oneshot::channel();
        reloads.ask(Some(first));
        assert!(reloads.take_wish() && !reloads.take_wish());
        reloads.read();
        reloads.try_out("candidate", 7);
        assert_eq!((reloads.was_born_with(7), reloads.was_born_with(8)), (false, true));
        let (second, mut second_hears) = oneshot::channel();
        reloads.ask(Some(second));
        let (candidate, waiters) = reloads.end_trial().unwrap();
        assert_eq!(candidate, "candidate");
        reloads.conclude(outcome(2), waiters);
        assert_eq!(first_hears.try_recv().unwrap().revision, 2);
        assert!(second_hears.try_recv().is_err() && reloads.is_pending());
        assert!(reloads.take_wish());
        reloads.read();
        let waiters = reloads.take_waiters();
        reloads.conclude(outcome(3), waiters);
        assert_eq!((second_hears.try_recv().unwrap().revision, reloads.is_pending()), (3, false));
        assert_eq!((reloads.counts(), reloads.last()), ((2, 0), Some(&outcome(3))));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Ask,
        /// The loop turns: the watcher is asked when somebody wished it.
        Turn,
        /// The watcher answers; true: the answer is a candidate.
        Read(bool),
        EndTrial,
    }

    proptest! {
        /// Each that asks is answered exactly once, with an outcome of files that were read after the question.
        #[test]
        fn each_is_answered_once_and_of_files_read_later(
            steps in prop::collection::vec(
                prop_oneof![
                    Just(Step::Ask), Just(Step::Turn), any::<bool>().prop_map(Step::Read), Just(Step::EndTrial)
                ],
                1..80,
            )
        ) {
            let mut reloads = Reloads::<u64>::default();
            let mut open: Vec<(u64, Receiver<Outcome>)> = vec![];
            // The number of the last reading is the revision of its outcome.
            let mut readings = 0;
            let settle = [Step::EndTrial, Step::Turn, Step::Read(false)];
            for step in steps.into_iter().chain(settle) {
                match step {
                    Step::Ask => {
                        let (waiter, hears) = oneshot::channel();
                        reloads.ask(Some(waiter));
                        open.push((readings, hears));
                    }
                    Step::Turn => _ = reloads.take_wish(),
                    // The loop asks the watcher before it hears it, and does not hear it during a trial.
                    Step::Read(candidate) if reloads.candidate().is_none() => {
                        reloads.take_wish();
                        readings += 1;
                        reloads.read();
                        if candidate {
                            reloads.try_out(readings, 0);
                        } else {
                            let waiters = reloads.take_waiters();
                            reloads.conclude(outcome(readings), waiters);
                        }
                    }
                    Step::Read(_) => {}
                    Step::EndTrial => if let Some((reading, waiters)) = reloads.end_trial() {
                        reloads.conclude(outcome(reading), waiters);
                    }
                }
                let mut waiting = vec![];
                for (asked, mut hears) in open {
                    match hears.try_recv() {
                        Ok(outcome) => prop_assert!(outcome.revision > asked),
                        Err(TryRecvError::Empty) => waiting.push((asked, hears)),
                        Err(TryRecvError::Closed) => prop_assert!(false, "dropped without an answer"),
                    }
                }
                open = waiting;
                prop_assert!(open.is_empty() || reloads.is_pending());
            }
            prop_assert!(open.is_empty() && !reloads.is_pending());
        }
    }
}
