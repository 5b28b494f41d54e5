//! Saves the core's state (the table and the known revision) across restarts, in one file of the state directory.

use std::io::{self, Read, Write};

use sync_core::{Saved, SavedError};

use super::private_dir::PrivateDir;

/// The largest state that is read, in bytes. 100,000 paths of usual length are a tenth of it.
const MAX_STATE: u64 = 256 << 20;
const NAME: &str = "state";
const TEMPORARY_NAME: &str = "state.next";

/// The file that has the state.
#[derive(Debug, Clone)]
pub struct StateFile(PrivateDir);

/// Why a saved state cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StateError {
    #[error("cannot read the file `state` in STATE_DIR")]
    Read(#[source] io::Error),
    #[error("the file `state` in STATE_DIR is not usable")]
    Unusable(#[source] SavedError),
}

impl StateFile {
    /// The state file in `state_dir`.
    pub fn in_dir(state_dir: PrivateDir) -> StateFile {
        StateFile(state_dir)
    }

    /// The state that an earlier agent of this project saved; `None` where there is none.
    ///
    /// # Errors
    /// A damaged state, another project's state, and a file that cannot be read. The agent then starts without it.
    pub fn load(&self, project_id: &str) -> Result<Option<Saved>, StateError> {
        let Some(file) = self.0.open_file(NAME).map_err(StateError::Read)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(MAX_STATE.saturating_add(1)).read_to_end(&mut bytes).map_err(StateError::Read)?;
        if bytes.len() as u64 > MAX_STATE {
            return Err(StateError::Read(io::Error::other(format!("it is larger than {MAX_STATE} bytes"))));
        }
        Saved::decode(&bytes, project_id).map(Some).map_err(StateError::Unusable)
    }

    /// Replaces the saved state, completely or not at all.
    ///
    /// # Errors
    /// What the disk returns.
    pub fn save(&self, saved: &Saved) -> io::Result<()> {
        let mut file = self.0.create_temporary(TEMPORARY_NAME)?;
        file.write_all(saved.encode().as_bytes())?;
        // The directory may survive a crash of the machine: a name without its content would be a damaged state.
        file.sync_data()?;
        self.0.rename(TEMPORARY_NAME, NAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_what_it_saved_and_refuses_other_states() {
        let temp = tempfile::tempdir().unwrap();
        let state = StateFile::in_dir(PrivateDir::open_path(temp.path()).unwrap());
        assert!(state.load("p").unwrap().is_none());
        let saved = Saved { project_id: "p".into(), revision: 3, rows: Vec::new(), local: Vec::new() };
        state.save(&saved).unwrap();
        assert_eq!(state.load("p").unwrap(), Some(saved));
        assert!(matches!(state.load("q"), Err(StateError::Unusable(_))));
        std::fs::write(temp.path().join(NAME), "nonsense").unwrap();
        assert!(matches!(state.load("p"), Err(StateError::Unusable(_))));
    }

    #[test]
    fn a_link_in_place_of_the_state_is_neither_read_nor_written_through() {
        let temp = tempfile::tempdir().unwrap();
        let (victim, dir) = (temp.path().join("victim"), temp.path().join("dir"));
        std::fs::write(&victim, "safe").unwrap();
        let state = StateFile::in_dir(PrivateDir::open_path(&dir).unwrap());
        for name in [NAME, TEMPORARY_NAME] {
            std::os::unix::fs::symlink(&victim, dir.join(name)).unwrap();
        }
        assert!(matches!(state.load("p"), Err(StateError::Read(_))));
        let saved = Saved { project_id: "p".into(), revision: 3, rows: Vec::new(), local: Vec::new() };
        state.save(&saved).unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "safe");
        assert_eq!(state.load("p").unwrap(), Some(saved));
    }
}
