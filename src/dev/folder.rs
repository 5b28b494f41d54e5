use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata, OpenOptions, Permissions};
use sync_core::{ContentHash, ProjectPath};

use crate::sync::folder::{EntryType, TEMPORARY_PREFIX, is_project_file};

/// The largest file that is taken along: a snapshot could not carry more.
pub const MAX_FILE: u64 = 50 * 1024 * 1024;

/// The developer's folder. Nothing outside of it is read or written, and no symbolic link is followed.
#[derive(Debug)]
pub struct Folder {
    root: Dir,
    path: PathBuf,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
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

/// The bytes of a file and what tells that they are still the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// All of them.
    pub bytes: Vec<u8>,
    /// Their hash.
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

/// Everything below a directory that belongs to the project, in the order of the paths.
#[derive(Debug, Default)]
pub struct Listing {
    /// The directories, the one asked for included; `""` is the folder itself.
    pub directories: Vec<String>,
    /// The files, whatever their size.
    pub files: Vec<String>,
    /// What cannot be taken along, and why.
    pub refused: Vec<(String, String)>,
}

/// How a write ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The new content stands there.
    Yes,
    /// What stood there was changed meanwhile, and was left alone.
    ChangedMeanwhile,
}

impl Folder {
    /// Opens `path`, which must be a directory.
    pub fn open(path: &Path) -> io::Result<Folder> {
        let path = path.canonicalize()?;
        Ok(Folder { root: Dir::open_ambient_dir(&path, ambient_authority())?, path })
    }

    /// Where it lies: absolute, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `path` (absolute, as the system reports changes) as the project spells it: `None` outside of the folder, for
    /// what does not belong to the project, and for a name that is no UTF-8.
    pub fn relative(&self, path: &Path) -> Option<String> {
        let relative = path.strip_prefix(&self.path).ok()?.to_str()?.to_owned();
        (relative.is_empty() || is_project_file(&relative, EntryType::File)).then_some(relative)
    }

    /// What stands at `path`.
    pub fn look(&self, path: &str) -> io::Result<Found> {
        if path.is_empty() {
            return Ok(Found::Directory);
        }
        if !is_project_file(path, EntryType::File) {
            return Ok(Found::Nothing);
        }
        match self.metadata(path) {
            Ok(found) if found.is_file() && found.len() > MAX_FILE => Ok(Found::TooLarge(found.len())),
            Ok(found) if found.is_file() => Ok(Found::File),
            Ok(found) if found.is_dir() && !is_project_file(path, EntryType::Directory) => Ok(Found::Nothing),
            Ok(found) if found.is_dir() => Ok(Found::Directory),
            Ok(_) => Ok(Found::Special),
            Err(error) if is_absent(&error) => Ok(Found::Nothing),
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
                Err(error) => listing.refused.push((directory, error.to_string())),
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
                listing.refused.push((shown, "its name is not UTF-8".into()));
                continue;
            };
            let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            let kind = entry.file_type()?;
            let entry_type = if kind.is_file() { EntryType::File } else { EntryType::Directory };
            if !is_project_file(&path, entry_type) {
                continue;
            }
            if let Err(error) = ProjectPath::parse(&path) {
                listing.refused.push((path, error.to_string()));
            } else if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                listing.files.push(path);
            } else {
                listing.refused.push((path, "it is neither a file nor a directory".into()));
            }
        }
        Ok(())
    }

    /// The bytes at `path`, `None` where no file stands.
    pub fn read(&self, path: &str) -> io::Result<Option<Content>> {
        match self.look(path)? {
            Found::File => {}
            Found::TooLarge(size) => return Err(io::Error::other(too_large(size))),
            Found::Directory | Found::Special => return Err(io::Error::other("it is not a file")),
            Found::Nothing => return Ok(None),
        }
        let file = match self.root.open(path) {
            Err(error) if is_absent(&error) => return Ok(None),
            other => other?,
        };
        // Before the bytes: what is written while they are read then shows as a change.
        let stamp = Stamp::of(&file.metadata()?);
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(io::Error::other(too_large(bytes.len() as u64)));
        }
        Ok(Some(Content { hash: ContentHash::of(&bytes), bytes, stamp }))
    }

    /// Puts `bytes` at `path` in one step, if what stands there is still `before`. Whether a file may be executed stays
    /// as it was.
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
            // The outcome to report is that of the write; a leftover is out of the watcher's sight.
            let _ = self.root.remove_file(&temporary);
        }
        replaced
    }

    /// Removes the file at `path`, if it is still `before`, and the directories that this leaves empty.
    pub fn remove(&self, path: &ProjectPath, before: &Content) -> io::Result<Replaced> {
        if self.stamp(path.as_str())?.as_ref() != Some(&before.stamp) {
            return Ok(Replaced::ChangedMeanwhile);
        }
        self.root.remove_file(path.as_str())?;
        let mut above = path.parent();
        while let Some(directory) = above {
            // Not empty is the ordinary end of this; an empty directory that stays harms nobody.
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

    /// Of the path itself. A symbolic link on the way is an error: where it leads is not the project's.
    fn metadata(&self, path: &str) -> io::Result<Metadata> {
        for (end, _) in path.match_indices('/') {
            if self.root.symlink_metadata(&path[..end])?.is_symlink() {
                return Err(io::Error::other(format!("{} is a symbolic link", &path[..end])));
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
