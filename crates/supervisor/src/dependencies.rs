//! Which dependencies a project needs, and their installation.

mod check;
mod install;
mod manager;
mod prepared;

pub use check::{CheckError, Dependencies, KEY_FILE, MAX_LOCK, check_dependencies};
pub use install::{InstallContext, InstallError, InstallFailure, InstallJob, InstalledTree, TreeOrigin};
pub use manager::Manager;
