//! Opens everything that a run needs, and starts the first fetch.

use std::sync::Arc;
use std::time::Instant;

use secrecy::SecretString;
use sync_core::{Agent, ChannelAccess, LiveOptions, LocalChangePolicy, Options, Time};
use tracing::info;

use crate::cli::config::{Config, PreviewPort};
use crate::sync::database::{Database, Renewer};
use supervisor::dev_server::{self, Placement};

use crate::cli::exit::Exit;
use crate::sync::jitter;
use crate::sync::net::Net;
use crate::sync::realtime::Realtime;
use crate::sync::state::StateFile;
use crate::sync::token::{TokenCell, TokenFormat};
use crate::telemetry::status::{self, Phase, SharedStatus, StatusServer};
use supervisor::init::Init;
use supervisor::process::Environment;

use super::diagnostics::{Diagnostics, DiagnosticsConfig, Redactor};
use super::hydrate::{HydrationJob, SnapshotFailure};
use super::live::Live;
use super::reporting::StatusRefresh;
use super::resume::SleepWatch;
use super::startup::Startup;
use super::state_writer::StateWriter;
use super::writer::Writer;
use super::{RunLoop, isolation, preview};

impl RunLoop {
    pub(super) async fn start(
        mut config: Config,
        mut init: Init,
        status: SharedStatus,
        started: Instant,
    ) -> Result<RunLoop, Exit> {
        info!(
            event_type = "agent_start",
            version = env!("CARGO_PKG_VERSION"),
            "starting preview-agent {}",
            env!("CARGO_PKG_VERSION")
        );
        let server = StatusServer {
            addr: config.status_addr,
            token: config.status_token.clone(),
            hosts: config.status_hosts.clone(),
        };
        let bound = status::serve(server, status.clone())
            .await
            .map_err(|error| Exit::unavailable(format!("cannot serve status on {}: {error}", config.status_addr)))?;
        info!(event_type = "status_listening", addr = %bound, "status on http://{bound}/status");
        let mut preview = preview::Preview::start(&mut config, &status)?;
        let workspace = isolation::open_workspace(&mut config, &mut init, &status)?;
        let state = workspace.state_dir().cloned().map(StateFile::in_dir);
        let net = Net::new(config.extra_ca_file.as_deref()).map_err(Exit::unavailable)?;
        let http = net.http_client().map_err(Exit::fault)?;
        let api = net.api_client().map_err(Exit::fault)?;
        let (dev_server, dev_events) = dev_server::start(init, dev_server_config(&config));
        status.set_dev_server(dev_server.clone());
        let diagnostics = Diagnostics::start(
            DiagnosticsConfig {
                started,
                project_dir: config.project_dir.clone(),
                app_dir: config.app_dir.clone(),
                preview_port: config.preview_port,
                redactor: Redactor::new(&config.environment, secrets(&config)),
                status: status.clone(),
                pages: preview.as_mut().and_then(preview::Preview::page_channels),
            },
            dev_server.clone(),
        );
        preview.iter_mut().for_each(|preview| preview.follow(status.clone(), dev_server.clone()));

        let options = options(&config);
        let stage = workspace.stage();
        let mut live = None;
        let mut renewer = None;
        if let Some(supabase) = config.supabase {
            let token = TokenCell::new(supabase.token);
            let realtime = Realtime::new(net, supabase.url.clone(), supabase.anon_key.clone(), supabase.protocol);
            renewer = config.session_url.map(|url| {
                let (project_id, session_id) = (config.project_id.clone(), config.session_id.clone());
                Arc::new(Renewer::new(api.clone(), url, token.clone(), project_id, session_id))
            });
            let database = Database::new(
                api.clone(),
                supabase.url,
                supabase.anon_key,
                token.clone(),
                config.project_id.clone(),
                stage.clone(),
            );
            live = Some(Live::new(realtime, token, Arc::new(database), renewer.clone()));
        }
        status.set_phase(Phase::Hydrating);
        let hydration = HydrationJob {
            source: config.snapshot,
            project_id: config.project_id,
            http,
            workspace,
            renewer,
            state: state.clone(),
            on_failure: if live.is_some() { SnapshotFailure::ReadDatabase } else { SnapshotFailure::EndRun },
            status: status.clone(),
        };
        Ok(RunLoop {
            started,
            agent: Agent::new(options, Time(started.elapsed())),
            startup: Startup::Hydrating(tokio::spawn(hydration.run())),
            live,
            writer: Writer::default(),
            stage,
            state_writer: StateWriter::new(state),
            dev_server,
            _preview: preview,
            dev_server_events: dev_events,
            sleep_watch: SleepWatch::start(),
            status,
            status_refresh: StatusRefresh::default(),
            install_spinner: Default::default(),
            diagnostics,
        })
    }
}

/// The agent's own secrets, which no problem may show.
fn secrets(config: &Config) -> Vec<SecretString> {
    let anon_key = config.supabase.as_ref().map(|supabase| supabase.anon_key.clone());
    [anon_key, config.status_token.clone()].into_iter().flatten().collect()
}

/// The part of the configuration that the core needs.
fn options(config: &Config) -> Options {
    let live = config.supabase.as_ref().map(|supabase| LiveOptions {
        protocol: supabase.protocol,
        access: match supabase.token.format() {
            TokenFormat::Jwt => ChannelAccess::Private,
            TokenFormat::Envelope => ChannelAccess::Public,
        },
        postgres_changes: supabase.postgres_changes,
        publish_status: supabase.publish_status,
        token_lifetime: supabase.token.lifetime(),
        can_renew: config.session_url.is_some(),
    });
    let local_changes = if config.restore_local_changes { LocalChangePolicy::Restore } else { LocalChangePolicy::Keep };
    Options {
        project_id: config.project_id.clone(),
        session_id: config.session_id.clone(),
        live,
        local_changes,
        seed: jitter::seed(),
    }
}

fn dev_server_config(config: &Config) -> dev_server::Config {
    let variables = config.environment.iter().map(|(name, value)| (name.into(), value.into()));
    let (project, state) = (config.project_dir.clone(), config.state_dir.clone());
    let defaults = dev_server::Config::new(project, state, config.preview_port, Environment::pick(variables));
    let named_hosts = config.preview.hosts.as_ref().map(|hosts| hosts.names()).unwrap_or_default();
    let (placement, allowed_hosts) = match config.preview.listens {
        // Every request is for localhost then.
        PreviewPort::Proxy { dev_server_port: port } => (Placement::BehindProxy { port }, Vec::new()),
        PreviewPort::DevServer if named_hosts.is_empty() => (defaults.placement, defaults.allowed_hosts.clone()),
        PreviewPort::DevServer => (defaults.placement, named_hosts.into_iter().map(str::to_owned).collect()),
    };
    dev_server::Config {
        placement,
        allowed_hosts,
        app_dir: config.app_dir.clone(),
        bind: config.bind,
        command: config.dev_server.clone(),
        grace: config.stop_grace,
        prepared_dir: config.prepared_dir.clone(),
        ..defaults
    }
}
