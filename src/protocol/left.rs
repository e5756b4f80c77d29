//! What a worker left when it died: the master tells it to the worker that adopts the sessions.

use super::admission::Open;
use crate::model::Mono;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One part, in this order: the beginning, sessions in pages, orders in their order, the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Left<'a> {
    /// From now on the sessions are the adopter's: what comes for them, comes to it.
    Begin {
        /// The end of the dead worker.
        died: Mono,
    },
    /// Sessions that the dead worker had announced.
    #[serde(borrow)]
    Sessions(Vec<Open<'a>>),
    /// An order to the dead worker that it may not have carried out.
    Order {
        number: u64,
        /// A [`super::cluster::ToWorker`], encoded.
        #[serde(with = "serde_bytes")]
        message: &'a [u8],
    },
    End {
        /// The newest order before those: a session that lacks it is closed.
        before: u64,
        /// A session that the dead worker had adopted less than this ago is closed.
        stable: Duration,
    },
}
