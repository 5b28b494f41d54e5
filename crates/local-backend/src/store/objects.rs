use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// All bytes of all buckets together.
const MAX_TOTAL: usize = 2 << 30;

/// The objects of storage: `<bucket>/<name>` to bytes.
#[derive(Debug, Default)]
pub struct Objects(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    objects: HashMap<String, Bytes>,
    total: usize,
}

/// Storage holds [`MAX_TOTAL`] bytes already.
#[derive(Debug, thiserror::Error)]
#[error("the local storage is full: more than {MAX_TOTAL} bytes")]
pub struct StorageFull;

impl Objects {
    /// Puts an object in place of what stood there.
    pub fn put(&self, name: &str, bytes: Bytes) -> Result<(), StorageFull> {
        let mut held = self.lock();
        let before = held.objects.get(name).map_or(0, Bytes::len);
        let total = held.total - before + bytes.len();
        if total > MAX_TOTAL {
            return Err(StorageFull);
        }
        held.total = total;
        held.objects.insert(name.into(), bytes);
        Ok(())
    }

    /// The object's bytes.
    pub fn get(&self, name: &str) -> Option<Bytes> {
        self.lock().objects.get(name).cloned()
    }

    /// Names that begin with `prefix`, in order, and sizes.
    pub fn list(&self, prefix: &str) -> Vec<(String, usize)> {
        let held = self.lock();
        let listed = held.objects.iter().filter(|(name, _)| name.starts_with(prefix));
        let mut listed: Vec<_> = listed.map(|(name, bytes)| (name.clone(), bytes.len())).collect();
        listed.sort();
        listed
    }

    /// An object that is not there is gone already.
    pub fn remove(&self, name: &str) {
        let mut held = self.lock();
        if let Some(bytes) = held.objects.remove(name) {
            held.total -= bytes.len();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a binary file's object: bucket, project, hash.
pub fn asset_name(project_id: &str, hash: &str) -> String {
    format!("project-assets/{project_id}/{hash}")
}
