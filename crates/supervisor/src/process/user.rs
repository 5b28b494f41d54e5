use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;
use rustix::process::{Gid, Uid};

/// The system's users by name.
const PASSWD: &str = "/etc/passwd";

/// The unprivileged user that the project's code runs as, and that the project's files belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectUser {
    uid: Uid,
    gid: Gid,
    home: Option<PathBuf>,
}

/// Why a text does not name a user that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// Neither a name of `/etc/passwd` nor a number.
    #[error("user {name:?} not found in {PASSWD}")]
    Unknown {
        /// The text that was given.
        name: String,
    },
    /// The project's code never runs as root.
    #[error("{name:?} is root; name an unprivileged user")]
    Root {
        /// The text that was given.
        name: String,
    },
}

impl ProjectUser {
    /// Understands a name of `/etc/passwd`, `UID` and `UID:GID`. A number needs no entry there; its group is then the same
    /// number.
    ///
    /// # Errors
    /// A name that is not there, and root under any name.
    pub fn parse(text: &str) -> Result<ProjectUser, UserError> {
        // An image need not have the file.
        ProjectUser::look_up(text, &std::fs::read_to_string(PASSWD).unwrap_or_default())
    }

    fn look_up(text: &str, passwd: &str) -> Result<ProjectUser, UserError> {
        let (name, group) = text.split_once(':').map_or((text, None), |(name, group)| (name, Some(group)));
        let entries = passwd.lines().filter_map(Entry::read);
        let entry = entries.into_iter().find(|entry| entry.name == name || name.parse() == Ok(entry.uid));
        let unknown = || UserError::Unknown { name: text.to_owned() };
        let uid = entry.as_ref().map(|entry| entry.uid).or(name.parse().ok()).ok_or_else(unknown)?;
        let gid = match group {
            Some(group) => group.parse().map_err(|_| unknown())?,
            None => entry.as_ref().map_or(uid, |entry| entry.gid),
        };
        // For the system, all bits set means: leave it as it is.
        if [uid, gid].contains(&u32::MAX) {
            return Err(unknown());
        }
        if uid == 0 || gid == 0 {
            return Err(UserError::Root { name: text.to_owned() });
        }
        let home = entry.map(|entry| PathBuf::from(entry.home)).filter(|home| home.is_absolute());
        Ok(ProjectUser { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid), home })
    }

    /// The user's number.
    pub fn uid(&self) -> Uid {
        self.uid
    }

    /// The number of the user's group.
    pub fn gid(&self) -> Gid {
        self.gid
    }

    /// The user's home directory, where it exists and belongs to the user.
    pub fn home(&self) -> Option<&Path> {
        use std::os::unix::fs::MetadataExt;
        let home = self.home.as_deref()?;
        home.metadata().is_ok_and(|found| found.is_dir() && found.uid() == self.uid.as_raw()).then_some(home)
    }

    /// Gives an open directory to the user. It may be one that is open for lookups only.
    ///
    /// # Errors
    /// What the system returns.
    pub fn own_dir(&self, dir: impl std::os::fd::AsFd) -> io::Result<()> {
        Ok(rustix::fs::chownat(dir, ".", Some(self.uid), Some(self.gid), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Gives an open file to the user.
    ///
    /// # Errors
    /// What the system returns.
    pub fn own(&self, file: impl std::os::fd::AsFd) -> io::Result<()> {
        Ok(rustix::fs::fchown(file, Some(self.uid), Some(self.gid))?)
    }
}

/// The fields of a line of `/etc/passwd` that are used.
struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Entry<'a> {
    fn read(line: &'a str) -> Option<Entry<'a>> {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
        Some(Entry { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\nbroken\n";

    fn found(text: &str) -> Result<(u32, u32, Option<PathBuf>), UserError> {
        let user = ProjectUser::look_up(text, USERS)?;
        Ok((user.uid.as_raw(), user.gid.as_raw(), user.home))
    }

    #[test]
    fn name_number_and_two_numbers_are_understood() {
        let node = Ok((1000, 1001, Some("/home/node".into())));
        assert_eq!(found("node"), node);
        assert_eq!(found("1000"), node);
        assert_eq!(found("1000:7"), Ok((1000, 7, Some("/home/node".into()))));
        assert_eq!(found("65534"), Ok((65534, 65534, None)));
    }

    #[test]
    fn root_and_unknown_users_are_refused() {
        for root in ["root", "0", "0:5", "1000:0"] {
            assert!(matches!(found(root), Err(UserError::Root { .. })), "{root}");
        }
        for unknown in ["vite", "", "1000:staff", "4294967295", "-1"] {
            assert!(matches!(found(unknown), Err(UserError::Unknown { .. })), "{unknown}");
        }
    }
}
