//! The key of a tree: what decides what an install puts into it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use sha2::{Digest, Sha256};

use super::manager::{LOCK_FILES, Manager};
use super::{KEY_FILE, MAX_LOCK};
use crate::dependencies::install::{Staging, TREE};
use crate::directory::{Directory, ReadError};
use crate::package_json::{MAX_PACKAGE_JSON, PACKAGE_JSON};
use crate::tree_walk::{Descent, Entry, Visitor, walk};

/// What package managers read beside package.json and lock file.
pub(super) const SETTINGS: [&str; 6] =
    [".npmrc", ".yarnrc", ".yarnrc.yml", "pnpm-workspace.yaml", ".pnpmfile.cjs", "bunfig.toml"];
/// What an install of a workspace reads in each of its packages.
const OF_PACKAGES: [&str; 2] = [PACKAGE_JSON, ".npmrc"];
/// The largest key file that is read, in bytes. A key has 64 hexadecimal digits.
const MAX_KEY: u64 = 128;
/// How deep below the root the packages of a workspace are looked for.
const MAX_DEPTH: usize = 6;
/// Directory entries that the search looks at.
const MAX_ENTRIES: usize = 20_000;

/// The key of what an install with `manager` in `root` makes: 64 hexadecimal digits. An install that needs the project's
/// other files depends on every package.json and .npmrc below `root` as well.
///
/// # Errors
/// A file in `root` that cannot be read. What cannot be read below it counts as missing.
pub(super) fn key(manager: Manager, root: &Directory, staging: Staging) -> Result<String, ReadError> {
    let mut files = BTreeMap::new();
    let locks = LOCK_FILES.iter().map(|(name, _)| *name);
    for name in [PACKAGE_JSON].into_iter().chain(locks).chain(SETTINGS) {
        if let Some(bytes) = root.read(name, MAX_LOCK)? {
            files.insert(PathBuf::from(name), bytes);
        }
    }
    if staging == Staging::InPlaceOnly {
        for path in packages_below(root) {
            let dir = path.parent().and_then(|parent| root.open_below(parent).ok());
            let name = path.file_name().and_then(|name| name.to_str());
            let bytes = dir.zip(name).and_then(|(dir, name)| dir.read(name, MAX_PACKAGE_JSON).ok().flatten());
            files.extend(bytes.map(|bytes| (path, bytes)));
        }
    }
    Ok(hash(manager, &files))
}

/// Each part comes after its length, so that no two inputs give the same key.
fn hash(manager: Manager, files: &BTreeMap<PathBuf, Vec<u8>>) -> String {
    let mut hash = Sha256::new();
    hash.update(manager.name());
    for (path, bytes) in files {
        let path = path.as_os_str().as_encoded_bytes();
        for part in [path, bytes] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The key of the tree that is installed in `dir`.
pub(super) fn installed_key(dir: &Directory) -> Option<String> {
    let bytes = dir.open_below(TREE).ok()?.read(KEY_FILE, MAX_KEY).ok()??;
    String::from_utf8(bytes).ok().map(|text| text.trim().to_owned())
}

/// The files below the root that [`OF_PACKAGES`] names, without those of the root itself.
fn packages_below(root: &Directory) -> Vec<PathBuf> {
    let mut search = Search::default();
    // An error ends the search, and what was found until then counts.
    let _ = walk(root, &mut search);
    search.found
}

#[derive(Default)]
struct Search {
    found: Vec<PathBuf>,
    entries: usize,
}

impl Search {
    fn count(&mut self) -> io::Result<()> {
        self.entries = self.entries.saturating_add(1);
        if self.entries > MAX_ENTRIES { Err(io::Error::other("too many entries")) } else { Ok(()) }
    }
}

impl Visitor for Search {
    fn file(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        self.count()?;
        let wanted = OF_PACKAGES.iter().any(|name| entry.name.to_bytes() == name.as_bytes());
        if wanted && entry.depth > 0 && entry.kind == FileType::RegularFile {
            self.found.push(entry.path.to_owned());
        }
        Ok(())
    }

    fn enter(&mut self, entry: &Entry<'_>) -> io::Result<Descent> {
        self.count()?;
        let skipped = entry.name.to_bytes().starts_with(b".") || entry.path.ends_with(Path::new(TREE));
        Ok(if skipped || entry.depth >= MAX_DEPTH { Descent::Skip } else { Descent::Enter })
    }
}
