//! Tries a program that is to take over, beside the daemon: it must start, read the configuration, and read what would
//! be handed over to it. It touches nothing.

use super::journal::Journal;
use crate::config::{Faults, Source, load};
use crate::os::inherited;
use crate::protocol::keeper::{KEEPERS_OWN, SUBCOMMAND, VERSION};
use crate::protocol::manifest::{Forms, Manifest};
use crate::session::{Pack, Snapshot};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// The word of a trial on the hidden command line.
pub const TRIAL: &str = "trial";
/// Longest reason in characters: what a loader or a configuration says is longer than anybody reads.
const REASON: usize = 600;

/// The manifest of this program.
#[must_use]
pub fn manifest() -> Manifest {
    let forms = |(oldest, newest)| Forms { oldest, newest };
    Manifest::own([
        ("sessions", forms(Snapshot::FORMS)),
        ("packs", forms(Pack::FORMS)),
        ("journal", forms(Journal::FORMS)),
        ("keeper", forms((VERSION, VERSION))),
    ])
}

/// The trial of this program: its manifest as JSON.
///
/// # Errors
/// The configuration is faulty.
pub fn try_this(source: &Source) -> Result<String, Faults> {
    load(source)?;
    Ok(serde_json::to_string(&manifest()).unwrap_or_default() + "\n")
}

/// A program that may take over.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) image: OwnedFd,
    pub(super) version: String,
    /// What it cannot take over.
    pub(super) losses: Vec<String>,
    /// It can work together with processes of this program.
    pub(super) works_with_this: bool,
}

/// Opens a program once and tries it. Whatever is at its path later, this is what is started.
///
/// # Errors
/// Why it cannot take over, for people.
pub(super) async fn attempt(
    path: &Path,
    arguments: &[OsString],
    limit: Duration,
) -> Result<Candidate, String> {
    let opened = path.to_owned();
    // The file system may hang.
    let open = tokio::task::spawn_blocking(move || std::fs::File::open(opened));
    let told = |error: io::Error| format!("{}: {error}", path.display());
    let image = match timeout(limit, open).await {
        Ok(opened) => OwnedFd::from(opened.map_err(|panic| panic.to_string())?.map_err(told)?),
        Err(_) => return Err(format!("{} cannot be opened within {limit:?}", path.display())),
    };
    let mut command = Command::new(format!("/proc/self/fd/{}", image.as_raw_fd()));
    command.arg0("btc-cluster: trial").args(arguments).args([SUBCOMMAND, TRIAL]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.env(inherited::PROGRAM_FILES, inherited::program_files().to_string());
    for name in KEEPERS_OWN {
        command.env_remove(name);
    }
    let child = command.spawn().map_err(told)?;
    let Ok(output) = timeout(limit, child.wait_with_output()).await else {
        return Err(format!("{} does not answer within {limit:?}", path.display()));
    };
    let next = judge(&output.map_err(told)?).map_err(|why| format!("{}: {why}", path.display()))?;
    let losses = manifest().may_give_way_to(&next)?;
    let works_with_this = manifest().works_with(&next);
    Ok(Candidate { image, version: next.version, losses, works_with_this })
}

fn judge(output: &Output) -> Result<Manifest, String> {
    if output.status.success() {
        return Manifest::read(&String::from_utf8_lossy(&output.stdout));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.trim().replace('\n', "; ").chars().take(REASON).collect();
    let end = crate::protocol::keeper::End::from(output.status);
    Err(if said.is_empty() { format!("it ended with {end}") } else { format!("it ended with {end}: {said}") })
}

/// The arguments of this process that choose the configuration: all before the hidden subcommand.
pub(super) fn arguments() -> Vec<OsString> {
    std::env::args_os().skip(1).take_while(|word| word != SUBCOMMAND && word != "run").collect()
}

/// The path of the running program, also when another file is there now.
pub(super) fn installed() -> io::Result<std::path::PathBuf> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let path = std::fs::read_link("/proc/self/exe")?;
    let bytes = path.as_os_str().as_bytes();
    let bytes = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes).to_vec();
    Ok(OsString::from_vec(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    const LIMIT: Duration = Duration::from_secs(5);

    fn output(status: i32, out: &str, err: &str) -> Output {
        Output { status: ExitStatus::from_raw(status), stdout: out.into(), stderr: err.into() }
    }

    #[test]
    fn a_reason_says_how_it_ended_and_what_it_said() {
        let own = serde_json::to_string(&manifest()).unwrap();
        assert_eq!(judge(&output(0, &own, "a warning")), Ok(manifest()));
        let why = |status, err| judge(&output(status, "", err)).unwrap_err();
        assert_eq!(why(78 << 8, "x.toml:3: no\ny\n"), "it ended with status 78: x.toml:3: no; y");
        assert_eq!(why(11, ""), "it ended with SIGSEGV");
        assert!(why(127 << 8, &"x".repeat(9_999)).len() < 700);
        assert_eq!(judge(&output(0, "hello\n", "")).unwrap_err(), "it is not btc-cluster");
    }

    #[test]
    #[ignore = "the child of another test"]
    fn hang() {
        std::thread::park();
    }

    #[tokio::test]
    async fn other_programs_are_refused() {
        let refused = async |path: &str, limit| attempt(Path::new(path), &[], limit).await.unwrap_err();
        assert!(refused("/no/such/program", LIMIT).await.contains("No such file"));
        assert!(refused("/etc/passwd", LIMIT).await.contains("denied"));
        assert!(refused("/bin/true", LIMIT).await.ends_with("it is not btc-cluster"));
        assert!(refused("/bin/false", LIMIT).await.ends_with("it ended with status 1"));
        assert!(refused("/", LIMIT).await.contains("denied"));
        // The test program itself waits when it is told so.
        let own = std::env::current_exe().unwrap();
        let words = ["--ignored", "--exact", "master::trial::tests::hang"].map(OsString::from);
        let why = attempt(&own, &words, Duration::from_millis(300)).await.unwrap_err();
        assert!(why.ends_with("does not answer within 300ms"), "{why}");
    }
}
