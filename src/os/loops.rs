//! The loops that a process needs for as long as it lives. A process that goes on without one of them looks alive and
//! is not, so the first end of a loop, by a return or by a panic, has to be the end of the process.

use futures_util::FutureExt;
use std::fmt;
use std::panic::AssertUnwindSafe;
use tokio::task::JoinSet;

/// Named loops that run. Dropped, all of them are cancelled.
#[derive(Debug, Default)]
pub struct Loops(JoinSet<LoopEnded>);

/// The first end of a loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopEnded {
    name: &'static str,
    /// The loop's panic message; `None`: it returned.
    panic: Option<String>,
}

impl Loops {
    /// Starts a loop.
    pub fn spawn(&mut self, name: &'static str, run: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            let panic = AssertUnwindSafe(run).catch_unwind().await.err();
            LoopEnded { name, panic: panic.map(|panic| message(&*panic)) }
        });
    }

    /// Works on for as long as all loops run.
    ///
    /// # Errors
    /// The first loop that ends before the work is done.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, LoopEnded> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            ended = self.ended() => Err(ended),
        }
    }

    /// Waits until one of the loops ends; for ever, if there is none. Dropping the future loses nothing.
    async fn ended(&mut self) -> LoopEnded {
        loop {
            match self.0.join_next().await {
                Some(Ok(ended)) => return ended,
                // Nobody cancels one loop alone, and panics are caught inside.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

impl fmt::Display for LoopEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.panic {
            Some(panic) => write!(f, "the loop {:?} panicked: {panic}", self.name),
            None => write!(f, "the loop {:?} has ended", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn the_first_end_is_told_with_its_name() {
        let mut loops = Loops::default();
        loops.spawn("lives", pending());
        loops.spawn("returns", tokio::time::sleep(Duration::from_secs(2)));
        loops.spawn("panics", async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            panic!("at {}", "noon");
        });
        assert_eq!(loops.during(async { 7 }).await, Ok(7));
        let ended = loops.during(pending::<()>()).await.unwrap_err();
        assert_eq!(ended.to_string(), r#"the loop "panics" panicked: at noon"#);
        let ended = loops.during(pending::<()>()).await.unwrap_err();
        assert_eq!(ended.to_string(), r#"the loop "returns" has ended"#);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_ends_where_nothing_runs() {
        let mut none = Loops::default();
        assert_eq!(none.during(tokio::time::sleep(Duration::from_secs(9))).await, Ok(()));
    }

    #[tokio::test]
    async fn loops_that_are_dropped_run_no_more() {
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let mut loops = Loops::default();
        loops.spawn("holds", async move {
            let _held = sender;
            pending::<()>().await;
        });
        drop(loops);
        assert!(receiver.await.is_err());
    }
}
