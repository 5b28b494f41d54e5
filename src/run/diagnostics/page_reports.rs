//! Reports of pages as observations, with positions of sources.

use std::sync::Arc;
use std::time::Duration;

use diagnostics::{Finding, Input, Kind, PageChange, PageEvent, PageReport, Place, SourceMaps};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::client::{AskFor, DevServerClient};
use super::project_files::ProjectFiles;

/// Resolved reports that wait. When there are more, further reports wait in the proxy's channel.
const MAX_WAITING: usize = 16;
/// How long scripts and source maps of one report are waited for. Without them, positions are those of the scripts.
const MAPS_TIME: Duration = Duration::from_secs(2);
/// Requests for the positions of one error: a script and its map for each line of the stack.
const MAX_ROUNDS: usize = 4;

/// Follows the source maps of each report, in their order. `client` is the dev server that serves now.
pub(super) fn resolve(
    mut reports: mpsc::Receiver<PageReport>,
    client: watch::Receiver<Option<DevServerClient>>,
    files: Arc<ProjectFiles>,
) -> mpsc::Receiver<Vec<Input>> {
    let (sender, resolved) = mpsc::channel(MAX_WAITING);
    tokio::spawn(async move {
        while let Some(report) = reports.recv().await {
            let client = client.borrow().clone();
            if sender.send(inputs(report, client.as_ref(), &files).await).await.is_err() {
                return;
            }
        }
    });
    resolved
}

async fn inputs(report: PageReport, client: Option<&DevServerClient>, files: &ProjectFiles) -> Vec<Input> {
    let PageReport { id, page, events, omitted } = report;
    let until = Instant::now() + MAPS_TIME;
    let mut maps = SourceMaps::default();
    let mut inputs = Vec::new();
    for event in events {
        if let Some(client) = client {
            // The texts that came until then are used.
            let _ = timeout_at(until, read_maps(&mut maps, &event, client)).await;
        }
        let located = maps.locate(&event, files.root(), |path| files.exists(path));
        let change = match event {
            PageEvent::Loaded => PageChange::Loaded,
            PageEvent::Updated => PageChange::Updated,
            PageEvent::Left => PageChange::Left,
            PageEvent::UpdateFailed { message } => {
                let place = reloaded(&message).and_then(|path| files.served_file(path));
                let place = place.map(|file_path| Place { file_path, line: None, column: None });
                PageChange::UpdateFailed(Finding { place, ..Finding::new(Kind::Runtime, files.root().clean(&message)) })
            }
            PageEvent::Error { kind, message, count, .. } => {
                let source = located.place.as_ref().and_then(|place| files.text(&place.file_path));
                let place = located.place;
                let lines = place.as_ref().and_then(|place| Some((place.line?, place.column)));
                let frame =
                    source.zip(lines).and_then(|(source, (line, column))| diagnostics::frame(&source, line, column));
                let message = files.root().clean(&message);
                let page = Some(page.clone());
                let finding = Finding { place, frame, stack: located.stack, page, ..Finding::new(kind, message) };
                PageChange::Error(finding, u64::from(count))
            }
        };
        inputs.push(Input::Page(id.clone(), page.clone(), change));
    }
    if omitted > 0 {
        inputs.push(Input::Omitted(omitted));
    }
    inputs
}

/// The path in `Failed to reload /src/App.jsx. This could …`.
fn reloaded(message: &str) -> Option<&str> {
    let address = message.strip_prefix("Failed to reload /")?.split([' ', '?']).next()?;
    Some(address.strip_suffix('.').unwrap_or(address))
}

/// Reads what is needed to locate `event`.
async fn read_maps(maps: &mut SourceMaps, event: &PageEvent, client: &DevServerClient) {
    for _ in 0..MAX_ROUNDS {
        let needed = maps.needed(event);
        if needed.is_empty() {
            return;
        }
        for address in needed {
            let answer = client.get(&address, AskFor::Module).await.ok();
            let text = answer.filter(|answer| answer.status == 200).map(|answer| answer.body);
            maps.add(&address, text.as_deref());
        }
    }
}
