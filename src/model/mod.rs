//! The words everybody uses: ids, prices, quotes, moments. No input or output, no clock is read here.

mod backoff;
mod candle;
mod hush;
mod ids;
mod provenance;
mod quote;
mod rate;
mod text;
mod time;
mod wheel;

pub use backoff::Backoff;
pub use candle::{Candle, Candles, Interval, Packed};
pub use hush::Hush;
pub use ids::{Device, IdError, RequestId, SessionId, Symbol, UserId};
pub use provenance::{Contribution, Said, SourceVerdict};
pub use quote::{Health, Price, PriceError, Quote, Rules};
pub use rate::{Gcra, Rate, RateError};
pub use text::one_line;
pub use time::{Boot, Mono, Wall};
pub use wheel::Wheel;
