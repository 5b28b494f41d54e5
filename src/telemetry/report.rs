//! Events of the core and of the dev server as log lines and metrics.

use std::time::Duration;

use metrics::{counter, histogram};
use sync_core::Event;
use tracing::{debug, info, warn};

use crate::telemetry::status::count;
use crate::telemetry::text::millis;
use supervisor::dev_server::DevServerEvent;

/// A lag above this means that the sender's clock is wrong, not that the event is late.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Logs and counts one event.
pub fn report(event: &Event) {
    match event {
        Event::ChannelJoined { private, rejoin } => {
            counter!("preview_agent_joins_total").increment(1);
            let how = if *rejoin { "rejoined" } else { "joined" };
            info!(event_type = "channel_joined", private, rejoin, "channel {how}: changes now arrive live");
        }
        Event::ChannelLost { reason, detail } => {
            count("preview_agent_channel_losses_total", reason.as_str());
            warn!(event_type = "channel_lost", reason = reason.as_str(), detail, "channel lost: {detail}");
        }
        Event::ChannelRetry { reason, after, attempt } => {
            count("preview_agent_reconnects_total", reason.as_str());
            let (reason, after_ms) = (reason.as_str(), millis(*after));
            debug!(event_type = "channel_retry", reason, attempt, after_ms, "connecting again ({reason})");
        }
        Event::FileApplied { path, version, revision, bytes, action, lag, sent_at_ms } => {
            let action = action.as_str();
            count("preview_agent_files_applied_total", action);
            histogram!("preview_agent_apply_seconds").record(*lag);
            let sent = since_sent(*sent_at_ms);
            match (sent, sent_at_ms) {
                (Some(sent), _) => histogram!("preview_agent_event_lag_seconds").record(sent),
                (None, Some(_)) => counter!("preview_agent_clock_skew_total").increment(1),
                (None, None) => {}
            }
            info!(
                event_type = "file_applied",
                file_path = path.as_str(),
                action,
                version,
                revision,
                bytes,
                lag_ms = millis(*lag),
                since_sent_ms = sent.map(millis),
                "{action} {path}"
            );
        }
        Event::BulkApplied { revision, files, changed, lag, .. } => {
            counter!("preview_agent_bulks_applied_total").increment(1);
            let lag_ms = millis(*lag);
            info!(
                event_type = "bulk_applied",
                revision, files, changed, lag_ms, "{changed} of {files} files changed at once"
            );
        }
        Event::CatchUp { cause, from, to, files, took } => {
            let cause = cause.as_str();
            count("preview_agent_catch_ups_total", cause);
            let duration_ms = millis(*took);
            info!(
                event_type = "catch_up",
                cause, from, to, files, duration_ms, "read the changes from revision {from} to {to} ({cause})"
            );
        }
        Event::CatchUpFailed { cause, error, retry_after } => {
            let cause = cause.as_str();
            count("preview_agent_catch_up_failures_total", cause);
            let retry_ms = millis(*retry_after);
            warn!(
                event_type = "catch_up_failed",
                cause, error, retry_ms, "cannot read the changes from the database: {error}"
            );
        }
        Event::Rejected { reason, detail } => {
            let reason = reason.as_str();
            count("preview_agent_rejected_total", reason);
            warn!(event_type = "rejected", reason, detail, "rejected: {detail}");
        }
        Event::Skipped { reason } => count("preview_agent_skipped_total", reason.as_str()),
        Event::PendingFileAdded { path, reason, error } => {
            let reason = reason.as_str();
            count("preview_agent_debts_total", reason);
            warn!(event_type = "debt_added", file_path = path, reason, error, "{path} is not written yet: {error}");
        }
        Event::PendingFileResolved { path } => {
            info!(event_type = "debt_paid", file_path = path, "{path} is written now")
        }
        Event::LocalChange { path, removed } => {
            counter!("preview_agent_local_changes_found_total").increment(1);
            let (path, how) = (path.as_str(), if *removed { "removed" } else { "changed" });
            warn!(event_type = "local_change", file_path = path, change = how, "{path} was {how} outside the agent");
        }
        Event::LocalChangeEnded { path, restored } => {
            if *restored {
                counter!("preview_agent_local_changes_restored_total").increment(1);
            }
            let path = path.as_str();
            info!(
                event_type = "local_change_settled",
                file_path = path,
                restored,
                "{path} has the database's content again"
            );
        }
        Event::TokenRenewed => {
            counter!("preview_agent_renewals_total").increment(1);
            info!(event_type = "token_renewed", "token renewed");
        }
        Event::Degraded { reason, detail } => {
            count("preview_agent_degradations_total", reason.as_str());
            warn!(event_type = "degraded", reason = reason.as_str(), detail, "{}: {detail}", reason.as_str());
        }
        Event::Recovered { reason } => {
            info!(event_type = "recovered", reason = reason.as_str(), "{}: recovered", reason.as_str());
        }
        Event::InSync { current, revision } => {
            debug!(event_type = "in_sync", current, revision, "in sync with the database: {current}");
        }
    }
}

/// Logs and counts one event of the dev server.
pub fn report_dev_server(event: &DevServerEvent) {
    match event {
        DevServerEvent::InstallStarted { manager } => {
            info!(event_type = "deps_start", manager, "installing dependencies ({manager})")
        }
        DevServerEvent::InstallProgress { line } => debug!(event_type = "deps_progress", line, "{line}"),
        DevServerEvent::InstallDone { duration, prepared } => {
            histogram!("preview_agent_install_seconds").record(*duration);
            info!(event_type = "deps_done", duration_ms = millis(*duration), prepared, "dependencies are installed");
        }
        DevServerEvent::InstallFailed { failure, detail, duration } => {
            counter!("preview_agent_install_failures_total").increment(1);
            warn!(
                event_type = "deps_failed",
                code = failure.as_str(),
                reason = detail,
                duration_ms = millis(*duration),
                "cannot install the dependencies: {detail}"
            );
        }
        DevServerEvent::Started { pid, command } => {
            info!(event_type = "dev_server_start", pid, command, "starting the dev server: {command}");
        }
        DevServerEvent::Ready { duration } => {
            histogram!("preview_agent_dev_server_start_seconds").record(*duration);
            info!(event_type = "dev_server_ready", duration_ms = millis(*duration), "the dev server is ready");
        }
        DevServerEvent::Exited { code, signal, reason, detail } => {
            count("preview_agent_dev_server_exits_total", reason.as_str());
            warn!(
                event_type = "dev_server_exit",
                code,
                signal,
                reason = reason.as_str(),
                detail,
                "the dev server exited: {detail}"
            );
        }
        DevServerEvent::StartFailed { reason, detail } => {
            warn!(
                event_type = "dev_server_start_failed",
                reason = reason.as_str(),
                detail,
                "cannot start the dev server: {detail}"
            );
        }
        DevServerEvent::RestartIn { reason, delay, attempt } => {
            count("preview_agent_dev_server_restarts_total", reason.as_str());
            info!(
                event_type = "dev_server_restart",
                reason = reason.as_str(),
                attempt,
                delay_ms = millis(*delay),
                "restarting the dev server ({})",
                reason.as_str()
            );
        }
        DevServerEvent::GaveUp { reason, detail } => {
            let reason = reason.as_str();
            warn!(
                event_type = "dev_server_gave_up",
                reason, detail, "giving up on the dev server until a file changes: {detail}"
            );
        }
        DevServerEvent::Output { stream, line } => {
            let stream = stream.as_str();
            info!(event_type = "dev_server_output", stream, "{line}");
        }
    }
}

/// The time since an event was sent. None where the event has no timestamp, or where the clocks do not agree.
pub fn since_sent(sent_at_ms: Option<u64>) -> Option<Duration> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
    let sent = Duration::from_millis(sent_at_ms?);
    now.checked_sub(sent).filter(|lag| *lag < CLOCK_SKEW)
}
