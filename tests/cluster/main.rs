//! The whole product from outside: the real binary on free ports, real processes, real sockets. The tests check what
//! `docs/interface.md` promises, and nothing else. `harness` has what a test needs; the tests are in the other files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod harness;
#[path = "../standin/mod.rs"]
mod standin;
#[path = "../stopwatch/mod.rs"]
mod stopwatch;

mod admin;
mod bearers;
mod broadcast;
mod chat;
mod comebacks;
mod commands;
mod connections;
mod control;
mod cover;
mod deaths;
mod disks;
mod edges;
mod evenness;
mod events;
mod faults;
mod follows;
mod frames;
mod guards;
mod handshakes;
mod history;
mod inherited;
mod jwks;
mod keeper;
mod keys;
mod life;
mod limits;
mod logs;
mod made_up;
mod moving;
mod notify;
mod page;
mod passed_on;
mod placing;
mod polling;
mod pools;
mod pressure;
mod prices;
mod processes;
mod programs;
mod promise;
mod proxies;
mod quotes;
mod recordings;
mod refusals;
mod refused_sources;
mod reload;
mod renewal;
mod resume;
mod revocations;
mod rolling;
mod rooms;
mod sessions;
mod sources;
mod stream_lines;
mod streams;
mod sweep;
mod tls;
mod tls_lives;
mod tokens;
mod tools;
mod truth;
mod upgrade;
mod wss;
