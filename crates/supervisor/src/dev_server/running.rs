use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::diagnosis::{Diagnosis, OomKill, diagnose};
use super::oom_kills::oom_kills;
use super::plan::ServerKind;
use super::{Config, Limits, probe};
use crate::process::{ChildEvent, OutputLine, Process, Stopped};

/// Last lines that are kept to say why it ended.
const LAST_LINES: usize = 80;
/// Time between two probes after the start. The first answer is noticed at most this late.
const FIRST_PROBES: Duration = Duration::from_millis(20);
/// The same for a dev server that starts slowly.
const SLOW_START_PROBES: Duration = Duration::from_millis(250);
/// A dev server without an answer after this time starts slowly.
const SLOW_START: Duration = Duration::from_secs(5);

/// A dev server that was started and has not ended yet.
pub(super) struct Running {
    pub(super) command: String,
    /// See [`super::plan::Plan`].
    pub(super) plan: String,
    pub(super) kind: ServerKind,
    /// It has answered a probe.
    pub(super) ready: bool,
    process: Process,
    port: u16,
    limits: Limits,
    started: Instant,
    /// Probes in a row without an answer.
    missed: u32,
    probe: Pin<Box<dyn Future<Output = bool> + Send>>,
    oom_before: Option<u64>,
    last: VecDeque<String>,
}

/// What happened to a running dev server.
#[derive(Debug)]
pub(super) enum ProcessEvent {
    Line(OutputLine),
    /// The first HTTP answer came, this long after the start.
    Ready(Duration),
    Exit(ExitStatus),
    /// Too many probes had no answer, or the first answer did not come in time. The text says which.
    Hang(String),
}

impl Running {
    pub(super) fn new(process: Process, command: String, plan: String, kind: ServerKind, config: &Config) -> Running {
        Running {
            command,
            plan,
            kind,
            ready: false,
            process,
            port: config.port,
            limits: config.limits.clone(),
            started: Instant::now(),
            missed: 0,
            probe: next_probe(FIRST_PROBES, config.port, config.limits.probe_timeout),
            oom_before: oom_kills(),
            last: VecDeque::new(),
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the next event. Nothing is lost where the future is dropped.
    pub(super) async fn next(&mut self) -> ProcessEvent {
        loop {
            tokio::select! {
                biased;
                next = self.process.next() => return match next {
                    ChildEvent::Line(line) => {
                        self.keep(&line);
                        ProcessEvent::Line(line)
                    }
                    ChildEvent::Exit(status) => ProcessEvent::Exit(status),
                },
                answered = &mut self.probe => {
                    if let Some(event) = self.probed(answered) {
                        return event;
                    }
                }
            }
        }
    }

    /// Stops it and the processes that it started. Its last lines go to `line`. The grace period ends early when `hurry`
    /// becomes true.
    pub(super) async fn stop(
        &mut self,
        grace: Duration,
        hurry: &mut watch::Receiver<bool>,
        mut line: impl FnMut(OutputLine),
    ) -> Stopped {
        let stopped = tokio::select! {
            stopped = self.process.stop(grace) => stopped,
            () = hurried(hurry) => self.process.stop(Duration::ZERO).await,
        };
        let last = &mut self.last;
        let keep = |got: OutputLine| {
            push(last, &got.text);
            line(got);
        };
        self.process.remaining_lines(keep).await;
        stopped
    }

    /// Why it ended without a request.
    pub(super) fn diagnose(&self, status: ExitStatus) -> Diagnosis {
        let oom = match oom_kills().zip(self.oom_before) {
            Some((now, before)) if now > before => OomKill::Seen,
            _ => OomKill::NotSeen,
        };
        diagnose(status, self.last_lines(), oom)
    }

    pub(super) fn last_lines(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(String::as_str)
    }

    fn keep(&mut self, line: &OutputLine) {
        push(&mut self.last, &line.text);
    }

    fn probed(&mut self, answered: bool) -> Option<ProcessEvent> {
        let ran = self.started.elapsed();
        let Limits { start_grace, probe_interval, probe_timeout, probes_missed, .. } = self.limits;
        let first = answered && !self.ready;
        self.ready |= answered;
        self.missed = if answered { 0 } else { self.missed.saturating_add(1) };
        let (delay, patience) = if self.ready {
            (probe_interval, probe_timeout)
        } else {
            let delay = if ran < SLOW_START { FIRST_PROBES } else { SLOW_START_PROBES };
            (delay, probe_timeout.min(start_grace.saturating_sub(ran)))
        };
        if self.ready {
            self.process.raise_oom_scores();
        }
        self.probe = next_probe(delay, self.port, patience);
        if first {
            Some(ProcessEvent::Ready(ran))
        } else if self.ready && self.missed >= probes_missed {
            Some(ProcessEvent::Hang(format!("{} probes in a row had no HTTP answer", self.missed)))
        } else if !self.ready && ran >= start_grace {
            Some(ProcessEvent::Hang(self.never_answered()))
        } else {
            None
        }
    }

    fn never_answered(&self) -> String {
        let grace = self.limits.start_grace.as_secs();
        let other = self.last.iter().rev().find_map(|line| named_port(line)).filter(|other| *other != self.port);
        let hint = other.map(|other| format!("; its output names port {other}")).unwrap_or_default();
        format!("no HTTP answer on port {} within {grace} s{hint}", self.port)
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("process", &self.process).field("ready", &self.ready).finish_non_exhaustive()
    }
}

/// Waits until grace periods are cut short.
pub(super) async fn hurried(hurry: &mut watch::Receiver<bool>) {
    if hurry.wait_for(|hurry| *hurry).await.is_err() {
        // The handle is gone, so this cannot happen any more.
        std::future::pending().await
    }
}

fn push(last: &mut VecDeque<String>, text: &str) {
    if last.len() == LAST_LINES {
        last.pop_front();
    }
    last.push_back(text.to_owned());
}

fn next_probe(delay: Duration, port: u16, patience: Duration) -> Pin<Box<dyn Future<Output = bool> + Send>> {
    Box::pin(async move {
        sleep(delay).await;
        probe::answers(port, patience).await
    })
}

/// The port of a local URL in a line.
fn named_port(line: &str) -> Option<u16> {
    ["://localhost:", "://127.0.0.1:", "://0.0.0.0:", "://[::1]:", "://[::]:"].iter().find_map(|start| {
        let (_, rest) = line.split_once(start)?;
        rest.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()
    })
}
