//! The agent's hydration for archives above its own limit: the same code, in a program that this one becomes.

use std::path::Path;
use std::process::ExitCode;

use preview_agent::sync::net::Net;
use preview_agent::sync::snapshot::{self, Limits, SnapshotSource};
use preview_agent::sync::workspace::Workspace;

use crate::agent;
use crate::archive::PROJECT;
use crate::measured::{self, Measured};

pub fn measure(url: &str, dir: &Path, archive: u64) -> Measured {
    let itself = std::env::current_exe().expect("a path of its own");
    let limit = archive.to_string();
    measured::run([itself.as_os_str(), "--as-hydration".as_ref(), url.as_ref(), dir.as_os_str(), limit.as_ref()])
}

/// The program.
pub fn child(url: &str, dir: &Path, limit: u64) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(hydrate(url, dir, limit)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn hydrate(url: &str, dir: &Path, limit: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut limits = Limits::default();
    limits.archive.compressed = limit;
    let mut workspace = Workspace::open(&agent::project(dir), &dir.join(".preview-agent"), PROJECT, None)?;
    let http = Net::new(None)?.http_client()?;
    let stage = workspace.extract_dir()?;
    let source = SnapshotSource::Url(url.to_owned().into());
    let extracted = snapshot::hydrate(&source, PROJECT, &http, stage, &limits, |_| {}).await?;
    tokio::task::spawn_blocking(move || workspace.take_over(&extracted.files).map(drop)).await??;
    Ok(())
}
