//! Types that several parts of `sync` share: how a file is recognised without reading it, and what a snapshot's
//! extraction left in the stage.

use cap_std::fs::Dir;
use rustix::fs::Stat;
use supervisor::process::ProjectUser;
use sync_core::{ContentHash, ProjectPath, Version};

use super::file_modes::FolderModes;

/// The largest file of a project, in bytes. Supabase storage accepts 50 MB unless a project is configured for more.
pub const MAX_FILE: u64 = 256 << 20;

/// Inode, size and times of a file. A different stamp means that the file may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// Equal to the stamp of no existing file.
    pub const UNKNOWN: FileStamp = FileStamp { inode: 0, size: 0, modified: (0, 0), changed: (0, 0) };

    /// The stamp in a result of `stat`.
    #[allow(clippy::unnecessary_cast, reason = "the fields differ in size and sign from system to system")]
    pub fn of(stat: &Stat) -> FileStamp {
        FileStamp {
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    /// The file's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The stamp to remember after a rename, which sets the change time on some filesystems. Where more than that time
    /// differs, the file was written in between: then this returns `self`, which does not match the file.
    pub fn renamed(self, after: FileStamp) -> FileStamp {
        let untouched = FileStamp { changed: after.changed, ..self } == after;
        if untouched { after } else { self }
    }
}

/// A file of a snapshot that was extracted into the stage and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtractedFile {
    /// Relative to the stage's directory, and later to the project.
    pub path: ProjectPath,
    /// From the manifest; `None` without one.
    pub version: Option<Version>,
    /// Computed while the bytes were written, and equal to the manifest's hash.
    pub hash: ContentHash,
    /// In bytes.
    pub size: u64,
    /// Whether the archive marks it as executable, or it is a script. Its mode is set already.
    pub executable: bool,
    /// Its stamp in the stage; `None` where `fstat` failed or the mode was changed afterwards.
    pub stamp: Option<FileStamp>,
}

/// The directory that a snapshot is extracted into.
#[derive(Debug)]
pub struct ExtractDir {
    /// An empty directory. Nothing is written outside of it.
    pub dir: Dir,
    /// The user that gets every file and directory in it; `None`: the agent keeps them.
    pub owner: Option<ProjectUser>,
    /// The folder whose modes the files get.
    pub modes: Option<FolderModes>,
}

impl From<Dir> for ExtractDir {
    fn from(dir: Dir) -> ExtractDir {
        ExtractDir { dir, owner: None, modes: None }
    }
}
