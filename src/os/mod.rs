//! The operating system: clocks, descriptors, limits, signals, sd_notify. The only room with unsafe code.

pub mod clock;
