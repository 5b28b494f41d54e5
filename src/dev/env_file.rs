use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use local_backend::Backend;

/// A file of `NAME=value` lines for an editor, readable by its owner alone, for as long as the backend runs.
pub struct EnvFile(PathBuf);

impl EnvFile {
    /// Writes it, in place of an older one.
    pub fn write(path: &Path, backend: &Backend) -> io::Result<EnvFile> {
        let mut file = tempfile::NamedTempFile::new_in(
            path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new(".")),
        )?;
        let session = backend.agent_settings();
        writeln!(file, "PROJECT_ID={}", session.project_id)?;
        writeln!(file, "SUPABASE_URL={}", session.supabase_url)?;
        writeln!(file, "SUPABASE_ANON_KEY={}", session.anon_key)?;
        writeln!(file, "EDITOR_TOKEN={}", backend.editor_token())?;
        file.persist(path)?;
        Ok(EnvFile(path.into()))
    }

    /// Removes it.
    pub fn remove(self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(event_type = "env_file_left", "cannot remove {}: {error}", self.0.display());
        }
    }
}
