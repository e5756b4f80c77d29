//! Candles: made of accepted prices (pure), kept in a file by a thread of its own, told to the workers.

mod history;
mod journal;
mod series;
mod service;
mod store;

pub use service::Ask;
pub(super) use service::Chronicle;
