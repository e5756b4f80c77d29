//! The feeder: the one process that talks to exchanges.
