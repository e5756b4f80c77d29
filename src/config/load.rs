//! From a source to a valid configuration, or to all of its faults.

use super::fault::{Fault, Faults, Origin};
use super::file::Reading;
use super::kind::PATH;
use super::layers::Layers;
use super::reader::Reader;
use super::snapshot::Snapshot;
use super::source::Source;
use super::valid::{Config, sections};
use super::{derive, rules};
use std::path::PathBuf;

/// A valid configuration and how it came to be.
#[derive(Clone)]
pub struct Loaded {
    pub config: Config,
    /// Origin of the environment.
    pub environment: Origin,
    /// Each key, in the order of the documentation.
    pub settings: Vec<Setting>,
    /// All files that were read, those of secrets included.
    pub files: Vec<PathBuf>,
    /// The files of secrets, by the keys that name them.
    pub secrets: Vec<(String, PathBuf)>,
    /// Allowed, but worth a word to the operator.
    pub warnings: Vec<Fault>,
    /// The files as they were read, to tell a change by.
    pub(crate) snapshot: Snapshot,
    pub(crate) secret_readings: Vec<Reading>,
}

/// A key of the effective configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Full name of the key.
    pub key: String,
    /// The value in TOML, as it was written. Never a secret.
    pub value: String,
    /// Origin of the value.
    pub origin: Origin,
    /// Origin of a written value that this one hides.
    pub over: Option<Origin>,
}

/// Without the files' texts, which may hold what nobody should log.
impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("config", &self.config)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Loaded {
    /// A configuration that is in force already. Its files have not been read.
    #[must_use]
    pub fn in_force(source: &Source, config: Config) -> Self {
        Self {
            config,
            environment: source.environment_origin.clone(),
            settings: Vec::new(),
            files: Vec::new(),
            secrets: Vec::new(),
            warnings: Vec::new(),
            snapshot: Snapshot { readings: Vec::new() },
            secret_readings: Vec::new(),
        }
    }

    /// A fault of a key's value that only a try could find.
    #[must_use]
    pub fn fault(&self, key: &str, text: String) -> Faults {
        let origin = self.setting(key).map_or(Origin::Default, |setting| setting.origin.clone());
        Fault { origin, key: key.to_owned(), text }.into()
    }

    /// Finds a key.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }
}

/// Reads the files and makes a configuration of them.
///
/// # Errors
/// Every fault, in the order of the layers.
pub fn load(source: &Source) -> Result<Loaded, Faults> {
    load_snapshot(source, &Snapshot::read(source))
}

/// [`load`] with files that were read before.
///
/// # Errors
/// As for [`load`].
pub fn load_snapshot(source: &Source, snapshot: &Snapshot) -> Result<Loaded, Faults> {
    let mut faults = Faults::default();
    let mut layers = Layers::of(&sections(), source, snapshot, &mut faults);
    let kinds = derive::derive(source, &mut layers, &mut faults);
    let mut reader = Reader::new(source, &layers, faults);
    let built = Config::read(&mut reader, &kinds);
    if let Ok(config) = &built {
        rules::check(&mut reader, config);
    }
    let Reader { mut faults, mut warnings, secrets, .. } = reader;
    match built {
        Ok(config) if faults.0.is_empty() => {
            warnings.0.sort();
            let secret_paths = secrets.iter().map(|(_, reading)| reading.path.clone());
            Ok(Loaded {
                config,
                environment: source.environment_origin.clone(),
                settings: settings(&layers),
                files: snapshot.paths().map(PathBuf::from).chain(secret_paths).collect(),
                secrets: secrets.iter().map(|(key, reading)| (key.clone(), reading.path.clone())).collect(),
                warnings: warnings.0,
                snapshot: snapshot.clone(),
                secret_readings: secrets.into_iter().map(|(_, reading)| reading).collect(),
            })
        }
        _ => {
            sort(&mut faults, snapshot);
            Err(faults)
        }
    }
}

/// The path of the control socket, whatever else is wrong: `ctl` must reach a daemon whose next configuration is
/// faulty.
#[must_use]
pub fn control_socket(source: &Source) -> PathBuf {
    let mut faults = Faults::default();
    let mut layers = Layers::of(&sections(), source, &Snapshot::read(source), &mut faults);
    derive::derive(source, &mut layers, &mut faults);
    let mut reader = Reader::new(source, &layers, faults);
    let path = reader.get("control.socket", &PATH).ok().flatten();
    path.unwrap_or_else(|| source.socket.clone())
}

/// Files in the order of the layers, lines in the order of the file.
fn sort(faults: &mut Faults, snapshot: &Snapshot) {
    let place = |origin: &Origin| match origin {
        Origin::File { path, .. } => snapshot.readings.iter().position(|reading| *reading.path == **path),
        _ => None,
    };
    faults.0.sort_by_cached_key(|fault| {
        let layer = match &fault.origin {
            Origin::Default => 0,
            Origin::File { .. } => 1,
            Origin::Variable(_) => 2,
            Origin::CommandLine => 3,
        };
        (layer, place(&fault.origin), fault.clone())
    });
    faults.0.dedup();
}

fn settings(layers: &Layers) -> Vec<Setting> {
    let mut keys: Vec<_> = layers.keys.iter().collect();
    keys.sort_by_cached_key(|(key, layered)| {
        let (section, rest) = key.split_once('.').unwrap_or((key, ""));
        let place = layers.sections.iter().position(|known| *known == section);
        let provider = rest.split_once('.').map(|(name, _)| name.to_owned());
        (place, provider, layered.rank, (*key).clone())
    });
    keys.into_iter()
        .map(|(key, layered)| Setting {
            key: key.clone(),
            value: layered.item.value.to_string(),
            origin: layered.origin.clone(),
            over: layered.over.clone(),
        })
        .collect()
}
