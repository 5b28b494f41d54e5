//! How far the hydration is: a bar on a terminal, log events for machines.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::info;

use crate::snapshot::Progress;

/// Log events come at most this often.
const LOGGED_EVERY: Duration = Duration::from_secs(1);
/// What is over sooner needs no bar.
const WORTH_A_BAR: Duration = Duration::from_millis(300);

/// Shows progress until it is dropped.
#[derive(Debug)]
pub struct Shown {
    bar: Option<ProgressBar>,
    started: Instant,
    logged: Mutex<Instant>,
}

impl Shown {
    /// A bar where standard error is a terminal, else log events.
    pub fn start() -> Shown {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}");
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_message("hydrating");
            style.map_or(bar.clone(), |style| bar.with_style(style))
        });
        Shown { bar, started: Instant::now(), logged: Mutex::new(Instant::now()) }
    }

    /// Takes in how far it is.
    pub fn update(&self, progress: Progress) {
        if let Some(bar) = &self.bar {
            if bar.is_hidden() && self.started.elapsed() >= WORTH_A_BAR {
                bar.set_draw_target(ProgressDrawTarget::stderr());
            }
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
