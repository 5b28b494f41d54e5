//! Reports of the system about changed files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};
use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher};

/// Linux reports when a writer closes a file. Elsewhere a file counts as complete after some time without events.
const REPORTS_CLOSE: bool = cfg!(any(target_os = "linux", target_os = "android"));
/// inotify watches single directories, so that `node_modules` costs nothing; elsewhere the system watches trees.
const TREES: bool = !REPORTS_CLOSE;

/// What the system reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSignal {
    /// This absolute path exists and is complete, as far as the system reports.
    Present(PathBuf),
    /// It is being written.
    Writing(PathBuf),
    /// It was removed or renamed.
    Gone(PathBuf),
    /// Reports were lost: everything must be compared.
    Lost(String),
}

/// The directories below one root that the system reports on.
#[derive(Debug)]
pub struct Watches {
    watcher: RecommendedWatcher,
    root: PathBuf,
    /// Relative to the root, which is `""`.
    watched: BTreeSet<String>,
}

impl Watches {
    /// Watches `root` (absolute) itself; [`Watches::add`] the directories below it. Each signal goes to `to`.
    pub fn start<T: From<FileSignal> + Send + 'static>(root: &Path, to: Sender<T>) -> notify::Result<Watches> {
        let config = notify::Config::default().with_follow_symlinks(false);
        let report = move |event: notify::Result<notify::Event>| {
            for signal in signals(event) {
                // The receiver is gone while everything is being stopped.
                let _ = to.send(signal.into());
            }
        };
        let watcher = RecommendedWatcher::new(report, config)?;
        let mut watches = Watches { watcher, root: root.into(), watched: BTreeSet::new() };
        watches.watch("")?;
        Ok(watches)
    }

    /// Watches `directory`, and says whether it was not watched before: then it must be listed once more, for what was
    /// put into it meanwhile. One that is gone again is no error.
    pub fn add(&mut self, directory: &str) -> notify::Result<bool> {
        if self.watched.contains(directory) {
            return Ok(false);
        }
        if TREES {
            return Ok(self.watched.insert(directory.into()));
        }
        match self.watch(directory) {
            Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => Ok(false),
            Err(error) => Err(error),
            Ok(()) => Ok(true),
        }
    }

    /// Forgets `path` and every directory below it. Must come before the same directory is added under another name,
    /// since the system knows it by what it is and not by its name.
    pub fn forget(&mut self, path: &str) {
        let below = format!("{path}/");
        let gone: Vec<String> =
            self.watched.range(path.to_owned()..).take_while(|at| at.starts_with(path)).cloned().collect();
        for directory in gone.into_iter().filter(|at| at == path || at.starts_with(&below)) {
            self.watched.remove(&directory);
            if !TREES {
                // An error says that the system has dropped it already.
                let _ = self.watcher.unwatch(&self.root.join(directory));
            }
        }
    }

    fn watch(&mut self, directory: &str) -> notify::Result<()> {
        let mode = if TREES { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        self.watcher.watch(&self.root.join(directory), mode)?;
        self.watched.insert(directory.into());
        Ok(())
    }
}

fn signals(event: notify::Result<notify::Event>) -> Vec<FileSignal> {
    let event = match event {
        Ok(event) => event,
        Err(error) => return vec![FileSignal::Lost(error.to_string())],
    };
    if event.need_rescan() {
        return vec![FileSignal::Lost("more changes at once than the system reports".into())];
    }
    let to_signal: fn(PathBuf) -> FileSignal = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => FileSignal::Present,
        EventKind::Access(_) => return Vec::new(),
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => FileSignal::Gone,
        EventKind::Create(CreateKind::File) | EventKind::Modify(ModifyKind::Data(_)) if REPORTS_CLOSE => {
            FileSignal::Writing
        }
        // Both ends of a rename, which were reported one by one before.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) if REPORTS_CLOSE => return Vec::new(),
        _ => FileSignal::Present,
    };
    event.paths.into_iter().map(to_signal).collect()
}

/// The text of `error`, with what to do about it where that is known.
pub fn explain(error: &notify::Error) -> String {
    match error.kind {
        ErrorKind::MaxFilesWatch => {
            "the system's limit of watched directories is reached: raise fs.inotify.max_user_watches".into()
        }
        _ => error.to_string(),
    }
}
