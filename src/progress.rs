//! How far the hydration is: a bar on a terminal, log events for machines.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tracing::info;

use crate::snapshot::Progress;

/// Log events come at most this often.
const LOGGED_EVERY: Duration = Duration::from_secs(1);

/// Shows progress until it is dropped.
#[derive(Debug)]
pub struct Shown {
    bar: Option<ProgressBar>,
    logged: Mutex<Instant>,
}

impl Shown {
    /// A bar where standard error is a terminal, else log events.
    pub fn start() -> Shown {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}");
            let bar = ProgressBar::no_length().with_message("hydrating");
            style.map_or(bar.clone(), |style| bar.with_style(style))
        });
        Shown { bar, logged: Mutex::new(Instant::now()) }
    }

    /// Takes in how far it is.
    pub fn update(&self, progress: Progress) {
        if let Some(bar) = &self.bar {
            if let Some(total) = progress.total {
                bar.set_length(total);
            }
            bar.set_position(progress.bytes);
            return;
        }
        let mut logged = self.logged.lock().expect("no panic while held");
        if logged.elapsed() >= LOGGED_EVERY {
            *logged = Instant::now();
            let Progress { bytes, total, files } = progress;
            info!(
                event_type = "hydrate_progress",
                bytes, total, files, "hydrating: {files} files, {bytes} bytes so far"
            );
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
