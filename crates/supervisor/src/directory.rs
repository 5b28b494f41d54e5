//! Directories that are held open, and what is done in them by name.
//!
//! A project's own code can replace any file or directory of the project by a link at any moment. So a directory is
//! reached only from an open directory above it, one name at a time and never through a link, and what is done there is
//! done relative to the handle.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::process::ProjectUser;
use crate::tree_walk;

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    handle: OwnedFd,
    /// For messages only: the directory may have been moved since.
    path: PathBuf,
    /// The user that the files in it belong to, where that is another one than the agent.
    owner: Option<ProjectUser>,
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe them")]
pub enum ReadError {
    #[error("cannot read {}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is not a regular file; replace it by one", .path.display())]
    NotRegular { path: PathBuf },
    #[error("{} is larger than {max} bytes", .path.display())]
    TooLarge { path: PathBuf, max: u64 },
    #[error("{} belongs to another user than the project's", .path.display())]
    ForeignOwner { path: PathBuf },
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Directory {
    /// Opens a directory by its path. Links in the path are followed, so its parents must be out of the reach of the
    /// project's code.
    ///
    /// # Errors
    /// What the system returns, for example where there is no such directory.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Directory> {
        let path = path.into();
        let handle = openat(CWD, &path, DIRECTORY, Mode::empty())?;
        Ok(Directory { handle, path, owner: None })
    }

    /// From now on, files that belong to neither this user nor the agent are not read, here and in the directories that
    /// are opened from here.
    pub(crate) fn owned_by(mut self, user: Option<&ProjectUser>) -> Directory {
        self.owner = user.cloned();
        self
    }

    /// Opens a directory below this one. No link is followed. `.` parts are ignored.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a path with `..` or one that is absolute; `ENOTDIR` or `ELOOP` where a link or
    /// a file is in the way; otherwise what the system returns.
    pub fn open_below(&self, relative: impl AsRef<Path>) -> io::Result<Directory> {
        let mut below = self.try_clone()?;
        for part in relative.as_ref().components() {
            match part {
                Component::CurDir => {}
                Component::Normal(name) => {
                    below.handle = openat(&below.handle, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
                    below.path.push(name);
                }
                _ => return Err(io::ErrorKind::InvalidInput.into()),
            }
        }
        Ok(below)
    }

    /// Another handle of the same directory.
    ///
    /// # Errors
    /// What the system returns where there are too many open files.
    pub fn try_clone(&self) -> io::Result<Directory> {
        Ok(Directory { handle: self.handle.try_clone()?, path: self.path.clone(), owner: self.owner.clone() })
    }

    /// Where the directory was when it was opened, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What `name` is; none where there is nothing. A link is a link.
    pub fn kind(&self, name: impl AsRef<OsStr>) -> Option<FileType> {
        let stat = statat(&self.handle, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(FileType::from_raw_mode(stat.st_mode))
    }

    /// Whether `name` is a regular file.
    pub fn has_file(&self, name: &str) -> bool {
        self.kind(name) == Some(FileType::RegularFile)
    }

    /// Whether `name` is a directory.
    pub fn has_directory(&self, name: &str) -> bool {
        self.kind(name) == Some(FileType::Directory)
    }

    /// Reads a file that the project's own code may have replaced: a link is not followed, a pipe is not waited for,
    /// and at most `max` bytes are read. None where there is no file.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let path = || self.path.join(name);
        let failed = |source| ReadError::Io { path: path(), source };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.handle, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            // LOOP: it is a link. NXIO: it is a socket.
            Err(Errno::LOOP | Errno::NXIO) => return Err(ReadError::NotRegular { path: path() }),
            Err(error) => return Err(failed(error.into())),
        };
        let stat = fstat(&file).map_err(|error| failed(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(ReadError::NotRegular { path: path() });
        }
        if let Some(owner) = &self.owner
            && stat.st_uid != owner.uid().as_raw()
            // The agent's own, unless it is another name of a file elsewhere.
            && (stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_nlink > 1)
        {
            return Err(ReadError::ForeignOwner { path: path() });
        }
        let mut bytes = Vec::new();
        file.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > max {
            return Err(ReadError::TooLarge { path: path(), max });
        }
        Ok(Some(bytes))
    }

    /// Makes a directory that only its owner may use, and opens it.
    pub(crate) fn create(&self, name: &str) -> io::Result<Directory> {
        mkdirat(&self.handle, name, Mode::RWXU)?;
        self.open_below(name)
    }

    /// Makes a directory with the usual permissions.
    pub(crate) fn create_public(&self, name: &str) -> io::Result<()> {
        Ok(mkdirat(&self.handle, name, Mode::from_raw_mode(0o755))?)
    }

    /// Makes a file that was not there before.
    pub(crate) fn write_new(&self, name: &str, bytes: &[u8]) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.handle, name, flags, Mode::from_raw_mode(0o644))?);
        file.write_all(bytes)?;
        Ok(file)
    }

    pub(crate) fn rename(&self, from: &str, to: &Directory, name: &str) -> io::Result<()> {
        Ok(renameat(&self.handle, from, &to.handle, name)?)
    }

    pub(crate) fn remove_empty_directory(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.handle, name, AtFlags::REMOVEDIR)?)
    }

    /// Removes `name` and everything below it.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        tree_walk::remove_tree(&self.handle, name)
    }

    /// The names in the directory that are text and begin with `start`.
    pub(crate) fn names_with(&self, start: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.handle)? {
            if let Ok(name) = entry?.file_name().to_str()
                && name.starts_with(start)
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn link_or_parent_in_the_way_is_refused() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(root.path().join("real/app")).expect("made");
        symlink("real", root.path().join("link")).expect("linked");
        let dir = Directory::open(root.path()).expect("opened");
        assert!(dir.open_below("./real/app").is_ok());
        for refused in ["link", "link/app", "real/../real", "/etc", "missing"] {
            assert!(dir.open_below(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let root = tempfile::tempdir().expect("a directory");
        fs::write(root.path().join("file"), "12345").expect("written");
        symlink("file", root.path().join("link")).expect("linked");
        rustix::fs::mkfifoat(CWD, root.path().join("pipe"), Mode::RUSR | Mode::WUSR).expect("made");
        let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).expect("bound");
        let dir = Directory::open(root.path()).expect("opened");
        assert_eq!(dir.read("file", 5).expect("read"), Some(b"12345".to_vec()));
        assert_eq!(dir.read("missing", 5).expect("nothing"), None);
        assert!(matches!(dir.read("file", 4), Err(ReadError::TooLarge { max: 4, .. })));
        for name in ["link", "pipe", "socket"] {
            assert!(matches!(dir.read(name, 5), Err(ReadError::NotRegular { .. })), "{name}");
        }
    }

    #[test]
    fn other_name_of_a_foreign_file_is_not_read() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().expect("a directory");
        let user = ProjectUser::parse("4321").expect("a user");
        fs::write(root.path().join("secret"), "secret").expect("written");
        fs::write(root.path().join("own"), "own").expect("written");
        fs::hard_link(root.path().join("secret"), root.path().join("name")).expect("linked");
        let dir = Directory::open(root.path()).expect("opened").owned_by(Some(&user));
        assert!(dir.read("own", 10).expect("read").is_some());
        assert!(matches!(dir.read("name", 10), Err(ReadError::ForeignOwner { .. })));
        assert_eq!(fs::metadata(root.path().join("secret")).expect("a file").uid(), 0);
    }
}
