//! The master: holds what must not die, decides what only one may decide.

pub mod directory;
pub mod router;
