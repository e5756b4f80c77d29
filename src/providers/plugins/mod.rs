//! Sources that are no exchange: programs, any JSON over HTTP, recordings, made-up prices.

pub(super) mod command;
pub(super) mod http_json;
pub(super) mod mock;
pub(super) mod replay;
pub(super) mod script;
pub(super) mod tick_line;
