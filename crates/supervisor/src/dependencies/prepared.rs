use std::io;
use std::path::Path;

use rustix::fs::fstat;

use super::install::TREE;
use crate::directory::Directory;
use crate::process::ProjectUser;
use crate::tree_walk::copy_tree;

/// Write permission for everyone.
const OTHERS_WRITE: u32 = 0o002;
/// Write permission for the group.
const GROUP_WRITE: u32 = 0o020;

/// A tree that an image brought along for one key.
#[derive(Debug)]
pub(super) struct PreparedTree {
    /// The directory that holds the tree.
    pub(super) dir: Directory,
    /// The tree itself.
    pub(super) tree: Directory,
}

/// Why a prepared tree is not used.
#[derive(Debug, thiserror::Error)]
pub enum PreparedError {
    #[error("cannot open the prepared dependencies")]
    Open(#[source] io::Error),
    #[error("{path} can be changed by the project's user; it must belong to root")]
    Writable { path: String },
}

impl PreparedTree {
    /// The tree for `key`; none where there is none. No link below `prepared_dir` is followed.
    ///
    /// # Errors
    /// A directory that cannot be opened, a link among them, and one that `user` could have changed.
    pub(super) fn find(
        prepared_dir: &Path,
        key: &str,
        user: Option<&ProjectUser>,
    ) -> Result<Option<PreparedTree>, PreparedError> {
        let root = match Directory::open(prepared_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(PreparedError::Open)?,
        };
        if root.kind(key).is_none() {
            return Ok(None);
        }
        let dir = root.open_below(key).map_err(PreparedError::Open)?;
        if dir.kind(TREE).is_none() {
            return Ok(None);
        }
        let tree = dir.open_below(TREE).map_err(PreparedError::Open)?;
        for directory in [&root, &dir, &tree] {
            check_owner(directory, user)?;
        }
        Ok(Some(PreparedTree { dir, tree }))
    }

    /// Whether the tree itself can be moved. To move a new directory beside it would prove nothing: an overlay allows
    /// that, and refuses to move a directory of the image's layers. Only the tree's owner may move it.
    pub(super) fn is_movable(&self) -> bool {
        let aside = "node_modules.moved";
        let moved = self.dir.rename(TREE, &self.dir, aside).is_ok();
        moved && self.dir.rename(aside, &self.dir, TREE).is_ok()
    }

    /// Copies the tree to `node_modules` in `to`, which must not exist.
    ///
    /// # Errors
    /// See [`copy_tree`]. Part of the tree may then be there.
    pub(super) fn copy_into(&self, to: &Directory) -> io::Result<()> {
        copy_tree(&self.tree, to, TREE)
    }
}

/// Without another user, all code has the agent's rights anyway.
fn check_owner(dir: &Directory, user: Option<&ProjectUser>) -> Result<(), PreparedError> {
    let Some(user) = user else { return Ok(()) };
    let stat = fstat(dir).map_err(|error| PreparedError::Open(error.into()))?;
    let mode = rustix::fs::Mode::from_raw_mode(stat.st_mode).as_raw_mode();
    let by_group = stat.st_gid == user.gid().as_raw() && mode & GROUP_WRITE != 0;
    if stat.st_uid == user.uid().as_raw() || by_group || mode & OTHERS_WRITE != 0 {
        return Err(PreparedError::Writable { path: dir.path().display().to_string() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn image() -> tempfile::TempDir {
        let image = tempfile::tempdir().expect("a directory");
        fs::set_permissions(image.path(), fs::Permissions::from_mode(0o755)).expect("set");
        fs::create_dir_all(image.path().join("key/node_modules/a")).expect("made");
        fs::write(image.path().join("key/node_modules/a/cli.js"), "run").expect("written");
        image
    }

    #[test]
    fn tree_is_found_by_key_and_copied() {
        let image = image();
        assert!(PreparedTree::find(image.path(), "other", None).expect("no error").is_none());
        assert!(PreparedTree::find(&image.path().join("missing"), "key", None).expect("no error").is_none());
        let prepared = PreparedTree::find(image.path(), "key", None).expect("no error").expect("a tree");
        assert!(prepared.is_movable() && image.path().join("key/node_modules").is_dir());
        let project = tempfile::tempdir().expect("a directory");
        prepared.copy_into(&Directory::open(project.path()).expect("opened")).expect("copied");
        assert_eq!(fs::read_to_string(project.path().join("node_modules/a/cli.js")).expect("a file"), "run");
    }

    #[test]
    fn link_in_place_of_a_tree_is_refused() {
        let image = image();
        symlink(image.path().join("key"), image.path().join("link")).expect("linked");
        fs::create_dir(image.path().join("inner")).expect("made");
        symlink(image.path().join("key/node_modules"), image.path().join("inner/node_modules")).expect("linked");
        for key in ["link", "inner"] {
            assert!(matches!(PreparedTree::find(image.path(), key, None), Err(PreparedError::Open(_))), "{key}");
        }
    }

    #[test]
    fn tree_that_the_user_can_change_is_refused() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let user = ProjectUser::parse("4321").expect("a user");
        let refused = |change: &dyn Fn(&Path)| {
            let image = image();
            assert!(PreparedTree::find(image.path(), "key", Some(&user)).expect("root's").is_some());
            change(image.path());
            matches!(PreparedTree::find(image.path(), "key", Some(&user)), Err(PreparedError::Writable { .. }))
        };
        for path in ["", "key", "key/node_modules"] {
            assert!(refused(&|image| chown(image.join(path), Some(4321), None).expect("given")), "{path}");
            let open = fs::Permissions::from_mode(0o777);
            assert!(refused(&|image| fs::set_permissions(image.join(path), open.clone()).expect("set")), "{path}");
        }
    }
}
