//! The operating system: clocks, descriptors, limits, processes. The only unsafe code is here.

pub mod board;
pub mod carriers;
pub mod clock;
pub mod descriptors;
pub mod files;
pub mod inherited;
pub mod loops;
pub mod memory;
pub mod memory_file;
pub mod notify;
pub mod process;
pub mod shared;
pub mod signals;
pub mod socket;
pub mod trust;
