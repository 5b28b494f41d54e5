//! The least that a change can be: written beside its place, and renamed to it.

use std::path::{Path, PathBuf};

pub struct Floor {
    staged: PathBuf,
}

impl Floor {
    pub fn new(dir: &Path) -> Floor {
        Floor { staged: dir.join("staged") }
    }

    pub fn write(&self, place: &Path, text: &str) {
        std::fs::write(&self.staged, text).expect("a file");
        std::fs::rename(&self.staged, place).expect("its place");
    }
}
