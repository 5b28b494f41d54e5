use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Time between two reports of the progress.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// Progress of a hydration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes of the archive that arrived. 0 again when a download starts over.
    pub bytes: u64,
    /// Size of the archive in bytes, where it is known.
    pub total: Option<u64>,
    /// Files written; the manifest is not one.
    pub files: u64,
}

/// Counted by the extraction, read by the reports.
#[derive(Debug, Default)]
pub(super) struct ProgressCounter {
    bytes: AtomicU64,
    /// 0: unknown.
    total: AtomicU64,
    files: AtomicU64,
    stopped: AtomicBool,
    first_byte: OnceLock<Instant>,
}

/// Stops the blocking thread when the result is not needed any more.
pub(super) struct StopOnDrop(Arc<ProgressCounter>);

impl ProgressCounter {
    pub fn now(&self) -> Progress {
        let total = Some(self.total.load(Ordering::Relaxed)).filter(|total| *total > 0);
        Progress { bytes: self.bytes.load(Ordering::Relaxed), total, files: self.files.load(Ordering::Relaxed) }
    }

    pub fn add_bytes(&self, bytes: usize) {
        self.first_byte.get_or_init(Instant::now);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// When the first byte of the first request came.
    pub fn first_byte(&self) -> Option<Instant> {
        self.first_byte.get().copied()
    }

    pub fn add_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    pub fn set_total(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    pub fn start_over(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        self.files.store(0, Ordering::Relaxed);
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub fn stop_on_drop(self: &Arc<ProgressCounter>) -> StopOnDrop {
        StopOnDrop(self.clone())
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}
