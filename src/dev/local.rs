//! The local backend and the mirror of the folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use local_backend::{AgentReports, AgentSettings, Backend, BackendOptions, DatabaseUrl, Faults};
use sync_core::ContentHash;
use tracing::{info, warn};

use super::env_file::EnvFile;
use super::folder::Folder;
use super::mirror::{Mirror, Opened, WriteBack};
use super::mirror_event::{EventSink, MirrorEvent};
use crate::cli::exit::Exit;
use crate::telemetry::logs::Origin;

/// How the backend is started.
pub struct LocalOptions {
    /// The folder that it is seeded from and mirrors.
    pub folder: Option<Folder>,
    /// The PostgreSQL that holds the project; memory where there is none.
    pub database_url: Option<DatabaseUrl>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether changes saved through the backend are written to the folder.
    pub write_back: WriteBack,
    /// Where an editor finds what it needs.
    pub env_file: Option<PathBuf>,
}

/// The backend and, for a folder, its mirror.
pub struct Local {
    backend: Backend,
    mirror: Option<Mirror>,
    files: usize,
    env_file: Option<EnvFile>,
}

impl Local {
    /// Reads the folder and starts both, for the project and session of `origin`. An error says which option would help.
    pub async fn start(options: LocalOptions, origin: &Origin) -> Result<Local, Exit> {
        let mut backend_options = BackendOptions {
            listen: options.listen,
            database_url: options.database_url,
            project_id: origin.project_id.clone(),
            session_id: origin.session_id.clone(),
            ..BackendOptions::default()
        };
        let mut opened = None;
        let report: EventSink = Arc::new(log);
        if let Some(folder) = options.folder {
            let (watched, files) = Opened::read(folder, &report).map_err(Exit::unavailable)?;
            backend_options.files = files;
            opened = Some(watched);
        }
        let files = backend_options.files.len();
        let backend = Backend::start(backend_options).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                let port = options.listen.port();
                Exit::unavailable(format!("port {port} is in use: choose another for the backend with --listen"))
            }
            _ => Exit::unavailable(format!("cannot start the local backend: {error}")),
        })?;
        let mirror = opened.map(|opened| opened.mirror(backend.store(), options.write_back, report)).transpose();
        let mirror = mirror.map_err(|error| Exit::fault(format!("cannot start a thread: {error}")))?;
        let env_file = options.env_file.map(|path| {
            EnvFile::write(&path, &backend)
                .map_err(|error| Exit::disk(format!("cannot write --env-file {}: {error}", path.display())))
        });
        Ok(Local { env_file: env_file.transpose()?, backend, mirror, files })
    }

    /// The settings of an agent.
    pub fn session(&self) -> AgentSettings {
        self.backend.agent_settings()
    }

    /// The backend's address.
    pub fn url(&self) -> String {
        self.backend.url()
    }

    /// For an editor that saves through the backend.
    pub fn editor_token(&self) -> String {
        self.backend.editor_token()
    }

    /// Every place of the backend, to be served beside the console, so that its page is of the same origin.
    pub fn router(&self) -> axum::Router {
        self.backend.router()
    }

    /// The faults that can be switched on.
    pub fn faults(&self) -> Faults {
        self.backend.faults()
    }

    /// What agents have published on the status topic.
    pub fn agents(&self) -> AgentReports {
        self.backend.agent_reports()
    }

    /// How many files the project began with.
    pub fn files(&self) -> usize {
        self.files
    }

    /// Ends both and removes the file for editors.
    pub async fn stop(self) {
        if let Some(mirror) = self.mirror {
            mirror.stop();
        }
        self.backend.stop().await;
        if let Some(env_file) = self.env_file {
            env_file.remove();
        }
    }
}

/// Opens the folder that was named on the command line.
pub fn open_folder(dir: &Path) -> Result<Folder, Exit> {
    Folder::open(dir)
        .map_err(|error| Exit::usage(format!("cannot open the project's folder {}: {error}", dir.display())))
}

/// How long a project without a folder lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectLifetime {
    /// In memory, until the program ends.
    ThisRun,
    /// In a PostgreSQL, until it is deleted there.
    Stored,
}

/// The ids of a run. The project's id is the same for each run on the same folder, so that an editor can keep it. Without
/// a folder it is the same for each stored project.
pub fn origin(folder: Option<&Folder>, lifetime: ProjectLifetime) -> Origin {
    let stored = (lifetime == ProjectLifetime::Stored).then_some(&b"serve"[..]);
    let named = folder.map(|folder| folder.path().as_os_str().as_encoded_bytes()).or(stored);
    let project_id = named.map_or_else(uuid::Uuid::new_v4, |name| {
        let hash = ContentHash::of(name);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_bytes()[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    });
    let session_id = uuid::Uuid::new_v4().to_string();
    Origin { project_id: project_id.to_string(), session_id, container_id: None }
}

fn log(event: MirrorEvent) {
    let event_type = event.event_type();
    match event {
        MirrorEvent::Sent { .. } | MirrorEvent::WrittenBack { .. } => info!(event_type, "{event}"),
        _ => warn!(event_type, "{event}"),
    }
}
