//! Who may come in: origin, host, the address behind proxies.
