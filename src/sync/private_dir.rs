//! Directories that only the agent uses. They are held open, and every name in them is opened relative to the handle and
//! never through a link, so that a directory that is moved or replaced by its path leads nowhere else.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use supervisor::process::ProjectUser;
use supervisor::tree_walk;

/// Opens a directory and no link. `NONBLOCK`: a pipe in its place is not waited for.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
/// Opens a file for reading, and no link.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
/// Creates a file that must not exist.
const NEW_FILE: OFlags = OFlags::RDWR
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);
/// How often a directory is created again that something else replaced at once.
const ATTEMPTS: usize = 8;

/// An open directory that belongs to the agent. Clones share the handle.
#[derive(Debug, Clone)]
pub struct PrivateDir(Arc<OwnedFd>);

impl PrivateDir {
    /// Opens the directory at `path`, which must not be a link, and creates it and those above it where they are missing.
    ///
    /// # Errors
    /// What the system returns.
    pub fn open_path(path: &Path) -> io::Result<PrivateDir> {
        // Without a final slash, which would follow a link.
        let path: std::path::PathBuf = path.components().collect();
        DirBuilder::new().recursive(true).mode(0o755).create(&path)?;
        Ok(PrivateDir(Arc::new(fs::openat(CWD, &path, DIRECTORY, Mode::empty())?)))
    }

    /// Opens the directory `name` in `parent`, and creates it where it is missing.
    ///
    /// # Errors
    /// A link or a file with that name, a directory that another user could change, and what the system returns.
    pub fn open_or_create(parent: impl AsFd, name: &str, mode: u32) -> io::Result<PrivateDir> {
        match fs::mkdirat(&parent, name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let dir = fs::openat(&parent, name, DIRECTORY, Mode::empty())?;
        check_owner(&fs::fstat(&dir)?)?;
        Ok(PrivateDir(Arc::new(dir)))
    }

    /// Removes whatever is at `name` in `parent`, with everything below it, and creates an empty directory there, which
    /// only the agent may enter.
    ///
    /// # Errors
    /// What the system returns, and a parent in which something else keeps taking the name.
    pub fn recreate(parent: impl AsFd, name: &str) -> io::Result<PrivateDir> {
        for _ in 0..ATTEMPTS {
            tree_walk::remove_tree(&parent, name)?;
            match fs::mkdirat(&parent, name, Mode::RWXU) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(error.into()),
            }
            match fs::openat(&parent, name, DIRECTORY, Mode::empty()) {
                Ok(dir) if check_owner(&fs::fstat(&dir)?).is_ok() => return Ok(PrivateDir(Arc::new(dir))),
                // Something was put in its place meanwhile.
                Ok(_) | Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::other(format!("{name} is replaced again and again by another process")))
    }

    /// Sets the mode of the directory.
    ///
    /// # Errors
    /// What the system returns.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        Ok(fs::fchmod(&*self.0, Mode::from_raw_mode(mode))?)
    }

    /// A second handle of the same directory.
    ///
    /// # Errors
    /// What the system returns.
    pub fn try_clone(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// A new file `name`, which must not exist, with `mode`.
    ///
    /// # Errors
    /// What the system returns.
    pub fn create_new(&self, name: &str, mode: u32) -> io::Result<File> {
        Ok(fs::openat(&*self.0, name, NEW_FILE, Mode::from_raw_mode(mode))?.into())
    }

    /// A new file `name` that only the agent may read, in place of what an interrupted agent left under this name.
    ///
    /// # Errors
    /// What the system returns.
    pub fn create_temporary(&self, name: &str) -> io::Result<File> {
        match fs::unlinkat(&*self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            // A directory has the name.
            Err(_) => tree_walk::remove_tree(&*self.0, name)?,
        }
        self.create_new(name, 0o600)
    }

    /// The file `name`, for reading; `None` where there is none.
    ///
    /// # Errors
    /// A link, a directory, a pipe or a device with that name, a file of another user, and what the system returns.
    pub fn open_file(&self, name: &str) -> io::Result<Option<File>> {
        let file = match fs::openat(&*self.0, name, FILE, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened?,
        };
        let stat = fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other(format!("{name} is not a file")));
        }
        check_owner(&stat)?;
        Ok(Some(file.into()))
    }

    /// Gives the file `from` the name `to`, in place of a file that has it.
    ///
    /// # Errors
    /// What the system returns.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(fs::renameat(&*self.0, from, &*self.0, to)?)
    }
}

impl AsFd for PrivateDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Opens the directory `name` in `parent`, and creates it where it is missing. It then belongs to `user`, where one is
/// given.
///
/// # Errors
/// A link or a file with that name, and what the system returns.
pub fn open_or_create_for(user: Option<&ProjectUser>, parent: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    match fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let dir = fs::openat(&parent, name, DIRECTORY, Mode::empty())?;
    user.map_or(Ok(()), |user| user.own_dir(&dir))?;
    Ok(dir)
}

/// Fails for a file or directory that another user could change.
fn check_owner(stat: &Stat) -> io::Result<()> {
    let owner = stat.st_uid;
    if owner == rustix::process::geteuid().as_raw() {
        Ok(())
    } else {
        let text = format!("it belongs to user {owner}, not to the agent");
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn dir() -> (tempfile::TempDir, PrivateDir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = PrivateDir::open_path(&temp.path().join("a/private/")).unwrap();
        (temp, dir)
    }

    fn pipe(path: &Path) {
        let mode = Mode::from_raw_mode(0o666);
        fs::mknodat(CWD, path, FileType::Fifo, mode, 0).unwrap();
    }

    #[test]
    fn a_link_in_place_of_a_temporary_file_is_replaced_and_not_followed() {
        let (temp, dir) = dir();
        let (victim, place) = (temp.path().join("victim"), temp.path().join("a/private/state.next"));
        std::fs::write(&victim, "safe").unwrap();
        symlink(&victim, &place).unwrap();
        dir.create_temporary("state.next").unwrap().write_all(b"state").unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "safe");
        assert_eq!(std::fs::metadata(&place).unwrap().mode() & 0o777, 0o600);
        std::fs::remove_file(&place).unwrap();
        std::fs::create_dir_all(place.join("in/the/way")).unwrap();
        dir.create_temporary("state.next").unwrap();
    }

    #[test]
    fn links_and_pipes_are_not_read() {
        let (temp, dir) = dir();
        let place = |name: &str| temp.path().join("a/private").join(name);
        std::fs::write(place("file"), "x").unwrap();
        symlink(place("file"), place("link")).unwrap();
        pipe(&place("pipe"));
        let mut text = String::new();
        dir.open_file("file").unwrap().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        assert!(dir.open_file("none").unwrap().is_none());
        for name in ["link", "pipe"] {
            assert!(dir.open_file(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_directory_that_was_moved_away_is_still_the_one_used() {
        let (temp, dir) = dir();
        let (path, moved) = (temp.path().join("a/private"), temp.path().join("moved"));
        std::fs::rename(&path, &moved).unwrap();
        symlink("/", &path).unwrap();
        dir.create_new("file", 0o600).unwrap();
        assert!(moved.join("file").exists());
        assert!(PrivateDir::open_path(&path).is_err(), "a link was opened");
    }

    #[test]
    fn recreate_replaces_links_pipes_and_full_directories() {
        let (temp, dir) = dir();
        let place = temp.path().join("a/private/stage");
        symlink("/", &place).unwrap();
        PrivateDir::recreate(&dir, "stage").unwrap();
        std::fs::remove_dir(&place).unwrap();
        pipe(&place);
        PrivateDir::recreate(&dir, "stage").unwrap();
        std::fs::create_dir_all(place.join("x/y")).unwrap();
        let stage = PrivateDir::recreate(&dir, "stage").unwrap();
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);
        assert_eq!(place.metadata().unwrap().mode() & 0o777, 0o700);
        drop(stage);
        symlink("/", temp.path().join("a/private/link")).unwrap();
        assert!(PrivateDir::open_or_create(&dir, "link", 0o700).is_err());
    }
}
