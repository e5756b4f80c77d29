//! The keeper: the process that systemd starts. It starts the others, holds what must outlive them, and decides
//! nothing: no byte of a client, no configuration, no runtime.
//!
//! ```text
//! lines, exits, signals, clock ──▶ life (poll) ──▶ core (pure) ──▶ deeds: start, kill, say, notify, end
//!                                                   ├─ reign: masters, one after another
//!                                                   ├─ images: the programs that all are started from
//!                                                   └─ vault: descriptors that are held for others
//! ```

mod core;
mod images;
mod life;
mod reign;
mod spawn;
mod stores;
mod turn;
mod vault;

pub use life::run;
