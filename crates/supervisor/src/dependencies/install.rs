use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::files::{MAX_LOCK, ReadError, read_regular};
use super::manager::Manager;
use super::prepared::Prepared;
use super::tree::KEY_FILE;
use crate::init::Init;
use crate::process::{Command, Environment, Next, OutputLine, ProjectUser, Stream};
use sync_core::error_chain;

pub(super) const TREE: &str = "node_modules";
/// Begins the names of what the jobs make in the agent's own directory: new trees, and old ones on their way out.
const WORK: &str = "install-";
/// A probe of whether the two directories can be renamed into one another.
const PROBE: &str = ".preview-probe";
/// Lines kept to say why an install failed.
const KEPT_LINES: usize = 40;
/// How long a package manager that is told to stop may take.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// An install that has to be made.
#[derive(Debug)]
pub struct Job {
    pub(super) root: Dir,
    pub(super) dir: PathBuf,
    pub(super) manager: Manager,
    pub(super) lock: Option<&'static str>,
    pub(super) key: String,
    pub(super) staged: bool,
}

/// Where the job works, and how long it may.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Runs the package manager.
    pub init: Init,
    /// The agent's own directory.
    pub state_dir: PathBuf,
    /// Holds `<key>/node_modules` for some keys.
    pub prepared_dir: Option<PathBuf>,
    /// All that the package manager sees of the environment.
    pub environment: Environment,
    /// From the start to the end of the job.
    pub deadline: Duration,
    /// Becomes true when the job is to end early.
    pub cancel: watch::Receiver<bool>,
}

/// A tree that is ready; [`Installed::place`] puts it where it belongs.
#[derive(Debug)]
pub struct Installed {
    root: Dir,
    key: String,
    /// The directory that holds the new tree, where it is not in place already.
    from: Option<(Dir, PathBuf)>,
    state_dir: PathBuf,
    user: Option<ProjectUser>,
    /// It was taken from the prepared ones.
    pub prepared: bool,
}

/// Why dependencies are not there. The tree that was there before is there again.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum InstallError {
    #[error("{lock} asks for {manager}, which is not installed here")]
    ManagerMissing { manager: &'static str, lock: &'static str },
    #[error("npm is not installed here")]
    NpmMissing,
    #[error("cannot start {manager}")]
    Spawn { manager: &'static str, source: io::Error },
    #[error("{manager} {status}: {detail}")]
    Failed { manager: &'static str, status: String, detail: String },
    #[error("{manager} took longer than {} s and was stopped", .deadline.as_secs())]
    Deadline { manager: &'static str, deadline: Duration },
    #[error("the install was stopped")]
    Cancelled,
    #[error("the install ended without a result")]
    Lost(#[from] tokio::task::JoinError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("cannot {operation} {}", .path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
}

impl InstallError {
    /// Trying again without an edit cannot help.
    pub fn is_final(&self) -> bool {
        match self {
            InstallError::ManagerMissing { .. } | InstallError::NpmMissing => true,
            // What the registries say of names and versions that do not exist or do not go together.
            InstallError::Failed { detail, .. } => {
                ["E404", "ETARGET", "ERESOLVE", "EJSONPARSE", "ERR_PNPM_FETCH_404", "ERR_PNPM_NO_MATCHING_VERSION"]
                    .iter()
                    .any(|code| detail.contains(code))
            }
            _ => false,
        }
    }
}

impl Job {
    /// The package manager's name.
    pub fn manager(&self) -> &'static str {
        self.manager.name()
    }

    /// Names the tree that is wanted, among the prepared ones too.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// There is a tree, of whatever key.
    pub fn tree_exists(&self) -> bool {
        self.root.is_dir(TREE)
    }

    /// Takes a prepared tree or runs the package manager; `line` is told what that prints. Where a tree is there
    /// already, the new one is made beside it where that can be, so that a dev server goes on with the old one.
    /// Dropped halfway, the package manager is killed and the next job cleans up; [`Surroundings::cancel`] is the calm way.
    pub async fn run(self, around: &Surroundings, mut line: impl FnMut(OutputLine)) -> Result<Installed, InstallError> {
        let state = Self::open_state(&around.state_dir)?;
        sweep(&state);
        if let Some(prepared) = around.prepared_dir.as_ref().and_then(|dir| Prepared::find(dir, &self.key)) {
            match self.take(prepared, &state, around).await {
                Ok(from) => return Ok(self.installed(from, around, true)),
                Err(error) => {
                    let text =
                        format!("the prepared dependencies cannot be taken ({}): installing", error_chain(&error));
                    line(OutputLine { stream: Stream::Stderr, text });
                }
            }
        }
        let program = self.program(&around.environment)?;
        if self.staged
            && (self.tree_exists() || self.manager == Manager::YarnBerry)
            && can_be_renamed(&state, &self.root)
        {
            let name = work_name();
            let path = around.state_dir.join(&name);
            let stage = self.fill_stage(&state, &name, &path)?;
            if let Some(user) = around.init.user() {
                user.own_tree(&stage).map_err(failed("give to the project's user", &path))?;
            }
            self.install(&program, &path, around, &mut line).await?;
            return Ok(self.installed(Some((stage, path)), around, false));
        }
        self.in_place(&program, &state, around, &mut line).await?;
        Ok(self.installed(None, around, false))
    }

    /// Where a prepared tree lies now: still where it was, if it can be renamed from there, else copied to a stage, else
    /// (none) copied into its place.
    async fn take(
        &self,
        prepared: Prepared,
        state: &Dir,
        around: &Surroundings,
    ) -> Result<Option<(Dir, PathBuf)>, InstallError> {
        if prepared.is_movable() && can_be_renamed(&prepared.dir, &self.root) {
            return Ok(Some((prepared.dir, prepared.path)));
        }
        let path = prepared.path.clone();
        let (target, staged) = if can_be_renamed(state, &self.root) {
            let name = work_name();
            let made = around.state_dir.join(&name);
            state.create_dir(&name).map_err(failed("make", &made))?;
            (state.open_dir(&name), Some(made))
        } else {
            if self.tree_exists() {
                remove(&self.root, TREE).await;
            }
            (self.root.try_clone(), None)
        };
        let target = target.map_err(failed("open the place for", &path))?;
        let into = target.try_clone().map_err(failed("open the place for", &path))?;
        let copied = tokio::task::spawn_blocking(move || prepared.copy_into(&into)).await?;
        if copied.is_err() && staged.is_none() {
            remove(&self.root, TREE).await;
        }
        copied.map_err(failed("copy the prepared tree of", &path))?;
        Ok(staged.map(|made| (target, made)))
    }

    async fn in_place(
        &self,
        program: &Path,
        state: &Dir,
        around: &Surroundings,
        line: &mut impl FnMut(OutputLine),
    ) -> Result<(), InstallError> {
        let existed = self.tree_exists();
        let aside = set_aside(&self.root, state);
        if existed && aside.is_none() {
            // From here on the tree is not what its key says.
            remove_key(&self.root)?;
        }
        let result = self.install(program, &self.dir, around, line).await;
        if result.is_err() && (aside.is_some() || !existed) {
            // Half a tree is worse than none, and would be in the way of the old one. Renamed it is gone at once.
            if set_aside(&self.root, state).is_none() {
                remove(&self.root, TREE).await;
            }
        }
        if let (Err(_), Some(aside)) = (&result, aside) {
            let path = around.state_dir.join(&aside);
            let failed = |source| InstallError::Io { operation: "put back", path, source };
            state.rename(aside, &self.root, TREE).map_err(failed)?;
        }
        result
    }

    fn open_state(path: &Path) -> Result<Dir, InstallError> {
        let failed = |source| InstallError::Io { operation: "open", path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(failed)?;
        Dir::open_ambient_dir(path, ambient_authority()).map_err(failed)
    }

    fn program(&self, environment: &Environment) -> Result<PathBuf, InstallError> {
        let manager = self.manager.name();
        environment.find(manager).ok_or(match self.lock {
            Some(lock) if self.manager != Manager::Npm => InstallError::ManagerMissing { manager, lock },
            _ => InstallError::NpmMissing,
        })
    }

    /// package.json, lock file and .npmrc, alone in a directory.
    fn fill_stage(&self, state: &Dir, name: &str, path: &Path) -> Result<Dir, InstallError> {
        let failed = |source| InstallError::Io { operation: "write to", path: path.to_owned(), source };
        state.create_dir(name).map_err(failed)?;
        let stage = state.open_dir(name).map_err(failed)?;
        for file in ["package.json", ".npmrc", ".yarnrc", ".yarnrc.yml"].into_iter().chain(self.lock) {
            if let Some(bytes) = read_regular(&self.dir.join(file), MAX_LOCK)? {
                stage.write(file, bytes).map_err(failed)?;
            }
        }
        Ok(stage)
    }

    /// Frozen to the lock file; where that does not match package.json (somebody edited only one of them), by
    /// package.json.
    async fn install(
        &self,
        program: &Path,
        dir: &Path,
        around: &Surroundings,
        line: &mut impl FnMut(OutputLine),
    ) -> Result<(), InstallError> {
        let deadline = Instant::now() + around.deadline;
        if self.lock.is_some() {
            match self.command(program, dir, self.manager.frozen(), deadline, around, line).await? {
                Ran::Well => return Ok(()),
                Ran::Mismatch if self.manager == Manager::YarnBerry && dir == self.dir => {
                    // It cannot be kept from writing the lock file, which here is the project's.
                    let detail = "yarn.lock does not match package.json, and cannot be left as it is".to_owned();
                    return Err(self.failed("was not run".into(), detail));
                }
                Ran::Mismatch => {
                    let text = "the lock file does not match package.json: installing by package.json".to_owned();
                    line(OutputLine { stream: Stream::Stderr, text });
                }
                Ran::Badly(error) => return Err(error),
            }
        }
        match self.command(program, dir, self.manager.loose(), deadline, around, line).await? {
            Ran::Well => Ok(()),
            Ran::Mismatch => Err(self.failed("failed".into(), "the lock file does not match package.json".into())),
            Ran::Badly(error) => Err(error),
        }
    }

    async fn command(
        &self,
        program: &Path,
        dir: &Path,
        args: &[&str],
        deadline: Instant,
        around: &Surroundings,
        line: &mut impl FnMut(OutputLine),
    ) -> Result<Ran, InstallError> {
        let mut environment = around.environment.clone();
        for (name, value) in self.manager.environment() {
            environment.set_default(*name, *value);
        }
        let command = Command::new(program, dir, environment).args(args.iter().copied());
        let spawned = around.init.spawn(command);
        let mut process = spawned.map_err(|source| InstallError::Spawn { manager: self.manager(), source })?;
        let mut kept = VecDeque::new();
        let mut mismatch = false;
        let mut keep = |got: OutputLine| {
            mismatch |= self.manager.says_mismatch(&got.text);
            if kept.len() == KEPT_LINES {
                kept.pop_front();
            }
            kept.push_back(got.text.clone());
            line(got);
        };
        let mut cancel = around.cancel.clone();
        let status = loop {
            let over = tokio::select! {
                next = process.next() => match next {
                    Next::Line(got) => {
                        keep(got);
                        continue;
                    }
                    Next::Exit(status) => break status,
                },
                () = sleep_until(deadline) => {
                    InstallError::Deadline { manager: self.manager(), deadline: around.deadline }
                }
                () = cancelled(&mut cancel) => InstallError::Cancelled,
            };
            process.stop(STOP_GRACE).await;
            return Err(over);
        };
        process.stop(STOP_GRACE).await;
        process.rest(&mut keep).await;
        Ok(match status.success() {
            true => Ran::Well,
            false if mismatch => Ran::Mismatch,
            false => Ran::Badly(self.failed(status.to_string(), summary(&kept))),
        })
    }

    fn failed(&self, status: String, detail: String) -> InstallError {
        InstallError::Failed { manager: self.manager(), status, detail }
    }

    fn installed(self, from: Option<(Dir, PathBuf)>, around: &Surroundings, prepared: bool) -> Installed {
        let (state_dir, user) = (around.state_dir.clone(), around.init.user().cloned());
        Installed { root: self.root, key: self.key, from, state_dir, user, prepared }
    }
}

/// Returns too when whoever could cancel is gone.
async fn cancelled(cancel: &mut watch::Receiver<bool>) {
    let _ = cancel.wait_for(|cancel| *cancel).await;
}

enum Ran {
    Well,
    Mismatch,
    Badly(InstallError),
}

impl Installed {
    /// Renames the new tree into the project and writes its key. What it replaces is removed in the background.
    pub async fn place(self) -> Result<(), InstallError> {
        let state = Job::open_state(&self.state_dir)?;
        match &self.from {
            Some((from, path)) => {
                let aside = set_aside(&self.root, &state);
                // A project whose dependencies are all optional may leave no tree.
                let renamed = match from.is_dir(TREE) {
                    true => from.rename(TREE, &self.root, TREE),
                    false => self.root.create_dir(TREE),
                };
                if let (Err(_), Some(aside)) = (&renamed, aside) {
                    let path = self.state_dir.join(&aside);
                    state.rename(aside, &self.root, TREE).map_err(failed("put back", &path))?;
                }
                renamed.map_err(failed("rename a new tree from", path))?;
            }
            None => {
                self.root.create_dir_all(TREE).map_err(failed("make", Path::new(TREE)))?;
                // Bundled from the packages that were there before.
                remove(&self.root, "node_modules/.vite").await;
            }
        }
        if let Some(user) = &self.user {
            give_tree(&self.root, user).map_err(failed("give to the project's user", Path::new(TREE)))?;
        }
        remove_key(&self.root)?;
        let key = Path::new(TREE).join(KEY_FILE);
        self.root.write(&key, &self.key).map_err(failed("write", &key))?;
        sweep(&state);
        Ok(())
    }
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> InstallError {
    move |source| InstallError::Io { operation, path: path.to_owned(), source }
}

/// Moves the tree to where the state is, under the name returned; none where there is none or it cannot be moved there.
fn set_aside(root: &Dir, state: &Dir) -> Option<String> {
    let name = work_name();
    root.rename(TREE, state, &name).ok().map(|()| name)
}

/// What was installed is the user's already. A prepared tree may be root's: then all of it is given.
fn give_tree(root: &Dir, user: &ProjectUser) -> io::Result<()> {
    let tree = root.open_dir(TREE)?;
    match rustix::fs::statat(&tree, ".", rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?.st_uid == user.uid().as_raw() {
        true => Ok(()),
        false => user.own_tree(&tree),
    }
}

/// Removed rather than written over, since a link may stand there.
fn remove_key(root: &Dir) -> Result<(), InstallError> {
    let key = Path::new(TREE).join(KEY_FILE);
    match root.remove_file(&key) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("replace", &key)(error)),
        _ => Ok(()),
    }
}

fn work_name() -> String {
    format!("{WORK}{}", uuid::Uuid::new_v4().simple())
}

/// Removes what earlier jobs made and nobody needs any more, in the background. What is made from now on stays.
fn sweep(state: &Dir) {
    let (Ok(entries), Ok(state)) = (state.entries(), state.try_clone()) else { return };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let names: Vec<_> = names.filter(|name| name.starts_with(WORK)).collect();
    tokio::spawn(async move {
        for name in names {
            remove(&state, &name).await;
        }
    });
}

/// Removes a directory on a thread of its own: there may be tens of thousands of files in it.
async fn remove(dir: &Dir, name: &str) {
    let Ok(dir) = dir.try_clone() else { return };
    let name = name.to_owned();
    // What stays is seen by whoever needs the place: it cannot be made then.
    let _ = tokio::task::spawn_blocking(move || dir.remove_dir_all(name)).await;
}

/// The only sure way to know that a directory can be renamed from one to the other is to rename one.
fn can_be_renamed(from: &Dir, to: &Dir) -> bool {
    let inside = Path::new(TREE).join(PROBE);
    let target = if to.is_dir(TREE) { inside.as_path() } else { Path::new(PROBE) };
    // Either may be left over from a start that was cut short, and an empty directory may be renamed over another.
    let _ = from.create_dir(PROBE);
    let renamed = from.rename(PROBE, to, target).is_ok();
    // One that stays is empty, and in nobody's way.
    let _ = if renamed { to.remove_dir(target) } else { from.remove_dir(PROBE) };
    renamed
}

/// The lines that speak of errors, else the last ones.
fn summary(lines: &VecDeque<String>) -> String {
    let speaks = |line: &&String| {
        let line = line.to_ascii_lowercase();
        line.contains("err") && !line.contains("a complete log of this run")
    };
    let mut said: Vec<&str> = lines.iter().filter(speaks).take(4).map(|line| line.trim()).collect();
    if said.is_empty() {
        said = lines.iter().rev().take(3).map(|line| line.trim()).collect();
        said.reverse();
    }
    said.join("; ")
}
