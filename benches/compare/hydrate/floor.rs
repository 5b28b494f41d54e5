//! The least that a hydration can be: the bytes are there, and are hashed, written and renamed.

use std::collections::BTreeSet;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use sha2::{Digest, Sha256};

use crate::agent;
use crate::content::File;
use crate::measured::Measured;

pub fn one_thread(files: &[File], dir: &Path) -> Measured {
    with_threads(1, files, dir)
}

pub fn all_cores(files: &[File], dir: &Path) -> Measured {
    with_threads(std::thread::available_parallelism().map_or(1, |cores| cores.get()), files, dir)
}

fn with_threads(threads: usize, files: &[File], dir: &Path) -> Measured {
    let (project, stage) = (agent::project(dir), dir.join("stage"));
    let started = Instant::now();
    fs::create_dir(&stage).expect("a directory");
    let parents: BTreeSet<_> = files.iter().filter_map(|file| Path::new(&file.path).parent()).collect();
    for parent in parents {
        fs::create_dir_all(project.join(parent)).expect("a directory");
    }
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(at) else { return };
            black_box(Sha256::digest(&file.bytes));
            let staged = stage.join(at.to_string());
            fs::write(&staged, &file.bytes).expect("a file");
            fs::rename(&staged, project.join(&file.path)).expect("its place");
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    Measured { seconds: started.elapsed().as_secs_f64(), peak: None }
}
