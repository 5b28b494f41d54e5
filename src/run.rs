//! The run loop: what happens outside becomes inputs of the core, and the core's outputs are carried out.

mod diagnostics;
mod hydrate;
mod isolation;
mod live;
mod logging;
mod preview;
mod reminders;
mod reporting;
mod resume;
mod shutdown;
mod start;
mod startup;
mod state_writer;
mod timers;
mod writer;

use std::sync::Arc;
use std::time::Instant;

use sync_core::{Agent, Input, Output, Time};
use tokio::sync::mpsc;
use tracing::trace;

use crate::cli::config::Config;
use crate::cli::exit::Exit;
use crate::sync::workspace::Stage;
use crate::telemetry::progress::InstallSpinner;
use crate::telemetry::status::{BootStep, SharedStatus};
use supervisor::dev_server::{DevServer, DevServerEvent};
use supervisor::init::{Init, Shutdown, Signals};

pub use logging::{origin, start_logs};

use diagnostics::{Diagnostics, Publication};
use hydrate::Hydrated;
use live::Live;
use reporting::StatusRefresh;
use resume::SleepWatch;
use startup::Startup;
use state_writer::StateWriter;
use timers::{Timer, Timers, timer_or};
use writer::{Writer, WriterEvent};

/// Runs the agent until a signal comes or nothing can work.
pub async fn run(config: Config, init: Init, started: Instant) -> Exit {
    let status = SharedStatus::new(origin(&config), started);
    run_with_status(config, init, status, started).await
}

/// As [`run`], with a status that others read too (the console).
pub async fn run_with_status(config: Config, init: Init, status: SharedStatus, started: Instant) -> Exit {
    status.record_boot_step(BootStep::Config);
    let signals = init.signals();
    match RunLoop::start(config, init, status, started).await {
        Ok(mut run_loop) => run_loop.run(signals).await,
        Err(exit) => exit,
    }
}

/// Everything that is alive while the agent runs.
struct RunLoop {
    started: Instant,
    agent: Agent,
    startup: Startup,
    /// What there is only with a database: the channel, the reads and the token.
    live: Option<Live>,
    writer: Writer,
    stage: Arc<Stage>,
    state_writer: StateWriter,
    dev_server: DevServer,
    /// Serves the preview port, unless that is the dev server's own.
    _preview: Option<preview::Preview>,
    dev_server_events: mpsc::Receiver<DevServerEvent>,
    sleep_watch: SleepWatch,
    status: SharedStatus,
    status_refresh: StatusRefresh,
    install_spinner: InstallSpinner,
    /// Finds out what went wrong in the preview.
    diagnostics: Diagnostics,
}

/// What the loop woke up for.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
enum LoopEvent {
    Signal(Shutdown),
    Timer(Timer),
    Writer(WriterEvent),
    /// From the channel, a read, or a renewal.
    Live(Input),
    Hydrated(Result<Hydrated, Exit>),
    DevServer(DevServerEvent),
    Resumed,
    SaveState,
    Publish(Publication),
}

impl LoopEvent {
    /// For the trace log.
    fn as_str(&self) -> &'static str {
        match self {
            LoopEvent::Signal(_) => "signal",
            LoopEvent::Timer(Timer::Core(reason)) => reason.as_str(),
            LoopEvent::Timer(Timer::StatusRefresh) => "status_refresh",
            LoopEvent::Writer(_) => "writer",
            LoopEvent::Live(Input::Socket(_)) => "socket",
            LoopEvent::Live(Input::Read(..)) => "read",
            LoopEvent::Live(_) => "renewal",
            LoopEvent::Hydrated(_) => "hydrated",
            LoopEvent::DevServer(_) => "dev_server",
            LoopEvent::Resumed => "resumed",
            LoopEvent::SaveState => "save_state",
            LoopEvent::Publish(_) => "publish",
        }
    }
}

impl RunLoop {
    async fn run(&mut self, mut signals: Signals) -> Exit {
        self.publish_phase();
        loop {
            self.carry_out();
            if self.start_dev_server_once_ready() {
                self.carry_out();
            }
            self.note_revision();
            let event = self.next(&mut signals).await;
            trace!(event_type = "loop_wake", cause = event.as_str(), "woke up: {}", event.as_str());
            match event {
                LoopEvent::Signal(signal) => return self.shut_down(signal, signals).await,
                LoopEvent::Timer(Timer::Core(_)) => self.agent.tick(self.now()),
                LoopEvent::Timer(Timer::StatusRefresh) => {}
                LoopEvent::Writer(event) => self.handle_writer_event(event),
                LoopEvent::Live(input) => self.agent.handle(self.now(), input),
                LoopEvent::Hydrated(Ok(hydrated)) => self.handle_hydrated(hydrated),
                LoopEvent::Hydrated(Err(exit)) => return self.fail(exit).await,
                LoopEvent::DevServer(event) => self.handle_dev_server_event(event),
                LoopEvent::Resumed => self.agent.handle(self.now(), Input::Resumed),
                LoopEvent::SaveState => self.state_writer.save(self.agent.saved()),
                LoopEvent::Publish(Publication { event, payload }) => {
                    self.agent.handle(self.now(), Input::Publish(event, payload));
                }
            }
        }
    }

    /// Waits for the next event. The order has reasons:
    ///
    /// 1. A signal: a busy agent must still stop.
    /// 2. A timer that is due: heartbeats and timeouts of the core must not wait for a socket that is always ready.
    /// 3. The writer: it ends what earlier events began, and has work only because of them, so it delays nothing for
    ///    long. Its results free the core's queue before more events come in.
    /// 4. Everything else, in random order at each call. Any of these sources can be ready without a pause (a flood of
    ///    frames, a dev server that prints endlessly), and none of them may keep another one from its turn.
    async fn next(&mut self, signals: &mut Signals) -> LoopEvent {
        let timers = Timers {
            core: self.agent.deadline().map(|timer| (self.started + timer.at.0, timer.reason)),
            status_refresh: self.status_refresh.due(),
        };
        let others = async {
            tokio::select! {
                input = live::next(&mut self.live) => LoopEvent::Live(input),
                hydrated = self.startup.hydrated() => LoopEvent::Hydrated(hydrated),
                Some(event) = self.dev_server_events.recv() => LoopEvent::DevServer(event),
                () = self.sleep_watch.resumed() => LoopEvent::Resumed,
                () = self.state_writer.due() => LoopEvent::SaveState,
                publication = self.diagnostics.publication() => LoopEvent::Publish(publication),
            }
        };
        let sources = async {
            tokio::select! {
                biased;
                event = self.writer.next() => LoopEvent::Writer(event),
                event = others => event,
            }
        };
        tokio::select! {
            biased;
            signal = signals.next() => LoopEvent::Signal(signal),
            event = timer_or(timers, LoopEvent::Timer, sources) => event,
        }
    }

    /// Carries out what the core asks for.
    fn carry_out(&mut self) {
        while let Some(output) = self.agent.poll() {
            match output {
                Output::Event(event) => self.report_core_event(&event),
                Output::Write(batch, ops) => self.writer.write(batch, ops),
                Output::Discard(staged) => self.stage.discard(staged),
                // Without a database the core asks for none of these.
                Output::Read(id, read) => {
                    if let Some(live) = &mut self.live {
                        live.read(id, read);
                    }
                }
                Output::Connect => self.live.iter_mut().for_each(Live::connect),
                Output::Disconnect => self.live.iter_mut().for_each(Live::disconnect),
                Output::Send(message) => self.live.iter_mut().for_each(|live| live.send(&message)),
                Output::Renew => self.live.iter_mut().for_each(Live::renew),
            }
        }
        self.refresh_status();
    }

    fn handle_writer_event(&mut self, event: WriterEvent) {
        let input = match event {
            WriterEvent::Written(batch, written) => {
                let changed = writer::changed(&written);
                self.diagnostics.changed(&changed);
                self.dev_server.changed(changed);
                Input::Written(batch, written)
            }
            WriterEvent::LocalChanges(changes) => Input::Observed(changes),
            WriterEvent::Quarantined(result) => return self.handle_quarantined(result),
        };
        self.state_writer.changed();
        self.agent.handle(self.now(), input);
    }

    /// Tells the diagnostics which revision is on disk, once nothing of it is on its way any more.
    fn note_revision(&mut self) {
        let is_reading = self.live.as_ref().is_some_and(Live::is_reading);
        if matches!(self.startup, Startup::Complete) && !self.writer.is_busy() && !is_reading {
            self.diagnostics.applied(self.agent.revision());
        }
    }

    /// The time as the core counts it: since the agent's start.
    fn now(&self) -> Time {
        Time(self.started.elapsed())
    }
}
