mod error;
mod package_manager;
mod place;
mod work_dir;

use std::path::PathBuf;
use std::time::Duration;

use sync_core::error_chain;
use tokio::sync::watch;

use super::check::MAX_LOCK;
use super::manager::Manager;
use super::prepared::PreparedTree;
use crate::directory::Directory;
use crate::init::Init;
use crate::process::{Environment, OutputLine, ProjectUser, Stream};
use crate::tree_walk::own_tree;

pub use error::{InstallError, InstallFailure};
pub use place::InstalledTree;

use error::io_error;
use package_manager::PackageManager;
use place::NewTree;
use work_dir::{can_be_renamed, open_state, remove_in_background, remove_leftovers, set_aside, work_name};

/// The directory that an install makes.
pub(super) const TREE: &str = "node_modules";

/// An install that has to be run.
#[derive(Debug)]
pub struct InstallJob {
    /// The directory that gets `node_modules`: the app's, or its workspace's root.
    pub(super) root: Directory,
    pub(super) manager: Manager,
    pub(super) lock: Option<&'static str>,
    pub(super) key: String,
    pub(super) staging: Staging,
}

/// Whether the tree can be made outside of the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Staging {
    /// package.json, lock file and the manager's configuration are enough.
    Possible,
    /// The install needs other files of the project.
    InPlaceOnly,
}

/// What an install uses, and its limits.
#[derive(Debug, Clone)]
pub struct InstallContext {
    /// Runs the package manager.
    pub init: Init,
    /// The agent's own directory, closed to the project's user.
    pub state_dir: PathBuf,
    /// Holds `<key>/node_modules` for some keys.
    pub prepared_dir: Option<PathBuf>,
    /// The package manager's whole environment.
    pub environment: Environment,
    /// The longest time from the start to the end of the job.
    pub deadline: Duration,
    /// Becomes true when the job is to end early.
    pub cancel: watch::Receiver<bool>,
}

/// Where a tree comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeOrigin {
    /// The package manager made it.
    Installed,
    /// It was in [`InstallContext::prepared_dir`].
    Prepared,
}

impl InstallJob {
    /// The package manager's name.
    pub fn manager(&self) -> &'static str {
        self.manager.name()
    }

    /// Names the tree, among the prepared ones too: 64 hexadecimal digits.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether there is a tree, with any key.
    pub fn has_tree(&self) -> bool {
        self.root.has_directory(TREE)
    }

    /// Takes a prepared tree or runs the package manager, whose output goes to `line`. Where there is a tree already, the
    /// new one is made beside it if possible, so that a dev server keeps the old one. To end it early,
    /// [`InstallContext::cancel`] is better than to drop the future: dropped, the package manager is killed, and the next
    /// job removes what is left.
    ///
    /// # Errors
    /// See [`InstallError`]. The tree that was there before is there again.
    pub async fn run(
        self,
        context: &InstallContext,
        mut line: impl FnMut(OutputLine),
    ) -> Result<InstalledTree, InstallError> {
        let state = open_state(&context.state_dir)?;
        remove_leftovers(&state);
        match self.take_prepared(&state, context).await {
            Ok(None) => {}
            Ok(Some(tree)) => return Ok(self.installed(tree, context, TreeOrigin::Prepared)),
            Err(error) => {
                let text = format!("not using the prepared dependencies, installing: {}", error_chain(&error));
                line(OutputLine { stream: Stream::Stderr, text });
            }
        }
        let program = PackageManager::find(&self, context)?;
        let stage_wanted = self.has_tree() || self.manager == Manager::YarnBerry;
        if self.staging == Staging::Possible && stage_wanted && can_be_renamed(&state, &self.root) {
            let stage = self.fill_stage(&state, context.init.user())?;
            program.install(&stage, &mut line).await?;
            return Ok(self.installed(NewTree::Beside(stage), context, TreeOrigin::Installed));
        }
        self.install_in_place(&program, &state, &mut line).await?;
        Ok(self.installed(NewTree::InPlace, context, TreeOrigin::Installed))
    }

    /// A prepared tree stays where it is if it can be renamed from there; else it is copied to a stage; else it is copied
    /// to its place.
    async fn take_prepared(
        &self,
        state: &Directory,
        context: &InstallContext,
    ) -> Result<Option<NewTree>, InstallError> {
        let Some(prepared_dir) = &context.prepared_dir else { return Ok(None) };
        let Some(prepared) = PreparedTree::find(prepared_dir, &self.key, context.init.user())? else { return Ok(None) };
        if prepared.is_movable() && can_be_renamed(&prepared.dir, &self.root) {
            return Ok(Some(NewTree::Beside(prepared.dir)));
        }
        let source = prepared.dir.path().to_owned();
        let failed = io_error("copy the prepared tree of", &source);
        let stage = match can_be_renamed(state, &self.root) {
            true => Some(state.create(&work_name()).map_err(&failed)?),
            false => None,
        };
        if stage.is_none() {
            remove_in_background(&self.root, TREE).await;
        }
        let target = stage.as_ref().unwrap_or(&self.root).try_clone().map_err(&failed)?;
        let copied = tokio::task::spawn_blocking(move || prepared.copy_into(&target)).await?;
        if copied.is_err() && stage.is_none() {
            remove_in_background(&self.root, TREE).await;
        }
        copied.map_err(&failed)?;
        Ok(Some(stage.map_or(NewTree::InPlace, NewTree::Beside)))
    }

    async fn install_in_place(
        &self,
        program: &PackageManager<'_>,
        state: &Directory,
        line: &mut impl FnMut(OutputLine),
    ) -> Result<(), InstallError> {
        let existed = self.has_tree();
        let aside = set_aside(&self.root, state);
        if existed && aside.is_none() {
            // From here on the tree does not match its key.
            place::remove_key(&self.root)?;
        }
        let result = program.install(&self.root, line).await;
        // A partial tree is useless, and in the way of the old one. A rename takes it away at once.
        if result.is_err() && (aside.is_some() || !existed) && set_aside(&self.root, state).is_none() {
            remove_in_background(&self.root, TREE).await;
        }
        if let (Err(_), Some(aside)) = (&result, aside) {
            let path = state.path().join(&aside);
            state.rename(&aside, &self.root, TREE).map_err(io_error("put back", &path))?;
        }
        result
    }

    /// A new directory with package.json, lock file and the manager's configuration and nothing else. It belongs to the
    /// project's user.
    fn fill_stage(&self, state: &Directory, user: Option<&ProjectUser>) -> Result<Directory, InstallError> {
        let name = work_name();
        let path = state.path().join(&name);
        let failed = io_error("fill", &path);
        let stage = state.create(&name).map_err(&failed)?;
        for file in ["package.json", ".npmrc", ".yarnrc", ".yarnrc.yml"].into_iter().chain(self.lock) {
            if let Some(bytes) = self.root.read(file, MAX_LOCK)? {
                stage.write_new(file, &bytes).map_err(&failed)?;
            }
        }
        if let Some(user) = user {
            own_tree(&stage, user.uid(), user.gid()).map_err(io_error("give to the project's user", &path))?;
        }
        Ok(stage)
    }

    fn installed(self, tree: NewTree, context: &InstallContext, origin: TreeOrigin) -> InstalledTree {
        InstalledTree {
            root: self.root,
            key: self.key,
            tree,
            state_dir: context.state_dir.clone(),
            user: context.init.user().cloned(),
            origin,
        }
    }
}
