//! Whatever happens to the bytes, only what they were in is lost.

use super::*;
use proptest::prelude::*;

const AT: Boot = Boot(77_000_000_123);

fn packed(sessions: &[Vec<u8>]) -> Vec<u8> {
    let mut packing = Packing::new(AT);
    for (key, session) in sessions.iter().enumerate() {
        packing.add(key as u32 * 3, session).unwrap();
    }
    assert_eq!(packing.records() as usize, sessions.len());
    packing.bytes()
}

/// Where each record begins, and the end.
fn bounds(sessions: &[Vec<u8>]) -> Vec<usize> {
    let mut bounds = vec![0];
    for session in sessions {
        bounds.push(bounds[bounds.len() - 1] + HEAD + session.len());
    }
    bounds
}

/// Sessions, of which some look like records.
fn sessions() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let session = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..60),
        1 => prop::collection::vec(prop_oneof![Just(b'B'), Just(b'C'), Just(b'P'), Just(1)], 0..90),
    ];
    prop::collection::vec(session, 0..9)
}

proptest! {
    #[test]
    fn what_was_packed_is_read(sessions in sessions()) {
        let bytes = packed(&sessions);
        let pack = Pack::read(&bytes);
        prop_assert_eq!(pack.at, (!sessions.is_empty()).then_some(AT));
        prop_assert_eq!(pack.lost, 0);
        let read: Vec<_> = pack.records.iter().map(|record| (record.key, record.session)).collect();
        let all: Vec<_> = (0u32..).zip(&sessions).map(|(key, it)| (key * 3, Some(&it[..]))).collect();
        prop_assert_eq!(read, all);
    }

    #[test]
    fn a_changed_byte_loses_the_record_that_it_is_in(
        sessions in sessions(), at: prop::sample::Index, change in 1..=255u8,
    ) {
        let mut bytes = packed(&sessions);
        prop_assume!(!bytes.is_empty());
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        let bounds = bounds(&sessions);
        let hit = bounds.windows(2).position(|ends| (ends[0]..ends[1]).contains(&at)).unwrap();
        let pack = Pack::read(&bytes);
        for (number, session) in sessions.iter().enumerate() {
            let key = number as u32 * 3;
            let record = pack.records.iter().find(|record| record.key == key);
            if number == hit {
                prop_assert!(record.is_none_or(|record| record.session.is_none()), "it counts as whole");
            } else {
                prop_assert_eq!(record.and_then(|record| record.session), Some(&session[..]));
            }
        }
        if sessions.len() > 1 {
            prop_assert_eq!(pack.at, Some(AT));
            prop_assert_eq!(pack.records.len() + pack.lost as usize, sessions.len());
        }
    }

    #[test]
    fn a_cut_pack_has_the_records_before_the_cut(sessions in sessions(), at: prop::sample::Index) {
        let mut bytes = packed(&sessions);
        bytes.truncate(at.index(bytes.len() + 1));
        let whole = bounds(&sessions).iter().skip(1).filter(|end| **end <= bytes.len()).count();
        let pack = Pack::read(&bytes);
        prop_assert_eq!(pack.records.iter().filter(|record| record.session.is_some()).count(), whole);
        if !pack.records.is_empty() {
            prop_assert_eq!(pack.records.len() + pack.lost as usize, sessions.len());
        }
    }

    #[test]
    fn a_missing_piece_loses_the_records_that_it_was_in(
        sessions in sessions(), a: prop::sample::Index, b: prop::sample::Index,
    ) {
        let mut bytes = packed(&sessions);
        let (a, b) = (a.index(bytes.len() + 1), b.index(bytes.len() + 1));
        bytes.drain(a.min(b)..a.max(b));
        let pack = Pack::read(&bytes);
        for (ends, session) in bounds(&sessions).windows(2).zip(&sessions) {
            if ends[1] <= a.min(b) || ends[0] >= a.max(b) {
                prop_assert!(pack.records.iter().any(|record| record.session == Some(&session[..])));
            }
        }
    }

    #[test]
    fn noise_is_no_session(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Pack::read(&bytes).records.is_empty());
    }
}

/// A pack of form 1 of three bytes and of none, as the first program that had it wrote it.
const FORM_1: &str = include_str!("form-1.hex");

#[test]
fn form_1_is_still_read_and_written() {
    let bytes = packed(&[vec![1, 2, 3], vec![]]);
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(text, FORM_1.split_whitespace().collect::<String>());
}

#[test]
fn a_record_of_another_form_is_refused_alone() {
    let mut bytes = packed(&[vec![1, 2, 3], vec![4]]);
    bytes[3] = 9;
    let check = sum(&bytes[..SUMMED]).to_le_bytes();
    bytes[SUMMED..SUMMED + 8].copy_from_slice(&check);
    let pack = Pack::read(&bytes);
    assert_eq!(pack.records, [Packed { key: 0, session: None }, Packed { key: 3, session: Some(&[4]) }]);
    assert_eq!(pack.lost, 0);
}

#[test]
fn a_session_beyond_the_longest_is_not_taken() {
    let mut packing = Packing::new(AT);
    assert_eq!(packing.add(1, &vec![0; LONGEST + 1]), Err(TooLong));
    assert!(packing.bytes().is_empty());
}
