use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::diagnosis::{Diagnosis, OomKill, diagnose};
use super::oom_kills::oom_kills;
use super::plan::ServerKind;
use super::upstream::{RootAnswer, Upstream};
use super::{Config, Limits, Placement, probe};
use crate::process::{ChildEvent, OutputLine, Process, Stopped};

/// Last lines that are kept to say why it ended.
const LAST_LINES: usize = 80;
/// Time between two probes after the start. The first answer is noticed at most this late.
const FIRST_PROBES: Duration = Duration::from_millis(20);
/// The same where its port is searched: reading `/proc` costs more than a connection that is refused.
const FIRST_SEARCHES: Duration = Duration::from_millis(50);
/// The same for a dev server that starts slowly.
const SLOW_START_PROBES: Duration = Duration::from_millis(250);
/// A dev server without an answer after this time starts slowly.
const SLOW_START: Duration = Duration::from_secs(5);

/// How long a page is waited for while a server answers `/` with something else.
const PAGE_WAIT: Duration = Duration::from_secs(2);
/// After the start, a page that appears later than that is still noticed soon.
const PAGE_SEARCH: Duration = Duration::from_secs(60);

/// Sends `GET /`, and returns where the best answer came from.
type Probe = Pin<Box<dyn Future<Output = Option<Upstream>> + Send>>;

/// A dev server that was started and has not ended yet.
pub(super) struct Running {
    pub(super) command: String,
    /// See [`super::plan::Plan`].
    pub(super) plan: String,
    pub(super) kind: ServerKind,
    /// It has answered a probe.
    pub(super) ready: bool,
    /// Where it answers, once it has answered.
    pub(super) upstream: Option<Upstream>,
    process: Process,
    /// The port that it was given.
    port: u16,
    placement: Placement,
    /// When it first answered with something that is not a page.
    first_answer: Option<Instant>,
    limits: Limits,
    started: Instant,
    /// Probes in a row without an answer.
    missed: u32,
    probe: Probe,
    oom_before: Option<u64>,
    last: VecDeque<String>,
}

/// What happened to a running dev server.
#[derive(Debug)]
pub(super) enum ProcessEvent {
    Line(OutputLine),
    /// The first HTTP answer came, this long after the start.
    Ready(Duration),
    /// It answers on another address now, or its answer to `GET /` is of another kind.
    Moved,
    Exit(ExitStatus),
    /// Too many probes had no answer, or the first answer did not come in time; the text tells which of the two.
    Hang(String),
}

impl Running {
    pub(super) fn new(
        process: Process,
        command: String,
        plan: String,
        kind: ServerKind,
        port: u16,
        config: &Config,
    ) -> Running {
        let first = Target { leader: process.id(), port, placement: config.placement, named: Vec::new() };
        Running {
            command,
            plan,
            kind,
            ready: false,
            upstream: None,
            process,
            port,
            placement: config.placement,
            first_answer: None,
            limits: config.limits.clone(),
            started: Instant::now(),
            missed: 0,
            probe: next_probe(FIRST_PROBES, first, config.limits.probe_timeout),
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
                found = &mut self.probe => {
                    if let Some(event) = self.probed(found) {
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

    fn probed(&mut self, found: Option<Upstream>) -> Option<ProcessEvent> {
        let answered = found.is_some_and(|found| self.counts(found));
        let moved = answered && found != self.upstream;
        if answered {
            self.upstream = found;
        }
        let ran = self.started.elapsed();
        let Limits { start_grace, probe_interval, probe_timeout, probes_missed, .. } = self.limits;
        let first = answered && !self.ready;
        self.ready |= answered;
        self.missed = if answered { 0 } else { self.missed.saturating_add(1) };
        let has_page = self.upstream.is_some_and(|known| known.answer == RootAnswer::Page);
        let (delay, patience) = if self.ready {
            let searches = !has_page && ran < PAGE_SEARCH && matches!(self.placement, Placement::BehindProxy { .. });
            (if searches { SLOW_START_PROBES.min(probe_interval) } else { probe_interval }, probe_timeout)
        } else {
            let first = match self.placement {
                Placement::PreviewPort(_) => FIRST_PROBES,
                Placement::BehindProxy { .. } => FIRST_SEARCHES,
            };
            let delay = if ran < SLOW_START { first } else { SLOW_START_PROBES };
            (delay, probe_timeout.min(start_grace.saturating_sub(ran)))
        };
        let named = self.last.iter().rev().filter_map(|line| named_port(line)).collect();
        let target = Target { leader: self.process.id(), port: self.port, placement: self.placement, named };
        self.probe = next_probe(delay, target, patience);
        if self.ready {
            self.process.raise_oom_scores();
        }
        if first {
            Some(ProcessEvent::Ready(ran))
        } else if self.ready && self.missed >= probes_missed {
            Some(ProcessEvent::Hang(format!("{} probes in a row had no HTTP answer", self.missed)))
        } else if !self.ready && ran >= start_grace {
            Some(ProcessEvent::Hang(self.never_answered()))
        } else if moved {
            Some(ProcessEvent::Moved)
        } else {
            None
        }
    }

    /// Whether an answer counts. Behind a proxy, an answer that is not a page counts only after a moment, in which a page
    /// may appear.
    fn counts(&mut self, found: Upstream) -> bool {
        match self.placement {
            Placement::PreviewPort(_) => true,
            Placement::BehindProxy { .. } if found.answer == RootAnswer::Page => true,
            Placement::BehindProxy { .. } if self.ready => {
                // A page that does not answer for a moment is not replaced by the API beside it.
                self.upstream.is_none_or(|known| known.address == found.address || known.answer < RootAnswer::Page)
            }
            Placement::BehindProxy { .. } => self.first_answer.get_or_insert_with(Instant::now).elapsed() >= PAGE_WAIT,
        }
    }

    fn never_answered(&self) -> String {
        let grace = self.limits.start_grace.as_secs();
        let other = self.last.iter().rev().find_map(|line| named_port(line)).filter(|other| *other != self.port);
        let hint = other.map(|other| format!("; its output names port {other}")).unwrap_or_default();
        match self.placement {
            Placement::PreviewPort(port) => format!("no HTTP answer on port {port} within {grace} s{hint}"),
            Placement::BehindProxy { .. } => format!("no HTTP answer on any of its ports within {grace} s{hint}"),
        }
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

/// The servers that a probe asks.
struct Target {
    leader: u32,
    port: u16,
    placement: Placement,
    /// Ports that it printed, the last one first.
    named: Vec<u16>,
}

impl Target {
    /// The port that it was given, then the ports that it printed, then the others that it listens on.
    fn candidates(&self) -> Vec<SocketAddr> {
        let given = probe::loopback(self.port);
        let Placement::BehindProxy { .. } = self.placement else { return given.to_vec() };
        #[cfg(target_os = "linux")]
        {
            let mut found = super::sockets::listening(self.leader);
            let named = |port| self.named.iter().position(|named| *named == port).unwrap_or(usize::MAX);
            found.sort_by_key(|address| (address.port() != self.port, named(address.port())));
            found
        }
        #[cfg(not(target_os = "linux"))]
        given.into_iter().chain(self.named.iter().flat_map(|port| probe::loopback(*port))).collect()
    }
}

fn next_probe(delay: Duration, target: Target, patience: Duration) -> Probe {
    Box::pin(async move {
        sleep(delay).await;
        probe::best(target.candidates(), patience).await
    })
}

/// The port of a local URL in a line.
fn named_port(line: &str) -> Option<u16> {
    ["://localhost:", "://127.0.0.1:", "://0.0.0.0:", "://[::1]:", "://[::]:"].iter().find_map(|start| {
        let (_, rest) = line.split_once(start)?;
        rest.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()
    })
}
