//! Sources other than exchanges: programs, any JSON over HTTP, recordings, made-up prices.

pub(super) mod command;
pub(super) mod http_json;
pub(super) mod mock;
pub(super) mod replay;
pub(super) mod script;
pub(super) mod tick_line;
