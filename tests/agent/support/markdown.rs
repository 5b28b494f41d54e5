//! The documentation, as its tests read it.

use std::fs;
use std::path::{Path, PathBuf};

/// The top of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Markdown file of the repository, with its text.
pub fn documents() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut todo = vec![root().to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
            let (path, name) = (entry.path(), entry.file_name());
            let left_out = ["target", "node_modules", ".git"].iter().any(|known| name == *known);
            if entry.file_type().unwrap().is_dir() {
                todo.extend((!left_out).then_some(path));
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push((path.clone(), fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(found.len() >= 8, "{found:?}");
    found
}

/// The fenced blocks of `text`: their language and their lines.
pub fn fences(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut blocks: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        match line.trim_start().strip_prefix("```") {
            Some(_) if open => open = false,
            Some(language) => {
                open = true;
                blocks.push((language.trim(), Vec::new()));
            }
            None if open => blocks.last_mut().unwrap().1.push(line),
            None => {}
        }
    }
    assert!(!open, "a block does not end");
    blocks
}

/// The text without its fenced blocks, and what stands between backquotes in it.
pub fn inline(text: &str) -> (String, Vec<String>) {
    let prose = text.split("```").step_by(2).collect::<String>();
    let code = prose.split('`').skip(1).step_by(2).map(|code| code.split_whitespace().collect::<Vec<_>>().join(" "));
    let code = code.collect();
    (prose, code)
}
