//! The page: its files, compiled in or from `http.static_dir`.

use super::{answer, upgrade};
use crate::protocol::client::ProblemKind;
use crate::worker::hub::Hub;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// Largest file of `http.static_dir` in bytes.
const LARGEST: u64 = 4 << 20;
/// Reads of `http.static_dir` at one time: a disk that hangs must not take more threads.
static READS: Semaphore = Semaphore::const_new(4);

/// One file, and its `ETag`.
#[derive(Clone, Debug)]
struct File {
    bytes: Bytes,
    tag: HeaderValue,
}

/// The files as they were when this program was built.
static BUILT_IN: LazyLock<Vec<(&str, File)>> = LazyLock::new(|| {
    let files: &[(&str, &'static [u8])] = &include!(concat!(env!("OUT_DIR"), "/static.rs"));
    files.iter().map(|(name, bytes)| (*name, File::new(Bytes::from_static(bytes)))).collect()
});

/// What any page may do: nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; frame-ancestors 'none'; \
                      form-action 'none'; object-src 'none'";
/// The page that is compiled in needs less: no fonts, media, frames and workers, and no text ever becomes HTML or code.
const OWN_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                          connect-src 'self' ws: wss:; base-uri 'none'; frame-ancestors 'none'; form-action 'none'; \
                          require-trusted-types-for 'script'; trusted-types 'none'";

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const PERMISSIONS: HeaderName = HeaderName::from_static("permissions-policy");

/// `/`: the page for a browser, the root endpoint for a WebSocket.
pub(super) async fn root(state: State<Hub>, request: Request) -> Response {
    if upgrade::wants(request.headers()) {
        upgrade::root(state, request).await
    } else {
        file(state, request).await
    }
}

/// Any other path: a stream, or a file of the page.
pub(super) async fn file(State(hub): State<Hub>, request: Request) -> Response {
    let path = request.uri().path();
    if upgrade::stream(&hub.config(), path).is_some() {
        return upgrade::elsewhere(State(hub), request).await;
    }
    let name = if path == "/" { "index.html" } else { path.strip_prefix('/').unwrap_or("") };
    // Flat names only, so that no path leads out of the folder.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let is_flat = !name.starts_with('.') && (1..=64).contains(&name.len()) && name.bytes().all(plain);
    let found = if is_flat { find(&hub, name).await } else { Ok(None) };
    let Ok(found) = found else { return answer::plain(ProblemKind::ClusterBusy) };
    let Some(file) = found else { return answer::plain(ProblemKind::NotFound) };
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let detail = "A file is read with GET or HEAD.";
        return answer::takes_only("GET, HEAD", ProblemKind::MethodNotAllowed.with(detail));
    }
    let mut response = respond(name, file, request.headers());
    let policy = if hub.config().http.static_dir.is_none() { OWN_POLICY } else { POLICY };
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

async fn find(hub: &Hub, name: &str) -> Result<Option<File>, Elapsed> {
    let http = &hub.config().http;
    match http.static_dir.clone() {
        Some(folder) => timeout(http.file_timeout, from_disk(folder, name.to_owned())).await,
        None => Ok(BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, file)| file.clone())),
    }
}

/// Reads a file on a thread of its own: the disk may hang.
async fn from_disk(folder: PathBuf, name: String) -> Option<File> {
    let place = READS.acquire().await.ok()?;
    let read = spawn_blocking(move || {
        let _place = place;
        File::read(&folder, &name)
    });
    read.await.ok()?.ok()
}

impl File {
    fn new(bytes: Bytes) -> Self {
        let mut hasher = foldhash::fast::FixedState::default().build_hasher();
        hasher.write(&bytes);
        let tag = HeaderValue::from_str(&format!("\"{:016x}\"", hasher.finish()));
        Self { bytes, tag: tag.unwrap_or(HeaderValue::from_static("\"\"")) }
    }

    /// Reads a regular file of at most [`LARGEST`] bytes in a folder. Links are followed while they stay in the folder.
    fn read(folder: &Path, name: &str) -> io::Result<Self> {
        let folder = folder.canonicalize()?;
        let path = folder.join(name).canonicalize()?;
        let inside = path.strip_prefix(&folder).map_err(|_| io::ErrorKind::PermissionDenied)?;
        let file = open_beneath(&folder, inside)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes)?;
        Ok(Self::new(bytes.into()))
    }
}

/// Opens a file below a folder; between the look at its path and this, a part of the path may have become a link.
fn open_beneath(folder: &Path, inside: &Path) -> io::Result<std::fs::File> {
    // Without NONBLOCK, opening a FIFO waits for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let at = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let rules = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = match rustix::fs::openat2(&at, inside, flags, Mode::empty(), rules) {
        // A kernel before 5.6, or a sandbox of before.
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::openat(&at, inside, flags, Mode::empty()),
        opened => opened,
    };
    Ok(file?.into())
}

fn respond(name: &str, File { bytes, tag }: File, asked: &HeaderMap) -> Response {
    let mut known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let known = tag.to_str().is_ok_and(|tag| known.any(|known| known.trim() == "*" || known.contains(tag)));
    let mut response =
        if known { StatusCode::NOT_MODIFIED.into_response() } else { Body::from(bytes).into_response() };
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json" | "webmanifest") => "application/json",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        _ => "application/octet-stream",
    };
    let headers = response.headers_mut();
    for (header, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (OPENER_POLICY, "same-origin"),
        (PERMISSIONS, "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.insert(header, HeaderValue::from_static(value));
    }
    headers.insert(header::ETAG, tag);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_a_sane_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a.css"), "b{}").unwrap();
        let first = File::read(folder.path(), "a.css").unwrap();
        assert_eq!(&first.bytes[..], b"b{}");
        assert_eq!(first.tag, File::new(Bytes::from_static(b"b{}")).tag);
        assert_ne!(first.tag, File::new(Bytes::from_static(b"c{}")).tag);
        std::fs::File::create(at("large.js")).unwrap().set_len(LARGEST + 1).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe.js"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        for name in ["large.js", "pipe.js", ".", "nothing"] {
            assert!(File::read(folder.path(), name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_reader_that_has_the_file_is_told_so() {
        let file = || File::new(Bytes::from_static(b"b{}"));
        let tag = file().tag.to_str().unwrap().to_owned();
        let (weak, list) = (format!("W/{tag}"), format!("\"x\", {tag}"));
        for (lines, status) in [
            (&[][..], 200),
            (&[&*tag], 304),
            (&[&weak], 304),
            (&[&list], 304),
            (&["\"x\"", &tag], 304),
            (&["*"], 304),
            (&["\"x\""], 200),
            (&[tag.trim_matches('"')], 200),
        ] {
            let mut asked = HeaderMap::new();
            for line in lines {
                asked.append(header::IF_NONE_MATCH, HeaderValue::from_str(line).unwrap());
            }
            assert_eq!(respond("a.css", file(), &asked).status(), status, "{lines:?}");
        }
    }

    #[test]
    fn links_are_followed_inside_of_the_folder_only() {
        let (outer, link) =
            (tempfile::tempdir().unwrap(), |to: &Path, at: PathBuf| std::os::unix::fs::symlink(to, at));
        let folder = outer.path().join("static");
        std::fs::create_dir_all(folder.join("v2")).unwrap();
        std::fs::write(folder.join("v2/index.html"), "page").unwrap();
        std::fs::write(outer.path().join("secret.html"), "secret").unwrap();
        // As Kubernetes mounts a ConfigMap: a file through a folder that is a link.
        link(Path::new("v2"), folder.join("..data")).unwrap();
        link(Path::new("..data/index.html"), folder.join("index.html")).unwrap();
        link(&folder.join("v2/index.html"), folder.join("absolute.html")).unwrap();
        link(Path::new("../secret.html"), folder.join("up.html")).unwrap();
        link(Path::new("/etc/passwd"), folder.join("passwd.html")).unwrap();
        link(outer.path(), folder.join("out")).unwrap();
        link(Path::new("out/secret.html"), folder.join("twice.html")).unwrap();
        link(Path::new("loop.html"), folder.join("loop.html")).unwrap();
        let beside = outer.path().join("link");
        link(&folder, beside.clone()).unwrap();
        for (name, served) in [
            ("index.html", true),
            ("absolute.html", true),
            ("up.html", false),
            ("passwd.html", false),
            ("twice.html", false),
            ("loop.html", false),
        ] {
            assert_eq!(File::read(&folder, name).is_ok(), served, "{name}");
            assert_eq!(File::read(&beside, name).is_ok(), served, "the folder itself may be a link: {name}");
        }
    }
}
