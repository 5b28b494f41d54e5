use std::collections::VecDeque;
use std::path::{Component, Path, PathBuf};

use super::{Config, PlanError};

/// How deep below the root a lone package.json is looked for.
const MAX_DEPTH: usize = 4;
/// Directory entries looked at for it.
const MAX_ENTRIES: usize = 20_000;

/// The app's directory: the given one, else the root, else `frontend`, else that of the only package.json.
pub(super) fn find_app(config: &Config) -> Result<PathBuf, PlanError> {
    let root = &config.project_dir;
    if let Some(given) = &config.app_dir {
        if given.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(PlanError::AppDirOutside { app_dir: given.clone() });
        }
        // Collected anew, which leaves out what `.` adds.
        let dir: PathBuf = root.join(given).components().collect();
        return if has_package(&dir) || (config.command.is_some() && dir.is_dir()) {
            Ok(dir)
        } else {
            Err(PlanError::NoPackageJson { dir })
        };
    }
    let usual = [root.clone(), root.join("frontend")];
    if let Some(dir) = usual.into_iter().find(|dir| has_package(dir)) {
        return Ok(dir);
    }
    let mut found = packages_below(root);
    match (found.len(), &config.command) {
        (1, _) => Ok(found.remove(0)),
        (_, Some(_)) => Ok(root.clone()),
        (0, None) => Err(PlanError::NoPackageJson { dir: root.clone() }),
        (_, None) => {
            let relative = |dir: &PathBuf| dir.strip_prefix(root).unwrap_or(dir).display().to_string();
            let dirs = found.iter().take(5).map(relative).collect::<Vec<_>>().join(", ");
            Err(PlanError::SeveralPackages { dirs })
        }
    }
}

fn has_package(dir: &Path) -> bool {
    dir.join("package.json").is_file()
}

/// Directories that hold a package.json, nearest first; links are not followed.
fn packages_below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut queue = VecDeque::from([(root.to_owned(), 0)]);
    let mut looked_at = 0;
    while let Some((dir, depth)) = queue.pop_front() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            looked_at += 1;
            if looked_at > MAX_ENTRIES {
                return found;
            }
            let name = entry.file_name();
            let hidden = name.as_encoded_bytes().starts_with(b".") || name == "node_modules";
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !hidden && depth < MAX_DEPTH => queue.push_back((entry.path(), depth + 1)),
                Ok(kind) if kind.is_file() && name == "package.json" => found.push(dir.clone()),
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Environment;

    fn found(packages: &[&str], app_dir: Option<&str>) -> Result<PathBuf, PlanError> {
        let root = tempfile::tempdir().expect("a directory");
        for package in packages {
            let dir = root.path().join(package);
            std::fs::create_dir_all(&dir).expect("made");
            std::fs::write(dir.join("package.json"), "{}").expect("written");
        }
        let mut config = Config::new(root.path().into(), root.path().into(), 1, Environment::default());
        config.app_dir = app_dir.map(PathBuf::from);
        find_app(&config).map(|dir| dir.strip_prefix(root.path()).expect("inside").to_owned())
    }

    #[test]
    fn the_order_is_root_frontend_and_the_only_one() {
        assert_eq!(found(&["", "frontend"], None).expect("found"), Path::new(""));
        assert_eq!(found(&["frontend", "backend"], None).expect("found"), Path::new("frontend"));
        assert_eq!(found(&["apps/web"], None).expect("found"), Path::new("apps/web"));
        assert_eq!(found(&["node_modules/x", "web"], None).expect("found"), Path::new("web"));
        assert!(matches!(found(&["a", "b"], None), Err(PlanError::SeveralPackages { dirs }) if dirs.contains("a")));
        assert!(matches!(found(&[], None), Err(PlanError::NoPackageJson { .. })));
    }

    #[test]
    fn a_given_directory_is_taken_or_refused() {
        assert_eq!(found(&["", "b"], Some("./b")).expect("found"), Path::new("b"));
        assert!(matches!(found(&[""], Some("b")), Err(PlanError::NoPackageJson { .. })));
        for outside in ["../x", "/etc", "b/../../x"] {
            assert!(matches!(found(&[""], Some(outside)), Err(PlanError::AppDirOutside { .. })), "{outside}");
        }
    }
}
