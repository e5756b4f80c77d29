//! Folders to watch, so that every change of a file is told.
//!
//! Folders are watched, not files: editors and configuration maps replace files, and a watch on a file dies with it.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// Most links that are followed, as in the kernel.
const MOST_LINKS: usize = 40;

/// The folders in which a change may give one of these files another content, or make it come or go: the folder of the
/// file as it is named, of each link on the way, and of the file that the links lead to. Where a folder is missing, the
/// nearest one above it that is there.
pub(super) fn folders<'a>(files: impl IntoIterator<Item = &'a Path>) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    files.into_iter().for_each(|file| trail(file, &mut folders));
    folders
}

fn trail(file: &Path, folders: &mut BTreeSet<PathBuf>) {
    let Ok(file) = std::path::absolute(file) else { return };
    let mut ahead: Vec<PathBuf> = parts(&file);
    let (mut at, mut links) = (PathBuf::new(), 0);
    while let Some(part) = ahead.pop() {
        if part == Path::new("..") {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        match std::fs::read_link(&next) {
            Ok(target) if links < MOST_LINKS => {
                links += 1;
                folders.insert(at.clone());
                ahead.extend(parts(&target));
                if target.is_absolute() {
                    at = PathBuf::new();
                }
            }
            _ if ahead.is_empty() || !next.is_dir() => {
                folders.insert(at);
                return;
            }
            _ => at = next,
        }
    }
}

/// The components of a path, the first at the end.
fn parts(path: &Path) -> Vec<PathBuf> {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    parts.rev().map(|part| PathBuf::from(part.as_os_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir, create_dir_all, write};
    use std::os::unix::fs::symlink;

    #[test]
    fn each_folder_on_the_way_is_named() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let at = |name: &str| root.join(name);
        for folder in ["etc", "maps/one", "far/deep"] {
            create_dir_all(at(folder)).unwrap();
        }
        write(at("maps/one/x.toml"), "").unwrap();
        symlink("one", at("maps/..data")).unwrap();
        symlink("..data/x.toml", at("maps/x.toml")).unwrap();
        symlink("../maps/x.toml", at("etc/x.toml")).unwrap();
        symlink(at("maps"), at("link")).unwrap();
        symlink("round", at("etc/round")).unwrap();
        symlink("../far/deep/nothing", at("etc/nothing")).unwrap();
        for (file, expected) in [
            ("etc/plain.toml", &["etc"][..]),
            ("etc/x.toml", &["etc", "maps", "maps/one"]),
            ("link/x.toml", &["", "maps", "maps/one"]),
            ("etc/round", &["etc"]),
            ("etc/nothing", &["etc", "far/deep"]),
            ("etc/none/deeper/x.toml", &["etc"]),
            ("etc/../maps/one/x.toml", &["maps/one"]),
        ] {
            let found: Vec<_> = folders([at(file).as_path()]).into_iter().collect();
            let expected: Vec<_> = expected.iter().map(|name| root.join(name)).collect();
            assert_eq!(
                found.iter().map(|f| f.join("")).collect::<Vec<_>>(),
                expected.iter().map(|f| f.join("")).collect::<Vec<_>>(),
                "{file}"
            );
        }
        create_dir(at("etc/none")).unwrap();
        assert!(folders([at("etc/none/deeper/x.toml").as_path()]).contains(&at("etc/none")));
    }
}
