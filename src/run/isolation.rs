use std::path::{Path, PathBuf};

use tracing::{info, warn};

use crate::cli::config::Config;
use sync_core::error_chain;

use crate::cli::exit::Exit;
use crate::sync::workspace::Workspace;
use crate::telemetry::status::SharedStatus;
use supervisor::init::Init;
use supervisor::process::ProjectUser;

/// Gives the project to another user and runs its code as that user, where the agent has the rights.
///
/// # Errors
/// The project cannot be given to the user.
pub(super) fn isolate(
    config: &mut Config,
    init: &mut Init,
    workspace: &mut Workspace,
    status: &SharedStatus,
) -> Result<(), Exit> {
    let user = config.preview_user.clone().filter(|user| init.isolate(user));
    let Some(user) = user else {
        info!(event_type = "isolation", isolation = "none", "the project's code runs as the agent's own user");
        if !config.environment.contains_key("HOME") {
            let home = made_home(&config.state_dir);
            set_home(config, home);
        }
        return Ok(());
    };
    workspace.give_to(&user).map_err(|error| Exit::disk(error_chain(&error)))?;
    let home = user.home().map_or_else(|| user_home(&config.state_dir, &user), |home| Ok(home.to_owned()));
    set_home(config, home);
    for name in ["USER", "LOGNAME"] {
        config.environment.remove(name);
    }
    status.set_isolated();
    let (uid, gid) = (user.uid().as_raw(), user.gid().as_raw());
    info!(event_type = "isolation", isolation = "user", uid, gid, "the project's code runs as user {uid}");
    Ok(())
}

fn user_home(state_dir: &Path, user: &ProjectUser) -> std::io::Result<PathBuf> {
    let home = made_home(state_dir)?;
    user.own_dir(std::fs::File::open(&home)?)?;
    Ok(home)
}

/// Package managers keep their caches in the home directory, and npm does not start without one.
fn made_home(state_dir: &Path) -> std::io::Result<PathBuf> {
    let home = state_dir.join("home");
    std::fs::create_dir_all(&home)?;
    Ok(home)
}

/// Sets HOME. Where no directory can be made the run goes on: only an install may fail then, with its own message.
fn set_home(config: &mut Config, home: std::io::Result<PathBuf>) {
    match home {
        Ok(home) => config.environment.insert("HOME".into(), home.to_string_lossy().into_owned()),
        Err(error) => {
            warn!(event_type = "no_home", %error, "cannot make a home directory for the project's code: {error}");
            config.environment.remove("HOME")
        }
    };
}
