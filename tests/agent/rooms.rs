//! Which room of `src/` may import which. The allowed arrows are the table of ARCHITECTURE.md.
//!
//! `cargo test --test agent rooms::print -- --ignored --nocapture` prints every arrow between rooms and their number;
//! `ROOMS_SRC=DIR` reads another source directory (of an older commit, for example).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const SRC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// A room, and the modules that it may import, each with everything below it.
const ALLOWED: &[(&str, &[&str])] = &[
    ("main", &["cli", "command_line", "dev", "run"]),
    ("command_line", &["cli", "dev"]),
    ("cli", &["sync::folder", "sync::snapshot", "sync::token"]),
    ("run", &["cli::config", "cli::exit", "sync", "telemetry"]),
    ("dev", &["cli", "run", "sync", "telemetry"]),
    ("telemetry", &[]),
    ("sync", &[]),
];

/// As [`ALLOWED`], between the modules of `sync`.
const ALLOWED_IN_SYNC: &[(&str, &[&str])] = &[
    ("sync::database", &["sync::files", "sync::http", "sync::net", "sync::scrub", "sync::token", "sync::workspace"]),
    ("sync::file_modes", &[]),
    ("sync::files", &["sync::file_modes"]),
    ("sync::folder", &[]),
    ("sync::http", &["sync::net"]),
    ("sync::jitter", &[]),
    ("sync::net", &[]),
    ("sync::realtime", &["sync::http", "sync::net", "sync::scrub"]),
    ("sync::scrub", &[]),
    ("sync::snapshot", &["sync::file_modes", "sync::files", "sync::http", "sync::jitter", "sync::net", "sync::scrub"]),
    ("sync::private_dir", &[]),
    ("sync::state", &["sync::private_dir"]),
    ("sync::token", &[]),
    ("sync::workspace", &["sync::file_modes", "sync::files", "sync::folder", "sync::private_dir", "sync::state"]),
];

/// The crates of this repository that a room may use. `sync_core` is open to all.
const ALLOWED_CRATES: &[(&str, &[&str])] = &[
    ("main", &["supervisor"]),
    ("command_line", &[]),
    ("cli", &["listener", "preview_proxy", "supervisor", "zip_stream"]),
    ("run", &["diagnostics", "preview_proxy", "supervisor"]),
    ("dev", &["listener", "local_backend", "preview_proxy", "supervisor"]),
    ("telemetry", &["diagnostics", "listener", "supervisor"]),
    ("sync", &["supervisor", "zip_stream"]),
];

const CRATES: [&str; 6] = ["diagnostics", "listener", "local_backend", "preview_proxy", "supervisor", "zip_stream"];

/// An import: the module that has it, and what it names.
type Arrow = (String, String);

/// The text of each source file by its module path.
type Sources = BTreeMap<String, String>;

fn sources(src: &Path) -> Sources {
    let mut texts = Sources::new();
    let mut open = vec![src.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).expect("a source directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("UTF-8");
                texts.insert(module_of(src, &path), text);
            }
        }
    }
    let test_only: BTreeSet<String> = texts.iter().flat_map(|(module, text)| test_modules(module, text)).collect();
    texts.retain(|module, _| module != "lib" && !test_only.contains(module));
    texts.into_iter().map(|(module, text)| (module, production_code(&text))).collect()
}

/// The modules in files of their own that exist only in tests.
fn test_modules(module: &str, text: &str) -> Vec<String> {
    let after = text.split("#[cfg(test)]\nmod ").skip(1);
    let names = after.filter_map(|rest| rest.lines().next()?.strip_suffix(';'));
    let parent = if module == "lib" { String::new() } else { format!("{module}::") };
    names.map(|name| format!("{parent}{name}")).collect()
}

fn module_of(src: &Path, file: &Path) -> String {
    let relative: PathBuf = file.strip_prefix(src).expect("below src").with_extension("");
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    parts.join("::").trim_end_matches("::mod").to_owned()
}

/// `text` without comments and without its tests, which are the end of a file.
fn production_code(text: &str) -> String {
    let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let line = |line: &str| line.split("//").next().unwrap_or_default().trim().to_owned();
    code.lines().map(line).collect::<Vec<_>>().join(" ")
}

/// Every path in `code` that begins with `prefix`, groups in braces written out.
fn paths_after(prefix: &str, code: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let starts = code.match_indices(prefix).filter(|(at, _)| !code[..*at].ends_with(|c| is_word(c) || c == ':'));
    starts.flat_map(|(at, _)| expand(&code[at + prefix.len()..])).collect()
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn expand(text: &str) -> Vec<String> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let (path, rest) = text.split_at(end);
    let Some(group) = rest.strip_prefix('{').filter(|_| path.is_empty() || path.ends_with("::")) else {
        return vec![path.trim_end_matches("::").to_owned()];
    };
    let (mut depth, mut start, mut members) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                members.push(&group[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    members.into_iter().flat_map(|member| expand(member.trim())).map(|member| format!("{path}{member}")).collect()
}

/// The imports of every module, each to the deepest module that it names.
fn arrows(sources: &Sources) -> BTreeSet<Arrow> {
    let mut arrows = BTreeSet::new();
    for (module, code) in sources {
        let mut paths = paths_after("crate::", code);
        paths.extend(paths_after("preview_agent::", code));
        let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
        let above = paths_after("super::", code).into_iter().map(|path| format!("{parent}::{path}"));
        paths.extend(above.map(|path| path.trim_start_matches("::").to_owned()));
        for path in paths {
            let mut target = path.as_str();
            while !sources.contains_key(target) {
                match target.rsplit_once("::") {
                    Some((shorter, _)) => target = shorter,
                    None => break,
                }
            }
            if sources.contains_key(target) {
                arrows.insert((module.clone(), target.to_owned()));
            }
        }
    }
    arrows
}

/// The first `parts` parts of a module's path.
fn room(module: &str, parts: usize) -> String {
    module.split("::").take(parts).collect::<Vec<_>>().join("::")
}

/// The arrows between different rooms.
fn between_rooms(arrows: &BTreeSet<Arrow>) -> BTreeSet<Arrow> {
    let rooms = arrows.iter().map(|(from, to)| (room(from, 1), room(to, 1)));
    rooms.filter(|(from, to)| from != to).collect()
}

/// What is imported although no rule allows it.
fn violations(arrows: &BTreeSet<Arrow>, rules: &[(&str, &[&str])], parts: usize) -> Vec<String> {
    let below = |module: &str, rule: &str| module == rule || module.starts_with(&format!("{rule}::"));
    let outside = arrows.iter().filter(|(from, to)| room(from, parts) != room(to, parts));
    let allowed = |from: &str, to: &str| {
        let rule = rules.iter().find(|(name, _)| *name == room(from, parts));
        rule.is_some_and(|(_, targets)| targets.iter().any(|target| below(to, target)))
    };
    outside.filter(|(from, to)| !allowed(from, to)).map(|(from, to)| format!("{from} -> {to}")).collect()
}

/// Rooms that can be reached from themselves.
fn circles(rooms: &BTreeSet<Arrow>) -> Vec<String> {
    let reachable = |start: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start.to_owned()]);
        while let Some(at) = open.pop() {
            for (_, to) in rooms.iter().filter(|(from, _)| *from == at) {
                if seen.insert(to.clone()) {
                    open.push(to.clone());
                }
            }
        }
        seen
    };
    let names: BTreeSet<_> = rooms.iter().map(|(from, _)| from.clone()).collect();
    names.into_iter().filter(|name| reachable(name).contains(name)).collect()
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let sources = sources(Path::new(SRC));
    assert!(sources.len() > 60, "only {} modules were read", sources.len());
    let arrows = arrows(&sources);
    let known: BTreeSet<_> = ALLOWED.iter().map(|(name, _)| (*name).to_owned()).collect();
    let rooms: BTreeSet<_> = sources.keys().map(|module| room(module, 1)).collect();
    assert_eq!(rooms, known, "each room has a row in the table");
    assert_eq!(violations(&arrows, ALLOWED, 1), Vec::<String>::new());
    assert_eq!(circles(&between_rooms(&arrows)), Vec::<String>::new());
}

#[test]
fn modules_of_sync_import_only_what_the_table_allows() {
    let arrows = arrows(&sources(Path::new(SRC)));
    let within: BTreeSet<Arrow> =
        arrows.into_iter().filter(|(from, to)| from.starts_with("sync::") && to.starts_with("sync::")).collect();
    assert!(!within.is_empty());
    assert_eq!(violations(&within, ALLOWED_IN_SYNC, 2), Vec::<String>::new());
}

#[test]
fn rooms_use_only_their_crates() {
    let mut found = Vec::new();
    for (module, code) in sources(Path::new(SRC)) {
        let allowed = ALLOWED_CRATES.iter().find(|(name, _)| *name == room(&module, 1)).map(|(_, crates)| *crates);
        let used = CRATES.iter().filter(|name| !paths_after(&format!("{name}::"), &code).is_empty());
        let wrong = used.filter(|name| !allowed.unwrap_or_default().contains(*name));
        found.extend(wrong.map(|name| format!("{module} -> {name}")));
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_forbidden_import_is_found() {
    let files = [
        ("cli", "use crate::telemetry::{logs::{Flush, Tap}, status};"),
        ("telemetry", ""),
        ("telemetry::logs", "fn f() { crate::cli::x() } use super::status::Board;"),
        ("telemetry::status", ""),
        ("sync", ""),
        ("sync::net", "use super::realtime::Realtime;"),
        ("sync::realtime", "use super::net::Net;"),
    ];
    let sources = files.map(|(module, code)| (module.to_owned(), code.to_owned())).into();
    let arrows = arrows(&sources);
    assert!(arrows.contains(&("telemetry::logs".into(), "telemetry::status".into())));
    let found = violations(&arrows, ALLOWED, 1);
    assert_eq!(found, ["cli -> telemetry::logs", "cli -> telemetry::status", "telemetry::logs -> cli"]);
    assert_eq!(circles(&between_rooms(&arrows)), ["cli", "telemetry"]);
    let up = "sync::net -> sync::realtime".to_owned();
    assert!(violations(&arrows, ALLOWED_IN_SYNC, 2).contains(&up));
}

#[test]
fn comments_and_tests_are_not_imports() {
    let code =
        production_code("// use crate::dev::x;\nuse crate::run;\n\n#[cfg(test)]\nmod tests {\n use crate::cli;\n}\n");
    assert_eq!(paths_after("crate::", &code), BTreeSet::from(["run".to_owned()]));
}

#[test]
#[ignore = "prints the arrows; it checks nothing"]
fn print() {
    let src = std::env::var_os("ROOMS_SRC").map_or(PathBuf::from(SRC), PathBuf::from);
    let arrows = arrows(&sources(&src));
    let rooms = between_rooms(&arrows);
    for (from, to) in &rooms {
        println!("{from} -> {to}");
    }
    let modules = arrows.iter().filter(|(from, to)| from != to).count();
    println!("{} arrows between rooms, {modules} between modules", rooms.len());
    println!("rooms in a circle: {:?}", circles(&rooms));
}
