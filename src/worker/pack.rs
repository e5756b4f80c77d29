//! The end of a worker whose sessions go on in other processes.

use super::failure::Failure;
use super::hearing::wait;
use super::hub::{Hub, Phase};
use crate::os::clock;
use crate::os::memory_file::MemoryFile;
use crate::protocol::cluster::ToMaster;
use crate::protocol::renewal::MasterLink;
use std::time::Duration;

/// Time for requests that are under way when all sessions are packed. No key: nothing reaches a session meanwhile.
const UNDER_WAY: Duration = Duration::from_millis(100);
/// Pause between two looks whether they are answered.
const GLANCE: Duration = Duration::from_millis(2);

/// Gives what is under way a moment, then packs all sessions and tells the master.
pub(super) async fn pack(hub: &Hub, master: &mut MasterLink) -> Result<(), Failure> {
    let over = clock::mono().after(UNDER_WAY);
    let line = {
        let mut state = hub.lock();
        state.phase = Phase::Draining;
        state.connections.leaving().begin(UNDER_WAY);
        state.release_polls();
        state.keeper()
    };
    while clock::mono() < over && !hub.lock().is_quiet() && wait(hub, master, GLANCE).await {}
    let (packing, closed) = hub.lock().pack_all(clock::boot());
    let sessions = packing.records();
    let file = MemoryFile::with("btc-cluster-pack", &packing.bytes())?;
    if let Some(line) = line {
        // The keeper has all sockets before the master hears of the pack.
        line.flush().await;
    }
    hub.lock().uplink.give(&ToMaster::Packed { sessions, closed }, file.into_descriptor())?;
    tracing::debug!(sessions, closed, "packed");
    Ok(())
}
