use std::io;
use std::path::PathBuf;

use rustix::fs::{fchown, fstat};

use super::work_dir::{open_state, remove_in_background, remove_leftovers, set_aside};
use super::{InstallError, TREE, TreeOrigin, io_error};
use crate::dependencies::KEY_FILE;
use crate::directory::Directory;
use crate::process::ProjectUser;
use crate::tree_walk::own_tree;

/// A tree that is ready; [`InstalledTree::place`] moves it into the project.
#[derive(Debug)]
pub struct InstalledTree {
    pub(super) root: Directory,
    pub(super) key: String,
    pub(super) tree: NewTree,
    pub(super) state_dir: PathBuf,
    pub(super) user: Option<ProjectUser>,
    /// Where the tree comes from.
    pub origin: TreeOrigin,
}

/// Where a new tree is.
#[derive(Debug)]
pub(super) enum NewTree {
    /// In its place already.
    InPlace,
    /// In this directory, from which it can be renamed.
    Beside(Directory),
}

impl InstalledTree {
    /// Renames the new tree into the project and writes its key. What it replaces is removed in the background.
    ///
    /// # Errors
    /// What moving, giving away or writing returned. The tree that was there before is there again.
    pub async fn place(self) -> Result<(), InstallError> {
        let state = open_state(&self.state_dir)?;
        let holder = match &self.tree {
            NewTree::Beside(dir) => dir,
            NewTree::InPlace => &self.root,
        };
        let path = holder.path().join(TREE);
        // A project with optional dependencies only may have no tree.
        if holder.kind(TREE).is_none() {
            holder.create_public(TREE).map_err(io_error("make", &path))?;
        }
        // Not through a link: the project's code may have put one there.
        let tree = holder.open_below(TREE).map_err(io_error("open", &path))?;
        if let NewTree::InPlace = self.tree {
            // Made from the packages that were there before.
            remove_in_background(&tree, ".vite").await;
        }
        if let Some(user) = &self.user {
            give_tree(&tree, user).map_err(io_error("give to the project's user", &path))?;
        }
        write_key(&tree, &self.key, self.user.as_ref()).map_err(io_error("write the key of", &path))?;
        if let NewTree::Beside(dir) = &self.tree {
            let aside = set_aside(&self.root, &state);
            let renamed = dir.rename(TREE, &self.root, TREE);
            if let (Err(_), Some(aside)) = (&renamed, aside) {
                let path = state.path().join(&aside);
                state.rename(&aside, &self.root, TREE).map_err(io_error("put back", &path))?;
            }
            renamed.map_err(io_error("move into the project", &path))?;
        }
        remove_leftovers(&state);
        Ok(())
    }
}

/// What the package manager made is the user's already. A prepared tree is root's.
fn give_tree(tree: &Directory, user: &ProjectUser) -> io::Result<()> {
    match fstat(tree)?.st_uid == user.uid().as_raw() {
        true => Ok(()),
        false => own_tree(tree, user.uid(), user.gid()),
    }
}

/// The old key is removed and not written over: it may be a link.
fn write_key(tree: &Directory, key: &str, user: Option<&ProjectUser>) -> io::Result<()> {
    tree.remove(KEY_FILE)?;
    let file = tree.write_new(KEY_FILE, key.as_bytes())?;
    if let Some(user) = user {
        fchown(&file, Some(user.uid()), Some(user.gid()))?;
    }
    Ok(())
}

/// Removes the key of the tree in `root`, where there is a tree.
pub(super) fn remove_key(root: &Directory) -> Result<(), InstallError> {
    let failed = io_error("remove the key of", &root.path().join(TREE));
    match root.open_below(TREE) {
        Ok(tree) => tree.remove(KEY_FILE).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
