use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use serde_json::{Value, json};
use sync_core::{ChannelState, DegradedReason, LocalChange, Phase, ProjectPath, Revision};

use super::codes::Limit;
use super::metrics::{count, resident_memory};
use crate::telemetry::logs;
use crate::telemetry::text::millis;
use supervisor::dev_server::{DevServer, DevServerStatus, StateName};

/// Last errors kept for `/status`.
const ERRORS_KEPT: usize = 20;
/// Debts listed in `/status`; the count is always whole.
const DEBTS_SHOWN: usize = 100;
/// The same for local changes.
const LOCAL_CHANGES_SHOWN: usize = 100;

/// What is shown of the agent: written by the select loop, read by the status server.
#[derive(Debug, Clone)]
pub struct Board(Arc<Mutex<Shown>>);

#[derive(Debug)]
struct Shown {
    started: Instant,
    project_id: String,
    session_id: String,
    container_id: Option<String>,
    phase: Phase,
    core: sync_core::Status,
    dev_server: Option<DevServer>,
    hydrated: bool,
    isolated: bool,
    boot: Vec<(&'static str, u64)>,
    errors: VecDeque<String>,
    limits: BTreeMap<&'static str, u64>,
    applied: Option<Value>,
}

impl Board {
    /// An agent that has just started.
    pub fn new(origin: logs::Origin, started: Instant) -> Board {
        Board(Arc::new(Mutex::new(Shown {
            started,
            project_id: origin.project_id,
            session_id: origin.session_id,
            container_id: origin.container_id,
            phase: Phase::Starting,
            core: Default::default(),
            dev_server: None,
            hydrated: false,
            isolated: false,
            boot: Vec::new(),
            errors: VecDeque::new(),
            limits: BTreeMap::new(),
            applied: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().expect("no panic while held")
    }

    /// Changes the phase; true if it is another one.
    pub fn set_phase(&self, phase: Phase) -> bool {
        let mut shown = self.lock();
        let changed = shown.phase != phase;
        shown.phase = phase;
        changed
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// What the core says of itself.
    pub fn set_core(&self, core: sync_core::Status) {
        self.lock().core = core;
    }

    /// The files are in place.
    pub fn set_hydrated(&self) {
        self.lock().hydrated = true;
    }

    /// The project's code runs as another user than the agent.
    pub fn set_isolated(&self) {
        self.lock().isolated = true;
    }

    /// Whom to ask about the dev server.
    pub fn set_dev_server(&self, dev_server: DevServer) {
        self.lock().dev_server = Some(dev_server);
    }

    /// A step of the boot is reached now; the first time counts.
    pub fn mark(&self, step: &'static str) {
        let mut shown = self.lock();
        let at = millis(shown.started.elapsed());
        if !shown.boot.iter().any(|(known, _)| *known == step) {
            shown.boot.push((step, at));
        }
    }

    /// The file that came to disk last, and how long that took from its receipt, and from its sending where the
    /// clocks agree.
    pub fn set_applied(&self, path: &ProjectPath, revision: Option<Revision>, lag: Duration, sent: Option<Duration>) {
        let lag_ms = lag.as_secs_f64() * 1000.0;
        let (path, since_sent_ms) = (path.as_str(), sent.map(millis));
        self.lock().applied =
            Some(json!({"file_path": path, "revision": revision, "lag_ms": lag_ms, "since_sent_ms": since_sent_ms}));
    }

    /// Keeps an error for `/status`.
    pub fn error(&self, error: String) {
        let mut shown = self.lock();
        shown.errors.push_back(error);
        if shown.errors.len() > ERRORS_KEPT {
            shown.errors.pop_front();
        }
    }

    /// A bound was reached.
    pub fn limit_hit(&self, limit: Limit) {
        count("preview_agent_limits_hit_total", limit.as_str());
        *self.lock().limits.entry(limit.as_str()).or_default() += 1;
    }

    /// Whether traffic may come, and the body that says why not.
    pub fn readiness(&self) -> (bool, Value) {
        let shown = self.lock();
        let dev_server = shown.dev_server.as_ref().map(DevServer::status);
        let ready = shown.ready(dev_server.as_ref());
        let mut reasons = shown.reasons();
        reasons.extend(dev_server.and_then(|status| status.reason).map(|reason| reason.code().to_owned()));
        (
            ready,
            json!({"phase": shown.phase.as_str(), "ready": ready, "reasons": reasons, "current": shown.core.current}),
        )
    }

    /// Everything, for people. It holds no secret.
    pub fn status(&self) -> Value {
        let shown = self.lock();
        let core = &shown.core;
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
            "project_id": shown.project_id,
            "session_id": shown.session_id,
            "container_id": shown.container_id,
            "uptime_ms": millis(shown.started.elapsed()),
            "phase": shown.phase.as_str(),
            "degraded": shown.reasons(),
            "revision": core.revision,
            "head": core.head,
            "current": core.current,
            "files": core.files,
            "held_events": core.held,
            "last_applied": shown.applied,
            "debts": {"count": core.pending_files.len(), "first": debts},
            "local_changes": {"count": core.local_changes.len(), "first": local},
            "connection": {"state": core.channel.as_str(), "token_left_ms": core.token_left.map(millis)},
            "dev_server": shown.dev_server.as_ref().map(DevServer::status),
            "boot_ms": shown.boot.iter().map(|(step, at)| (step.to_string(), json!(at))).collect::<serde_json::Map<_, _>>(),
            "limits_hit": shown.limits_hit(),
            "last_errors": shown.errors,
            "isolation": if shown.isolated { "user" } else { "none" },
        })
    }

    /// The dev server's last lines, one a line.
    pub fn log_tail(&self, lines: usize) -> String {
        let dev_server = self.lock().dev_server.clone();
        let tail = dev_server.map(|server| server.logs(lines)).unwrap_or_default();
        tail.iter().map(|line| format!("{}\n", line.line)).collect()
    }

    /// Brings the gauges up to date before they are read.
    pub fn set_gauges(&self) {
        let shown = self.lock();
        let core = &shown.core;
        let dev_server = shown.dev_server.as_ref().map(DevServer::status);
        gauge!("preview_agent_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        gauge!("preview_agent_uptime_seconds").set(shown.started.elapsed().as_secs_f64());
        for phase in Phase::ALL {
            gauge!("preview_agent_phase", "phase" => phase.as_str()).set(yes(phase == shown.phase));
        }
        gauge!("preview_agent_ready").set(yes(shown.ready(dev_server.as_ref())));
        for reason in DegradedReason::ALL {
            gauge!("preview_agent_degraded", "reason" => reason.as_str()).set(yes(core.degraded.contains(&reason)));
        }
        gauge!("preview_agent_channel_joined").set(yes(core.channel == ChannelState::Joined));
        gauge!("preview_agent_revision").set(core.revision as f64);
        gauge!("preview_agent_head_revision").set(core.head.unwrap_or(core.revision) as f64);
        gauge!("preview_agent_in_sync").set(yes(core.current));
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
        gauge!("preview_agent_dev_server_up").set(yes(dev_server.is_some_and(|status| answers(&status))));
        counter!("preview_agent_limits_hit_total", "limit" => Limit::LogLines.as_str()).absolute(logs::dropped());
    }
}

impl Shown {
    fn reasons(&self) -> Vec<String> {
        self.core.degraded.iter().map(|reason| reason.as_str().to_owned()).collect()
    }

    fn ready(&self, dev_server: Option<&DevServerStatus>) -> bool {
        self.hydrated && self.phase == Phase::Serving && dev_server.is_some_and(answers)
    }

    fn limits_hit(&self) -> BTreeMap<&'static str, u64> {
        let mut limits = self.limits.clone();
        if logs::dropped() > 0 {
            limits.insert(Limit::LogLines.as_str(), logs::dropped());
        }
        limits
    }
}

fn answers(dev_server: &DevServerStatus) -> bool {
    dev_server.state == StateName::Serving
}

fn yes(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}
