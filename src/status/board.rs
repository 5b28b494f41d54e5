use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use metrics::gauge;
use serde_json::{Value, json};
use sync_core::{ProjectPath, Revision};

use crate::dev_server::{DevServer, StateName};
use crate::report::millis;

/// Last errors kept for `/status`.
const ERRORS_KEPT: usize = 20;
/// Debts listed in `/status`; the count is always whole.
const DEBTS_SHOWN: usize = 100;

/// Where the agent is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Phase {
    /// Settings are checked, nothing is known of the project.
    #[default]
    Starting,
    /// The snapshot is on its way.
    Hydrating,
    /// Files are there, dependencies are not.
    Installing,
    /// The dev server is running, or being started again.
    Serving,
    /// A signal came.
    Stopping,
    /// Nothing can work; the process is about to end.
    Failed,
}

impl Phase {
    /// As the contract spells it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Hydrating => "hydrating",
            Phase::Installing => "installing",
            Phase::Serving => "serving",
            Phase::Stopping => "stopping",
            Phase::Failed => "failed",
        }
    }
}

/// What is shown of the agent: written by the select loop, read by the status server.
#[derive(Debug, Clone)]
pub struct Board(Arc<Mutex<Shown>>);

#[derive(Debug)]
struct Shown {
    started: Instant,
    project_id: String,
    session_id: String,
    phase: Phase,
    core: sync_core::Status,
    dev_server: Option<DevServer>,
    hydrated: bool,
    boot: Vec<(&'static str, u64)>,
    errors: VecDeque<String>,
    applied: Option<Value>,
}

impl Board {
    /// An agent that has just started.
    pub fn new(project_id: String, session_id: String, started: Instant) -> Board {
        Board(Arc::new(Mutex::new(Shown {
            started,
            project_id,
            session_id,
            phase: Phase::Starting,
            core: Default::default(),
            dev_server: None,
            hydrated: false,
            boot: Vec::new(),
            errors: VecDeque::new(),
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

    /// The file that came to disk last, and how long that took from its receipt.
    pub fn set_applied(&self, path: &ProjectPath, revision: Option<Revision>, lag: Duration) {
        let applied = json!({"file_path": path.as_str(), "revision": revision, "lag_ms": lag.as_secs_f64() * 1000.0});
        self.lock().applied = Some(applied);
    }

    /// Keeps an error for `/status`.
    pub fn error(&self, error: String) {
        let mut shown = self.lock();
        shown.errors.push_back(error);
        if shown.errors.len() > ERRORS_KEPT {
            shown.errors.pop_front();
        }
    }

    /// Whether traffic may come, and the body that says why not.
    pub fn readiness(&self) -> (bool, Value) {
        let shown = self.lock();
        let dev_server = shown.dev_server.as_ref().map(DevServer::status);
        let answers = dev_server.as_ref().is_some_and(|status| status.state == StateName::Serving);
        let ready = shown.hydrated && answers && shown.phase == Phase::Serving;
        let mut reasons = shown.reasons();
        reasons.extend(dev_server.and_then(|status| status.reason).map(|reason| reason.code().to_owned()));
        (ready, json!({"phase": shown.phase.name(), "ready": ready, "reasons": reasons, "current": shown.core.current}))
    }

    /// Everything, for people. It holds no secret.
    pub fn status(&self) -> Value {
        let shown = self.lock();
        let core = &shown.core;
        let debts: Vec<_> = core
            .debts
            .iter()
            .take(DEBTS_SHOWN)
            .map(|(path, reason, error)| json!({"file_path": path, "reason": reason, "error": error}))
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "project_id": shown.project_id,
            "session_id": shown.session_id,
            "uptime_ms": millis(shown.started.elapsed()),
            "phase": shown.phase.name(),
            "degraded": shown.reasons(),
            "revision": core.revision,
            "head": core.head,
            "current": core.current,
            "files": core.files,
            "held_events": core.held,
            "last_applied": shown.applied,
            "debts": {"count": core.debts.len(), "first": debts},
            "connection": {"state": core.channel, "token_left_ms": core.token_left.map(millis)},
            "dev_server": shown.dev_server.as_ref().map(DevServer::status),
            "boot_ms": shown.boot.iter().map(|(step, at)| (step.to_string(), json!(at))).collect::<serde_json::Map<_, _>>(),
            "last_errors": shown.errors,
            // The dev server runs as the agent's own user.
            "isolation": "none",
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
        gauge!("preview_agent_revision").set(core.revision as f64);
        gauge!("preview_agent_head_revision").set(core.head.unwrap_or(core.revision) as f64);
        gauge!("preview_agent_in_sync").set(f64::from(u8::from(core.current)));
        gauge!("preview_agent_debts").set(core.debts.len() as f64);
        gauge!("preview_agent_held_events").set(core.held as f64);
        gauge!("preview_agent_files").set(core.files as f64);
        gauge!("preview_agent_uptime_seconds").set(shown.started.elapsed().as_secs_f64());
        if let Some(left) = core.token_left {
            gauge!("preview_agent_token_left_seconds").set(left.as_secs_f64());
        }
    }
}

impl Shown {
    fn reasons(&self) -> Vec<String> {
        self.core.degraded.iter().map(|reason| reason.code().to_owned()).collect()
    }
}
