//! Which files of a developer's folder are part of the project. Used by `snapshot`, by `dev`, and by the workspace when
//! it lists what is in the project directory.

use std::io;
use std::path::{Path, PathBuf};

pub use sync_core::rules::{EntryType, TEMPORARY_PREFIX, is_project_file};
use sync_core::{PathError, ProjectPath};

/// Why a folder cannot be used as a project.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum FolderError {
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("{} is a symbolic link, which a snapshot cannot contain; replace it by the file, or remove it", .0.display())]
    Symlink(PathBuf),
    #[error("{} is neither a file nor a directory", .0.display())]
    Special(PathBuf),
    #[error("the name of {} is not UTF-8", .0.display())]
    NotUtf8(PathBuf),
    #[error("a snapshot cannot contain {}", .0.display())]
    Path(PathBuf, #[source] PathError),
}

/// A file of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FolderFile {
    /// Relative to the folder.
    pub path: ProjectPath,
    /// The path to open it with.
    pub location: PathBuf,
}

/// Every file below `folder` that [is part of the project](is_project_file), sorted by path.
///
/// # Errors
/// The first directory that cannot be read, and the first entry that is part of the project and cannot be in a snapshot
/// (a symbolic link, for example): nothing is followed, and nothing is left out silently.
pub fn project_files(folder: &Path) -> Result<Vec<FolderFile>, FolderError> {
    let mut files = Vec::new();
    let mut unread = vec![(String::new(), folder.to_owned())];
    while let Some((above, directory)) = unread.pop() {
        let failed = |error| FolderError::Read(directory.clone(), error);
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let location = entry.path();
            let file_type = entry.file_type().map_err(|error| FolderError::Read(location.clone(), error))?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                return Err(FolderError::NotUtf8(location));
            };
            let path = if above.is_empty() { name } else { format!("{above}/{name}") };
            // A link in the place of build output is no more part of the project than the output itself.
            let is_directory = file_type.is_dir() || file_type.is_symlink();
            if !is_project_file(&path, if is_directory { EntryType::Directory } else { EntryType::File }) {
                continue;
            }
            if file_type.is_symlink() {
                return Err(FolderError::Symlink(location));
            }
            if file_type.is_dir() {
                unread.push((path, location));
            } else if file_type.is_file() {
                let path = ProjectPath::parse(&path).map_err(|error| FolderError::Path(location.clone(), error))?;
                files.push(FolderFile { path, location });
            } else {
                return Err(FolderError::Special(location));
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_project_files_and_names_what_a_snapshot_cannot_contain() {
        let dir = tempfile::tempdir().unwrap();
        for path in
            [".env", "b/a.txt", "a.txt", "b.txt", "src/.preview/x.txt", "node_modules/x/y", "dist/z", "b/.git/w"]
        {
            let place = dir.path().join(path);
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(place, path).unwrap();
        }
        let listed = project_files(dir.path()).unwrap();
        let paths: Vec<_> = listed.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, [".env", "a.txt", "b.txt", "b/a.txt", "src/.preview/x.txt"]);
        for file in &listed {
            assert_eq!(std::fs::read_to_string(&file.location).unwrap(), file.path.as_str());
        }
        std::fs::write(dir.path().join("back\\slash"), "").unwrap();
        assert!(
            matches!(project_files(dir.path()), Err(FolderError::Path(place, _)) if place.ends_with("back\\slash"))
        );
        assert!(matches!(project_files(&dir.path().join("none")), Err(FolderError::Read(..))));
    }

    #[cfg(unix)]
    #[test]
    fn rejects_symlinks_and_sockets() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("node_modules")).unwrap();
        assert_eq!(project_files(dir.path()).unwrap(), []);
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        assert!(matches!(project_files(dir.path()), Err(FolderError::Symlink(place)) if place.ends_with("link")));
        std::fs::remove_file(dir.path().join("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        assert!(matches!(project_files(dir.path()), Err(FolderError::Special(place)) if place.ends_with("socket")));
    }
}
