//! What `/metrics` exposes: every name with its help. Each series exists from the start, so that an alert can compare the
//! first event with the zero before it.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use sync_core::{
    CatchUpCause, DegradedReason, DisconnectReason, FileAction, PendingReason, Phase, RejectReason, SkipReason,
};

use super::codes::{HydrationPart, Limit, NotReadyCause};
use supervisor::dev_server;

/// Upper bounds of the histograms' buckets in seconds, from a local write to a slow download.
const SECONDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// How often samples are moved into their buckets. Until then each sample takes memory, even where nothing scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// A label, and every value that it can have.
type Label = (&'static str, Values);

/// Calls its argument with each value of a label.
type Values = fn(&mut dyn FnMut(&'static str));

/// The values of a label that are the codes of an enum.
macro_rules! codes_of {
    ($codes:ty) => {
        (|take| <$codes>::ALL.iter().for_each(|code| take(code.as_str()))) as Values
    };
}

const DEV_SERVER_STATES: Values = |take| dev_server::DevServerState::ALL.iter().for_each(|state| take(state.as_str()));
const DEV_SERVER_REASONS: Values = |take| dev_server::FaultReason::ALL.iter().for_each(|reason| take(reason.as_str()));

struct Metric {
    name: &'static str,
    help: &'static str,
    label: Option<Label>,
}

const fn plain(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, label: None }
}

const fn by(label: &'static str, values: Values, name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, label: Some((label, values)) }
}

const COUNTERS: &[Metric] = &[
    plain("preview_agent_joins_total", "Times the project's channel was joined."),
    by(
        "reason",
        codes_of!(DisconnectReason),
        "preview_agent_channel_losses_total",
        "Times the channel was lost, or an attempt at it failed.",
    ),
    by(
        "reason",
        codes_of!(DisconnectReason),
        "preview_agent_reconnects_total",
        "Attempts to connect or join again, by their reason.",
    ),
    by(
        "action",
        codes_of!(FileAction),
        "preview_agent_files_applied_total",
        "Files of the database written or removed.",
    ),
    plain("preview_agent_bulks_applied_total", "Changes of several files at once that were written."),
    by(
        "cause",
        codes_of!(CatchUpCause),
        "preview_agent_catch_ups_total",
        "Reads of changes from the database (catch-ups), by their cause.",
    ),
    by(
        "cause",
        codes_of!(CatchUpCause),
        "preview_agent_catch_up_failures_total",
        "Catch-ups that failed and are tried again.",
    ),
    by(
        "reason",
        codes_of!(RejectReason),
        "preview_agent_rejected_total",
        "Frames, events, rows and answers that were rejected.",
    ),
    by("reason", codes_of!(SkipReason), "preview_agent_skipped_total", "Events that changed nothing."),
    by(
        "reason",
        codes_of!(PendingReason),
        "preview_agent_debts_total",
        "Files that could not be written at once (pending files), by their reason.",
    ),
    plain(
        "preview_agent_local_changes_found_total",
        "Files of the database found changed or removed outside the agent.",
    ),
    plain("preview_agent_local_changes_restored_total", "Such files that were restored."),
    plain("preview_agent_renewals_total", "Tokens renewed."),
    by(
        "reason",
        codes_of!(DegradedReason),
        "preview_agent_degradations_total",
        "How often each degraded reason began.",
    ),
    plain(
        "preview_agent_clock_skew_total",
        "Events with a timestamp in the future or more than 5 minutes in the past: they are left out of the lag.",
    ),
    by("limit", codes_of!(Limit), "preview_agent_limits_hit_total", "Limits that were reached."),
    plain("preview_agent_install_failures_total", "Installs of dependencies that failed."),
    by("reason", DEV_SERVER_REASONS, "preview_agent_dev_server_exits_total", "Exits of the dev server."),
    by(
        "reason",
        DEV_SERVER_REASONS,
        "preview_agent_dev_server_restarts_total",
        "Restarts of the dev server, by their reason.",
    ),
    by(
        "kind",
        codes_of!(diagnostics::Kind),
        "preview_agent_problems_opened_total",
        "Problems of the preview that were found.",
    ),
    by(
        "verdict",
        codes_of!(diagnostics::Outcome),
        "preview_agent_verdicts_total",
        "Settled verdicts on revisions, by their outcome.",
    ),
    by(
        "seen",
        codes_of!(diagnostics::Seen),
        "preview_agent_verdicts_seen_total",
        "Settled verdicts on revisions, by how far the preview was seen.",
    ),
];

const GAUGES: &[Metric] = &[
    plain("preview_agent_build_info", "1, with the version as a label."),
    plain("preview_agent_uptime_seconds", "Time since the agent's start."),
    by("phase", codes_of!(Phase), "preview_agent_phase", "1 for the phase that the agent is in, 0 for the others."),
    plain("preview_agent_ready", "1 while /readyz answers 200."),
    by("reason", codes_of!(DegradedReason), "preview_agent_degraded", "1 for each degraded reason that holds now."),
    plain("preview_agent_channel_joined", "1 while the project's channel is joined."),
    plain("preview_agent_revision", "The known revision: every change up to it is accepted."),
    plain("preview_agent_head_revision", "The newest revision that the agent knows to exist."),
    plain(
        "preview_agent_head_age_seconds",
        "Since a read last showed the newest revision; above 60, whether the project is current is unknown.",
    ),
    plain("preview_agent_in_sync", "1 while every change is accepted and on disk."),
    plain("preview_agent_debts", "Pending files: accepted, not on disk yet."),
    plain("preview_agent_local_changes", "Files of the database that were changed or removed outside the agent."),
    plain("preview_agent_held_events", "Events held while the project is loaded or changes are read."),
    plain("preview_agent_files", "Files of the project."),
    plain("preview_agent_token_left_seconds", "Time until the token expires."),
    plain("preview_agent_resident_memory_bytes", "Resident memory of the agent, without its children."),
    plain("preview_agent_dev_server_up", "1 while the dev server answers."),
    by(
        "cause",
        codes_of!(NotReadyCause),
        "preview_agent_not_ready",
        "1 for the cause why /readyz does not answer 200: files, starting, project (the user's code), stopping.",
    ),
    by(
        "reason",
        codes_of!(PendingReason),
        "preview_agent_pending_files",
        "Files that are accepted and not on disk, by the reason (preview_agent_debts is their sum).",
    ),
    by("kind", codes_of!(diagnostics::Kind), "preview_agent_problems", "Open problems of the preview, by their kind."),
    by("state", DEV_SERVER_STATES, "preview_agent_dev_server_state", "1 for the dev server's state, 0 for the others."),
    plain(
        "preview_agent_dev_server_memory_bytes",
        "Resident memory of the dev server's processes; shared pages count for each of them.",
    ),
    plain("preview_agent_cgroup_memory_bytes", "Memory in use in the container's control group, caches included."),
    plain(
        "preview_agent_cgroup_memory_limit_bytes",
        "Memory limit of the container's control group, where it has one.",
    ),
];

const HISTOGRAMS: &[Metric] = &[
    by(
        "phase",
        codes_of!(HydrationPart),
        "preview_agent_hydration_seconds",
        "Loading the project from its snapshot: the wait for the first byte, extraction, placing, and the total.",
    ),
    plain("preview_agent_apply_seconds", "Time from an event's receipt to its file on disk."),
    plain(
        "preview_agent_event_lag_seconds",
        "Time from an event's timestamp to its file on disk, where the clocks agree.",
    ),
    plain("preview_agent_install_seconds", "Duration of installs that succeeded."),
    plain("preview_agent_dev_server_start_seconds", "Time from the dev server's start to its first answer."),
    plain("preview_agent_verdict_seconds", "Time from a revision on disk to its settled verdict."),
];

/// Starts recording, and the upkeep that bounds its memory. None where this process has a recorder already: a second agent
/// in one process (a test).
pub(super) fn start() -> Option<PrometheusHandle> {
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS).ok()?;
    let handle = builder.install_recorder().ok()?;
    describe();
    let kept = handle.clone();
    tokio::spawn(async move {
        let mut every = tokio::time::interval(UPKEEP_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            kept.run_upkeep();
        }
    });
    Some(handle)
}

fn describe() {
    for metric in COUNTERS {
        describe_counter!(metric.name, metric.help);
        metric.each(|labels| counter!(metric.name, labels).absolute(0));
    }
    for metric in GAUGES {
        describe_gauge!(metric.name, metric.help);
        if metric.label.is_some() {
            metric.each(|labels| gauge!(metric.name, labels).set(0.0));
        }
    }
    for metric in HISTOGRAMS {
        describe_histogram!(metric.name, metric.help);
        metric.each(|labels| drop(histogram!(metric.name, labels)));
    }
}

impl Metric {
    fn each(&self, mut register: impl FnMut(Vec<metrics::Label>)) {
        match self.label {
            None => register(Vec::new()),
            Some((label, values)) => {
                values(&mut |value| register(vec![metrics::Label::from_static_parts(label, value)]));
            }
        }
    }
}

fn has(values: Values, value: &str) -> bool {
    let mut found = false;
    values(&mut |known| found |= known == value);
    found
}

/// Increments the counter `name` for this value of its label.
pub fn count(name: &'static str, value: &'static str) {
    let metric = COUNTERS.iter().find(|metric| metric.name == name);
    let label = metric.and_then(|metric| metric.label);
    debug_assert!(label.is_some_and(|(_, values)| has(values, value)), "{name} is not described with `{value}`");
    if let Some((label, _)) = label {
        counter!(name, label => value).increment(1);
    }
}

/// Resident memory of this process, in bytes. None where the system does not tell (only Linux does).
pub(super) fn resident_memory() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse::<u64>().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}
