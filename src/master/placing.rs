//! What is wanted of the places of sessions.

use super::balance::Balance;
use crate::config::Config;
use crate::protocol::cluster::Generation;
use serde_json::Value;
use std::collections::BTreeSet;
use tokio::sync::oneshot;

/// What is to be where.
pub(super) struct Placing {
    pub(super) balance: Balance,
    /// Workers that an operator has drained: they take nothing until they are replaced, or a reload.
    pub(super) aside: BTreeSet<Generation>,
    /// Operators who wait for all workers to be even.
    pub(super) waiters: Vec<oneshot::Sender<Value>>,
}

impl Placing {
    pub(super) fn new(config: &Config) -> Self {
        Self { balance: Balance::new(config.cluster.rebalance), aside: BTreeSet::new(), waiters: Vec::new() }
    }

    pub(super) fn configure(&mut self, config: &Config) {
        self.balance.configure(config.cluster.rebalance);
    }
}
