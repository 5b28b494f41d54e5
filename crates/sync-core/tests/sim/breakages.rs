//! The patches that break the core on purpose (`breakages/run` applies them) must not rot.

use std::path::{Path, PathBuf};

/// The fewest patches that the test accepts.
const LEAST: usize = 12;

fn patches() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim/breakages");
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths = entries.map(|entry| entry.expect("a directory entry").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "patch")).collect()
}

/// Each hunk of a unified diff: its file, the old lines, and the new ones.
fn hunks(patch: &str) -> Vec<(&str, String, String)> {
    let mut hunks: Vec<(&str, String, String)> = Vec::new();
    let mut file = "";
    for line in patch.lines() {
        if let Some(name) = line.strip_prefix("+++ b/") {
            file = name;
        } else if line.starts_with("@@ ") {
            hunks.push((file, String::new(), String::new()));
        } else if let Some((_, old, new)) = hunks.last_mut().filter(|_| !line.starts_with("--- ")) {
            let (mark, text) = line.split_at_checked(1).unwrap_or((" ", ""));
            if mark != "+" {
                *old += &format!("{text}\n");
            }
            if mark != "-" {
                *new += &format!("{text}\n");
            }
        }
    }
    hunks
}

#[test]
fn every_breakage_still_applies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let patches = patches();
    assert!(patches.len() >= LEAST, "only {} breakages", patches.len());
    for path in patches {
        let patch = std::fs::read_to_string(&path).expect("a readable patch");
        let hunks = hunks(&patch);
        assert!(!hunks.is_empty(), "{}: no hunks", path.display());
        for (file, old, new) in hunks {
            let source = std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            let found = source.matches(&old).count();
            assert_eq!(found, 1, "{}: this stands {found} times in {file}:\n{old}", path.display());
            assert_ne!(old, new, "{}: nothing is changed", path.display());
        }
    }
}
