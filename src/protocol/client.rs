//! To and from clients: messages, close codes, problems.
