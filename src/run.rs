//! The one select loop: what happens outside goes into the core, what the core answers goes out.

mod first;
mod hydrate;
mod isolation;
mod keeper;
mod logging;
mod reminders;
mod resume;
mod shown;
mod start;
mod writer;

use std::sync::Arc;
use std::time::Instant;

use sync_core::{Agent, Answer, Input, NewToken, Output, ReadError, ReadId, Renewal, RenewalError, Time};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tracing::{error, info, trace, warn};

use crate::cli::config::Config;
use crate::cli::exit::Exit;
use crate::sync::database::{Database, Renewer};
use crate::sync::realtime::Realtime;
use crate::sync::token::TokenCell;
use crate::sync::workspace::Stage;
use crate::telemetry::progress;
use crate::telemetry::status::{Board, Phase};
use supervisor::dev_server::{DevServer, DevServerEvent};
use supervisor::init::{Init, Shutdown, Signals};

pub use logging::{origin, start_logs};

use first::FirstState;
use hydrate::Hydrated;
use keeper::Keeper;
use resume::SleepWatch;
use writer::{Done, Writer};

/// Runs the agent until a signal comes or nothing can work.
pub async fn run(config: Config, init: Init, started: Instant) -> Exit {
    let board = Board::new(origin(&config), started);
    run_shown(config, init, board, started).await
}

/// As [`run`], with a board that somebody else looks at too.
pub async fn run_shown(config: Config, init: Init, board: Board, started: Instant) -> Exit {
    board.mark("config");
    let signals = init.signals();
    let mut running = match Running::start(config, init, board, started).await {
        Ok(running) => running,
        Err(exit) => return exit,
    };
    running.serve(signals).await
}

/// Everything that is alive while the agent runs.
struct Running {
    started: Instant,
    board: Board,
    agent: Agent,
    realtime: Option<Realtime>,
    token: Option<TokenCell>,
    database: Option<Arc<Database>>,
    renewer: Option<Arc<Renewer>>,
    reads: JoinSet<(ReadId, Result<Answer, ReadError>)>,
    renewal: Option<JoinHandle<Result<Renewal, RenewalError>>>,
    hydrating: Option<JoinHandle<Result<Hydrated, Exit>>>,
    writer: Writer,
    keeper: Keeper,
    dev_server: DevServer,
    install: progress::Install,
    stage: Arc<Stage>,
    dev_events: mpsc::Receiver<DevServerEvent>,
    first_state: FirstState,
    /// The dev server was told that the files are there.
    files_ready: bool,
    sleep: SleepWatch,
    /// When the board was last brought up to date.
    shown: Option<Instant>,
    /// When it is to be, where something happened since.
    show_at: Option<Instant>,
}

/// What the select loop woke up for.
enum Woken {
    Input(Input),
    Done(Done),
    Hydrated(Result<Hydrated, Exit>),
    DevServer(DevServerEvent),
    Signal(Shutdown),
    Tick,
    Save,
    /// The board is to be brought up to date.
    Show,
}

impl Running {
    async fn serve(&mut self, mut signals: Signals) -> Exit {
        self.publish_phase();
        loop {
            self.carry_out();
            if self.start_dev_server_once_ready() {
                self.carry_out();
            }
            let woken = self.next(&mut signals).await;
            let now = Time(self.started.elapsed());
            match woken {
                Woken::Input(input) => self.agent.handle(now, input),
                Woken::Done(done) => self.done(done),
                Woken::Tick => self.agent.tick(now),
                Woken::Show => {}
                Woken::Save => self.keeper.save(self.agent.saved()),
                Woken::DevServer(event) => self.dev_server_says(event),
                Woken::Hydrated(Ok(hydrated)) => self.hydrated(hydrated),
                Woken::Hydrated(Err(exit)) => return self.fail(exit).await,
                Woken::Signal(signal) => return self.drain(signal, signals).await,
            }
        }
    }

    async fn next(&mut self, signals: &mut Signals) -> Woken {
        let timer = self.agent.deadline();
        let deadline = timer.map(|timer| tokio::time::Instant::from_std(self.started + timer.at.0));
        tokio::select! {
            biased;
            signal = signals.next() => Woken::Signal(signal),
            done = self.writer.next() => Woken::Done(done),
            event = next_of(&mut self.realtime) => Woken::Input(Input::Socket(event)),
            Some(read) = self.reads.join_next() => match read {
                Ok((id, answer)) => Woken::Input(Input::Read(id, answer)),
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            },
            renewed = joined(&mut self.renewal) => Woken::Input(Input::Renewed(renewed)),
            hydrated = joined(&mut self.hydrating) => Woken::Hydrated(hydrated),
            Some(event) = self.dev_events.recv() => Woken::DevServer(event),
            () = self.sleep.resumed() => Woken::Input(Input::Resumed),
            () = sleep_until(deadline) => {
                if let Some(timer) = timer {
                    trace!(event_type = "timer", reason = timer.reason.as_str(), "timer: {}", timer.reason);
                }
                Woken::Tick
            }
            () = self.keeper.due() => Woken::Save,
            () = sleep_until(self.show_at.map(Into::into)) => Woken::Show,
        }
    }

    /// Does what the core wants done.
    fn carry_out(&mut self) {
        while let Some(output) = self.agent.poll() {
            match output {
                Output::Event(event) => self.tell(&event),
                Output::Write(batch, ops) => self.writer.write(batch, ops),
                Output::Read(id, read) => {
                    let Some(database) = self.database.clone() else { continue };
                    self.reads.spawn(async move { (id, database.read(read).await) });
                }
                Output::Discard(staged) => self.stage.discard(staged),
                Output::Connect => self.realtime.iter_mut().for_each(Realtime::connect),
                Output::Disconnect => self.realtime.iter_mut().for_each(Realtime::disconnect),
                Output::Send(message) => {
                    if let (Some(realtime), Some(token)) = (&mut self.realtime, &self.token) {
                        realtime.send(message.encode(token.current().expose()));
                    }
                }
                Output::Renew => {
                    let Some(renewer) = self.renewer.clone() else { continue };
                    self.renewal = Some(tokio::spawn(async move {
                        let renewed = renewer.renew_token().await?;
                        let token = renewed.token.map(|token| NewToken { lifetime: token.lifetime() });
                        Ok(Renewal { token })
                    }));
                }
            }
        }
        self.show();
    }

    /// The workspace did something.
    fn done(&mut self, done: Done) {
        let input = match done {
            Done::Written(batch, written) => {
                self.dev_server.changed(writer::changed(&written));
                Input::Written(batch, written)
            }
            Done::Looked(seen) => Input::Observed(seen),
            Done::Quarantine(result) => return self.put_aside(result),
        };
        self.keeper.changed();
        self.agent.handle(Time(self.started.elapsed()), input);
    }

    /// A signal: no event is taken any more, the dev server goes, then the agent. A second signal hurries.
    async fn drain(&mut self, signal: Shutdown, mut signals: Signals) -> Exit {
        self.board.set_phase(Phase::Stopping);
        self.install.end();
        info!(event_type = "shutdown", signal = signal.name(), "stopping ({})", signal.name());
        self.publish_phase();
        self.carry_out();
        self.realtime.iter_mut().for_each(Realtime::disconnect);
        self.keeper.finish(|| self.agent.saved()).await;
        let mut stopped = std::pin::pin!(self.dev_server.clone().stop());
        tokio::select! {
            () = &mut stopped => {}
            _ = signals.next() => {
                warn!(event_type = "shutdown_hurried", "a second signal: not waiting any longer");
                self.dev_server.hurry();
                stopped.await;
            }
        }
        info!(event_type = "shutdown_done", "stopped");
        Exit::signal(signal.number())
    }

    async fn fail(&mut self, exit: Exit) -> Exit {
        self.board.set_phase(Phase::Failed);
        error!(event_type = "failed", status = exit.status(), "hydration failed: {}", exit.message());
        self.publish_phase();
        self.carry_out();
        self.dev_server.clone().stop().await;
        exit.said()
    }
}

async fn next_of(realtime: &mut Option<Realtime>) -> sync_core::SocketEvent {
    match realtime {
        Some(realtime) => realtime.next().await,
        None => std::future::pending().await,
    }
}

/// The end of a task, which is then forgotten; pending where there is none.
async fn joined<T>(task: &mut Option<JoinHandle<T>>) -> T {
    let Some(running) = task else { return std::future::pending().await };
    let ended = running.await;
    *task = None;
    match ended {
        Ok(value) => value,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
