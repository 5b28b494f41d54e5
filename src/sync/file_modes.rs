//! The modes of the project's files. The database has none.

use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt};
use sync_core::ProjectPath;

/// Bits for everybody who may execute the file.
const EXECUTABLE: u32 = 0o111;
/// The mode of a new script.
const SCRIPT: u32 = 0o755;

/// A folder whose files have the modes that the project's files are to have: the developer's, in `dev`.
#[derive(Debug, Clone)]
pub struct FolderModes(Arc<Dir>);

impl FolderModes {
    /// Opens the folder.
    ///
    /// # Errors
    /// It is no directory, or may not be read.
    pub fn open(folder: &Path) -> io::Result<FolderModes> {
        Ok(FolderModes(Arc::new(Dir::open_ambient_dir(folder, ambient_authority())?)))
    }

    /// The permissions of the regular file at `path`. A link is not followed.
    pub fn of(&self, path: &ProjectPath) -> Option<u32> {
        let found = self.0.symlink_metadata(path.as_str()).ok()?;
        found.is_file().then(|| found.mode() & 0o777)
    }
}

/// Whether a new version of a file keeps this mode: a script stays executable, and a private file stays private. Any other
/// file gets the usual mode. A file that its owner cannot read would be of no use to the dev server.
fn is_kept(mode: u32) -> bool {
    let is_private = mode & 0o077 == 0;
    mode & 0o400 != 0 && (mode & EXECUTABLE != 0 || is_private)
}

/// The mode of a file that begins with these bytes and has the mode `found` elsewhere; `None`: the usual one.
pub fn mode_for(found: Option<u32>, beginning: &[u8]) -> Option<u32> {
    let is_script = beginning.starts_with(b"#!");
    match found {
        Some(mode) if is_kept(mode) => Some(if is_script { executable(mode) } else { mode }),
        _ => is_script.then_some(SCRIPT),
    }
}

/// The mode with which everybody who may read the file may execute it.
pub fn executable(mode: u32) -> u32 {
    mode | (mode >> 2) & EXECUTABLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_executable_and_private_files_stay_private() {
        for (found, beginning, mode) in [
            (None, "text", None),
            (Some(0o644), "text", None),
            (Some(0o600), "text", Some(0o600)),
            (Some(0o755), "text", Some(0o755)),
            (Some(0o000), "text", None),
            (None, "#!/bin/sh", Some(0o755)),
            (Some(0o644), "#!/bin/sh", Some(0o755)),
            (Some(0o600), "#!/bin/sh", Some(0o700)),
        ] {
            assert_eq!(mode_for(found, beginning.as_bytes()), mode, "{found:?} {beginning}");
        }
    }

    #[test]
    fn modes_are_those_of_regular_files_in_the_folder() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let temp = tempfile::tempdir().unwrap();
        let private = temp.path().join(".env");
        std::fs::write(&private, "SECRET=1").unwrap();
        std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600)).unwrap();
        symlink(".env", temp.path().join("link")).unwrap();
        let modes = FolderModes::open(temp.path()).unwrap();
        let of = |path: &str| modes.of(&ProjectPath::parse(path).unwrap());
        assert_eq!((of(".env"), of("link"), of("missing")), (Some(0o600), None, None));
    }
}
