//! The local backend, in this process.

use std::ops::Deref;

use local_backend::{Backend, BackendOptions, SeedFile};
use tokio::runtime::{Builder, Runtime};

use crate::content::File;

/// A backend with a thread of its own.
pub struct Served {
    backend: Backend,
    runtime: Runtime,
}

impl Served {
    /// With these files from the start.
    pub fn start(files: Vec<File>) -> Served {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let files = files.into_iter().map(|file| SeedFile { path: file.path, bytes: file.bytes }).collect();
        let backend =
            runtime.block_on(Backend::start(BackendOptions { files, ..BackendOptions::default() })).expect("a backend");
        Served { backend, runtime }
    }

    pub fn stop(self) {
        self.runtime.block_on(self.backend.stop());
    }
}

impl Deref for Served {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        &self.backend
    }
}
