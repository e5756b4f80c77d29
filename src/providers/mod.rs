//! Price sources.
