//! All processes go at once, and something else comes.

use crate::model::Mono;

/// What comes when all processes have gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Master,
    Store,
}

/// All processes go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) next: Next,
    /// When nobody is waited for any more.
    pub(super) until: Mono,
}
