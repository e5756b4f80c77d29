//! Shared bytes as postcard's byte arrays: `bytes` has no form for serde unless all that use it are built with one.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serializer};

pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    // Postcard writes a list of numbers below 256 as it writes bytes.
    Vec::<u8>::deserialize(deserializer).map(Bytes::from)
}
