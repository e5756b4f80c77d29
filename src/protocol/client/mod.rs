//! To and from clients: messages, close codes, problems. Logs and metrics use the same words. `docs/interface.md` is
//! the reference.

mod broadcast;
mod candles;
mod chat;
mod close;
mod command;
mod inbound;
mod outbound;
mod problem;
mod resume;
mod room;

pub use broadcast::{broadcast_welcome, heartbeat, moved, relayed};
pub use candles::{candle, history};
pub use chat::chat;
pub use close::Close;
pub use command::{Command, command};
#[cfg(test)]
pub use inbound::ClientType;
pub use inbound::{ClientMessage, ErrorCode, Refusal, parse, too_deep};
use outbound::MOCK;
pub use outbound::{
    EventText, PriceRules, QuoteText, ServerType, SystemEvent, Welcome, ack, channel_message, close, echo,
    error, none_price, pair_changed, pong, price, price_rules, quote, quoted, system, welcome,
};
pub use problem::{Problem, ProblemKind};
pub use resume::Resume;
pub use room::{presence, room};
