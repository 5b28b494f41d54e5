//! The developer's folder.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata, OpenOptions, Permissions};
use sync_core::{ContentHash, ProjectPath};

use crate::sync::folder::{EntryType, TEMPORARY_PREFIX, is_project_file};

/// The largest file of a project in bytes: a snapshot cannot contain a larger one.
pub const MAX_FILE: u64 = 50 * 1024 * 1024;

/// The developer's folder. Nothing outside of it is read or written, and no symbolic link is followed.
#[derive(Debug)]
pub struct Folder {
    root: Dir,
    path: PathBuf,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathState {
    /// A file, to be read.
    File,
    /// A directory, to be listed.
    Directory,
    /// Nothing, or nothing that belongs to the project.
    Nothing,
    /// A file above [`MAX_FILE`], of so many bytes.
    TooLarge(u64),
    /// A symbolic link, a socket or the like.
    Special,
}

/// The content of a file, with the stamp that shows whether it has changed since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The whole content.
    pub bytes: Vec<u8>,
    /// The hash of `bytes`.
    pub hash: ContentHash,
    stamp: Stamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp { size: metadata.len(), modified: metadata.modified().ok().map(|time| time.into_std()) }
    }
}

/// The project's directories and files below a directory, in the order of their paths.
#[derive(Debug, Default)]
pub struct Listing {
    /// The directories, the one asked for included; `""` is the folder itself.
    pub directories: Vec<String>,
    /// The files, whatever their size.
    pub files: Vec<String>,
    /// The entries that cannot be in the project.
    pub refused: Vec<RefusedEntry>,
}

/// An entry that cannot be in the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedEntry {
    /// Its path, relative to the folder.
    pub path: String,
    /// The reason.
    pub error: String,
}

/// How a write ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The new content was written.
    Yes,
    /// The file was changed meanwhile; nothing was written.
    ChangedMeanwhile,
}

impl Folder {
    /// Opens `path`, which must be a directory.
    pub fn open(path: &Path) -> io::Result<Folder> {
        let path = path.canonicalize()?;
        Ok(Folder { root: Dir::open_ambient_dir(&path, ambient_authority())?, path })
    }

    /// The folder's path: absolute, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `path` (absolute, as the system reports changes) as the project spells it: `None` outside of the folder, for
    /// what does not belong to the project, and for a name that is not UTF-8.
    pub fn relative(&self, path: &Path) -> Option<String> {
        let relative = path.strip_prefix(&self.path).ok()?.to_str()?.to_owned();
        (relative.is_empty() || is_project_file(&relative, EntryType::File)).then_some(relative)
    }

    /// What is at `path`.
    ///
    /// # Errors
    /// The path cannot be read, or leads through a symbolic link.
    pub fn state_of(&self, path: &str) -> io::Result<PathState> {
        if path.is_empty() {
            return Ok(PathState::Directory);
        }
        if !is_project_file(path, EntryType::File) {
            return Ok(PathState::Nothing);
        }
        match self.metadata(path) {
            Ok(found) if found.is_file() && found.len() > MAX_FILE => Ok(PathState::TooLarge(found.len())),
            Ok(found) if found.is_file() => Ok(PathState::File),
            Ok(found) if found.is_dir() && !is_project_file(path, EntryType::Directory) => Ok(PathState::Nothing),
            Ok(found) if found.is_dir() => Ok(PathState::Directory),
            Ok(_) => Ok(PathState::Special),
            Err(error) if is_absent(&error) => Ok(PathState::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Lists `directory` and everything below it.
    pub fn list(&self, directory: &str) -> io::Result<Listing> {
        let mut listing = Listing::default();
        let mut open = vec![directory.to_owned()];
        while let Some(directory) = open.pop() {
            match self.list_one(&directory, &mut listing, &mut open) {
                Err(error) if is_absent(&error) => {} // gone since its parent was read
                Err(error) if directory.is_empty() => return Err(error),
                Err(error) => listing.refused.push(RefusedEntry { path: directory, error: error.to_string() }),
                Ok(()) => listing.directories.push(directory),
            }
        }
        listing.directories.sort();
        listing.files.sort();
        Ok(listing)
    }

    fn list_one(&self, directory: &str, listing: &mut Listing, open: &mut Vec<String>) -> io::Result<()> {
        for entry in self.root.read_dir(if directory.is_empty() { "." } else { directory })? {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                let shown = format!("{directory}/{}", entry.file_name().to_string_lossy());
                listing.refused.push(RefusedEntry { path: shown, error: "its name is not UTF-8".into() });
                continue;
            };
            let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            let kind = entry.file_type()?;
            let entry_type = if kind.is_file() { EntryType::File } else { EntryType::Directory };
            if !is_project_file(&path, entry_type) {
                continue;
            }
            if let Err(error) = ProjectPath::parse(&path) {
                listing.refused.push(RefusedEntry { path, error: error.to_string() });
            } else if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                listing.files.push(path);
            } else {
                let error = "it is neither a file nor a directory".into();
                listing.refused.push(RefusedEntry { path, error });
            }
        }
        Ok(())
    }

    /// The content of the file at `path`. `None` where there is no file.
    ///
    /// # Errors
    /// It cannot be read, is not a file, or is larger than [`MAX_FILE`].
    pub fn read(&self, path: &str) -> io::Result<Option<Content>> {
        match self.state_of(path)? {
            PathState::File => {}
            PathState::TooLarge(size) => return Err(io::Error::other(too_large(size))),
            PathState::Directory | PathState::Special => return Err(io::Error::other("it is not a file")),
            PathState::Nothing => return Ok(None),
        }
        let file = match self.root.open(path) {
            Err(error) if is_absent(&error) => return Ok(None),
            other => other?,
        };
        // Before the content: a write while it is read then shows as a change.
        let stamp = Stamp::of(&file.metadata()?);
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(io::Error::other(too_large(bytes.len() as u64)));
        }
        Ok(Some(Content { hash: ContentHash::of(&bytes), bytes, stamp }))
    }

    /// Writes `bytes` to `path` in one step, if the file is still `before`. Its permissions stay the same.
    ///
    /// # Errors
    /// The file cannot be written or renamed.
    pub fn replace(&self, path: &ProjectPath, bytes: &[u8], before: Option<&Content>) -> io::Result<Replaced> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if let Some(parent) = path.parent() {
            self.root.create_dir_all(parent)?;
        }
        let permissions = before.and(self.metadata(path.as_str()).ok()).map(|found| found.permissions());
        let name = format!("{TEMPORARY_PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let temporary = path.parent().map_or(name.clone(), |parent| format!("{parent}/{name}"));
        let replaced = self.write_new(&temporary, bytes, permissions).and_then(|()| {
            if self.stamp(path.as_str())?.as_ref() != before.map(|content| &content.stamp) {
                return Ok(Replaced::ChangedMeanwhile);
            }
            self.root.rename(&temporary, &self.root, path.as_str())?;
            Ok(Replaced::Yes)
        });
        if !matches!(replaced, Ok(Replaced::Yes)) {
            // The result is that of the write; the watcher ignores a leftover.
            let _ = self.root.remove_file(&temporary);
        }
        replaced
    }

    /// Removes the file at `path`, if it is still `before`, and the directories that are empty then.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(&self, path: &ProjectPath, before: &Content) -> io::Result<Replaced> {
        if self.stamp(path.as_str())?.as_ref() != Some(&before.stamp) {
            return Ok(Replaced::ChangedMeanwhile);
        }
        self.root.remove_file(path.as_str())?;
        let mut above = path.parent();
        while let Some(directory) = above {
            // Usually the directory is not empty. An empty directory that stays does no harm.
            if self.root.remove_dir(directory).is_err() {
                break;
            }
            above = directory.rsplit_once('/').map(|(above, _)| above);
        }
        Ok(Replaced::Yes)
    }

    fn write_new(&self, path: &str, bytes: &[u8], permissions: Option<Permissions>) -> io::Result<()> {
        let mut file = self.root.open_with(path, OpenOptions::new().write(true).create_new(true))?;
        file.write_all(bytes)?;
        if let Some(permissions) = permissions {
            file.set_permissions(permissions)?;
        }
        Ok(())
    }

    fn stamp(&self, path: &str) -> io::Result<Option<Stamp>> {
        match self.metadata(path) {
            Ok(found) if found.is_file() => Ok(Some(Stamp::of(&found))),
            Ok(_) => Err(io::Error::other("it is not a file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The metadata of the path itself. A symbolic link on the way is an error: its target is not in the project.
    fn metadata(&self, path: &str) -> io::Result<Metadata> {
        for above in path.match_indices('/').filter_map(|(end, _)| path.get(..end)) {
            if self.root.symlink_metadata(above)?.is_symlink() {
                return Err(io::Error::other(format!("{above} is a symbolic link")));
            }
        }
        self.root.symlink_metadata(path)
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn too_large(size: u64) -> String {
    format!("{size} bytes are more than {MAX_FILE}")
}
