use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use local_backend::{AgentReports, AgentSettings, Backend, BackendOptions, DatabaseUrl, Faults};
use sync_core::ContentHash;
use tracing::{info, warn};

use super::env_file::EnvFile;
use super::folder::Folder;
use super::mirror::{Mirror, Opened};
use super::news::{News, Tell};
use crate::cli::exit::Exit;
use crate::telemetry::logs::Origin;

/// How the backend is wanted.
pub struct Wanted {
    /// The folder that it is seeded from and mirrors.
    pub folder: Option<Folder>,
    /// The PostgreSQL that holds the project; memory where there is none.
    pub database_url: Option<DatabaseUrl>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether others' changes come into the folder.
    pub write_back: bool,
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
    pub async fn start(wanted: Wanted, origin: &Origin) -> Result<Local, Exit> {
        let mut options = BackendOptions {
            listen: wanted.listen,
            database_url: wanted.database_url,
            project_id: origin.project_id.clone(),
            session_id: origin.session_id.clone(),
            ..BackendOptions::default()
        };
        let mut opened = None;
        let tell: Tell = Arc::new(log);
        if let Some(folder) = wanted.folder {
            let (watched, files) = Opened::read(folder, &tell).map_err(Exit::unavailable)?;
            options.files = files;
            opened = Some(watched);
        }
        let files = options.files.len();
        let backend = Backend::start(options).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                let port = wanted.listen.port();
                Exit::unavailable(format!("port {port} is in use: choose another for the backend with --listen"))
            }
            _ => Exit::unavailable(format!("cannot start the local backend: {error}")),
        })?;
        let mirror = opened.map(|opened| opened.mirror(backend.store(), wanted.write_back, tell)).transpose();
        let mirror = mirror.map_err(|error| Exit::fault(format!("cannot start a thread: {error}")))?;
        let env_file = wanted.env_file.map(|path| {
            EnvFile::write(&path, &backend)
                .map_err(|error| Exit::disk(format!("cannot write --env-file {}: {error}", path.display())))
        });
        Ok(Local { env_file: env_file.transpose()?, backend, mirror, files })
    }

    /// What an agent is given.
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

    /// The switchboard of faults.
    pub fn faults(&self) -> Faults {
        self.backend.faults()
    }

    /// What agents have told of themselves.
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

/// Where the lines of a run on `folder` come from. The project's id is the same for each run on the same folder, so
/// that what an editor remembers stays true; without a folder it is if the project is `kept`.
pub fn origin(folder: Option<&Folder>, kept: bool) -> Origin {
    let named = folder.map(|folder| folder.path().as_os_str().as_encoded_bytes()).or(kept.then_some(b"serve"));
    let project_id = named.map_or_else(uuid::Uuid::new_v4, |name| {
        let hash = ContentHash::of(name);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_bytes()[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    });
    let session_id = uuid::Uuid::new_v4().to_string();
    Origin { project_id: project_id.to_string(), session_id, container_id: None }
}

fn log(news: News) {
    let event_type = news.code();
    match news {
        News::Sent { .. } | News::WrittenBack { .. } => info!(event_type, "{news}"),
        _ => warn!(event_type, "{news}"),
    }
}
