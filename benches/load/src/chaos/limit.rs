//! A real lack of memory: a control group whose limit is below what a worker needs next.

use std::fs;
use std::path::PathBuf;

/// Moves a process into a group without memory, where it is killed as soon as it needs a page; says why it cannot.
pub(crate) fn out_of_memory(pid: u32) -> Result<(), String> {
    let (group, file) = group()?;
    let words = |path: PathBuf| move |error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(&group).map_err(words(group.clone()))?;
    let limit = group.join(file);
    fs::write(&limit, "65536").map_err(words(limit))?;
    let members = group.join("cgroup.procs");
    fs::write(&members, pid.to_string()).map_err(words(members))
}

/// Where groups are made, and the name of their limit.
fn group() -> Result<(PathBuf, &'static str), String> {
    let root = PathBuf::from("/sys/fs/cgroup");
    let name = format!("btc-chaos-{}", std::process::id());
    if root.join("memory/cgroup.procs").exists() {
        return Ok((root.join("memory").join(name), "memory.limit_in_bytes"));
    }
    let controllers = fs::read_to_string(root.join("cgroup.subtree_control")).unwrap_or_default();
    if controllers.split_whitespace().any(|name| name == "memory") {
        return Ok((root.join(name), "memory.max"));
    }
    Err("no control group for memory".to_owned())
}

/// Removes the group, which is empty when its processes have ended.
pub(crate) fn remove() {
    if let Ok((group, _)) = group() {
        let _ = fs::remove_dir(group);
    }
}
