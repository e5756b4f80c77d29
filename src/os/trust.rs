//! Whose a folder is, and whether somebody else could have put it where it stands.

use rustix::fs::{FileType, Stat, lstat, readlinkat};
use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

/// Most links that are followed, as in the kernel.
const MOST_LINKS: usize = 40;
/// Others may write.
const SHARED: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Those who decide what a path leads to: root, this process's user, and each owner of a folder on the way that stands
/// where only those before could have put it.
///
/// # Errors
/// Somebody else could have put a folder or link of the way there, or it cannot be looked at.
pub fn keepers(folder: &Path) -> Result<Vec<u32>, String> {
    let mut walk = Walk::new();
    walk.go(folder)?;
    Ok(walk.keepers)
}

/// Makes a folder for a socket, or checks that the one that is there is root's or this process's user's. Others may not
/// replace what stands in it.
///
/// # Errors
/// Why not.
pub fn own_folder(folder: &Path) -> Result<(), String> {
    let (walk, stat) = made(folder)?;
    if !walk.own.contains(&stat.st_uid) {
        return Err(format!("{} belongs to user {}", folder.display(), stat.st_uid));
    }
    if stat.st_mode & SHARED != 0 && stat.st_mode & STICKY == 0 {
        return Err(format!("{} may be written by everybody", folder.display()));
    }
    Ok(())
}

/// Makes a folder for files, or checks that the one that is there was put there by somebody who decides, and that not
/// everybody may write to it.
///
/// # Errors
/// Why not.
pub fn safe_folder(folder: &Path) -> Result<(), String> {
    let (_, stat) = made(folder)?;
    if stat.st_mode & SHARED != 0 {
        return Err(format!("{} may be written by everybody", folder.display()));
    }
    Ok(())
}

fn made(folder: &Path) -> Result<(Walk, Stat), String> {
    if !folder.exists() {
        // Nothing is made at the other end of a stranger's link.
        let above = folder.ancestors().skip(1).find(|above| above.exists()).unwrap_or(Path::new("."));
        keepers(above)?;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    }
    let mut walk = Walk::new();
    let stat = walk.go(folder)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(format!("{} is no folder", folder.display()));
    }
    Ok((walk, stat))
}

/// A walk along a path, link by link.
struct Walk {
    own: [u32; 2],
    keepers: Vec<u32>,
    ahead: Vec<PathBuf>,
    at: PathBuf,
    /// The folder that the walk is in.
    stat: Option<Stat>,
    links: usize,
}

impl Walk {
    fn new() -> Self {
        let own = [0, rustix::process::geteuid().as_raw()];
        Self { own, keepers: own.to_vec(), ahead: Vec::new(), at: PathBuf::new(), stat: None, links: 0 }
    }

    /// Walks to the end, and returns what is there.
    fn go(&mut self, path: &Path) -> Result<Stat, String> {
        let path = std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))?;
        self.push(&path);
        while let Some(part) = self.ahead.pop() {
            if part == Path::new("..") {
                self.at.pop();
                self.stat = Some(look(&self.at)?);
            } else {
                self.step(&part)?;
            }
        }
        self.stat.ok_or_else(|| format!("{}: no path", path.display()))
    }

    fn push(&mut self, path: &Path) {
        let parts = path.components().filter(|part| *part != Component::CurDir);
        self.ahead
            .extend(parts.map(|part| PathBuf::from(part.as_os_str())).collect::<Vec<_>>().into_iter().rev());
    }

    fn step(&mut self, part: &Path) -> Result<(), String> {
        let next = self.at.join(part);
        let found = look(&next)?;
        let shared = self.stat.is_some_and(|stat| stat.st_mode & SHARED != 0);
        let sticky = self.stat.is_some_and(|stat| stat.st_mode & STICKY != 0);
        let owner = found.st_uid;
        if shared && !sticky {
            return Err(format!("{} may be written by everybody", self.at.display()));
        }
        if !self.keepers.contains(&owner) {
            if shared {
                let (next, at) = (next.display(), self.at.display());
                return Err(format!("{next} was made by user {owner}, and everybody may write to {at}"));
            }
            self.keepers.push(owner);
        }
        if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
            (self.at, self.stat) = (next, Some(found));
            return Ok(());
        }
        self.links += 1;
        let target = readlinkat(rustix::fs::CWD, &next, Vec::new());
        let target = target.map_err(|error| format!("{}: {error}", next.display()))?;
        if self.links > MOST_LINKS {
            return Err(format!("{}: too many links", next.display()));
        }
        // An absolute target begins with the root, which `join` takes as it is.
        self.push(Path::new(OsStr::from_bytes(target.as_bytes())));
        Ok(())
    }
}

fn look(path: &Path) -> Result<Stat, String> {
    lstat(path).map_err(|error| format!("{}: {}", path.display(), std::io::Error::from(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, create_dir, set_permissions};
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    #[test]
    fn a_folder_that_others_could_have_put_there_is_nobodys() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        let make = |name: &str, mode| {
            create_dir(at(name)).unwrap();
            set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
        };
        make("mine", 0o700);
        make("shared", 0o1777);
        make("shared/mine", 0o700);
        make("open", 0o777);
        make("open/mine", 0o700);
        symlink("../mine", at("shared/link")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        for good in ["mine", "shared", "shared/mine", "shared/link", "mine/../mine", "mine/new/newer"] {
            assert_eq!(own_folder(&at(good)), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("file", "is no folder"),
            ("open", "may be written by everybody"),
            ("open/mine", "may be written by everybody"),
        ] {
            let said = own_folder(&at(bad)).expect_err(bad);
            assert!(said.contains(why), "{bad}: {said}");
        }
        assert_eq!((safe_folder(&at("mine")), safe_folder(&at("shared")).is_err()), (Ok(()), true));
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can make folders of others");
            return;
        }
        make("theirs", 0o700);
        chown(at("theirs"), Some(12_345), None).unwrap();
        make("shared/theirs", 0o700);
        chown(at("shared/theirs"), Some(12_345), None).unwrap();
        symlink("../mine", at("shared/their-link")).unwrap();
        lchown(at("shared/their-link"), Some(12_345), None).unwrap();
        assert_eq!(safe_folder(&at("theirs")), Ok(()));
        assert!(keepers(&at("theirs")).unwrap().contains(&12_345), "root has made its place");
        assert!(own_folder(&at("theirs")).unwrap_err().contains("belongs to user 12345"));
        for bad in ["shared/theirs", "shared/their-link"] {
            assert!(keepers(&at(bad)).unwrap_err().contains("was made by user 12345"), "{bad}");
            assert!(own_folder(&at(bad)).is_err(), "{bad}");
        }
    }
}
