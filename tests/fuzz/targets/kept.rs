//! The kept inputs, through their targets.

use super::TARGETS;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Most bytes of all of them.
const MOST: u64 = 200 << 10;

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_kept_input_keeps_the_promises() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut size = 0;
    for (word, run) in TARGETS {
        let inputs = files(&corpus.join(word));
        assert!(!inputs.is_empty(), "{word} has none");
        for path in inputs {
            let bytes = fs::read(&path).unwrap();
            size += bytes.len() as u64;
            if let Err(panic) = std::panic::catch_unwind(|| run(&bytes)) {
                eprintln!("{} did it", path.display());
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(size <= MOST, "{size} bytes are kept");
    let words: BTreeSet<_> = TARGETS.iter().map(|(word, _)| corpus.join(word)).collect();
    let strangers: Vec<_> = files(&corpus).into_iter().filter(|folder| !words.contains(folder)).collect();
    assert!(strangers.is_empty(), "{strangers:?} have no target");
}

/// Kept inputs, cut and changed: what a fuzzer does first, in a moment.
#[test]
fn inputs_near_the_kept_ones_keep_the_promises() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut random = fastrand::Rng::with_seed(7);
    for (word, run) in TARGETS {
        let inputs: Vec<_> = files(&corpus.join(word)).iter().map(|path| fs::read(path).unwrap()).collect();
        for _ in 0..100 {
            let (one, other) = (random.choice(&inputs).unwrap(), random.choice(&inputs).unwrap());
            let mut bytes = one[..random.usize(..=one.len())].to_vec();
            bytes.extend_from_slice(&other[random.usize(..=other.len())..]);
            for _ in 0..random.usize(..3) {
                if let Some(byte) = random.choice(&mut bytes[..]) {
                    *byte = random.u8(..);
                }
            }
            if let Err(panic) = std::panic::catch_unwind(|| run(&bytes)) {
                eprintln!("{word}: {:?} did it", String::from_utf8_lossy(&bytes));
                std::panic::resume_unwind(panic);
            }
        }
    }
}
