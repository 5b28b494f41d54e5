use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Most bytes of all objects together.
const MAX_TOTAL: usize = 2 << 30;

/// The objects of storage: `<bucket>/<name>` to bytes.
#[derive(Debug, Default)]
pub struct Objects(Mutex<Held>);

/// Name and size of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    pub name: String,
    /// Bytes.
    pub size: usize,
}

#[derive(Debug, Default)]
struct Held {
    objects: HashMap<String, Bytes>,
    total: usize,
}

/// Storage would hold more than [`MAX_TOTAL`] bytes.
#[derive(Debug, thiserror::Error)]
#[error("the local storage is full: it keeps at most {MAX_TOTAL} bytes")]
pub struct StorageFull;

impl Objects {
    /// Stores an object, in place of an older one of the name.
    pub fn put(&self, name: &str, bytes: Bytes) -> Result<(), StorageFull> {
        let mut held = self.lock();
        let before = held.objects.get(name).map_or(0, Bytes::len);
        let total = held.total.saturating_sub(before).saturating_add(bytes.len());
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

    /// The objects whose names begin with `prefix`, in the order of their names, without it.
    pub fn list(&self, prefix: &str) -> Vec<ObjectInfo> {
        let held = self.lock();
        let listed = held.objects.iter().filter_map(|(name, bytes)| {
            Some(ObjectInfo { name: name.strip_prefix(prefix)?.to_owned(), size: bytes.len() })
        });
        let mut listed: Vec<_> = listed.collect();
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        listed
    }

    /// Removes an object, if it exists.
    pub fn remove(&self, name: &str) {
        let mut held = self.lock();
        if let Some(bytes) = held.objects.remove(name) {
            held.total = held.total.saturating_sub(bytes.len());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
