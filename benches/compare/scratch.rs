//! Where the contenders write.

use std::path::{Path, PathBuf};

/// The filesystems that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// `/dev/shm`.
    Tmpfs,
    /// Where this benchmark was built.
    Disk,
}

impl Place {
    pub fn name(self) -> &'static str {
        match self {
            Place::Tmpfs => "tmpfs",
            Place::Disk => "disk",
        }
    }

    fn path(self) -> PathBuf {
        match self {
            Place::Tmpfs if Path::new("/dev/shm").is_dir() => "/dev/shm".into(),
            Place::Tmpfs => std::env::temp_dir(),
            Place::Disk => env!("CARGO_TARGET_TMPDIR").into(),
        }
    }

    /// An empty directory there.
    pub fn dir(self) -> tempfile::TempDir {
        let path = self.path();
        tempfile::tempdir_in(&path).unwrap_or_else(|error| panic!("no directory in {}: {error}", path.display()))
    }

    /// Lets what was written before reach the disk, so that it does not hold up what comes next.
    pub fn settle(self) {
        if self == Place::Disk
            && let Ok(dir) = std::fs::File::open(self.path())
        {
            // Where that cannot be done the figures are noisier, not wrong.
            let _ = rustix::fs::syncfs(&dir);
        }
    }

    /// The filesystem's kind as the system's list of mounts has it.
    pub fn kind(self) -> String {
        let path = self.path().canonicalize().unwrap_or_else(|_| self.path());
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let mounts = mounts.lines().filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (at, kind) = (words.next()?, words.next()?);
            path.starts_with(at).then_some((at.len(), kind))
        });
        mounts.max_by_key(|(length, _)| *length).map_or("unknown", |(_, kind)| kind).to_owned()
    }
}
