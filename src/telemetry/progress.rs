//! The progress of loading and installing: a bar and a spinner on a terminal, log events elsewhere.

use std::io::IsTerminal;
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing::info;

use crate::telemetry::text::printable;
use supervisor::dev_server::DevServerEvent;

/// The shortest time between two log events.
const LOG_INTERVAL: Duration = Duration::from_secs(1);
/// The bar appears after this time.
const BAR_DELAY: Duration = Duration::from_millis(300);
/// The time between two frames of the spinner.
const SPINNER_INTERVAL: Duration = Duration::from_millis(120);

/// The bars below the log lines of a terminal. Nothing is drawn where standard error is not a terminal.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Runs `write` while no bar is on the terminal; the bars are drawn again below what it wrote.
pub fn without_bars(write: impl FnOnce()) {
    BARS.suspend(write);
}

/// Shows the progress of loading the project until it is dropped.
#[derive(Debug)]
pub struct HydrationBar {
    terminal: bool,
    bar: OnceLock<ProgressBar>,
    started: Instant,
    logged: Mutex<Instant>,
}

impl HydrationBar {
    /// Shows a bar where standard error is a terminal, else log events.
    pub fn start() -> HydrationBar {
        let (terminal, now) = (std::io::stderr().is_terminal(), Instant::now());
        HydrationBar { terminal, bar: OnceLock::new(), started: now, logged: Mutex::new(now) }
    }

    /// Shows that `bytes` of `total` (where known) were received, which hold `files` files.
    pub fn update(&self, bytes: u64, total: Option<u64>, files: u64) {
        if self.terminal {
            if self.started.elapsed() >= BAR_DELAY {
                let bar = self.bar.get_or_init(|| {
                    let template = "downloading and unpacking: {msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}";
                    styled(ProgressBar::no_length(), template)
                });
                bar.set_message(format!("{files} files"));
                total.into_iter().for_each(|total| bar.set_length(total));
                bar.set_position(bytes);
            }
            return;
        }
        let mut logged = self.logged.lock().expect("no panic while held");
        if logged.elapsed() >= LOG_INTERVAL {
            *logged = Instant::now();
            info!(
                event_type = "hydrate_progress",
                bytes, total, files, "loading the project: {files} files, {bytes} bytes so far"
            );
        }
    }
}

impl Drop for HydrationBar {
    fn drop(&mut self) {
        self.bar.get().into_iter().for_each(ProgressBar::finish_and_clear);
    }
}

/// Shows an install on a terminal: how long it takes, and the package manager's last line.
#[derive(Debug, Default)]
pub struct InstallSpinner(Option<ProgressBar>);

impl InstallSpinner {
    /// Handles an event of the supervisor.
    pub fn update(&mut self, event: &DevServerEvent) {
        match event {
            DevServerEvent::InstallStarted { manager } if std::io::stderr().is_terminal() => {
                self.end();
                let template = "{spinner} installing dependencies ({prefix}), {elapsed} {wide_msg}";
                let bar = styled(ProgressBar::new_spinner().with_prefix(manager.to_string()), template);
                bar.enable_steady_tick(SPINNER_INTERVAL);
                self.0 = Some(bar);
            }
            DevServerEvent::InstallProgress { line } => {
                self.0.iter().for_each(|bar| bar.set_message(printable(line)));
            }
            DevServerEvent::InstallDone { .. } | DevServerEvent::InstallFailed { .. } => self.end(),
            _ => {}
        }
    }

    /// Removes the spinner from the terminal.
    pub fn end(&mut self) {
        self.0.take().iter().for_each(ProgressBar::finish_and_clear);
    }
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    BARS.add(style.map_or(bar.clone(), |style| bar.with_style(style)))
}
