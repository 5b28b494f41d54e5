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

/// stub
#[derive(Debug, clap::Args)]
pub struct DevArgs {
    dir: std::path::PathBuf,
}
/// stub
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    dir: Option<std::path::PathBuf>,
}
/// x
pub async fn dev(_: DevArgs, _: std::time::Instant) -> crate::exit::Exit {
    crate::exit::Exit::fine()
}
/// x
pub async fn serve(_: ServeArgs, _: std::time::Instant) -> crate::exit::Exit {
    crate::exit::Exit::fine()
}
