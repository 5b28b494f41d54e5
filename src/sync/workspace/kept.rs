//! Reads the files of a kept directory, to compare them with the saved state.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::{ContentHash, HydratedFile, ProjectPath, Saved};

use super::Workspace;
use super::hashing::{self, Cancel};
use crate::sync::files::{FileStamp, MAX_FILE};

/// Bytes that are read of files whose size the saved state does not give. Files beyond it count as changed. It is the bound
/// of a snapshot's files.
const MAX_UNKNOWN_BYTES: u64 = 1 << 30;

impl Workspace {
    /// The files of an earlier agent of this project that still exist, with the hash of their present content.
    ///
    /// The project's own code may have replaced them by files of any size. So a file is read only where its size is the one
    /// in `saved`; files that have no size there, and recorded local changes, are read up to [`MAX_FILE`] each and
    /// [`MAX_UNKNOWN_BYTES`] together. Any other file gets a hash that no row has. After `cancel` the list is of no use.
    pub fn owned_files(&mut self, saved: &Saved, cancel: &Cancel) -> Vec<HydratedFile> {
        let sizes: BTreeMap<_, _> = saved.rows.iter().map(|row| (row.path.as_str(), row.size)).collect();
        let local: BTreeSet<_> = saved.local.iter().map(|local| local.path.as_str()).collect();
        let mut unknown_left = MAX_UNKNOWN_BYTES;
        let mut files = Vec::new();
        let paths: Vec<_> = self.owned.iter().cloned().collect();
        for path in paths {
            if cancel.is_cancelled() {
                break;
            }
            let expected = sizes.get(path.as_str()).copied().flatten();
            let is_local = local.contains(path.as_str());
            let wanted = |size| match expected {
                Some(expected) if expected == size => true,
                Some(_) if !is_local => false,
                _ if size > MAX_FILE.min(unknown_left) => false,
                _ => {
                    unknown_left = unknown_left.saturating_sub(size);
                    true
                }
            };
            match self.read_owned(&path, wanted, cancel) {
                Some((file, stamp)) => {
                    self.stamps.put(path, stamp, file.hash);
                    files.push(file);
                }
                None => self.stamps.put_missing(path),
            }
        }
        files
    }

    /// The file at `path`; `None` where it does not exist or cannot be read. Its content is read only where its size is
    /// `wanted`.
    fn read_owned(
        &self,
        path: &ProjectPath,
        wanted: impl FnOnce(u64) -> bool,
        cancel: &Cancel,
    ) -> Option<(HydratedFile, FileStamp)> {
        let (mut file, stat) = self.open_file(path).ok()?;
        let stamp = FileStamp::of(&stat);
        let size = stamp.size();
        let hash: ContentHash =
            if wanted(size) { hashing::hash_file(&mut file, cancel).ok()?? } else { hashing::too_large(size) };
        Some((HydratedFile { path: path.clone(), version: None, hash, size }, stamp))
    }
}
