use std::io;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, MetadataExt};

use super::install::TREE;

/// A tree that an image brought along for one key.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) dir: Dir,
    pub(super) path: PathBuf,
}

impl Prepared {
    /// The tree for `key`, where there is one.
    pub(super) fn find(prepared_dir: &Path, key: &str) -> Option<Prepared> {
        let path = prepared_dir.join(key);
        let dir = Dir::open_ambient_dir(&path, ambient_authority()).ok()?;
        dir.is_dir(TREE).then_some(Prepared { dir, path })
    }

    /// Whether the tree itself can be moved. A fresh directory beside it says nothing: an overlay moves that, and refuses
    /// a directory of the image's own layers; and whoever is not its owner moves neither.
    pub(super) fn is_movable(&self) -> bool {
        let aside = "node_modules.taken";
        let moved = self.dir.rename(TREE, &self.dir, aside).is_ok();
        moved && self.dir.rename(aside, &self.dir, TREE).is_ok()
    }

    /// Copies the tree into `to`, where nothing stands in its place: files with their modes, links as they are.
    ///
    /// # Errors
    /// What reading or writing gives; half a tree may then stand there.
    pub(super) fn copy_into(&self, to: &Dir) -> io::Result<()> {
        copy_dir(&self.dir, Path::new(TREE), to)
    }
}

fn copy_dir(from: &Dir, name: &Path, to: &Dir) -> io::Result<()> {
    let source = from.open_dir(name)?;
    to.create_dir_with(name, DirBuilder::new().mode(source.dir_metadata()?.mode() & 0o777))?;
    let target = to.open_dir(name)?;
    for entry in source.entries()? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let name = Path::new(&name);
        if kind.is_dir() {
            copy_dir(&source, name, &target)?;
        } else if kind.is_symlink() {
            target.symlink_contents(source.read_link_contents(name)?, name)?;
        } else {
            source.copy(name, &target, name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_copy_has_the_same_files_modes_and_links() {
        let image = tempfile::tempdir().expect("a directory");
        let bin = image.path().join("key/node_modules/.bin");
        fs::create_dir_all(&bin).expect("made");
        fs::create_dir_all(image.path().join("key/node_modules/a")).expect("made");
        fs::write(image.path().join("key/node_modules/a/cli.js"), "run").expect("written");
        fs::set_permissions(image.path().join("key/node_modules/a/cli.js"), fs::Permissions::from_mode(0o755))
            .expect("set");
        symlink("../a/cli.js", bin.join("a")).expect("linked");
        symlink("/nowhere", bin.join("dangling")).expect("linked");

        assert!(Prepared::find(image.path(), "other").is_none());
        let prepared = Prepared::find(image.path(), "key").expect("a tree");
        assert!(prepared.is_movable() && image.path().join("key/node_modules").is_dir());
        let project = tempfile::tempdir().expect("a directory");
        prepared.copy_into(&Dir::open_ambient_dir(project.path(), ambient_authority()).expect("open")).expect("copied");

        let copy = project.path().join("node_modules");
        assert_eq!(fs::read_to_string(copy.join(".bin/a")).expect("through the link"), "run");
        assert_eq!(fs::read_link(copy.join(".bin/dangling")).expect("a link"), Path::new("/nowhere"));
        assert_eq!(fs::metadata(copy.join("a/cli.js")).expect("a file").permissions().mode() & 0o777, 0o755);
    }
}
