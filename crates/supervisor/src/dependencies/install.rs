mod attempt;
mod error;
mod package_manager;
mod place;
mod report;
mod work_dir;

use std::path::PathBuf;
use std::time::Duration;

use sync_core::error_chain;
use tokio::sync::watch;

use super::KEY_FILE;
use super::candidates::{Candidate, ChosenBy};
use super::check::MAX_LOCK;
use super::manager::{LockUse, Manager, Tool};
use super::prepared::PreparedTree;
use crate::directory::Directory;
use crate::init::Init;
use crate::process::{Environment, OutputLine, ProjectUser, Stream};
use crate::tree_walk::{link_tree, own_tree};

pub use error::{InstallError, InstallFailure};
pub use place::InstalledTree;

use attempt::{Attempt, Next, StartTree};
use error::io_error;
use package_manager::{Outcome, PackageManager, RunFailure};
use place::NewTree;
use work_dir::{can_be_renamed, open_state, remove_in_background, remove_leftovers, set_aside, work_name};

/// The directory that an install makes.
pub(super) const TREE: &str = "node_modules";

/// An install that has to be run.
#[derive(Debug)]
pub struct InstallJob {
    /// The directory that gets `node_modules`: the app's, or its workspace's root.
    pub(super) root: Directory,
    /// The ways to install it, the preferred one first. There is at least one.
    pub(super) ways: Vec<Candidate>,
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
    /// The name of the first package manager that can be run with `environment`; without one, of the preferred one.
    pub fn manager(&self, environment: &Environment) -> &'static str {
        let installed = self.ways.iter().find(|way| way.manager.tool(environment).is_some());
        installed.or(self.ways.first()).map_or(Manager::Npm, |way| way.manager).name()
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
        let tree = self.install(&state, context, &mut line).await?;
        Ok(self.installed(tree, context, TreeOrigin::Installed))
    }

    /// Tries the ways to install, one after the other, until one works or fails for a reason that no other way would
    /// avoid. The log has a warning for each that did not work.
    async fn install(
        &self,
        state: &Directory,
        context: &InstallContext,
        line: &mut impl FnMut(OutputLine),
    ) -> Result<NewTree, InstallError> {
        let deadline = crate::clock::from_now(context.deadline);
        // The first manager that the project asks for and that cannot be run.
        let mut missing: Option<Candidate> = None;
        let mut last_error = None;
        for way in self.ways.iter().copied() {
            let Some(tool) = self.tool(way, context) else {
                if way.chosen_by != ChosenBy::Nothing {
                    let (name, file) = (way.manager.name(), way.asked_for_by());
                    warn(line, format!("{name} is not installed ({file} asks for it): trying another package manager"));
                    missing.get_or_insert(way);
                }
                continue;
            };
            let manager = PackageManager { way, tool, context, deadline };
            match self.install_with(&manager, state, line).await? {
                Ok(tree) => return Ok(tree),
                Err(Ended::TryOther { error, manager_missing }) => {
                    if manager_missing {
                        missing.get_or_insert(way);
                    }
                    last_error = error.or(last_error);
                }
                // Only the manager that the project asks for knows how to read package.json.
                Err(Ended::Final(error)) if error.failure() == InstallFailure::UnsupportedSpecifier => {
                    return Err(missing.map_or(error, manager_missing));
                }
                Err(Ended::Final(error)) => return Err(error),
            }
        }
        Err(match (last_error, missing) {
            (Some(error), _) => error,
            (None, Some(way)) => manager_missing(way),
            (None, None) => InstallError::NpmMissing,
        })
    }

    /// Corepack downloads what it runs, so it is used only for managers that the project asks for.
    fn tool(&self, way: Candidate, context: &InstallContext) -> Option<Tool> {
        let tool = way.manager.tool(&context.environment)?;
        let is_wanted = matches!(tool, Tool::Own(_)) || way.chosen_by != ChosenBy::Nothing;
        is_wanted.then_some(tool)
    }

    /// Runs one manager, in other ways where the first one fails.
    async fn install_with(
        &self,
        manager: &PackageManager<'_>,
        state: &Directory,
        line: &mut impl FnMut(OutputLine),
    ) -> Result<Result<NewTree, Ended>, InstallError> {
        let way = manager.way;
        let stage_wanted = self.has_tree() || way.manager == Manager::YarnBerry;
        let is_staged = self.staging == Staging::Possible && stage_wanted && can_be_renamed(state, &self.root);
        let mut attempt = Attempt::first(way, self.start_tree(way.manager));
        let mut last_error = None;
        loop {
            if way.manager == Manager::YarnBerry && !is_staged && attempt.lock != LockUse::Frozen {
                warn(line, "yarn would write the project's yarn.lock: trying another package manager".to_owned());
                return Ok(Err(Ended::TryOther { error: last_error, manager_missing: false }));
            }
            let failed = match is_staged {
                true => self.install_staged(manager, attempt, state, line).await?,
                false => self.install_in_place(manager, attempt, state, line).await?,
            };
            let failed = match failed {
                Ok(tree) => return Ok(Ok(tree)),
                Err(failed) => failed,
            };
            let error = manager.error(&failed);
            let failure = failed.report.failure;
            if matches!(manager.tool, Tool::Corepack(_))
                && matches!(failure, InstallFailure::Failed | InstallFailure::HostUnreachable)
            {
                let (name, reason) = (way.manager.name(), &failed.report.reason);
                warn(line, format!("Corepack cannot run {name}: {reason}: trying another package manager"));
                return Ok(Err(Ended::TryOther { error: None, manager_missing: true }));
            }
            match attempt.after(way, &failed.report) {
                Next::Again(next, text) => {
                    warn(line, text);
                    (attempt, last_error) = (next, Some(error));
                }
                Next::OtherManager(text) => {
                    warn(line, format!("{text}: trying another package manager"));
                    return Ok(Err(Ended::TryOther { error: Some(error), manager_missing: false }));
                }
                Next::Fail => return Ok(Err(Ended::Final(error))),
            }
        }
    }

    /// Whether an install with `manager` can continue from the tree that is there. Only a tree with a key is complete.
    fn start_tree(&self, manager: Manager) -> StartTree {
        match self.root.open_below(TREE) {
            Ok(tree) if tree.has_file(KEY_FILE) && manager.continues_tree(&tree) => StartTree::Old,
            _ => StartTree::Empty,
        }
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

    async fn install_staged(
        &self,
        manager: &PackageManager<'_>,
        attempt: Attempt,
        state: &Directory,
        line: &mut impl FnMut(OutputLine),
    ) -> Result<Result<NewTree, RunFailure>, InstallError> {
        let user = manager.context.init.user();
        let lock = manager.way.lock.filter(|_| attempt.lock != LockUse::Ignored);
        let stage = self.fill_stage(state, lock, user)?;
        if attempt.start == StartTree::Old {
            let tree = self.root.open_below(TREE).map_err(io_error("open", &self.root.path().join(TREE)))?;
            copy_start(tree, &stage, user).await?;
        }
        Ok(match manager.run(&stage, attempt, line).await? {
            Outcome::Success => Ok(NewTree::Beside(stage)),
            // The stage is removed when the job has ended.
            Outcome::Failed(failed) => Err(failed),
        })
    }

    async fn install_in_place(
        &self,
        manager: &PackageManager<'_>,
        attempt: Attempt,
        state: &Directory,
        line: &mut impl FnMut(OutputLine),
    ) -> Result<Result<NewTree, RunFailure>, InstallError> {
        let existed = self.has_tree();
        let aside = set_aside(&self.root, state);
        if existed && aside.is_none() {
            // From here on the tree does not match its key.
            place::remove_key(&self.root)?;
        }
        let result = match &aside {
            Some(aside) if attempt.start == StartTree::Old => {
                let old = state.open_below(aside).map_err(io_error("open", &state.path().join(aside)));
                match old {
                    Ok(old) => copy_start(old, &self.root, manager.context.init.user()).await,
                    Err(error) => Err(error),
                }
            }
            _ => Ok(()),
        };
        let result = match result {
            Ok(()) => manager.run(&self.root, attempt, line).await,
            Err(error) => Err(error),
        };
        if matches!(result, Ok(Outcome::Success)) {
            return Ok(Ok(NewTree::InPlace));
        }
        // A partial tree is useless, and in the way of the old one. A rename takes it away at once.
        if (aside.is_some() || !existed) && set_aside(&self.root, state).is_none() {
            remove_in_background(&self.root, TREE).await;
        }
        if let Some(aside) = aside {
            let path = state.path().join(&aside);
            state.rename(&aside, &self.root, TREE).map_err(io_error("put back", &path))?;
        }
        Ok(match result? {
            Outcome::Success => Ok(NewTree::InPlace),
            Outcome::Failed(failed) => Err(failed),
        })
    }

    /// A new directory with package.json, lock file and the manager's configuration and nothing else. It belongs to the
    /// project's user.
    fn fill_stage(
        &self,
        state: &Directory,
        lock: Option<&'static str>,
        user: Option<&ProjectUser>,
    ) -> Result<Directory, InstallError> {
        let name = work_name();
        let path = state.path().join(&name);
        let failed = io_error("fill", &path);
        let stage = state.create(&name).map_err(&failed)?;
        for file in ["package.json", ".npmrc", ".yarnrc", ".yarnrc.yml"].into_iter().chain(lock) {
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

/// Why one manager did not install the packages.
enum Ended {
    /// Another manager may be able to. `manager_missing`: this one could not be run at all.
    TryOther { error: Option<InstallError>, manager_missing: bool },
    /// No other manager would do better.
    Final(InstallError),
}

fn manager_missing(way: Candidate) -> InstallError {
    InstallError::ManagerMissing { manager: way.manager.name(), asked_for_by: way.asked_for_by() }
}

/// Writes a warning to the log, and to the output of the install.
fn warn(line: &mut impl FnMut(OutputLine), text: String) {
    tracing::warn!(event_type = "install_fallback", "{text}");
    line(OutputLine { stream: Stream::Stderr, text });
}

/// Puts the packages of `old` into `node_modules` of `target`, so that only the difference is installed.
async fn copy_start(old: Directory, target: &Directory, user: Option<&ProjectUser>) -> Result<(), InstallError> {
    let path = target.path().join(TREE);
    let failed = io_error("copy the old packages to", &path);
    let (to, user) = (target.try_clone().map_err(&failed)?, user.cloned());
    let copied = tokio::task::spawn_blocking(move || {
        link_tree(&old, &to, TREE)?;
        match user {
            Some(user) => own_tree(to.open_below(TREE)?, user.uid(), user.gid()),
            None => Ok(()),
        }
    });
    copied.await?.map_err(failed)
}
