//! Candles: made of accepted prices (pure), kept in a file by a thread of its own, sent to the workers.

mod history;
mod journal;
mod series;
mod service;
mod store;

pub use service::CandleRequest;
pub(super) use service::CandleService;
