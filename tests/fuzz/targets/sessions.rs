//! Sessions that come from another process: their values, and packs of them.

use super::Parts;
use crate::model::{Mono, Rate};
use crate::session::{Bounds, Label, Outbox, Pack, Packing, Session, Snapshot};
use bytes::Bytes;
use std::io::IoSlice;
use std::time::Duration;

const BOUNDS: Bounds = Bounds { messages: 5, bytes: 400 };
const NOW: Mono = Mono(1 << 40);

/// A value, whose length comes first, and what its client says then. A value that is taken can be written again, and
/// lives: it reads, it sends, it forgets, and nothing of it panics.
pub fn session(data: &[u8]) {
    let mut parts = Parts(data);
    let length = usize::from(u16::from_le_bytes([parts.byte(), parts.byte()]));
    let Ok(snapshot) = Snapshot::decode(parts.bytes(length)) else { return };
    let bytes = snapshot.encode().expect("what was read can be written");
    let again = Snapshot::decode(&bytes).expect("what was written can be read");
    assert_eq!(again, snapshot);
    assert_eq!(again.encode().as_ref(), Ok(&bytes));
    let (session, places, connection) = snapshot.thaw();
    let frozen = live(session.clone(), parts).freeze(places, connection);
    let bytes = frozen.encode().expect("a session that has lived can be written");
    Snapshot::decode(&bytes).expect("and be read");
}

fn live(mut session: Session, mut parts: Parts<'_>) -> Session {
    let _ = (session.token(), session.announcement(), session.framing.transport());
    let ops = parts.byte();
    let mut input = parts.0.to_vec();
    let mut events = session.decoder.feed(&mut input, 600);
    while events.next().is_some() {}
    if ops & 1 != 0 {
        let _ = session.bucket.take(Rate { count: 10, per: Duration::from_secs(1) }, 5, NOW);
    }
    if let Some(replay) = &mut session.replay {
        let last = replay.last();
        assert!(replay.confirmed() <= last);
        replay.kept().count();
        let _ = replay.within(u64::from(ops)).is_some_and(|number| number > last);
        if ops & 2 != 0 {
            replay.confirm(u32::from(ops));
        }
        replay.confirm_before(NOW, u64::from(ops));
        replay.refresh(NOW, Duration::from_secs(1), |_| Some(Bytes::from_static(b"newer")));
        if last < u32::MAX {
            let number = replay.push(Bytes::from_static(b"a message"), None, NOW, BOUNDS);
            replay.left(number, 1000);
            assert!(replay.after(number).is_none_or(|rest| rest.count() == 0));
        }
        replay.take_tickets();
        assert!(replay.is_sound());
    }
    let outbox = session.outbox.get_or_insert_with(|| Box::new(Outbox::new(NOW)));
    send(outbox, ops);
    if ops & 64 != 0 {
        session.detach();
    }
    session
}

fn send(outbox: &mut Outbox, ops: u8) {
    outbox.push_first(Bytes::from_static(b"first"));
    outbox.push(Bytes::from_static(b"last"), Label::default());
    let _ = outbox.fits(10, 100);
    outbox.refresh(NOW, Duration::from_secs(1), |_, _| Some(Bytes::from_static(b"fresh")));
    outbox.take_tickets();
    assert!(outbox.is_sound());
    for _ in 0..40 {
        let mut slices = [IoSlice::new(&[]); 8];
        let used = outbox.slices(&mut slices);
        let most: usize = slices[..used].iter().map(|slice| slice.len()).sum();
        if most == 0 {
            break;
        }
        let taken = most.min(1 + usize::from(ops >> 2));
        outbox.wrote(taken, NOW, |_, _| {});
        assert!(outbox.is_sound());
    }
}

/// A pack, of any bytes. What is read of it can be packed again and is read the same.
pub fn pack(data: &[u8]) {
    let pack = Pack::read(data);
    let (Some(at), true) = (pack.at, pack.records.len() < 1000) else { return };
    let mut packing = Packing::new(at);
    let whole: Vec<_> =
        pack.records.iter().filter_map(|record| Some((record.key, record.session?))).collect();
    for (key, session) in &whole {
        packing.add(*key, session).expect("it was in a pack");
        let _ = Snapshot::decode(session);
    }
    let bytes = packing.bytes();
    let again = Pack::read(&bytes);
    let records: Vec<_> =
        again.records.iter().filter_map(|record| Some((record.key, record.session?))).collect();
    assert_eq!((records, again.lost), (whole, 0));
}
