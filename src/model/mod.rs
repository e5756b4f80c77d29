//! The words that all rooms use: identifiers, prices, quotes, moments. No input or output, no clock is read here.

mod backoff;
mod candle;
mod health;
mod ids;
mod log_limiter;
mod pairs;
mod price;
mod provenance;
mod public_key;
mod quote;
mod rate;
mod roomy;
mod text;
mod time;
mod wheel;
mod words;

pub use backoff::Backoff;
pub use candle::{Candle, Candles, Interval, Packed};
pub use health::{Health, Rules};
pub use ids::{Device, RequestId, SessionId, Symbol, UserId};
pub use log_limiter::LogLimiter;
pub use pairs::{PairSet, PairTable};
pub use price::Price;
pub use provenance::{Contribution, SourcePrice, SourceVerdict};
pub use public_key::{KeyFault, KeyKind, PublicKey};
pub use quote::Quote;
pub use rate::{Gcra, Rate};
pub use roomy::{give_back, is_roomy};
pub use text::{is_mark, one_line, visible};
pub use time::{Boot, Mono, NamedMoment, Wall};
pub use wheel::Wheel;
pub(crate) use words::words;
