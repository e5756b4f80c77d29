//! The whole product from outside: the real binary on free ports, real processes, real sockets. What is checked is
//! the public contract and nothing else; what a test needs is in `harness`, what the tests say is in the others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod harness;
#[path = "../standin/mod.rs"]
mod standin;
#[path = "../stopwatch/mod.rs"]
mod stopwatch;

mod admin;
mod broadcast;
mod chat;
mod comebacks;
mod commands;
mod edges;
mod evenness;
mod events;
mod faults;
mod follows;
mod frames;
mod handshakes;
mod history;
mod life;
mod limits;
mod notify;
mod page;
mod polling;
mod prices;
mod processes;
mod programs;
mod quotes;
mod recordings;
mod refusals;
mod reload;
mod resume;
mod rolling;
mod rooms;
mod sessions;
mod sources;
mod stream_lines;
mod streams;
mod sweep;
mod tools;
mod truth;
