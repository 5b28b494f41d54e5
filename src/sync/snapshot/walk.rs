//! Which files of a folder are the project's.

use std::io;
use std::path::{Path, PathBuf};

use sync_core::{PathError, ProjectPath};

/// Why a folder cannot be taken as a project.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum WalkError {
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("{} is a symbolic link, which no snapshot can carry: put the file in its place, or take it away", .0.display())]
    Symlink(PathBuf),
    #[error("{} is neither a file nor a directory", .0.display())]
    Special(PathBuf),
    #[error("the name of {} is not UTF-8", .0.display())]
    NotUtf8(PathBuf),
    #[error("{} cannot be in a snapshot", .0.display())]
    Path(PathBuf, #[source] PathError),
}

/// Whether `path`, relative to the project's root, is part of the project: not `node_modules`, `.git`, what a build
/// makes, or an editor's file on its way to another name. `.env*` and other hidden files are.
///
/// `dist` and `build` are a build's output only as directories, and not below a `src` or `public`: there they are
/// somebody's own choice of a name.
pub fn belongs(path: &str, is_dir: bool) -> bool {
    let mut parts = path.split('/').peekable();
    let mut below_sources = false;
    while let Some(part) = parts.next() {
        let is_dir = is_dir || parts.peek().is_some();
        if is_never(part) || is_scratch(part) || (is_dir && is_built(part, below_sources)) {
            return false;
        }
        below_sources |= matches!(part, "src" | "public");
    }
    true
}

/// Every file below `dir` that [`belongs`] to the project, in the order of the paths' bytes, with the place to read it.
///
/// # Errors
/// The first thing that cannot be read, or that belongs and cannot be in a snapshot: symbolic links among them, which
/// are neither followed nor dropped in silence.
pub fn walk(dir: &Path) -> Result<Vec<(ProjectPath, PathBuf)>, WalkError> {
    let mut files = Vec::new();
    let mut open = vec![(String::new(), dir.to_owned())];
    while let Some((above, dir)) = open.pop() {
        let failed = |error| WalkError::Read(dir.clone(), error);
        for entry in std::fs::read_dir(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let place = entry.path();
            let kind = entry.file_type().map_err(|error| WalkError::Read(place.clone(), error))?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                return Err(WalkError::NotUtf8(place));
            };
            let path = if above.is_empty() { name } else { format!("{above}/{name}") };
            // A link to what a build makes is no more part of the project than the thing itself.
            if !belongs(&path, kind.is_dir() || kind.is_symlink()) {
                continue;
            }
            if kind.is_symlink() {
                return Err(WalkError::Symlink(place));
            }
            if kind.is_dir() {
                open.push((path, place));
            } else if kind.is_file() {
                let path = ProjectPath::parse(&path).map_err(|error| WalkError::Path(place.clone(), error))?;
                files.push((path, place));
            } else {
                return Err(WalkError::Special(place));
            }
        }
    }
    files.sort();
    Ok(files)
}

fn is_never(part: &str) -> bool {
    part.eq_ignore_ascii_case("node_modules")
        || part.eq_ignore_ascii_case(".git")
        || part.eq_ignore_ascii_case(".preview")
        || part == ".DS_Store"
}

fn is_built(part: &str, below_sources: bool) -> bool {
    const ALWAYS: [&str; 6] = [".next", ".nuxt", ".output", ".svelte-kit", ".turbo", ".vite"];
    ALWAYS.contains(&part) || (!below_sources && matches!(part, "dist" | "build"))
}

/// What the names of our own files begin with that are about to be renamed into place.
pub const TEMPORARY: &str = ".preview-agent-";

/// Whether a file of this name is some editor's, or our own, on its way to another name.
fn is_scratch(name: &str) -> bool {
    const PREFIXES: [&str; 3] = [TEMPORARY, ".#", ".goutputstream-"];
    const SUFFIXES: [&str; 7] = ["~", ".swp", ".swo", ".swx", "___jb_tmp___", "___jb_old___", ".kate-swp"];
    name == "4913" // vim tries with it whether it may write
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        || (name.len() > 2 && name.starts_with('#') && name.ends_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_project_from_what_was_made_of_it() {
        for path in [
            "package.json",
            ".env",
            ".env.local",
            ".gitignore",
            "src/dist/a.ts",
            "src/build/b.ts",
            "public/build/c.js",
            "build",
            "frontend/dist",
            "distance/x",
            "a~b",
        ] {
            assert!(belongs(path, false), "{path}");
        }
        for path in [
            "node_modules/x/package.json",
            "a/Node_Modules/x",
            ".git/config",
            ".git",
            ".preview/manifest.json",
            "dist/x.js",
            "frontend/dist/x.js",
            "build/x",
            "src/.vite/x",
            ".next/a",
            "src/App.tsx~",
            "src/.App.tsx.swp",
            "4913",
            ".preview-agent-1-2",
            "#a#",
            ".DS_Store",
        ] {
            assert!(!belongs(path, false), "{path}");
        }
        assert!(!belongs("dist", true) && !belongs("node_modules", true) && belongs("src", true));
    }

    #[test]
    fn lists_what_belongs_and_names_what_cannot_be_taken() {
        let dir = tempfile::tempdir().unwrap();
        for path in [".env", "b/a.txt", "a.txt", "b.txt", "node_modules/x/y", "dist/z", "b/.git/w"] {
            let place = dir.path().join(path);
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(place, path).unwrap();
        }
        let listed = walk(dir.path()).unwrap();
        let paths: Vec<_> = listed.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, [".env", "a.txt", "b.txt", "b/a.txt"]);
        for (path, place) in &listed {
            assert_eq!(std::fs::read_to_string(place).unwrap(), path.as_str());
        }
        std::fs::write(dir.path().join("back\\slash"), "").unwrap();
        assert!(matches!(walk(dir.path()), Err(WalkError::Path(place, _)) if place.ends_with("back\\slash")));
        assert!(matches!(walk(&dir.path().join("none")), Err(WalkError::Read(..))));
    }

    #[cfg(unix)]
    #[test]
    fn refuses_links_and_sockets_that_would_belong() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("node_modules")).unwrap();
        assert_eq!(walk(dir.path()).unwrap(), []);
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        assert!(matches!(walk(dir.path()), Err(WalkError::Symlink(place)) if place.ends_with("link")));
        std::fs::remove_file(dir.path().join("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        assert!(matches!(walk(dir.path()), Err(WalkError::Special(place)) if place.ends_with("socket")));
    }
}
