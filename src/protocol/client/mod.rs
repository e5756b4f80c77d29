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
mod welcome;

pub use broadcast::{broadcast_welcome, heartbeat, moved, relayed};
pub use candles::{candle, history};
pub use chat::chat;
pub use close::Close;
pub use command::{Command, command};
#[cfg(test)]
pub use inbound::ClientType;
pub use inbound::{ClientMessage, ErrorCode, Refusal, parse, too_deep, type_of};
use outbound::MOCK;
pub use outbound::{
    EventText, QuoteText, ServerType, SystemEvent, ack, ack_token, channel_message, close, echo, error,
    none_price, pair_changed, pong, price, quote, quoted, system, token_expiring, took_over, unsubscribed,
};
pub use problem::{Problem, ProblemKind};
pub use resume::{Resume, Token};
pub use room::{presence, room};
pub use welcome::{PriceRules, Welcome, price_rules, session_moved, welcome};
