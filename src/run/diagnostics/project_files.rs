//! Reads source files of the project, which its own code may replace by links at any moment.

use std::path::{Path, PathBuf};

use diagnostics::ProjectRoot;
use supervisor::directory::Directory;

/// The largest source file of which a frame is shown, in bytes.
const MAX_SOURCE: u64 = 1 << 20;

/// Where a document of the project's own usually lies.
const INDEX_DIRS: [&str; 6] = ["", "frontend/", "client/", "web/", "app/", "src/"];

/// The project's directory, for reading single files.
#[derive(Debug)]
pub(super) struct ProjectFiles {
    dir: PathBuf,
    /// `dir` with a `/` at its end.
    prefix: String,
    root: ProjectRoot,
    /// Where package.json lies, where the operator said so.
    app_dir: Option<String>,
}

impl ProjectFiles {
    /// `dir` is absolute.
    pub(super) fn new(dir: PathBuf, app_dir: Option<&Path>) -> ProjectFiles {
        let spelled = |dir: &Path| dir.to_string_lossy().into_owned();
        let real = dir.canonicalize().unwrap_or_else(|_| dir.clone());
        let root = ProjectRoot::new([spelled(&dir), spelled(&real)]);
        let prefix = format!("{}/", spelled(&real).trim_end_matches('/'));
        let app_dir = app_dir.map(|app_dir| format!("{}/", spelled(app_dir).trim_end_matches('/')));
        ProjectFiles { dir, prefix, root, app_dir }
    }

    /// Paths of the project in texts.
    pub(super) fn root(&self) -> &ProjectRoot {
        &self.root
    }

    /// The absolute path without symlinks, with a `/` at its end.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether the project has an `index.html` that a dev server can serve.
    pub(super) fn has_index_html(&self) -> bool {
        self.served_file("index.html").is_some()
    }

    /// The file that a dev server serves at `path` below its root: the first of those that exist.
    pub(super) fn served_file(&self, path: &str) -> Option<String> {
        let dirs = self.app_dir.as_deref().into_iter().chain(INDEX_DIRS);
        dirs.map(|dir| format!("{dir}{path}")).find(|path| self.exists(path))
    }

    /// The text of a regular file below the project; no link is followed.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let (parent, name) = split(path)?;
        let directory = Directory::open(&self.dir).ok()?.open_below(parent).ok()?;
        let bytes = directory.read(name, MAX_SOURCE).ok()??;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether there is a regular file.
    pub(super) fn exists(&self, path: &str) -> bool {
        let Some((parent, name)) = split(path) else { return false };
        let directory = Directory::open(&self.dir).and_then(|dir| dir.open_below(parent));
        directory.is_ok_and(|directory| directory.has_file(name))
    }
}

fn split(path: &str) -> Option<(&Path, &str)> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_name = !name.is_empty() && name != "." && name != "..";
    is_name.then_some((Path::new(parent), name))
}
