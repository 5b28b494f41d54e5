//! How far hydration and install are: a bar and a spinner on a terminal, log events for machines.

use std::io::IsTerminal;
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing::info;

use crate::telemetry::text::printable;
use supervisor::dev_server::DevServerEvent;

/// Log events come at most this often.
const LOGGED_EVERY: Duration = Duration::from_secs(1);
/// What is over sooner needs no bar.
const WORTH_A_BAR: Duration = Duration::from_millis(300);
/// Between two pictures of a spinner.
const TURN: Duration = Duration::from_millis(120);

/// What stands below the log lines of a terminal. Nothing is drawn where standard error is none.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Lets `write` have the terminal to itself: bars are put aside, and drawn again below what it wrote.
pub fn aside(write: impl FnOnce()) {
    BARS.suspend(write);
}

/// Shows a hydration's progress until it is dropped.
#[derive(Debug)]
pub struct Shown {
    terminal: bool,
    bar: OnceLock<ProgressBar>,
    started: Instant,
    logged: Mutex<Instant>,
}

impl Shown {
    /// A bar where standard error is a terminal, else log events.
    pub fn start() -> Shown {
        let (terminal, now) = (std::io::stderr().is_terminal(), Instant::now());
        Shown { terminal, bar: OnceLock::new(), started: now, logged: Mutex::new(now) }
    }

    /// Shows that `bytes` of `total` (where known) were received, which hold `files` files.
    pub fn update(&self, bytes: u64, total: Option<u64>, files: u64) {
        if self.terminal {
            if self.started.elapsed() >= WORTH_A_BAR {
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
        if logged.elapsed() >= LOGGED_EVERY {
            *logged = Instant::now();
            info!(
                event_type = "hydrate_progress",
                bytes, total, files, "hydrating: {files} files, {bytes} bytes so far"
            );
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.bar.get().into_iter().for_each(ProgressBar::finish_and_clear);
    }
}

/// Shows an install on a terminal: how long it takes, and the package manager's last line.
#[derive(Debug, Default)]
pub struct Install(Option<ProgressBar>);

impl Install {
    /// Takes in what the dev server's supervisor tells of it.
    pub fn update(&mut self, event: &DevServerEvent) {
        match event {
            DevServerEvent::InstallStarted { manager } if std::io::stderr().is_terminal() => {
                self.end();
                let template = "{spinner} installing dependencies ({prefix}), {elapsed} {wide_msg}";
                let bar = styled(ProgressBar::new_spinner().with_prefix(manager.to_string()), template);
                bar.enable_steady_tick(TURN);
                self.0 = Some(bar);
            }
            DevServerEvent::InstallProgress { line } => {
                self.0.iter().for_each(|bar| bar.set_message(printable(line)));
            }
            DevServerEvent::InstallDone { .. } | DevServerEvent::InstallFailed { .. } => self.end(),
            _ => {}
        }
    }

    /// Takes it off the terminal.
    pub fn end(&mut self) {
        self.0.take().iter().for_each(ProgressBar::finish_and_clear);
    }
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    BARS.add(style.map_or(bar.clone(), |style| bar.with_style(style)))
}
