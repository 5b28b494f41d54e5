//! What the project's package manager has installed, and what it must install.

mod files;
mod install;
mod manager;
mod prepared;
mod tree;

pub use files::{MAX_LOCK, MAX_PACKAGE_JSON, ReadError, read_regular};
pub use install::{InstallError, Installed, Job, Surroundings};
pub use manager::Manager;
pub use tree::{KEY_FILE, Need, TreeError, look};
