//! The one select loop: what happens outside goes into the core, what the core answers goes out.

mod hydrate;
mod isolation;
mod keeper;
mod reminders;
mod resume;
mod writer;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sync_core::{
    Agent, Answer, Event, Hydration, Input, Options, Output, ProjectPath, ReadError, ReadId, Renewal, RenewalError,
    Time,
};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tracing::{error, info, warn};

use crate::clock::unix_ms;
use crate::config::Config;
use crate::database::{Database, Renewer, Want};
use crate::dev_server::{self, DevServer, DevServerEvent};
use crate::exit::{Exit, chain};
use crate::init::{Init, Shutdown, Signals};
use crate::logs::Origin;
use crate::net::Net;
use crate::process::Environment;
use crate::realtime::Realtime;
use crate::report::{report, report_dev_server, since_sent};
use crate::state::StateFile;
use crate::status::{self, Board, Phase};
use crate::token::{Kind, TokenCell};
use crate::workspace::{Stage, Workspace, WorkspaceError};

use hydrate::{First, Hydrated, Hydrating};
use keeper::Keeper;
use resume::SleepWatch;
use writer::{Done, Writer};

/// Runs the agent until a signal comes or nothing can work.
pub async fn run(config: Config, init: Init, started: Instant) -> Exit {
    let board = Board::new(Origin::of(&config), started);
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

/// The most often that the core is asked for its whole status.
const SHOW_EVERY: Duration = Duration::from_millis(100);

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

/// How far the first state of the project is.
enum FirstState {
    Awaited,
    /// It comes from the database.
    Read {
        caught_up: bool,
    },
    /// It came from the database; what else lies there is being put aside.
    PuttingAside,
    /// It is there.
    Placed,
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
    async fn start(mut config: Config, mut init: Init, board: Board, started: Instant) -> Result<Running, Exit> {
        info!(
            event_type = "agent_start",
            version = env!("CARGO_PKG_VERSION"),
            "preview-agent {} starts",
            env!("CARGO_PKG_VERSION")
        );
        let bound = status::serve(config.status_addr, config.status_token.clone(), board.clone())
            .await
            .map_err(|error| Exit::unavailable(format!("cannot serve status on {}: {error}", config.status_addr)))?;
        info!(event_type = "status_listening", addr = %bound, "status on http://{bound}/status");
        let mut workspace = Workspace::open(&config.project_dir, &config.state_dir, &config.project_id)
            .map_err(|error| Exit::disk(chain(&error)))?;
        if !workspace.keeps_state() {
            let dir = config.state_dir.display();
            warn!(event_type = "degraded", reason = "state_not_kept", "no state is kept: {dir} cannot be made");
        }
        isolation::isolate(&mut config, &mut init, &mut workspace, &board)?;
        let state = workspace.keeps_state().then(|| StateFile::in_dir(&config.state_dir));
        let net = Net::new(config.extra_ca_file.as_deref()).map_err(Exit::unavailable)?;
        let http = net.http_client().map_err(Exit::fault)?;
        let api = net.api_client().map_err(Exit::fault)?;
        let (dev_server, dev_events) = dev_server::start(init, dev_server_config(&config));
        board.set_dev_server(dev_server.clone());

        let options = options(&config, started);
        let stage = workspace.stage();
        let mut realtime = None;
        let mut token = None;
        let mut database = None;
        if let Some(supabase) = config.supabase {
            let cell = TokenCell::new(supabase.token);
            realtime = Some(Realtime::new(net, supabase.url.clone(), supabase.anon_key.clone(), supabase.protocol));
            let reads = Database::new(
                api.clone(),
                supabase.url,
                supabase.anon_key,
                cell.clone(),
                config.project_id.clone(),
                stage.clone(),
            );
            database = Some(Arc::new(reads));
            token = Some(cell);
        }
        let renewer = config.session_url.zip(token.clone()).map(|(url, token)| {
            Arc::new(Renewer::new(api.clone(), url, token, config.project_id.clone(), config.session_id.clone()))
        });
        board.set_phase(Phase::Hydrating);
        let hydrating = Hydrating {
            source: config.snapshot,
            project_id: config.project_id,
            http,
            workspace,
            renewer: renewer.clone(),
            state: state.clone(),
            live: database.is_some(),
        };
        Ok(Running {
            started,
            agent: Agent::new(options, Time(started.elapsed())),
            board,
            realtime,
            token,
            database,
            renewer,
            reads: JoinSet::new(),
            renewal: None,
            hydrating: Some(tokio::spawn(hydrating.run())),
            writer: Writer::default(),
            keeper: Keeper::new(state),
            stage,
            dev_server,
            dev_events,
            first_state: FirstState::Awaited,
            files_ready: false,
            sleep: SleepWatch::start(),
            shown: None,
            show_at: None,
        })
    }

    async fn serve(&mut self, mut signals: Signals) -> Exit {
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
        let deadline = self.agent.deadline().map(|Time(at)| tokio::time::Instant::from_std(self.started + at));
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
            () = sleep_until(deadline) => Woken::Tick,
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
                        let renewed = renewer.renew(&[Want::Token], false).await?;
                        Ok(Renewal { token: renewed.token })
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
            Done::Looked(seen) => Input::Looked(seen),
            Done::PutAside(result) => return self.put_aside(result),
        };
        self.keeper.changed();
        self.agent.handle(Time(self.started.elapsed()), input);
    }

    /// Brings the board up to date, now or a moment later: what is shown grows with the debts, and a burst wakes often.
    fn show(&mut self) {
        let now = Instant::now();
        let due = self.shown.map_or(now, |shown| shown + SHOW_EVERY);
        if now < due {
            self.show_at = Some(due);
            return;
        }
        self.board.set_core(self.agent.status(Time(self.started.elapsed())));
        self.shown = Some(now);
        self.show_at = None;
    }

    fn tell(&mut self, event: &Event) {
        report(event);
        match event {
            Event::ChannelJoined { .. } => self.board.mark("channel_joined"),
            Event::FileApplied { path, revision, lag, sent_at_ms, .. } => {
                self.board.set_applied(path, *revision, *lag, since_sent(*sent_at_ms));
            }
            Event::InSync { current: true, .. } => self.board.mark("in_sync"),
            Event::CatchUp { .. } => {
                if let FirstState::Read { caught_up } = &mut self.first_state {
                    *caught_up = true;
                }
            }
            Event::Degraded { detail, .. } => self.board.error(detail.clone()),
            Event::Rejected { reason, detail } => {
                self.board.error(detail.clone());
                if *reason == "pages" {
                    self.board.limit_hit("pages");
                }
            }
            Event::Skipped { reason: "held_too_many" } => self.board.limit_hit("held_events"),
            Event::Skipped { reason: "provisional_too_many" } => self.board.limit_hit("provisional_events"),
            _ => {}
        }
    }

    /// Tells the status topic (where publishing is on) what the agent is about now.
    fn publish_phase(&mut self) {
        let dev_server = self.dev_server.status();
        let phase = sync_core::Phase {
            phase: self.board.phase().name(),
            dev_server: dev_server.state.code().to_owned(),
            detail: dev_server.reason.map(|reason| reason.code().to_owned()),
            unix_ms: unix_ms(),
        };
        self.agent.handle(Time(self.started.elapsed()), Input::Phase(phase));
    }

    fn hydrated(&mut self, hydrated: Hydrated) {
        self.writer.start(hydrated.workspace);
        let (input, first_state) = match hydrated.first {
            First::Snapshot(hydration) => (Input::Hydrated(hydration), FirstState::Placed),
            First::Kept(restored) => (Input::Restored(restored), FirstState::Placed),
            First::Database => (Input::Hydrated(Hydration::default()), FirstState::Read { caught_up: false }),
        };
        self.first_state = first_state;
        self.agent.handle(Time(self.started.elapsed()), input);
        self.keeper.changed();
    }

    /// The dev server starts once the snapshot is in place, or, without one, once the first state was read and written.
    /// To be asked when every output is carried out: a catch-up is told of before its files are written.
    fn start_dev_server_once_ready(&mut self) -> bool {
        let there = match self.first_state {
            FirstState::Read { caught_up: true } if !self.writer.busy() && self.reads.is_empty() => {
                self.writer.put_aside_all_but(self.live_paths());
                self.first_state = FirstState::PuttingAside;
                false
            }
            FirstState::Awaited | FirstState::Read { .. } | FirstState::PuttingAside => false,
            FirstState::Placed => true,
        };
        if !there || self.files_ready {
            return false;
        }
        self.files_ready = true;
        self.board.mark("hydrated");
        self.board.set_hydrated();
        self.board.set_phase(Phase::Installing);
        self.dev_server.files_ready();
        self.publish_phase();
        true
    }

    /// What the table says should lie in the project.
    fn live_paths(&self) -> BTreeSet<ProjectPath> {
        let rows = self.agent.saved().map(|saved| saved.rows).unwrap_or_default();
        rows.iter().filter(|row| row.hash.is_some()).filter_map(|row| ProjectPath::parse(&row.path).ok()).collect()
    }

    /// The first state is in place, and what was there before it is not in its way.
    fn put_aside(&mut self, result: Result<usize, WorkspaceError>) {
        match result {
            Ok(files) => hydrate::report_found(files),
            Err(error) => {
                let error = chain(&error);
                warn!(event_type = "found_failed", error, "what is not the database's stays: {error}");
                self.board.error(error);
            }
        }
        self.first_state = FirstState::Placed;
    }

    fn dev_server_says(&mut self, event: DevServerEvent) {
        report_dev_server(&event);
        match event {
            DevServerEvent::InstallStarted { .. } => {
                self.board.mark("install_start");
                self.board.set_phase(Phase::Installing);
            }
            DevServerEvent::InstallDone { .. } => self.board.mark("install_done"),
            DevServerEvent::Started { .. } => {
                self.board.mark("dev_server_start");
                self.board.set_phase(Phase::Serving);
            }
            DevServerEvent::Ready { .. } => self.board.mark("dev_server_ready"),
            DevServerEvent::InstallFailed { reason, .. } => {
                self.board.set_phase(Phase::Serving);
                self.board.error(reason);
            }
            DevServerEvent::GaveUp { detail, .. } => {
                self.board.set_phase(Phase::Serving);
                self.board.limit_hit("restart_budget");
                self.board.error(detail);
            }
            DevServerEvent::StartFailed { detail, .. } | DevServerEvent::Exited { detail, .. } => {
                self.board.set_phase(Phase::Serving);
                self.board.error(detail);
            }
            _ => {}
        }
        self.publish_phase();
    }

    /// A signal: no event is taken any more, the dev server goes, then the agent. A second signal hurries.
    async fn drain(&mut self, signal: Shutdown, mut signals: Signals) -> Exit {
        self.board.set_phase(Phase::Stopping);
        info!(event_type = "shutdown", signal = signal.name(), "stopping ({})", signal.name());
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
        self.dev_server.clone().stop().await;
        exit.said()
    }
}

/// What the core is told of the configuration.
fn options(config: &Config, started: Instant) -> Options {
    let supabase = config.supabase.as_ref();
    Options {
        project_id: config.project_id.clone(),
        session_id: config.session_id.clone(),
        live: supabase.is_some(),
        protocol: supabase.map(|supabase| supabase.protocol).unwrap_or_default(),
        private: supabase.is_some_and(|supabase| supabase.token.kind() == Kind::Jwt),
        postgres_changes: supabase.is_some_and(|supabase| supabase.postgres_changes),
        publish_status: supabase.is_some_and(|supabase| supabase.publish_status),
        token_lifetime: supabase.and_then(|supabase| supabase.token.lifetime()),
        can_renew: config.session_url.is_some(),
        restore_local_changes: config.restore_local_changes,
        seed: seed(started),
    }
}

/// For jitter: different on each machine and at each start, so that a fleet does not come back all at once.
fn seed(started: Instant) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(started)
}

fn dev_server_config(config: &Config) -> dev_server::Config {
    let variables = config.environment.iter().map(|(name, value)| (name.into(), value.into()));
    let (project, state) = (config.project_dir.clone(), config.state_dir.clone());
    dev_server::Config {
        app_dir: config.app_dir.clone(),
        bind: config.bind,
        command: config.dev_server.clone(),
        grace: config.stop_grace,
        prepared_dir: config.prepared_dir.clone(),
        ..dev_server::Config::new(project, state, config.preview_port, Environment::pick(variables))
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
