use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::diagnosis::{Diagnosis, diagnose};
use super::upstream::{RootAnswer, Upstream};
use super::{Config, Limits, Placement, oom, probe};
use crate::process::{Next, OutputLine, Process, Stopped};

/// Lines looked at when it ends.
const LAST_LINES: usize = 80;
/// Between two probes of a dev server that was just spawned: what its first answer may be found late by.
const FIRST_PROBES: Duration = Duration::from_millis(20);
/// The same where its port is looked for: reading `/proc` costs more than a connection that is refused.
const FIRST_SEARCHES: Duration = Duration::from_millis(50);
/// The same for one that takes its time.
const LATER_PROBES: Duration = Duration::from_millis(250);
/// From when on it takes its time.
const SLOW: Duration = Duration::from_secs(5);

/// How long a page may take to appear beside a server that answers `/` with something else.
const PAGE_WAIT: Duration = Duration::from_secs(1);

/// Asks for `/`, and gives where the best answer came from.
type Probe = Pin<Box<dyn Future<Output = Option<Upstream>> + Send>>;

/// A dev server that was spawned and has not been seen to end.
pub(super) struct Running {
    pub(super) command: String,
    /// See [`super::plan::Plan`].
    pub(super) plan: String,
    pub(super) vite: bool,
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
    missed: u32,
    probe: Probe,
    oom_before: Option<u64>,
    last: VecDeque<String>,
}

/// What a running dev server did.
#[derive(Debug)]
pub(super) enum Did {
    Line(OutputLine),
    /// The first HTTP answer came, this long after the spawn.
    Ready(Duration),
    /// It answers elsewhere now, or with something else.
    Moved,
    Exit(ExitStatus),
    /// Too many probes went without an answer, or the first one did not come in time.
    Hang(String),
}

impl Running {
    pub(super) fn new(
        process: Process,
        command: String,
        plan: String,
        vite: bool,
        port: u16,
        config: &Config,
    ) -> Running {
        let first = Target { leader: process.id(), port, placement: config.placement, named: Vec::new() };
        Running {
            command,
            plan,
            vite,
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
            oom_before: oom::kills(),
            last: VecDeque::new(),
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the next thing it does. May be dropped halfway.
    pub(super) async fn next(&mut self) -> Did {
        loop {
            tokio::select! {
                biased;
                next = self.process.next() => return match next {
                    Next::Line(line) => {
                        self.keep(&line);
                        Did::Line(line)
                    }
                    Next::Exit(status) => Did::Exit(status),
                },
                found = &mut self.probe => {
                    if let Some(did) = self.probed(found) {
                        return did;
                    }
                }
            }
        }
    }

    /// Stops it and whatever it left behind; its last lines go to `line`. A hurry that comes cuts the grace short.
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
        self.process.rest(keep).await;
        stopped
    }

    /// Why it ended by itself.
    pub(super) fn diagnose(&self, status: ExitStatus) -> Diagnosis {
        let oom = oom::kills().zip(self.oom_before).is_some_and(|(now, before)| now > before);
        diagnose(status, self.last_lines(), oom)
    }

    pub(super) fn last_lines(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(String::as_str)
    }

    fn keep(&mut self, line: &OutputLine) {
        push(&mut self.last, &line.text);
    }

    fn probed(&mut self, found: Option<Upstream>) -> Option<Did> {
        let answered = found.is_some_and(|found| self.is_taken(found));
        let moved = answered && found != self.upstream;
        if answered {
            self.upstream = found;
        }
        let ran = self.started.elapsed();
        let Limits { start_grace, probe_interval, probe_timeout, probes_missed, .. } = self.limits;
        let first = answered && !self.ready;
        self.ready |= answered;
        self.missed = if answered { 0 } else { self.missed + 1 };
        let (delay, patience) = if self.ready {
            (probe_interval, probe_timeout)
        } else {
            let first = match self.placement {
                Placement::PreviewPort(_) => FIRST_PROBES,
                Placement::BehindProxy { .. } => FIRST_SEARCHES,
            };
            let delay = if ran < SLOW { first } else { LATER_PROBES };
            (delay, probe_timeout.min(start_grace.saturating_sub(ran)))
        };
        let named = self.last.iter().rev().filter_map(|line| named_port(line)).collect();
        let target = Target { leader: self.process.id(), port: self.port, placement: self.placement, named };
        self.probe = next_probe(delay, target, patience);
        if first {
            Some(Did::Ready(ran))
        } else if self.ready && self.missed >= probes_missed {
            Some(Did::Hang(format!("{} probes in a row went without an HTTP answer", self.missed)))
        } else if !self.ready && ran >= start_grace {
            Some(Did::Hang(self.never_answered()))
        } else if moved {
            Some(Did::Moved)
        } else {
            None
        }
    }

    /// Whether an answer counts. Behind a proxy, one that is not a page waits a moment for a page to appear.
    fn is_taken(&mut self, found: Upstream) -> bool {
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
        let hint = other.map(|other| format!("; it says that it listens on port {other}")).unwrap_or_default();
        match self.placement {
            Placement::PreviewPort(port) => format!("no HTTP answer on port {port} within {grace} s{hint}"),
            Placement::BehindProxy { .. } => format!("no HTTP answer on any port of it within {grace} s{hint}"),
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("process", &self.process).field("ready", &self.ready).finish_non_exhaustive()
    }
}

/// Waits until nothing is given any grace.
pub(super) async fn hurried(hurry: &mut watch::Receiver<bool>) {
    if hurry.wait_for(|hurry| *hurry).await.is_err() {
        // Nobody is left who could hurry.
        std::future::pending().await
    }
}

fn push(last: &mut VecDeque<String>, text: &str) {
    if last.len() == LAST_LINES {
        last.pop_front();
    }
    last.push_back(text.to_owned());
}

/// What is asked.
struct Target {
    leader: u32,
    port: u16,
    placement: Placement,
    /// Ports that it printed, the last one first.
    named: Vec<u16>,
}

impl Target {
    /// The port that it was given, then what it printed, then the others that it listens on.
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
