//! Local mode: backend, agent and dev server for a folder on this machine.

mod belongs;
mod folder;
mod mirror;
mod news;
mod settle;
mod watch;
mod write_back;

pub use belongs::belongs;
pub use folder::{Folder, MAX_FILE};
pub use mirror::{Mirror, OpenError, Opened, SENDER};
pub use news::{News, Tell};
