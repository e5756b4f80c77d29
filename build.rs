//! Lists what the program must know of its own tree: the page's files for `worker::http::page`, and the modules and
//! libraries that `config::level` takes for names, so that a new one needs no line of code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap_or_default());
    for watched in ["static", "src", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    let page = names(&root.join("static"))?.into_iter().filter(|(_, path)| path.is_file());
    put("static", page.map(|(name, path)| format!("({name:?}, include_bytes!({path:?}).as_slice())")))?;
    let mut modules = BTreeSet::from(["btc_cluster".to_owned()]);
    collect(&root.join("src"), "btc_cluster", &mut modules)?;
    put("modules", modules.into_iter().map(|name| format!("{name:?}")))?;
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap_or_default();
    let crates = lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    let crates: BTreeSet<_> =
        crates.map(|name| name.replace('-', "_")).filter(|name| !name.starts_with("btc_cluster")).collect();
    put("libraries", crates.into_iter().map(|name| format!("{name:?}")))
}

/// The entries of a folder without hidden ones, sorted.
fn names(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = fs::read_dir(folder)?.filter_map(Result::ok);
    let mut names: Vec<_> =
        entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path()))).collect();
    names.retain(|(name, _)| !name.starts_with('.'));
    names.sort();
    Ok(names)
}

/// The modules of a folder, by their files.
fn collect(folder: &Path, within: &str, modules: &mut BTreeSet<String>) -> io::Result<()> {
    for (name, path) in names(folder)? {
        let stem = name.strip_suffix(".rs").unwrap_or(&name);
        if ["lib", "main", "mod"].contains(&stem) {
            continue;
        }
        let module = format!("{within}::{stem}");
        if path.is_dir() {
            collect(&path, &module, modules)?;
        }
        modules.insert(module);
    }
    Ok(())
}

/// Writes a list that `include!` takes.
fn put(name: &str, items: impl Iterator<Item = String>) -> io::Result<()> {
    let list = format!("[{}]", items.collect::<Vec<_>>().join(","));
    fs::write(PathBuf::from(env::var("OUT_DIR").unwrap_or_default()).join(format!("{name}.rs")), list)
}
