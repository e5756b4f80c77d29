//! The words of the tests: `cluster()` starts a cluster, `tab()` opens a session on it, `eventually()` waits.

mod cluster;
mod http;
mod listener;
mod patience;
mod process;
mod proxy;
mod raw;
mod recorder;
mod secure;
mod setup;
mod tab;

pub(crate) use crate::stopwatch::Stopwatch;
pub(crate) use cluster::{Cluster, Worker, quiet, quiet_tab_of, quote_for, send_to};
pub(crate) use http::{Connection, Request, Response, delete, get, post, upgrade};
pub(crate) use listener::{Listener, Poller};
pub(crate) use patience::{alone, eventually, in_time, promised, promptly, skipped, timely, within};
pub(crate) use process::{is_gone, kernel_holds, kill, limit_files, masters_of, resident, zombies_of};
pub(crate) use proxy::{Proxy, which};
pub(crate) use raw::{Raw, masked};
pub(crate) use recorder::Recorder;
pub(crate) use secure::{Listener as SecureListener, Wss};
pub(crate) use setup::{BINARY, Setup, cluster};
pub(crate) use tab::{Heard, Tab};

/// Whether a text is a `UUIDv7` in its usual form.
pub(crate) fn is_uuid_v7(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    let hex = |group: &&str| group.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(hex)
        && groups[2].starts_with('7')
}

/// Whether a text is RFC 3339 in UTC with milliseconds, `2026-11-20T08:14:23.123Z`.
pub(crate) fn is_time(text: &str) -> bool {
    let form = "0000-00-00T00:00:00.000Z";
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(b, f)| if f == b'0' { b.is_ascii_digit() } else { b == f })
}

/// The names of an object's members, sorted.
pub(crate) fn keys(object: &serde_json::Value) -> Vec<&str> {
    let object = object.as_object().unwrap_or_else(|| panic!("no object: {object}"));
    let mut keys: Vec<_> = object.keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}
