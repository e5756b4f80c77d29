//! State that a process has from whoever started it, and that is none of the daemon's: signals that are blocked or
//! ignored, open descriptors, the mask of permissions, the limit of open files.

use rustix::fs::Mode;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

/// Signals that Rust's runtime, the C library or a terminal set for good reasons.
const KEPT: [i32; 6] =
    [libc::SIGPIPE, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGKILL, libc::SIGSTOP];

/// Takes the signals back, keeps inherited descriptors from other programs, and writes no file that everybody may
/// write. Call it before there are threads.
pub fn clean_up() {
    default_signals();
    close_on_exec();
    let mask = rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::process::umask(mask | Mode::from_raw_mode(0o022));
}

/// Makes a write beyond the limit of the size of files (`ulimit -f`) fail, instead of ending the process.
///
/// # Errors
/// As `sigaction(2)`.
pub fn outlive_file_limit() -> io::Result<()> {
    // A handler, since programs would inherit an ignored signal.
    signal_hook::flag::register(libc::SIGXFSZ, Arc::new(AtomicBool::new(false))).map(|_| ())
}

/// Unblocks all signals, and lets the ignored ones do what they do by default.
#[expect(unsafe_code, reason = "no library that is used here sets signals of all numbers")]
fn default_signals() {
    for signal in (1..=64).filter(|signal| !KEPT.contains(signal)) {
        // SAFETY: both structures are plain data that the calls fill or read; no handler is installed but the default.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0
                && action.sa_sigaction == libc::SIG_IGN
            {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
    // SAFETY: the set is plain data that `sigemptyset` fills.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Marks all descriptors but the first three, so that programs do not get them.
#[expect(
    unsafe_code,
    reason = "no library that is used here has these calls for descriptors that nobody owns"
)]
fn close_on_exec() {
    const FIRST: libc::c_uint = 3;
    // SAFETY: the call marks descriptors and touches no memory.
    let marked =
        unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if marked == 0 {
        return;
    }
    // A kernel before 5.11, or a sandbox.
    let all = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    for descriptor in
        all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).filter(|fd| *fd > 2)
    {
        // SAFETY: `F_SETFD` of a number that is no descriptor fails, and touches no memory either way.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// The variable in which a child reads the limit of open files that programs get.
pub const PROGRAM_FILES: &str = "BTC_CLUSTER_PROGRAM_FILES";

/// The limit of open files for programs: that of whoever started the daemon. The first call, before the limit is
/// raised, finds it.
pub fn program_files() -> u64 {
    static FOUND: OnceLock<u64> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let told = std::env::var(PROGRAM_FILES).ok().and_then(|text| text.parse().ok());
        told.or(getrlimit(Resource::Nofile).current).unwrap_or(u64::MAX)
    })
}

/// Sets the limit of open files, within the allowed maximum. The maximum stays.
pub fn limit_files(most: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(limit.maximum.map_or(most, |maximum| most.min(maximum)));
    let _ = setrlimit(Resource::Nofile, limit);
}
