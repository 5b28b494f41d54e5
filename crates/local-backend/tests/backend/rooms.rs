//! Which room of `src/` may import which, as the crate's documentation says.

use std::collections::BTreeSet;
use std::path::Path;

/// Each room with the rooms that it may import. `lifecycle` connects all; every other module imports none of them.
const ALLOWED: [(&str, &[&str]); 5] = [
    ("realtime", &[]),
    ("postgres", &["realtime"]),
    ("store", &["postgres", "realtime"]),
    ("http", &["postgres", "realtime", "store"]),
    ("lifecycle", &["http", "postgres", "realtime", "store"]),
];

const ROOMS: [&str; 4] = ["http", "postgres", "realtime", "store"];

/// The room or the top-level module of each source file, with its text.
fn sources() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut open = vec![src.clone()];
    let mut sources = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).expect("a source directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let inside = path.strip_prefix(&src).expect("a path below src").with_extension("");
            let first = inside.iter().next().expect("a name").to_str().expect("UTF-8").to_owned();
            sources.push((first, std::fs::read_to_string(&path).expect("UTF-8")));
        }
    }
    sources
}

#[test]
fn rooms_import_only_what_the_documentation_allows() {
    let mut arrows = BTreeSet::new();
    for (from, text) in sources() {
        for path in text.split("crate::").skip(1) {
            let to = path.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
            // `testing` is for tests, which may use everything.
            if !["lib", "testing"].contains(&from.as_str()) && from != to && ROOMS.contains(&to) {
                arrows.insert((from.clone(), to.to_owned()));
            }
        }
    }
    let allowed: BTreeSet<_> =
        ALLOWED.iter().flat_map(|(from, to)| to.iter().map(|to| ((*from).to_owned(), (*to).to_owned()))).collect();
    let wrong: Vec<_> = arrows.difference(&allowed).collect();
    assert!(wrong.is_empty(), "not allowed: {wrong:?}");
    assert!(arrows.len() >= ROOMS.len(), "the imports were not found: {arrows:?}");
}
