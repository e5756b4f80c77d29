//! The frame layer of RFC 6455, without input or output: bytes in, messages out.
