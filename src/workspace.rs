//! The only place that writes the project.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sync_core::StageId;

/// Files that were downloaded and verified, waiting to be renamed into the project.
#[derive(Debug)]
pub struct Stage {
    dir: PathBuf,
    next: AtomicU64,
    files: Mutex<BTreeMap<StageId, PathBuf>>,
}

impl Stage {
    /// Opens (and empties) the staging directory below `dir`.
    pub fn open(dir: &Path) -> io::Result<Stage> {
        std::fs::create_dir_all(dir)?;
        Ok(Stage { dir: dir.to_owned(), next: AtomicU64::new(0), files: Mutex::default() })
    }

    /// A new empty file; the id is what the core will be told once its content is verified.
    pub fn create(&self) -> io::Result<(StageId, std::fs::File)> {
        let id = StageId(self.next.fetch_add(1, Ordering::Relaxed));
        let path = self.dir.join(format!("asset-{}", id.0));
        let file = std::fs::File::create_new(&path)?;
        self.files.lock().expect("no panic while held").insert(id, path);
        Ok((id, file))
    }

    /// Forgets and removes a staged file.
    pub fn discard(&self, id: StageId) {
        if let Some(path) = self.files.lock().expect("no panic while held").remove(&id) {
            // What cannot be removed now goes when the stage is next opened.
            let _ = std::fs::remove_file(path);
        }
    }
}
