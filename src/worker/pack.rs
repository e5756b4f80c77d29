//! The end of a worker whose sessions go on in other processes.

use super::failure::Failure;
use super::hearing::wait;
use super::hub::Hub;
use crate::os::clock;
use crate::os::memory_file::MemoryFile;
use crate::protocol::cluster::ToMaster;
use crate::protocol::renewal::MasterLink;
use std::time::Duration;

/// Time for requests that are under way. No key: they are answered at once, and sessions go on meanwhile.
const UNDER_WAY: Duration = Duration::from_millis(100);
/// Time for sessions that are about to begin, and for those on their way between workers.
const BEGINNING: Duration = Duration::from_secs(1);
/// Pause between two looks whether they are answered.
const GLANCE: Duration = Duration::from_millis(2);

/// Gives what is under way a moment, in which nobody is accepted, then packs all sessions and tells the master.
pub(super) async fn pack(hub: &Hub, master: &mut MasterLink) -> Result<(), Failure> {
    let begun = clock::mono();
    let line = {
        let mut state = hub.lock();
        state.stop_offloading();
        state.connections.leaving().begin(UNDER_WAY);
        state.keeper()
    };
    let mut first = 100;
    loop {
        {
            let mut state = hub.lock();
            state.release_polls();
            // A TLS connection ends with its process.
            first += 2 * state.dismiss_secured(usize::MAX, (first, 2)) as u64;
            let must_wait = state.has_openings() || state.has_travellers();
            let patience = if must_wait { BEGINNING } else { UNDER_WAY };
            if (state.is_quiet() && !must_wait) || clock::mono() >= begun.after(patience) {
                break;
            }
        }
        if !wait(hub, master, GLANCE).await {
            break;
        }
    }
    let (packing, closed) = {
        let mut state = hub.lock();
        state.dismiss_secured(usize::MAX, (first, 2));
        state.settle();
        state.pack_all(clock::boot())
    };
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
