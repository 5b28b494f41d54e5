use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::diagnosis::{Diagnosis, diagnose};
use super::{Config, Limits, oom, probe};
use crate::process::{Next, OutputLine, Process, Stopped};

/// Lines looked at when it ends.
const LAST_LINES: usize = 80;
/// Between two probes of a dev server that was just spawned: what its first answer may be found late by.
const FIRST_PROBES: Duration = Duration::from_millis(20);
/// The same for one that takes its time.
const LATER_PROBES: Duration = Duration::from_millis(250);
/// From when on it takes its time.
const SLOW: Duration = Duration::from_secs(5);

/// A dev server that was spawned and has not been seen to end.
pub(super) struct Running {
    pub(super) command: String,
    /// See [`super::plan::Plan`].
    pub(super) plan: String,
    pub(super) vite: bool,
    pub(super) ready: bool,
    process: Process,
    port: u16,
    limits: Limits,
    started: Instant,
    missed: u32,
    probe: Pin<Box<dyn Future<Output = bool> + Send>>,
    oom_before: Option<u64>,
    last: VecDeque<String>,
}

/// What a running dev server did.
#[derive(Debug)]
pub(super) enum Did {
    Line(OutputLine),
    /// The first HTTP answer came, this long after the spawn.
    Ready(Duration),
    Exit(ExitStatus),
    /// Too many probes went without an answer, or the first one did not come in time.
    Hang(String),
}

impl Running {
    pub(super) fn new(process: Process, command: String, plan: String, vite: bool, config: &Config) -> Running {
        Running {
            command,
            plan,
            vite,
            ready: false,
            process,
            port: config.port,
            limits: config.limits.clone(),
            started: Instant::now(),
            missed: 0,
            probe: next_probe(FIRST_PROBES, config.port, config.limits.probe_timeout),
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
                answered = &mut self.probe => {
                    if let Some(did) = self.probed(answered) {
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

    fn probed(&mut self, answered: bool) -> Option<Did> {
        let ran = self.started.elapsed();
        let Limits { start_grace, probe_interval, probe_timeout, probes_missed, .. } = self.limits;
        let first = answered && !self.ready;
        self.ready |= answered;
        self.missed = if answered { 0 } else { self.missed + 1 };
        let (delay, patience) = if self.ready {
            (probe_interval, probe_timeout)
        } else {
            let delay = if ran < SLOW { FIRST_PROBES } else { LATER_PROBES };
            (delay, probe_timeout.min(start_grace.saturating_sub(ran)))
        };
        self.probe = next_probe(delay, self.port, patience);
        if first {
            Some(Did::Ready(ran))
        } else if self.ready && self.missed >= probes_missed {
            Some(Did::Hang(format!("{} probes in a row went without an HTTP answer", self.missed)))
        } else if !self.ready && ran >= start_grace {
            Some(Did::Hang(self.never_answered()))
        } else {
            None
        }
    }

    fn never_answered(&self) -> String {
        let grace = self.limits.start_grace.as_secs();
        let other = self.last.iter().rev().find_map(|line| named_port(line)).filter(|other| *other != self.port);
        let hint = other.map(|other| format!("; it says that it listens on port {other}")).unwrap_or_default();
        format!("no HTTP answer on port {} within {grace} s{hint}", self.port)
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
