//! Checks that the project's user cannot replace the directories that the agent uses by their path.
//!
//! Who owns a directory, or may write to it, can rename what is in it and put something else there. So where the project's
//! code runs as another user, that user may change no directory on the way to `PROJECT_DIR`, `STATE_DIR` and
//! `PREPARED_DIR`, up to the root. Links on the way are resolved here, and the way to their target is checked too.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use supervisor::process::ProjectUser;

/// Links that are resolved in one path: the bound of Linux.
const MAX_LINKS: usize = 40;

/// A directory that the agent uses by its path.
#[derive(Debug, Clone, Copy)]
pub struct UsedPath<'a> {
    /// The setting that names it, for the message.
    pub setting: &'static str,
    /// An absolute path. It need not exist.
    pub path: &'a Path,
    /// Whose the directory itself is.
    pub owner: Owner,
}

/// Whose a directory is meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The agent's: it is checked like those above it.
    Agent,
    /// The project user's: only those above it are checked. It must not be a link.
    ProjectUser,
}

/// Why a path is refused.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum UntrustedPath {
    #[error("{setting}: {} belongs to the project's user ({uid}), who could replace {}; make root its owner", .directory.display(), .path.display())]
    Owned { setting: &'static str, path: PathBuf, directory: PathBuf, uid: u32 },
    #[error("{setting}: {} is writable by the project's user ({uid}), who could replace {}; remove the write permission", .directory.display(), .path.display())]
    Writable { setting: &'static str, path: PathBuf, directory: PathBuf, uid: u32 },
    #[error("{setting}: {} is a symbolic link; set the path that it leads to", .path.display())]
    Link { setting: &'static str, path: PathBuf },
    #[error("{setting}: {} has too many symbolic links", .path.display())]
    TooManyLinks { setting: &'static str, path: PathBuf },
    #[error("{setting}: cannot check {}", .directory.display())]
    Unreadable { setting: &'static str, directory: PathBuf, source: io::Error },
}

/// Checks every path. To be called before the first of them is used, and again once they exist.
///
/// # Errors
/// The first directory that `user` could replace.
pub fn check(paths: &[UsedPath<'_>], user: &ProjectUser) -> Result<(), UntrustedPath> {
    paths.iter().try_for_each(|used| Check { used, user }.run())
}

struct Check<'a> {
    used: &'a UsedPath<'a>,
    user: &'a ProjectUser,
}

impl Check<'_> {
    fn run(&self) -> Result<(), UntrustedPath> {
        let mut directory = PathBuf::from("/");
        let mut rest: VecDeque<OsString> = names(self.used.path).collect();
        let mut links = 0_usize;
        loop {
            let access = self.access(&directory)?;
            self.refuse_open(&directory, access)?;
            let Some(name) = rest.pop_front() else { return Ok(()) };
            if name == OsStr::new("..") {
                directory.pop();
                continue;
            }
            let next = directory.join(&name);
            let is_users = rest.is_empty() && self.used.owner == Owner::ProjectUser;
            // What belongs to the user can be replaced in a sticky directory too.
            if is_users && access == Access::Sticky {
                return Err(self.writable(&directory));
            }
            let Some(stat) = self.stat(&next)? else { return Ok(()) };
            if access == Access::Sticky && stat.st_uid == self.user.uid().as_raw() {
                return Err(self.owned(&next));
            }
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink if is_users => return Err(self.link()),
                FileType::Symlink => {
                    links = links.saturating_add(1);
                    if links > MAX_LINKS {
                        return Err(self.too_many_links());
                    }
                    let target = std::fs::read_link(&next).map_err(|source| self.unreadable(&next, source))?;
                    if target.is_absolute() {
                        directory = PathBuf::from("/");
                    }
                    for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                        rest.push_front(name);
                    }
                }
                _ if is_users => return Ok(()),
                _ => directory = next,
            }
        }
    }

    /// What the project's user may do in `directory`.
    fn access(&self, directory: &Path) -> Result<Access, UntrustedPath> {
        let Some(stat) = self.stat(directory)? else { return Ok(Access::None) };
        if stat.st_uid == self.user.uid().as_raw() {
            return Ok(Access::Owner);
        }
        #[allow(clippy::unnecessary_cast, reason = "a mode has 16 bits on some systems")]
        let mode = stat.st_mode as u32;
        let in_group = stat.st_gid == self.user.gid().as_raw() || has_access_list(directory);
        if mode & 0o002 == 0 && !(in_group && mode & 0o020 != 0) {
            return Ok(Access::None);
        }
        Ok(if mode & 0o1000 != 0 { Access::Sticky } else { Access::Write })
    }

    fn refuse_open(&self, directory: &Path, access: Access) -> Result<(), UntrustedPath> {
        match access {
            Access::None | Access::Sticky => Ok(()),
            Access::Owner => Err(self.owned(directory)),
            Access::Write => Err(self.writable(directory)),
        }
    }

    fn stat(&self, path: &Path) -> Result<Option<Stat>, UntrustedPath> {
        match rustix::fs::lstat(path) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(self.unreadable(path, error.into())),
        }
    }

    fn owned(&self, directory: &Path) -> UntrustedPath {
        let UsedPath { setting, path, .. } = *self.used;
        let uid = self.user.uid().as_raw();
        UntrustedPath::Owned { setting, path: path.to_owned(), directory: directory.to_owned(), uid }
    }

    fn writable(&self, directory: &Path) -> UntrustedPath {
        let UsedPath { setting, path, .. } = *self.used;
        let uid = self.user.uid().as_raw();
        UntrustedPath::Writable { setting, path: path.to_owned(), directory: directory.to_owned(), uid }
    }

    fn link(&self) -> UntrustedPath {
        UntrustedPath::Link { setting: self.used.setting, path: self.used.path.to_owned() }
    }

    fn too_many_links(&self) -> UntrustedPath {
        UntrustedPath::TooManyLinks { setting: self.used.setting, path: self.used.path.to_owned() }
    }

    fn unreadable(&self, directory: &Path, source: io::Error) -> UntrustedPath {
        UntrustedPath::Unreadable { setting: self.used.setting, directory: directory.to_owned(), source }
    }
}

/// What the project's user may do in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Nothing that changes it.
    None,
    /// Create entries, and replace those that belong to the user.
    Sticky,
    /// Replace every entry.
    Write,
    /// Everything: it belongs to the user.
    Owner,
}

/// The parts of a path, without `/` and `.`.
fn names(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// Whether a directory has an access control list. Its group bits are then the most that any entry of the list allows.
#[cfg(target_os = "linux")]
fn has_access_list(directory: &Path) -> bool {
    let mut none: [u8; 0] = [];
    rustix::fs::lgetxattr(directory, c"system.posix_acl_access", &mut none).is_ok_and(|length| length > 0)
}

#[cfg(not(target_os = "linux"))]
fn has_access_list(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, create_dir_all, set_permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    const UID: u32 = 4321;
    const GID: u32 = 4322;

    /// The tests need root to give files away.
    fn root() -> Option<(tempfile::TempDir, ProjectUser)> {
        let temp = tempfile::tempdir().unwrap();
        let is_root = rustix::process::geteuid().is_root();
        is_root.then(|| (temp, ProjectUser::parse(&format!("{UID}:{GID}")).unwrap()))
    }

    fn result(path: &Path, owner: Owner, user: &ProjectUser) -> Result<(), String> {
        check(&[UsedPath { setting: "DIR", path, owner }], user).map_err(|error| error.to_string())
    }

    fn mode(path: &Path, mode: u32) {
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn parents_that_the_user_can_change_are_refused() {
        let Some((temp, user)) = root() else { return };
        let app = temp.path().join("app");
        let deep = app.join("a/b/state");
        create_dir_all(&deep).unwrap();
        assert_eq!(result(&deep, Owner::Agent, &user), Ok(()));
        assert_eq!(result(&app.join("missing/too"), Owner::Agent, &user), Ok(()));

        let refused = |what: &str| {
            for (path, owner) in [(&deep, Owner::Agent), (&deep, Owner::ProjectUser)] {
                let error = result(path, owner, &user).unwrap_err();
                assert!(error.contains(&format!("{} ", app.display())) && error.contains(what), "{error}");
            }
        };
        chown(&app, Some(UID), None).unwrap();
        refused("belongs to");
        chown(&app, Some(0), Some(GID)).unwrap();
        mode(&app, 0o775);
        refused("writable by");
        mode(&app, 0o755);
        assert_eq!(result(&deep, Owner::Agent, &user), Ok(()), "the group may only read");
        chown(&app, Some(0), Some(0)).unwrap();
        mode(&app, 0o775);
        assert_eq!(result(&deep, Owner::Agent, &user), Ok(()), "another group may write");
        mode(&app, 0o777);
        refused("writable by");
    }

    #[test]
    fn in_a_sticky_directory_only_what_belongs_to_the_user_can_be_replaced() {
        let Some((temp, user)) = root() else { return };
        let shared = temp.path().join("tmp");
        let state = shared.join("state");
        create_dir_all(&state).unwrap();
        mode(&shared, 0o1777);
        assert_eq!(result(&state, Owner::Agent, &user), Ok(()));
        assert!(result(&state, Owner::ProjectUser, &user).is_err(), "the project's own directory can be replaced");
        assert!(result(&shared.join("new"), Owner::ProjectUser, &user).is_err());
        chown(&state, Some(UID), None).unwrap();
        assert!(result(&state, Owner::Agent, &user).is_err());
        assert!(result(&state.join("below"), Owner::Agent, &user).is_err());
    }

    #[test]
    fn the_directory_itself_is_the_agents_or_the_users() {
        let Some((temp, user)) = root() else { return };
        let dir = temp.path().join("dir");
        create_dir(&dir).unwrap();
        chown(&dir, Some(UID), None).unwrap();
        assert_eq!(result(&dir, Owner::ProjectUser, &user), Ok(()));
        assert!(result(&dir, Owner::Agent, &user).is_err());
    }

    #[test]
    fn the_way_to_the_target_of_a_link_is_checked() {
        let Some((temp, user)) = root() else { return };
        let (theirs, ours) = (temp.path().join("theirs"), temp.path().join("ours"));
        create_dir_all(theirs.join("state")).unwrap();
        create_dir_all(ours.join("state")).unwrap();
        chown(&theirs, Some(UID), None).unwrap();
        let link = temp.path().join("link");
        symlink(&ours, &link).unwrap();
        assert_eq!(result(&link.join("state"), Owner::Agent, &user), Ok(()));
        assert_eq!(result(&link.join("state"), Owner::ProjectUser, &user), Ok(()));
        let error = result(&link, Owner::ProjectUser, &user).unwrap_err();
        assert!(error.contains("symbolic link"), "{error}");
        std::fs::remove_file(&link).unwrap();
        symlink("ours/../theirs/state", &link).unwrap();
        let error = result(&link, Owner::Agent, &user).unwrap_err();
        assert!(error.contains(&theirs.display().to_string()), "{error}");
        std::fs::remove_file(&link).unwrap();
        symlink("link", &link).unwrap();
        let error = result(&link.join("x"), Owner::Agent, &user).unwrap_err();
        assert!(error.contains("too many"), "{error}");
    }
}
