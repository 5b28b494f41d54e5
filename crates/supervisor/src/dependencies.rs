//! Which dependencies a project needs, and their installation.

mod candidates;
mod check;
mod install;
mod key;
mod manager;
mod prepared;
mod workspace;

pub use candidates::{Candidate, ChosenBy, candidates};
pub use check::{CheckError, Dependencies, KEY_FILE, MAX_LOCK, check_dependencies};
pub use install::{InstallContext, InstallError, InstallFailure, InstallJob, InstalledTree, TreeOrigin};
pub use manager::Manager;
