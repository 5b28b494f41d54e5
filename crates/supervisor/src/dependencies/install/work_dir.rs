//! The agent's own directory, as far as installs use it: new trees, and old ones until they are removed.

use std::path::Path;

use super::{InstallError, TREE, io_error};
use crate::directory::Directory;

/// The start of all names that installs use there.
const WORK: &str = "install-";
/// A directory that is renamed to find out whether renaming works.
const PROBE: &str = ".preview-probe";

pub(super) fn open_state(path: &Path) -> Result<Directory, InstallError> {
    let failed = io_error("open", path);
    std::fs::create_dir_all(path).map_err(&failed)?;
    Directory::open(path).map_err(failed)
}

/// A name that was not used before.
pub(super) fn work_name() -> String {
    format!("{WORK}{}", uuid::Uuid::new_v4().simple())
}

/// Moves the tree of `root` to the agent's directory, and returns its name there. None where there is no tree, or it
/// cannot be moved there.
pub(super) fn set_aside(root: &Directory, state: &Directory) -> Option<String> {
    let name = work_name();
    root.rename(TREE, state, &name).ok().map(|()| name)
}

/// Removes what earlier jobs left, in the background. What is made from now on stays.
pub(super) fn remove_leftovers(state: &Directory) {
    let (Ok(names), Ok(state)) = (state.names_with(WORK), state.try_clone()) else { return };
    tokio::spawn(async move {
        for name in names {
            remove_in_background(&state, &name).await;
        }
    });
}

/// Removes a tree on its own thread: it may have tens of thousands of files.
pub(super) async fn remove_in_background(dir: &Directory, name: &str) {
    let Ok(dir) = dir.try_clone() else { return };
    let name = name.to_owned();
    let removed = tokio::task::spawn_blocking(move || dir.remove(&name).map_err(|error| (name, error))).await;
    // It is removed at the next start, or takes space only. A panic was printed by its thread.
    if let Ok(Err((name, error))) = removed {
        tracing::debug!(%error, "cannot remove {name} of an earlier install");
    }
}

/// Whether a directory can be renamed from one directory to another. Only a try tells.
pub(super) fn can_be_renamed(from: &Directory, to: &Directory) -> bool {
    // No dev server watches `node_modules`, so the try is made there where it can be.
    let inside = to.open_below(TREE);
    let to = inside.as_ref().unwrap_or(to);
    // Both may be left from a start that was interrupted. An empty directory can be renamed over an empty one.
    let _ = from.create_public(PROBE);
    let renamed = from.rename(PROBE, to, PROBE).is_ok();
    // If this fails, an empty directory stays.
    let _ = if renamed { to.remove_empty_directory(PROBE) } else { from.remove_empty_directory(PROBE) };
    renamed
}
