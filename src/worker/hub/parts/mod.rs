//! The parts of the hub. Each keeps rules of its own and does not know the hub; most are pure.

pub(super) mod absent;
pub(super) mod announced;
pub(super) mod charts;
pub(super) mod commands;
pub(super) mod connections;
pub(super) mod crowd;
pub(super) mod entrances;
pub(super) mod forwards;
pub(super) mod greeting;
pub(super) mod later;
pub(super) mod notices;
pub(super) mod policy;
pub(super) mod polling;
pub(super) mod prices;
pub(super) mod requests;
pub(super) mod session;
pub(super) mod sessions;
pub(super) mod silent;
pub(super) mod suspended;
pub(super) mod takes;
pub(super) mod tickets;
pub(super) mod timers;
pub(super) mod unpacking;
pub(super) mod uplink;
pub(super) mod walks;
