//! Origin of the configuration: file, environment, variables. All that is read from the
//! process is read here, once; the rest of the room works on this value.

use super::fault::{Fault, Faults, Origin, unknown};
use super::file;
use super::units::Environment;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The file of an installed daemon.
const INSTALLED: &str = "/etc/btc-cluster/btc-cluster.toml";
/// The file of a checkout.
const CHECKOUT: &str = "etc/btc-cluster.toml";
/// Prefix of environment variables that set a key.
pub(crate) const PREFIX: &str = "BTC_CLUSTER__";

/// Everything that loading a configuration depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The main file. `{env}.toml` and `conf.d/` are looked for beside it.
    pub file: PathBuf,
    /// The main file must be there (`--config`).
    pub required: bool,
    /// Selects the defaults and `{env}.toml`.
    pub environment: Environment,
    /// Origin of `environment`.
    pub environment_origin: Origin,
    /// Environment variables that begin with `BTC_CLUSTER__`, sorted by name.
    pub variables: Vec<(OsString, OsString)>,
    /// Keys and values of the command line, `("http.listen", "127.0.0.1:0")`.
    pub overrides: Vec<(String, String)>,
    /// Default of `control.socket`.
    pub socket: PathBuf,
    /// systemd's folder for what must last, `$STATE_DIRECTORY`.
    pub state: Option<PathBuf>,
    /// systemd's folder of secrets, `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
}

/// Facts about the process; tests make them up.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// All environment variables.
    pub variables: Vec<(OsString, OsString)>,
    /// `./Cargo.toml` is this project's.
    pub checkout: bool,
    /// The program lies where packages put it.
    pub packaged: bool,
    /// The user's number.
    pub user: u32,
}

impl Surroundings {
    /// Reads them from the process.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            variables: std::env::vars_os().collect(),
            checkout: is_checkout(Path::new("Cargo.toml")),
            packaged: std::env::current_exe().is_ok_and(|path| path.starts_with("/usr")),
            user: rustix::process::geteuid().as_raw(),
        }
    }

    fn variable(&self, name: &str) -> Option<&OsString> {
        self.variables.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v)
    }
}

impl Source {
    /// Finds the file and the environment: `--config` and `--env` first, then `BTC_CLUSTER_ENV`, then by place.
    ///
    /// # Errors
    /// An environment that is none of the three.
    pub fn find(config: Option<&Path>, env: Option<&str>, around: &Surroundings) -> Result<Self, Faults> {
        let (environment, environment_origin) = environment(env, around)?;
        let file = match config {
            Some(path) => path.to_owned(),
            None if around.checkout => CHECKOUT.into(),
            None => INSTALLED.into(),
        };
        let mut variables: Vec<_> = around
            .variables
            .iter()
            .filter(|(name, _)| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
            .cloned()
            .collect();
        variables.sort();
        Ok(Self {
            socket: socket(&file, around),
            file,
            required: config.is_some(),
            environment,
            environment_origin,
            variables,
            overrides: vec![],
            // Several are separated by colons; ours is the first.
            state: around.variable("STATE_DIRECTORY").map(|folders| {
                PathBuf::from(folders.to_string_lossy().split(':').next().unwrap_or_default())
            }),
            credentials: around.variable("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        })
    }

    /// [`Source::find`] in the surroundings of this process.
    ///
    /// # Errors
    /// As for [`Source::find`].
    pub fn of_process(config: Option<&Path>, env: Option<&str>) -> Result<Self, Faults> {
        Self::find(config, env, &Surroundings::of_process())
    }

    /// The folder of the main file.
    #[must_use]
    pub fn folder(&self) -> &Path {
        match self.file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// `{env}.toml` beside the main file.
    #[must_use]
    pub fn environment_file(&self) -> PathBuf {
        self.file.with_file_name(format!("{}.toml", self.environment.as_str()))
    }

    /// `conf.d` beside the main file.
    #[must_use]
    pub fn fragments(&self) -> PathBuf {
        self.file.with_file_name("conf.d")
    }
}

fn environment(env: Option<&str>, around: &Surroundings) -> Result<(Environment, Origin), Faults> {
    const VARIABLE: &str = "BTC_CLUSTER_ENV";
    let (word, origin) = match (env, around.variable(VARIABLE)) {
        (Some(word), _) => (word.to_owned(), Origin::CommandLine),
        (None, Some(word)) => (word.to_string_lossy().into_owned(), Origin::Variable(VARIABLE.to_owned())),
        (None, None) if around.checkout => return Ok((Environment::Development, Origin::Default)),
        (None, None) => return Ok((Environment::Production, Origin::Default)),
    };
    match Environment::ALL.into_iter().find(|e| e.as_str() == word) {
        Some(environment) => Ok((environment, origin)),
        None => {
            let text = unknown("environment", &word, Environment::ALL.map(Environment::as_str));
            Err(Fault { origin, key: super::value::quoted(&word), text }.into())
        }
    }
}

/// A running daemon and a `ctl` that is started later must come to the same path: it depends on the place of the
/// program and of the configuration only where that says "installed", else on the user.
fn socket(file: &Path, around: &Surroundings) -> PathBuf {
    let absolute = std::path::absolute(file).unwrap_or_default();
    if around.packaged && absolute.starts_with("/etc") {
        return "/run/btc-cluster/control.sock".into();
    }
    match around.variable("XDG_RUNTIME_DIR").map(PathBuf::from) {
        Some(folder) if folder.is_absolute() => folder.join("btc-cluster/control.sock"),
        _ => {
            let temporary = around.variable("TMPDIR").map(PathBuf::from).filter(|p| p.is_absolute());
            let temporary = temporary.unwrap_or_else(|| "/tmp".into());
            temporary.join(format!("btc-cluster-{}", around.user)).join("control.sock")
        }
    }
}

fn is_checkout(manifest: &Path) -> bool {
    let file::Content::Text(text) = file::read(manifest).content else { return false };
    let Ok(manifest) = text.parse::<toml::Table>() else { return false };
    manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str)
        == Some(env!("CARGO_PKG_NAME"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(variables: &[(&str, &str)], checkout: bool, packaged: bool) -> Surroundings {
        let variables = variables.iter().map(|(n, v)| (OsString::from(n), OsString::from(v))).collect();
        Surroundings { variables, checkout, packaged, user: 1000 }
    }

    #[test]
    fn the_place_says_which_file_and_environment() {
        let found = Source::find(None, None, &around(&[], true, false)).unwrap();
        assert_eq!(found.file, Path::new("etc/btc-cluster.toml"));
        assert_eq!(found.environment, Environment::Development);
        assert!(!found.required);
        assert_eq!(found.environment_file(), Path::new("etc/development.toml"));
        assert_eq!(found.fragments(), Path::new("etc/conf.d"));
        let found = Source::find(None, None, &around(&[], false, true)).unwrap();
        assert_eq!(found.file, Path::new("/etc/btc-cluster/btc-cluster.toml"));
        assert_eq!(found.environment, Environment::Production);
        assert_eq!(found.socket, Path::new("/run/btc-cluster/control.sock"));
    }

    #[test]
    fn the_command_line_wins_over_the_variable() {
        let around = around(&[("BTC_CLUSTER_ENV", "test")], true, false);
        let found = Source::find(None, None, &around).unwrap();
        assert_eq!(found.environment, Environment::Test);
        assert_eq!(found.environment_origin, Origin::Variable("BTC_CLUSTER_ENV".into()));
        let found = Source::find(Some(Path::new("x.toml")), Some("production"), &around).unwrap();
        assert_eq!((found.environment, found.required), (Environment::Production, true));
        assert_eq!(found.folder(), Path::new("."));
        let fault = Source::find(None, Some("producton"), &around).unwrap_err().to_string();
        let expected = "command line: \"producton\": unknown environment; did you mean \"production\"?";
        assert_eq!(fault, expected);
    }

    #[test]
    fn an_empty_variable_says_nothing() {
        let found = Source::find(None, None, &around(&[("BTC_CLUSTER_ENV", "")], false, false)).unwrap();
        assert_eq!(found.environment, Environment::Production);
    }

    #[test]
    fn the_socket_is_the_users_own_where_nothing_is_installed() {
        let path = |variables: &[_], packaged| {
            Source::find(Some(Path::new("/etc/b/x.toml")), None, &around(variables, false, packaged))
                .unwrap()
                .socket
        };
        let runtime = [("XDG_RUNTIME_DIR", "/run/user/1000")];
        assert_eq!(path(&runtime, true), Path::new("/run/btc-cluster/control.sock"));
        assert_eq!(path(&runtime, false), Path::new("/run/user/1000/btc-cluster/control.sock"));
        assert_eq!(path(&[], false), Path::new("/tmp/btc-cluster-1000/control.sock"));
    }

    #[test]
    fn this_folder_is_a_checkout() {
        assert!(is_checkout(Path::new("Cargo.toml")));
        assert!(!is_checkout(Path::new("clippy.toml")));
        assert!(!is_checkout(Path::new("no/such/file")));
    }
}
