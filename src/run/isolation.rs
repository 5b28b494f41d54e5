use std::io;
use std::path::{Path, PathBuf};

use supervisor::init::Init;
use supervisor::process::ProjectUser;
use sync_core::error_chain;
use tracing::{info, warn};

use crate::cli::config::Config;
use crate::cli::exit::Exit;
use crate::sync::file_modes::FolderModes;
use crate::sync::private_dir::{self, PrivateDir};
use crate::sync::trusted_path::{self, Owner, UntrustedPath, UsedPath};
use crate::sync::workspace::Workspace;
use crate::telemetry::status::SharedStatus;

/// The directory in STATE_DIR that is the home of the project's code where its user has none.
const HOME: &str = "home";

/// Opens the workspace, and runs the project's code as another user where the agent has the rights.
///
/// # Errors
/// Exit status 74: that user could replace a directory that the agent uses, or the workspace cannot be opened.
pub(super) fn open_workspace(config: &mut Config, init: &mut Init, status: &SharedStatus) -> Result<Workspace, Exit> {
    let user = config.preview_user.clone().filter(|user| init.isolate(user));
    check_paths(config, user.as_ref()).map_err(disk)?;
    let workspace = Workspace::open(&config.project_dir, &config.state_dir, &config.project_id, user.as_ref());
    let mut workspace = workspace.map_err(disk)?;
    if let Some(folder) = &config.modes_of {
        let opened = FolderModes::open(folder);
        workspace
            .use_modes_of(opened.map_err(|error| Exit::disk(format!("cannot open {}: {error}", folder.display())))?);
    }
    // The first check could not see the directories that were created since.
    check_paths(config, user.as_ref()).map_err(disk)?;
    if workspace.state_dir().is_none() {
        let dir = config.state_dir.display();
        warn!(
            event_type = "degraded",
            reason = "state_not_kept",
            "cannot create the state directory {dir}: the next start will load the whole project again"
        );
    }
    set_home(config, workspace.state_dir(), user.as_ref());
    match user {
        Some(user) => {
            for name in ["USER", "LOGNAME"] {
                config.environment.remove(name);
            }
            status.set_isolated();
            let (uid, gid) = (user.uid().as_raw(), user.gid().as_raw());
            info!(event_type = "isolation", isolation = "user", uid, gid, "the project's code runs as user {uid}");
        }
        None => info!(event_type = "isolation", isolation = "none", "the project's code runs as the agent's own user"),
    }
    Ok(workspace)
}

fn disk(error: impl std::error::Error) -> Exit {
    Exit::disk(error_chain(&error))
}

fn check_paths(config: &Config, user: Option<&ProjectUser>) -> Result<(), UntrustedPath> {
    let Some(user) = user else { return Ok(()) };
    let used = |setting, path, owner| UsedPath { setting, path, owner };
    let mut paths = vec![
        used("PROJECT_DIR", &*config.project_dir, Owner::ProjectUser),
        used("STATE_DIR", &*config.state_dir, Owner::Agent),
    ];
    paths.extend(config.prepared_dir.as_deref().map(|dir| used("PREPARED_DIR", dir, Owner::Agent)));
    trusted_path::check(&paths, user)
}

/// Sets HOME for the project's code: package managers keep their caches there, and npm does not start without one. Where
/// no directory can be created the run goes on: only an install may fail then, with its own message.
fn set_home(config: &mut Config, state_dir: Option<&PrivateDir>, user: Option<&ProjectUser>) {
    if user.is_none() && config.environment.contains_key("HOME") {
        return;
    }
    let home = match user.and_then(ProjectUser::home) {
        Some(home) => Ok(home.to_owned()),
        None => create_home(&config.state_dir, state_dir, user),
    };
    match home {
        Ok(home) => config.environment.insert("HOME".into(), home.to_string_lossy().into_owned()),
        Err(error) => {
            warn!(event_type = "no_home", %error, "cannot create a home directory for the project's code: {error}");
            config.environment.remove("HOME")
        }
    };
}

fn create_home(path: &Path, state_dir: Option<&PrivateDir>, user: Option<&ProjectUser>) -> io::Result<PathBuf> {
    let state_dir = state_dir.ok_or_else(|| io::Error::other("there is no state directory"))?;
    private_dir::open_or_create_for(user, state_dir, HOME)?;
    Ok(path.join(HOME))
}
