use std::fmt;
use std::sync::Arc;

/// Where [`News`] goes. Called from the mirror's thread.
pub type Tell = Arc<dyn Fn(News) + Send + Sync>;

/// Something that a developer wants to see. Its text is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Changes of the folder went to the backend as one change.
    Sent {
        /// New or changed files.
        saved: Vec<String>,
        /// Files that are gone.
        deleted: Vec<String>,
    },
    /// A file saved through the backend was put into the folder, or removed from it.
    WrittenBack {
        /// Which file.
        path: String,
        /// Its version.
        version: u64,
        /// Who saved it.
        sender: String,
        /// It was removed.
        deleted: bool,
    },
    /// A file was changed in the folder and through the backend at the same time. The folder's stays and is saved over
    /// the other, which keeps its number among the older versions.
    Conflict {
        /// Which file.
        path: String,
        /// The version of the other side.
        version: u64,
        /// Who saved that.
        sender: String,
    },
    /// A file that cannot be taken along or written back.
    Refused {
        /// Which file.
        path: String,
        /// Why.
        error: String,
    },
    /// Reports of changes were lost, so everything is compared.
    LookingAgain {
        /// Why.
        why: String,
    },
    /// The folder itself was moved or removed. Its changes are no longer seen.
    FolderGone {
        /// Where it was.
        folder: String,
    },
}

impl News {
    /// The event type of its log line.
    pub fn code(&self) -> &'static str {
        match self {
            News::Sent { .. } => "dev_saved",
            News::WrittenBack { .. } => "dev_written_back",
            News::Conflict { .. } => "dev_conflict",
            News::Refused { .. } => "dev_left_out",
            News::LookingAgain { .. } => "dev_comparing",
            News::FolderGone { .. } => "dev_folder_gone",
        }
    }
}

/// Paths that are named one by one; of more only the number is given.
const NAMED: usize = 3;

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            News::Sent { saved, deleted } => match (&saved[..], &deleted[..]) {
                (saved, []) => write!(f, "saved {}", Paths(saved)),
                ([], deleted) => write!(f, "deleted {}", Paths(deleted)),
                (saved, deleted) => write!(f, "saved {}, deleted {}", Paths(saved), Paths(deleted)),
            },
            News::WrittenBack { path, version, sender, deleted: false } => {
                write!(f, "written back {path} (version {version}, saved {})", By(sender))
            }
            News::WrittenBack { path, version, sender, deleted: true } => {
                write!(f, "removed {path} (version {version}, deleted {})", By(sender))
            }
            News::Conflict { path, version, sender } => write!(
                f,
                "conflict in {path}: changed in the folder and {} (version {version}); the folder's is kept and saved over it",
                By(sender)
            ),
            News::Refused { path, error } => write!(f, "left out {path}: {error}"),
            News::LookingAgain { why } => write!(f, "comparing the whole folder again: {why}"),
            News::FolderGone { folder } => write!(f, "{folder} was moved or removed: its changes are no longer seen"),
        }
    }
}

/// Who saved it, in words. The database knows people by their ids, which say nothing to anybody here.
struct By<'a>(&'a str);

impl fmt::Display for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "seed" => f.write_str("at the start"),
            "" | "database" => f.write_str("in the database"),
            sender if uuid::Uuid::parse_str(sender).is_ok() => f.write_str("in the console or another editor"),
            sender => write!(f, "by {sender:?}"),
        }
    }
}

struct Paths<'a>(&'a [String]);

impl fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            paths if paths.len() > NAMED => write!(f, "{} files", paths.len()),
            paths => f.write_str(&paths.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_in_words() {
        let written = |sender: &str| {
            News::WrittenBack { path: "a.txt".into(), version: 3, sender: sender.into(), deleted: false }.to_string()
        };
        let editor = written("0b0c7c5e-7d5f-4f38-9a53-0f6f2a3a1d11");
        assert_eq!(editor, "written back a.txt (version 3, saved in the console or another editor)");
        assert_eq!(written("robot"), "written back a.txt (version 3, saved by \"robot\")");
        assert_eq!(written("seed"), "written back a.txt (version 3, saved at the start)");
    }
}
