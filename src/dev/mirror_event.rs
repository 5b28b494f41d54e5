//! What the mirror reports.

use std::fmt;
use std::sync::Arc;

/// Gets each [`MirrorEvent`]. Called from the mirror's thread.
pub type EventSink = Arc<dyn Fn(MirrorEvent) + Send + Sync>;

/// Something that the mirror did, or could not do. Its text is one line for the developer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorEvent {
    /// Changes in the folder were saved to the backend, as one change.
    Sent {
        /// New or changed files.
        saved: Vec<String>,
        /// Files that are gone.
        deleted: Vec<String>,
    },
    /// A file that was saved through the backend was written to the folder, or removed from it.
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
    /// A file was changed in the folder and through the backend at the same time. The folder's content is kept and saved
    /// as the next version.
    Conflict {
        /// Which file.
        path: String,
        /// The version of the other side.
        version: u64,
        /// Who saved that.
        sender: String,
    },
    /// A file that cannot be saved or written back.
    Refused {
        /// Which file.
        path: String,
        /// Why.
        error: String,
    },
    /// Reports of changes were lost: the whole folder is compared.
    ComparingAll {
        /// Why.
        why: String,
    },
    /// The folder itself was moved or removed. Its changes are no longer seen.
    FolderGone {
        /// Where it was.
        folder: String,
    },
}

impl MirrorEvent {
    /// The event type of its log line.
    pub fn event_type(&self) -> &'static str {
        match self {
            MirrorEvent::Sent { .. } => "dev_saved",
            MirrorEvent::WrittenBack { .. } => "dev_written_back",
            MirrorEvent::Conflict { .. } => "dev_conflict",
            MirrorEvent::Refused { .. } => "dev_left_out",
            MirrorEvent::ComparingAll { .. } => "dev_comparing",
            MirrorEvent::FolderGone { .. } => "dev_folder_gone",
        }
    }
}

/// The most paths that a line names; of more it gives the number.
const MAX_NAMED: usize = 3;

impl fmt::Display for MirrorEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MirrorEvent::Sent { saved, deleted } => match (&saved[..], &deleted[..]) {
                (saved, []) => write!(f, "saved {}", Paths(saved)),
                ([], deleted) => write!(f, "deleted {}", Paths(deleted)),
                (saved, deleted) => write!(f, "saved {}, deleted {}", Paths(saved), Paths(deleted)),
            },
            MirrorEvent::WrittenBack { path, version, sender, deleted: false } => {
                write!(f, "written back {path} (version {version}, saved {})", By(sender))
            }
            MirrorEvent::WrittenBack { path, version, sender, deleted: true } => {
                write!(f, "removed {path} (version {version}, deleted {})", By(sender))
            }
            MirrorEvent::Conflict { path, version, sender } => write!(
                f,
                "conflict in {path}: changed in the folder and {} (version {version}); the folder's content is kept and saved as the next version",
                By(sender)
            ),
            MirrorEvent::Refused { path, error } => write!(f, "left out {path}: {error}"),
            MirrorEvent::ComparingAll { why } => write!(f, "comparing the whole folder again: {why}"),
            MirrorEvent::FolderGone { folder } => {
                write!(f, "{folder} was moved or removed: its changes are no longer seen")
            }
        }
    }
}

/// Who saved it, in words. The id of a person in the database means nothing to the developer.
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
            paths if paths.len() > MAX_NAMED => write!(f, "{} files", paths.len()),
            paths => f.write_str(&paths.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_sender_in_words() {
        let written = |sender: &str| {
            MirrorEvent::WrittenBack { path: "a.txt".into(), version: 3, sender: sender.into(), deleted: false }
                .to_string()
        };
        let editor = written("0b0c7c5e-7d5f-4f38-9a53-0f6f2a3a1d11");
        assert_eq!(editor, "written back a.txt (version 3, saved in the console or another editor)");
        assert_eq!(written("robot"), "written back a.txt (version 3, saved by \"robot\")");
        assert_eq!(written("seed"), "written back a.txt (version 3, saved at the start)");
    }
}
