//! What outlives the agent: the table and the known revision, in one file of the state directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sync_core::{Saved, SavedError};

/// A state larger than this is none of ours: 100,000 paths of ordinary length are a tenth of it.
const MAX_STATE: u64 = 256 << 20;

/// The file that the table is kept in.
#[derive(Debug, Clone)]
pub struct StateFile(PathBuf);

/// Why there is no state to start from.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read.
    #[error("cannot read {path}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is not a state of this project.
    #[error("cannot use {path}", path = .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: SavedError,
    },
}

impl StateFile {
    /// The state kept in `state_dir`.
    pub fn in_dir(state_dir: &Path) -> StateFile {
        StateFile(state_dir.join("state"))
    }

    /// What an earlier agent of this project left; none where there was none.
    ///
    /// # Errors
    /// A damaged state, another project's, one that cannot be read: the start is a fresh one then.
    pub fn load(&self, project_id: &str) -> Result<Option<Saved>, StateError> {
        let read = |source| StateError::Read { path: self.0.clone(), source };
        let bytes = match fs::metadata(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(metadata) if metadata.len() > MAX_STATE => {
                return Err(read(io::Error::other(format!("it is larger than {MAX_STATE} bytes"))));
            }
            _ => fs::read(&self.0).map_err(read)?,
        };
        let saved = Saved::decode(&bytes, project_id);
        saved.map(Some).map_err(|source| StateError::Unusable { path: self.0.clone(), source })
    }

    /// Puts a new state in the place of the old one, whole or not at all.
    ///
    /// # Errors
    /// The disk's.
    pub fn save(&self, saved: &Saved) -> io::Result<()> {
        let next = self.0.with_extension("next");
        let mut file = create_private(&next)?;
        file.write_all(saved.encode().as_bytes())?;
        // The directory may outlive the machine: a name without its content would be a damaged state.
        file.sync_data()?;
        fs::rename(&next, &self.0)
    }
}

/// An empty file that nobody else can read: the project's code can pass through the state directory.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_it_is_given_and_refuses_the_rest() {
        let temp = tempfile::tempdir().unwrap();
        let state = StateFile::in_dir(temp.path());
        assert!(state.load("p").unwrap().is_none());
        let saved = Saved { project_id: "p".into(), revision: 3, rows: Vec::new(), local: Vec::new() };
        state.save(&saved).unwrap();
        assert_eq!(state.load("p").unwrap(), Some(saved));
        assert!(matches!(state.load("q"), Err(StateError::Unusable { .. })));
        fs::write(temp.path().join("state"), "nonsense").unwrap();
        assert!(matches!(state.load("p"), Err(StateError::Unusable { .. })));
    }
}
