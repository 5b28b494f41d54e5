//! Starts: what is missing is installed, then the dev server is started.

use sync_core::error_chain;

use super::{Restart, State, Supervisor};
use crate::dependencies::{Dependencies, check_dependencies};
use crate::dev_server::app_dir::{AppDir, find_app};
use crate::dev_server::diagnosis::Diagnosis;
use crate::dev_server::plan::{Plan, PlanError, plan};
use crate::dev_server::running::Running;
use crate::dev_server::{DevServerEvent, FaultReason, Placement, probe};
use crate::directory::Directory;

impl Supervisor {
    /// Installs what is missing. Where nothing is missing, starts a dev server that does not run, and restarts one that
    /// runs where `restart` requires it.
    pub(super) async fn install_or_start(&mut self, restart: Restart) {
        if let Some(install) = &mut self.install {
            install.changed_meanwhile = true;
            return;
        }
        match self.find_app().and_then(|app| self.check(&app).map(|found| (app, found))) {
            Ok((_, Dependencies::Missing(job))) => self.begin_install(job),
            Ok((app, Dependencies::Installed)) => {
                self.fault = None;
                self.start(&app, restart).await;
            }
            Err(fault) => self.cannot_start(fault),
        }
    }

    fn check(&self, app: &AppDir) -> Result<Dependencies, Diagnosis> {
        let root = self.root.as_ref().unwrap_or(&app.dir);
        check_dependencies(root, &app.relative)
            .map_err(|error| Diagnosis { reason: FaultReason::ConfigError, detail: error_chain(&error) })
    }

    pub(super) fn find_app(&mut self) -> Result<AppDir, Diagnosis> {
        let root = match self.root.take() {
            Some(root) => root,
            None => self.open_project().map_err(|error| from_plan(&error))?,
        };
        let found = find_app(&self.config, &root).map_err(|error| from_plan(&error));
        self.root = Some(root);
        let app = found?;
        self.shared.scope.lock().expect("no panic while held").app_dir = Some(app.relative.clone());
        Ok(app)
    }

    fn open_project(&self) -> Result<Directory, PlanError> {
        let dir = &self.config.project_dir;
        let opened = Directory::open(dir).map_err(|source| PlanError::Project { dir: dir.clone(), source })?;
        Ok(opened.owned_by(self.init.user()))
    }

    pub(super) async fn start(&mut self, app: &AppDir, restart: Restart) {
        let port = match self.choose_port().await {
            Ok(port) => port,
            Err(fault) => return self.cannot_start(fault),
        };
        let root = self.root.as_ref().unwrap_or(&app.dir);
        let plan = match plan(&self.config, port, root, app) {
            Ok(plan) => plan,
            Err(error) => return self.cannot_start(from_plan(&error)),
        };
        self.shared.scope.lock().expect("no panic while held").kind = plan.kind;
        if let State::Running(running) = &self.state {
            if restart == Restart::IfChanged && running.plan == plan.identity {
                return;
            }
            self.end_running("restart").await;
        }
        self.spawn(plan, port).await;
    }

    /// The port that the dev server is given. One that was chosen is kept while it is free.
    async fn choose_port(&mut self) -> Result<u16, Diagnosis> {
        let port = match (self.config.placement, self.given_port) {
            (Placement::PreviewPort(port) | Placement::BehindProxy { port: Some(port) }, _) => return Ok(port),
            (Placement::BehindProxy { port: None }, Some(port)) => {
                if matches!(self.state, State::Running(_)) || !probe::is_taken(port).await {
                    return Ok(port);
                }
                probe::free_port()
            }
            (Placement::BehindProxy { port: None }, None) => probe::free_port(),
        };
        let port = port.map_err(|error| Diagnosis {
            reason: FaultReason::PortInUse,
            detail: format!("cannot find a free port for the dev server: {error}"),
        })?;
        self.given_port = Some(port);
        Ok(port)
    }

    async fn spawn(&mut self, plan: Plan, port: u16) {
        self.end_strays().await;
        if probe::is_taken(port).await {
            let detail = format!("port {port} is already in use by another program");
            return self.failed_to_start(Diagnosis { reason: FaultReason::PortInUse, detail });
        }
        let Plan { command, identity, kind } = plan;
        let text = command.display();
        match self.init.spawn(command) {
            Ok(process) => {
                self.first_start.started();
                self.starts = self.starts.saturating_add(1);
                let running = Running::new(process, text.clone(), identity, kind, port, &self.config);
                self.event(DevServerEvent::Started { pid: running.id(), command: text });
                self.state = State::Running(Box::new(running));
            }
            Err(error) => {
                let reason = match error.kind() {
                    std::io::ErrorKind::NotFound => FaultReason::DependencyMissing,
                    _ => FaultReason::Crashed,
                };
                self.failed_to_start(Diagnosis { reason, detail: format!("cannot start `{text}`: {error}") });
            }
        }
    }
}

fn from_plan(error: &PlanError) -> Diagnosis {
    Diagnosis { reason: error.reason(), detail: error_chain(error) }
}
