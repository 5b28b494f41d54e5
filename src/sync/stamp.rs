//! What shows, without reading it, that a file was changed.

use rustix::fs::Stat;

/// Inode, size and times of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Fits no file.
    pub const UNKNOWN: Stamp = Stamp { inode: 0, size: 0, modified: (0, 0), changed: (0, 0) };

    /// Of a file as the system describes it.
    #[allow(clippy::unnecessary_cast, reason = "the fields differ in size and sign from system to system")]
    pub fn of(stat: &Stat) -> Stamp {
        Stamp {
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The stamp after a rename, which changes the time of the change on some filesystems; `self`, which then fits
    /// nothing, where somebody wrote in between.
    pub fn renamed(self, after: Stamp) -> Stamp {
        let untouched = Stamp { changed: after.changed, ..self } == after;
        if untouched { after } else { self }
    }
}
