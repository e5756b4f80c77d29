//! What a program says of itself before it takes over from another one: which forms of the things that are handed over
//! it reads.

use super::cluster::VERSION;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The name of this program.
const PROGRAM: &str = "btc-cluster";

/// The oldest and the newest form of something that a program reads. It writes none that is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forms {
    pub oldest: u32,
    pub newest: u32,
}

/// What a program is, and what it reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    program: String,
    pub version: String,
    /// By the name of the thing.
    reads: BTreeMap<String, Forms>,
    /// The version of the language of its links.
    #[serde(default)]
    link_language: u32,
}

impl Manifest {
    /// The manifest of this program.
    #[must_use]
    pub fn own(reads: impl IntoIterator<Item = (&'static str, Forms)>) -> Self {
        let reads = reads.into_iter().map(|(name, forms)| (name.to_owned(), forms)).collect();
        let (program, version) = (PROGRAM.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        Self { program, version, reads, link_language: VERSION }
    }

    /// Reads what a program has printed.
    ///
    /// # Errors
    /// It is another program, or says why it cannot run.
    pub fn read(printed: &str) -> Result<Self, String> {
        let said = printed.lines().rev().find_map(|line| serde_json::from_str::<Self>(line).ok());
        said.filter(|said| said.program == PROGRAM).ok_or_else(|| "it is not btc-cluster".to_owned())
    }

    /// Whether processes of both programs can work together: they say and write the same.
    pub fn works_with(&self, next: &Self) -> bool {
        (self.link_language, &self.reads) == (next.link_language, &next.reads)
    }

    /// Whether `next` can take over from the program of this manifest. `Ok` says what it cannot take, if anything.
    ///
    /// # Errors
    /// What it does not read at all.
    pub fn may_give_way_to(&self, next: &Self) -> Result<Vec<String>, String> {
        let mut losses = Vec::new();
        for (name, ours) in &self.reads {
            let Some(theirs) = next.reads.get(name) else {
                return Err(format!("version {} does not read the form of {name}", next.version));
            };
            if theirs.newest < ours.oldest || theirs.oldest > ours.newest {
                return Err(format!(
                    "version {} reads {name} of form {} to {}, this one has {} to {}",
                    next.version, theirs.oldest, theirs.newest, ours.oldest, ours.newest
                ));
            }
            if theirs.newest < ours.newest {
                losses.push(format!("{name} that need a newer form than {}", theirs.newest));
            }
        }
        Ok(losses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(all: &[(&'static str, u32, u32)]) -> Manifest {
        Manifest::own(
            all.iter().map(|(name, oldest, newest)| (*name, Forms { oldest: *oldest, newest: *newest })),
        )
    }

    #[test]
    fn what_both_know_is_handed_over() {
        let ours = manifest(&[("journal", 1, 1), ("sessions", 1, 2)]);
        assert_eq!(ours.may_give_way_to(&ours), Ok(vec![]));
        assert!(ours.works_with(&ours));
        assert!(!ours.works_with(&manifest(&[("journal", 1, 2), ("sessions", 1, 2)])));
        assert!(!ours.works_with(&Manifest { link_language: VERSION + 1, ..ours.clone() }));
        let newer = manifest(&[("journal", 1, 3), ("sessions", 2, 3), ("more", 1, 1)]);
        assert_eq!(ours.may_give_way_to(&newer), Ok(vec![]));
        let older = manifest(&[("journal", 1, 1), ("sessions", 1, 1)]);
        assert_eq!(ours.may_give_way_to(&older), Ok(vec!["sessions that need a newer form than 1".into()]));
    }

    #[test]
    fn what_one_does_not_know_is_a_reason() {
        let ours = manifest(&[("journal", 2, 2), ("sessions", 1, 2)]);
        let why = ours.may_give_way_to(&manifest(&[("journal", 2, 2)])).unwrap_err();
        assert!(why.ends_with("does not read the form of sessions"), "{why}");
        for other in [manifest(&[("journal", 1, 1), ("sessions", 1, 2)]), manifest(&[("journal", 3, 4)])] {
            let why = ours.may_give_way_to(&other).unwrap_err();
            assert!(why.contains("this one has 2 to 2"), "{why}");
        }
    }

    #[test]
    fn another_program_is_told_apart() {
        let own = serde_json::to_string(&manifest(&[("journal", 1, 1)])).unwrap();
        assert_eq!(Manifest::read(&format!("a warning\n{own}\n")), Ok(manifest(&[("journal", 1, 1)])));
        for other in ["", "hello", "{}", &own.replace("btc-cluster", "nginx")] {
            assert_eq!(Manifest::read(other), Err("it is not btc-cluster".to_owned()));
        }
    }
}
