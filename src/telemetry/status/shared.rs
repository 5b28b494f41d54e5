//! The agent's state, shared between the run loop and the status server.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use serde_json::{Value, json};
use sync_core::{ChannelState, DegradedReason, LocalChange, PendingReason, Phase, ProjectPath, Revision};

use super::codes::{BootStep, Limit, NotReadyCause};
use super::metrics::{count, resident_memory};
use super::problems::ProblemsView;
use super::process::{cgroup_memory, memory_of_group};
use crate::telemetry::logs;
use crate::telemetry::text::millis;
use supervisor::dev_server::{DevServer, DevServerState, DevServerStatus};

/// Last errors kept for `/status`.
const ERRORS_KEPT: usize = 20;
/// Pending files listed in `/status`; the count is always whole.
const DEBTS_SHOWN: usize = 100;
/// The same for local changes.
const LOCAL_CHANGES_SHOWN: usize = 100;

/// The agent's state as `/status`, `/readyz` and `/metrics` show it: written by the run loop, read by the status server.
/// Clones share one state.
#[derive(Debug, Clone)]
pub struct SharedStatus(Arc<Mutex<StatusData>>);

/// How far the download of a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HydrationProgress {
    /// When it began, Unix milliseconds.
    pub since_unix_ms: u64,
    /// Bytes of the archive that arrived.
    pub bytes: u64,
    /// Size of the archive in bytes, where it is known.
    pub total: Option<u64>,
    /// Files that were unpacked.
    pub files: u64,
}

#[derive(Debug)]
struct StatusData {
    started: Instant,
    project_id: String,
    session_id: String,
    container_id: Option<String>,
    phase: Phase,
    core: sync_core::Status,
    /// When `core` was taken.
    core_at: Instant,
    dev_server: Option<DevServer>,
    hydrated: bool,
    hydration_progress: Option<HydrationProgress>,
    isolated: bool,
    boot: Vec<(BootStep, u64)>,
    errors: VecDeque<String>,
    limits: BTreeMap<Limit, u64>,
    last_applied: Option<Value>,
    problems: ProblemsView,
}

impl SharedStatus {
    /// The status of an agent that has just started.
    pub fn new(origin: logs::Origin, started: Instant) -> SharedStatus {
        SharedStatus(Arc::new(Mutex::new(StatusData {
            started,
            project_id: origin.project_id,
            session_id: origin.session_id,
            container_id: origin.container_id,
            phase: Phase::Starting,
            core: Default::default(),
            core_at: started,
            dev_server: None,
            hydrated: false,
            hydration_progress: None,
            isolated: false,
            boot: Vec::new(),
            errors: VecDeque::new(),
            limits: BTreeMap::new(),
            last_applied: None,
            problems: ProblemsView::default(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, StatusData> {
        self.0.lock().expect("no panic while held")
    }

    /// Changes the phase; true if it is another one.
    pub fn set_phase(&self, phase: Phase) -> bool {
        let mut data = self.lock();
        let changed = data.phase != phase;
        data.phase = phase;
        changed
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// Replaces the status of the core.
    pub fn set_core_status(&self, core: sync_core::Status) {
        let mut data = self.lock();
        data.core = core;
        data.core_at = Instant::now();
    }

    /// Sets how far the download of the project is.
    pub fn set_hydration_progress(&self, progress: HydrationProgress) {
        self.lock().hydration_progress = Some(progress);
    }

    /// How far the download of the project is, while it runs.
    pub fn hydration_progress(&self) -> Option<HydrationProgress> {
        let data = self.lock();
        data.hydration_progress.filter(|_| !data.hydrated)
    }

    /// The files are in place.
    pub fn set_hydrated(&self) {
        self.lock().hydrated = true;
    }

    /// The project's code runs as another user than the agent.
    pub fn set_isolated(&self) {
        self.lock().isolated = true;
    }

    /// Sets the dev server whose status is shown.
    pub fn set_dev_server(&self, dev_server: DevServer) {
        self.lock().dev_server = Some(dev_server);
    }

    /// Records that a step of the start is reached now. Only the first time counts.
    pub fn record_boot_step(&self, step: BootStep) {
        let mut data = self.lock();
        let at = millis(data.started.elapsed());
        if !data.boot.iter().any(|(known, _)| *known == step) {
            data.boot.push((step, at));
        }
    }

    /// Sets the file that was written last, with the time since its event was received, and since it was sent where the
    /// clocks agree.
    pub fn set_last_applied(
        &self,
        path: &ProjectPath,
        revision: Option<Revision>,
        lag: Duration,
        sent: Option<Duration>,
    ) {
        let lag_ms = lag.as_secs_f64() * 1000.0;
        let (path, since_sent_ms) = (path.as_str(), sent.map(millis));
        self.lock().last_applied =
            Some(json!({"file_path": path, "revision": revision, "lag_ms": lag_ms, "since_sent_ms": since_sent_ms}));
    }

    /// Sets the problems of the preview and the newest verdict.
    pub fn set_problems(&self, problems: ProblemsView) {
        self.lock().problems = problems;
    }

    /// The body of `/problems`.
    pub fn problems_json(&self) -> Value {
        let data = self.lock();
        data.problems.to_json(&data.session_id)
    }

    /// Keeps an error for `/status`.
    pub fn record_error(&self, error: String) {
        let mut data = self.lock();
        data.errors.push_back(error);
        if data.errors.len() > ERRORS_KEPT {
            data.errors.pop_front();
        }
    }

    /// Counts that a limit was reached.
    pub fn count_limit_hit(&self, limit: Limit) {
        count("preview_agent_limits_hit_total", limit.as_str());
        let mut data = self.lock();
        let count = data.limits.entry(limit).or_default();
        *count = count.saturating_add(1);
    }

    /// Whether the preview is ready for traffic, and the body of `/readyz`.
    pub fn readiness(&self) -> (bool, Value) {
        let data = self.lock();
        let dev_server = data.dev_server.as_ref().map(DevServer::status);
        let ready = data.ready(dev_server.as_ref());
        let mut reasons = data.reasons();
        reasons.extend(dev_server.and_then(|status| status.reason).map(|reason| reason.as_str().to_owned()));
        (ready, json!({"phase": data.phase.as_str(), "ready": ready, "reasons": reasons, "current": data.core.current}))
    }

    /// The body of `/status`: everything, for people. It contains no secret.
    pub fn to_json(&self) -> Value {
        let data = self.lock();
        let core = &data.core;
        let debts: Vec<_> = core
            .pending_files
            .iter()
            .take(DEBTS_SHOWN)
            .map(|file| json!({"file_path": file.path, "reason": file.reason.as_str(), "error": file.error}))
            .collect();
        let change = |change: &LocalChange| {
            let how = if change.hash.is_some() { "changed" } else { "removed" };
            json!({"file_path": change.path.as_str(), "change": how})
        };
        let local: Vec<_> = core.local_changes.iter().take(LOCAL_CHANGES_SHOWN).map(change).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "project_id": data.project_id,
            "session_id": data.session_id,
            "container_id": data.container_id,
            "uptime_ms": millis(data.started.elapsed()),
            "phase": data.phase.as_str(),
            "degraded": data.reasons(),
            "revision": core.revision,
            "head": core.head,
            "head_age_ms": data.head_age().map(millis),
            "current": core.current,
            "files": core.files,
            "held_events": core.held,
            "last_applied": data.last_applied,
            "debts": {"count": core.pending_files.len(), "first": debts},
            "local_changes": {"count": core.local_changes.len(), "first": local},
            "connection": {"state": core.channel.as_str(), "token_left_ms": core.token_left.map(millis)},
            "dev_server": data.dev_server.as_ref().map(DevServer::status),
            "problems": data.problems.summary(),
            "boot_ms": data.boot.iter().map(|(step, at)| (step.as_str().to_owned(), json!(at))).collect::<serde_json::Map<_, _>>(),
            "limits_hit": data.limits_hit(),
            "last_errors": data.errors,
            "isolation": if data.isolated { "user" } else { "none" },
        })
    }

    /// What is degraded.
    pub fn degraded(&self) -> Vec<DegradedReason> {
        self.lock().core.degraded.iter().copied().collect()
    }

    /// The last lines of the dev server and the package manager, at most `count`, oldest first.
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        let dev_server = self.lock().dev_server.clone();
        let lines = dev_server.map(|server| server.logs(count)).unwrap_or_default();
        lines.into_iter().map(|line| line.line).collect()
    }

    /// The dev server's last lines, one a line.
    pub fn log_tail(&self, lines: usize) -> String {
        let dev_server = self.lock().dev_server.clone();
        let tail = dev_server.map(|server| server.logs(lines)).unwrap_or_default();
        tail.iter().map(|line| format!("{}\n", line.line)).collect()
    }

    /// Brings the gauges up to date, before they are read.
    pub fn update_gauges(&self) {
        let data = self.lock();
        let core = &data.core;
        let dev_server = data.dev_server.as_ref().map(DevServer::status);
        gauge!("preview_agent_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        gauge!("preview_agent_uptime_seconds").set(data.started.elapsed().as_secs_f64());
        for phase in Phase::ALL {
            gauge!("preview_agent_phase", "phase" => phase.as_str()).set(as_gauge(phase == data.phase));
        }
        gauge!("preview_agent_ready").set(as_gauge(data.ready(dev_server.as_ref())));
        for reason in DegradedReason::ALL {
            gauge!("preview_agent_degraded", "reason" => reason.as_str())
                .set(as_gauge(core.degraded.contains(&reason)));
        }
        gauge!("preview_agent_channel_joined").set(as_gauge(core.channel == ChannelState::Joined));
        gauge!("preview_agent_revision").set(core.revision as f64);
        gauge!("preview_agent_head_revision").set(core.head.unwrap_or(core.revision) as f64);
        if core.channel != ChannelState::Off {
            // Before the first read: since the start.
            let age = data.head_age().unwrap_or_else(|| data.started.elapsed());
            gauge!("preview_agent_head_age_seconds").set(age.as_secs_f64());
        }
        gauge!("preview_agent_in_sync").set(as_gauge(core.current));
        gauge!("preview_agent_debts").set(core.pending_files.len() as f64);
        gauge!("preview_agent_local_changes").set(core.local_changes.len() as f64);
        gauge!("preview_agent_held_events").set(core.held as f64);
        gauge!("preview_agent_files").set(core.files as f64);
        if let Some(left) = core.token_left {
            gauge!("preview_agent_token_left_seconds").set(left.as_secs_f64());
        }
        if let Some(bytes) = resident_memory() {
            gauge!("preview_agent_resident_memory_bytes").set(bytes as f64);
        }
        let cause = data.not_ready_cause(dev_server.as_ref());
        for known in NotReadyCause::ALL {
            gauge!("preview_agent_not_ready", "cause" => known.as_str()).set(as_gauge(cause == Some(known)));
        }
        for reason in PendingReason::ALL {
            let files = core.pending_files.iter().filter(|file| file.reason == reason).count();
            gauge!("preview_agent_pending_files", "reason" => reason.as_str()).set(files as f64);
        }
        for (kind, open) in &data.problems.by_kind {
            gauge!("preview_agent_problems", "kind" => *kind).set(*open as f64);
        }
        let state = dev_server.as_ref().map(|status| status.state).unwrap_or_default();
        for known in DevServerState::ALL {
            gauge!("preview_agent_dev_server_state", "state" => known.as_str()).set(as_gauge(state == known));
        }
        let dev_server_memory = dev_server.as_ref().and_then(|status| memory_of_group(status.pid?));
        gauge!("preview_agent_dev_server_memory_bytes").set(dev_server_memory.unwrap_or(0) as f64);
        if let Some(memory) = cgroup_memory() {
            gauge!("preview_agent_cgroup_memory_bytes").set(memory.used as f64);
            if let Some(limit) = memory.limit {
                gauge!("preview_agent_cgroup_memory_limit_bytes").set(limit as f64);
            }
        }
        gauge!("preview_agent_dev_server_up").set(as_gauge(dev_server.is_some_and(|status| answers(&status))));
        counter!("preview_agent_limits_hit_total", "limit" => Limit::LogLines.as_str()).absolute(logs::dropped());
    }
}

impl StatusData {
    /// How long ago a read last showed the newest revision.
    fn head_age(&self) -> Option<Duration> {
        self.core.head_age.map(|age| age.saturating_add(self.core_at.elapsed()))
    }

    fn reasons(&self) -> Vec<String> {
        self.core.degraded.iter().map(|reason| reason.as_str().to_owned()).collect()
    }

    fn ready(&self, dev_server: Option<&DevServerStatus>) -> bool {
        self.hydrated && self.phase == Phase::Serving && dev_server.is_some_and(answers)
    }

    /// None while it is ready.
    fn not_ready_cause(&self, dev_server: Option<&DevServerStatus>) -> Option<NotReadyCause> {
        if self.ready(dev_server) {
            return None;
        }
        Some(match self.phase {
            Phase::Stopping => NotReadyCause::Stopping,
            _ if !self.hydrated => NotReadyCause::Files,
            _ if dev_server.is_some_and(|status| status.reason.is_some()) => NotReadyCause::Project,
            _ => NotReadyCause::Starting,
        })
    }

    fn limits_hit(&self) -> BTreeMap<&'static str, u64> {
        let mut limits: BTreeMap<_, _> = self.limits.iter().map(|(limit, hits)| (limit.as_str(), *hits)).collect();
        if logs::dropped() > 0 {
            limits.insert(Limit::LogLines.as_str(), logs::dropped());
        }
        limits
    }
}

/// Behind the proxy an answer to `/` that reports a failure of the server does not count.
fn answers(dev_server: &DevServerStatus) -> bool {
    dev_server.state == DevServerState::Serving && dev_server.upstream.is_none_or(|upstream| upstream.answer.is_good())
}

fn as_gauge(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}
