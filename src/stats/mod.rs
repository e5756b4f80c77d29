//! Counters of a process and what is made of all of them together.
