//! stub
use crate::protocol::cluster::*; use crate::model::Mono; use std::time::Duration;
#[allow(missing_docs)] #[derive(Default)] pub struct Ledger;
#[allow(missing_docs)] impl Ledger { pub fn beat(&mut self, _g: Generation, _c: &Counters, _n: Mono) {} pub fn born(&mut self, _g: Generation, _s: Slot) {} pub fn gone(&mut self, _g: Generation) {} pub fn total(&self) -> Counters { Counters::default() } }
#[allow(missing_docs)] pub struct When;
#[allow(missing_docs)] impl When { pub fn new(_d: Duration) -> Self { Self } pub fn configure(&mut self, _d: Duration) {} pub fn next(&self, now: Mono) -> Mono { now.after(Duration::from_secs(1)) } }
