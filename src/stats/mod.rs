//! Counters of a process, and their sums: totals that never fall, the statistics object and when it goes out, the
//! metrics.

mod counters;
mod merge;
mod metrics;
mod object;
mod when;

#[cfg(test)]
pub(crate) use metrics::tests::list as metrics_list;

pub use merge::Ledger;
pub use metrics::{CertificateGauge, KeyGauges, Metrics, PriceGauge, RoomGauges};
pub use object::{FeederRow, Statistics, Totals, UserRow, WorkerRow, mark};
pub use when::{Load, When};
