//! Exchanges, one file each: addresses and message formats.

pub(super) mod binance;
pub(super) mod bitstamp;
pub(super) mod coinbase;
pub(super) mod coindesk;
pub(super) mod kraken;
