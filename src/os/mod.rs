//! The operating system: clocks, descriptors, limits, processes. If there were unsafe code, it would be here.

pub mod board;
pub mod clock;
pub mod descriptors;
pub mod notify;
pub mod process;
pub mod signals;
