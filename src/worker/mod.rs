//! A worker: clients on one side, the master on the other.
