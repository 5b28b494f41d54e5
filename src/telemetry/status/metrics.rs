//! What `/metrics` exposes: every name with its help, there from the start, so that an alert never waits for a first
//! time to compare with.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use sync_core::{CatchUpCause, DegradedReason, DisconnectReason, FileAction, PendingReason, RejectReason, SkipReason};

use super::codes::{HydrationPart, Limit};
use supervisor::dev_server;

/// Bounds of the buckets that durations are counted in, in seconds: from a local write to a slow download.
const SECONDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// Histograms keep each sample until it is put into its bucket, be it looked at or not.
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

const DEV_SERVER_REASONS: Values = |take| dev_server::Reason::ALL.iter().for_each(|reason| take(reason.code()));

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
        "Attempts to connect or join again, by what they mend.",
    ),
    by("action", codes_of!(FileAction), "preview_agent_files_applied_total", "Files of the database brought to disk."),
    plain("preview_agent_bulks_applied_total", "Changes of several files brought to disk."),
    by(
        "cause",
        codes_of!(CatchUpCause),
        "preview_agent_catch_ups_total",
        "Reads of what was missed, by what led to them.",
    ),
    by(
        "cause",
        codes_of!(CatchUpCause),
        "preview_agent_catch_up_failures_total",
        "Reads of what was missed that failed and are tried again.",
    ),
    by(
        "reason",
        codes_of!(RejectReason),
        "preview_agent_rejected_total",
        "Frames, events, rows and answers that were refused.",
    ),
    by("reason", codes_of!(SkipReason), "preview_agent_skipped_total", "Events that changed nothing."),
    by(
        "reason",
        codes_of!(PendingReason),
        "preview_agent_debts_total",
        "Files that were accepted and could not be written at once.",
    ),
    plain(
        "preview_agent_local_changes_found_total",
        "Files of the database found changed or removed by somebody else.",
    ),
    plain("preview_agent_local_changes_restored_total", "Such files that were put back."),
    plain("preview_agent_renewals_total", "Tokens renewed."),
    by(
        "reason",
        codes_of!(DegradedReason),
        "preview_agent_degradations_total",
        "Times that a reason for being degraded began.",
    ),
    plain(
        "preview_agent_clock_skew_total",
        "Events whose timestamp lies in the future or over 5 minutes back: no lag is taken of them.",
    ),
    by("limit", codes_of!(Limit), "preview_agent_limits_hit_total", "Bounds that were reached."),
    plain("preview_agent_install_failures_total", "Installs of dependencies that failed."),
    by("reason", DEV_SERVER_REASONS, "preview_agent_dev_server_exits_total", "Ends of the dev server."),
    by(
        "reason",
        DEV_SERVER_REASONS,
        "preview_agent_dev_server_restarts_total",
        "Restarts of the dev server, by what they were for.",
    ),
];

const GAUGES: &[Metric] = &[
    plain("preview_agent_build_info", "1, with the version as a label."),
    plain("preview_agent_uptime_seconds", "Since the agent's start."),
    plain("preview_agent_phase", "1 for the phase that the agent is in, 0 for the others."),
    plain("preview_agent_ready", "1 where /readyz says 200."),
    by("reason", codes_of!(DegradedReason), "preview_agent_degraded", "1 for each reason for being degraded now."),
    plain("preview_agent_channel_joined", "1 while the project's channel is joined."),
    plain("preview_agent_revision", "Everything up to this revision is accepted."),
    plain("preview_agent_head_revision", "The newest revision heard of."),
    plain("preview_agent_in_sync", "1 at the head, with no debt."),
    plain("preview_agent_debts", "Files accepted and not on disk now."),
    plain("preview_agent_local_changes", "Files of the database that somebody else changed or removed here."),
    plain("preview_agent_held_events", "Events held while hydrating or catching up."),
    plain("preview_agent_files", "Live files of the project."),
    plain("preview_agent_token_left_seconds", "Until the token in use is no longer valid."),
    plain("preview_agent_resident_memory_bytes", "Memory of the agent alone, without its children."),
    plain("preview_agent_dev_server_up", "1 while the dev server answers."),
];

const HISTOGRAMS: &[Metric] = &[
    by(
        "phase",
        codes_of!(HydrationPart),
        "preview_agent_hydration_seconds",
        "Hydration: the wait for the first byte, extraction while downloading, placing, and all of it.",
    ),
    plain("preview_agent_apply_seconds", "From an event's receipt to its file on disk."),
    plain(
        "preview_agent_event_lag_seconds",
        "From an event's own timestamp to its file on disk, where the clocks agree.",
    ),
    plain("preview_agent_install_seconds", "Installs of dependencies that went well."),
    plain("preview_agent_dev_server_start_seconds", "From the dev server's spawn to its first answer."),
];

/// Starts recording, and the upkeep that keeps it bounded. None where a recorder stands already: the second agent of one
/// process (a test).
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

/// Counts one of `name`, whose label has this `value`.
pub fn count(name: &'static str, value: &'static str) {
    let metric = COUNTERS.iter().find(|metric| metric.name == name);
    let label = metric.and_then(|metric| metric.label);
    debug_assert!(label.is_some_and(|(_, values)| has(values, value)), "{name} is not described with `{value}`");
    if let Some((label, _)) = label {
        counter!(name, label => value).increment(1);
    }
}

/// Resident memory of this process, in bytes. None where the system does not say (only Linux does).
pub(super) fn resident_memory() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse::<u64>().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
