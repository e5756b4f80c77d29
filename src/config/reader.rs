//! Reads keys of the layers. A fault is noted and the built-in value taken in its place, so that one reading finds all
//! faults.

use super::fault::{Faults, Origin};
use super::file::Reading;
use super::kind::{At, Kind};
use super::layers::Layers;
use super::source::Source;
use std::collections::BTreeSet;

/// A built-in value is faulty: a defect of this program, not of a file. It is among the faults.
#[derive(Debug)]
pub(crate) struct Broken;

/// The layers, the faults found so far, and what else was read on the way.
pub(crate) struct Reader<'a> {
    pub(crate) source: &'a Source,
    pub(crate) layers: &'a Layers,
    pub(crate) faults: Faults,
    pub(crate) warnings: Faults,
    /// Files of secrets that were read, by the keys that name them.
    pub(crate) secrets: Vec<(String, Reading)>,
    bad: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(source: &'a Source, layers: &'a Layers, faults: Faults) -> Self {
        let (warnings, secrets, bad) = (Faults::default(), vec![], BTreeSet::new());
        Self { source, layers, faults, warnings, secrets, bad }
    }

    /// Reads a key as what it must be.
    pub(crate) fn get<K: Kind>(&mut self, key: &str, kind: &K) -> Result<K::Value, Broken> {
        let Some(layered) = self.layers.keys.get(key) else {
            return Err(self.broken(key));
        };
        let at = |origin| At {
            origin,
            source: self.source,
            providers: &self.layers.providers,
            secrets: vec![],
            warnings: vec![],
        };
        let mut here = at(&layered.origin);
        let read = kind.read(&layered.item, &mut here);
        let At { secrets, warnings, .. } = here;
        self.secrets.extend(secrets.into_iter().map(|reading| (key.to_owned(), reading)));
        warnings.into_iter().for_each(|text| self.warnings.add(layered.origin.clone(), key, text));
        read.or_else(|wrong| {
            wrong.into_iter().for_each(|(line, text)| self.faults.add(layered.origin.at(line), key, text));
            self.bad.insert(key.to_owned());
            let default =
                layered.default.as_ref().and_then(|item| kind.read(item, &mut at(&Origin::Default)).ok());
            default.ok_or_else(|| self.broken(key))
        })
    }

    fn broken(&mut self, key: &str) -> Broken {
        self.faults.add(
            Origin::Default,
            key,
            "the built-in value is broken; this is a defect, please report it",
        );
        Broken
    }

    /// Origin of a key's value.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        self.layers.keys.get(key).map_or(Origin::Default, |layered| layered.origin.clone())
    }

    /// Tells whether a fault of the key was noted.
    pub(crate) fn is_bad(&self, key: &str) -> bool {
        self.bad.contains(key)
    }

    /// Notes what an operator should know, although it is allowed.
    pub(crate) fn warn(&mut self, key: &str, text: impl Into<String>) {
        self.warnings.add(self.origin(key), key, text);
    }

    /// A rule over several keys. Told at the one that was set last, and only where each of them is good in itself.
    pub(crate) fn rule(&mut self, keys: &[&str], holds: bool, text: &str) {
        if holds || self.layers.torn || keys.iter().any(|key| self.bad.contains(*key)) {
            return;
        }
        if let Some(key) = keys.iter().max_by_key(|key| self.origin(key)) {
            self.faults.add(self.origin(key), *key, text);
        }
    }
}
