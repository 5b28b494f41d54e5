//! One dev server while it serves: what it is, what it loads, and what it was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use diagnostics::{
    Finding, Input, Kind, ModuleGraph, Place, Source, error_in_body, frame, imports_of, is_project_module,
    loads_of_document, normalized, position_of_name, vite_finding, with_source,
};
use serde_json::Value;
use supervisor::dev_server::Upstream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::asks::{Answered, Asks};
use super::awaited::Awaited;
use super::client::{Answer, AskFor, DevServerClient};
use super::hot_channel::{self, HotMessage};
use super::process_findings::{error_in_output, frame_of};
use super::project_files::ProjectFiles;

/// Frameworks without a channel that is known here compile when they are asked. Their watchers need this long for a change.
const WATCHER_TIME: Duration = Duration::from_millis(400);
/// Their documents are asked for once more after this time, for a watcher that was slower.
const WATCHER_TIME_MOST: Duration = Duration::from_secs(2);
/// A dev server that does not answer is asked again after this time.
const RETRY: Duration = Duration::from_millis(300);
/// The channel is not waited for longer: HMR may be off.
const CHANNEL_TIME: Duration = Duration::from_secs(3);
/// What a dev server prints about a failure is read this long after its answer.
const OUTPUT_TIME: Duration = Duration::from_millis(60);
/// Documents that are asked for: `/`, and the pages that are open.
const MAX_DOCUMENTS: usize = 6;

/// What kind of dev server it is.
#[derive(Debug)]
enum Server {
    /// The first document was not answered yet.
    Unknown,
    Vite {
        channel: mpsc::Receiver<HotMessage>,
        rendering: Rendering,
    },
    /// Its documents are asked for, and nothing else.
    Other,
}

/// How the documents of a Vite server are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rendering {
    /// They are files of the project.
    Static,
    /// By the project's code.
    Dynamic,
}

/// Gives the lines that the dev server has just printed, the oldest first.
pub(super) type Output = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// The dev server at one address.
pub(super) struct Session {
    client: DevServerClient,
    files: Arc<ProjectFiles>,
    server: Server,
    /// The path that it serves below, with a `/` at both ends.
    base: String,
    graph: ModuleGraph,
    asks: Asks,
    awaited: Awaited,
    /// When documents are asked for.
    documents_due: BTreeSet<Instant>,
    /// When everything is asked for again.
    restart_due: Option<Instant>,
    /// Modules are not asked for before the channel is open: a change could go unnoticed.
    channel_due: Option<Instant>,
    /// Documents that failed without a word, with the status and the time by which the output says more.
    failed_documents: BTreeMap<String, (u16, Instant)>,
    /// The lines that the dev server has just printed.
    output: Output,
    /// Modules that seemed to be missing while what loads them was asked for.
    doubtful: BTreeSet<String>,
    /// Sources with a finding.
    reported: BTreeSet<String>,
    inputs: Vec<Input>,
}

impl Session {
    /// A dev server that has just begun to serve. Sources that an earlier one reported are withdrawn once all is asked.
    pub(super) fn new(
        upstream: Upstream,
        files: Arc<ProjectFiles>,
        output: Output,
        reported: BTreeSet<String>,
    ) -> Result<Session, reqwest::Error> {
        let mut session = Session {
            client: DevServerClient::new(upstream)?,
            files,
            server: Server::Unknown,
            base: "/".to_owned(),
            graph: ModuleGraph::new("/"),
            asks: Asks::default(),
            awaited: Awaited::new(),
            documents_due: BTreeSet::new(),
            restart_due: None,
            channel_due: None,
            failed_documents: BTreeMap::new(),
            output,
            doubtful: BTreeSet::new(),
            reported,
            inputs: Vec::new(),
        };
        session.restart();
        Ok(session)
    }

    /// For other requests to the same server.
    pub(super) fn client(&self) -> &DevServerClient {
        &self.client
    }

    /// What was observed since the last call.
    pub(super) fn take_inputs(&mut self) -> Vec<Input> {
        std::mem::take(&mut self.inputs)
    }

    /// The sources that have a finding, for the next session.
    pub(super) fn into_reported(self) -> BTreeSet<String> {
        self.reported
    }

    /// Every change until now was seen by the dev server, and every module that it concerns was asked.
    pub(super) fn is_checked(&self) -> bool {
        self.asks.is_idle()
            && self.doubtful.is_empty()
            && self.failed_documents.is_empty()
            && self.awaited.is_over()
            && self.documents_due.first().is_none_or(|due| *due > Instant::now() + WATCHER_TIME)
            && self.restart_due.is_none()
            && self.channel_due.is_none()
            && !matches!(self.server, Server::Unknown)
    }

    /// A file of the project was written or removed.
    pub(super) fn changed(&mut self, path: &str) {
        let is_document = path.ends_with(".html");
        if is_document || self.graph.of_path(path).next().is_some() {
            self.awaited.module_changed(path);
        } else {
            self.awaited.other_changed(path);
        }
        match &self.server {
            Server::Vite { rendering: Rendering::Static, .. } | Server::Unknown => {}
            Server::Vite { .. } => self.documents_later(Duration::from_millis(150)),
            Server::Other => {
                self.awaited.forget_modules();
                self.awaited.wait(WATCHER_TIME);
                self.documents_later(WATCHER_TIME);
            }
        }
    }

    /// The pages that are open are asked for as well, where the server makes them.
    pub(super) fn open_pages(&mut self, pages: &[String]) {
        if matches!(self.server, Server::Vite { rendering: Rendering::Static, .. } | Server::Unknown) {
            return;
        }
        for page in pages {
            if self.graph.documents().count() < MAX_DOCUMENTS && page.starts_with('/') && !self.graph.contains(page) {
                self.graph.add_document(page);
            }
        }
    }

    /// Waits for the next answer, report or deadline, and handles it. Cancel safe.
    pub(super) async fn next(&mut self) {
        self.asks.start(&self.client);
        let due = self.due();
        tokio::select! {
            answered = self.asks.next() => self.answered(answered),
            message = next_message(&mut self.server) => self.reported(message),
            () = async { match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            } } => {}
        }
        self.tick();
        self.asks.start(&self.client);
    }

    fn due(&self) -> Option<Instant> {
        let failed = self.failed_documents.values().map(|(_, due)| *due).filter(|due| *due > Instant::now()).min();
        let own = [failed, self.awaited.due(), self.restart_due, self.channel_due, self.documents_due.first().copied()];
        own.into_iter().flatten().min()
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.restart_due.is_some_and(|due| due <= now) {
            self.restart();
        }
        if self.channel_due.is_some_and(|due| due <= now) {
            self.channel_due = None;
            self.ask_unsettled();
        }
        let late = self.awaited.take_late();
        self.ask_files(&late);
        if !late.is_empty() {
            self.ask_unsettled();
        }
        while self.documents_due.first().is_some_and(|due| *due <= now) {
            self.documents_due.pop_first();
            self.ask_documents();
        }
        if self.asks.is_idle() {
            self.report_failed_documents();
        }
        if self.asks.is_idle() && self.restart_due.is_none() && self.channel_due.is_none() {
            self.drop_unreachable();
            for module in std::mem::take(&mut self.doubtful).iter().filter(|module| self.graph.contains(module)) {
                self.asks.ask(module, AskFor::Module);
            }
        }
    }

    /// Everything is asked for, from the first document on.
    fn restart(&mut self) {
        self.restart_due = None;
        self.graph = ModuleGraph::new(&self.base);
        self.graph.add_document("/");
        self.asks.ask("/", AskFor::Document);
    }

    /// Documents are asked for after this time, and not before: further changes come together.
    fn documents_later(&mut self, wait: Duration) {
        self.documents_due.clear();
        self.documents_due.insert(Instant::now() + wait);
        if matches!(self.server, Server::Other) {
            self.documents_due.insert(Instant::now() + WATCHER_TIME_MOST);
        }
    }

    fn ask_documents(&mut self) {
        let documents: Vec<_> = self.graph.documents().map(str::to_owned).collect();
        documents.iter().for_each(|document| self.asks.ask(document, AskFor::Document));
    }

    fn ask_unsettled(&mut self) {
        let unsettled: Vec<_> = self.graph.unsettled().map(str::to_owned).collect();
        for address in unsettled {
            let is_document = self.graph.documents().any(|document| document == address);
            self.asks.ask(&address, if is_document { AskFor::Document } else { AskFor::Module });
        }
    }

    /// Asks for the modules of these files; where a file is gone, for what loads it.
    fn ask_files(&mut self, paths: &BTreeSet<String>) {
        for path in paths {
            let modules: Vec<_> = self.graph.of_path(path).map(str::to_owned).collect();
            let exists = self.files.exists(path);
            for module in modules {
                if exists {
                    self.asks.ask(&module, AskFor::Module);
                    continue;
                }
                self.asks.ask(&module, AskFor::Module);
                let importers: Vec<_> = self.graph.importers(&module).map(str::to_owned).collect();
                let documents: Vec<_> = self.graph.documents().map(str::to_owned).collect();
                for importer in importers.iter().filter(|importer| !documents.contains(importer)) {
                    self.asks.ask(importer, AskFor::Module);
                }
            }
        }
        if paths.iter().any(|path| path.ends_with(".html")) {
            self.ask_documents();
        }
    }

    fn reported(&mut self, message: HotMessage) {
        match message {
            HotMessage::Connected => {
                self.channel_due = None;
                self.restart();
            }
            HotMessage::Lost => self.restart_due = Some(Instant::now() + RETRY),
            HotMessage::Update(addresses) => {
                self.update_seen();
                for address in addresses.iter().map(|address| normalized(address)) {
                    if self.graph.contains(&address) {
                        self.asks.ask(&address, AskFor::Module);
                    }
                }
            }
            HotMessage::Reload => {
                self.update_seen();
                if !matches!(self.server, Server::Vite { rendering: Rendering::Static, .. }) {
                    self.documents_later(Duration::ZERO);
                }
            }
            HotMessage::Error(error) => self.error_seen(&error),
        }
    }

    /// The dev server has seen a change.
    fn update_seen(&mut self) {
        self.inputs.push(Input::UpdateSent);
        let paths = self.awaited.reported();
        self.ask_files(&paths);
        self.ask_unsettled();
        // What a browser asked for and is not known here: it is reported again where it is still so.
        let elsewhere: Vec<_> = self.reported.iter().filter(|source| source.starts_with(ELSEWHERE)).cloned().collect();
        elsewhere.into_iter().for_each(|source| self.report(source, Vec::new()));
    }

    /// Somebody asked for a module that cannot be transformed; often that was this session.
    fn error_seen(&mut self, error: &Value) {
        let finding = self.finding(error, None);
        let Some(Place { file_path, .. }) = &finding.place else { return };
        let modules: Vec<_> = self.graph.of_path(file_path).map(str::to_owned).collect();
        if modules.is_empty() {
            let source = format!("{ELSEWHERE}{file_path}");
            return self.report(source, vec![finding]);
        }
        for module in modules.iter().filter(|module| !self.graph.is_broken(module)) {
            if !self.asks.is_asking(module) {
                self.asks.ask(module, AskFor::Module);
            }
        }
    }

    fn answered(&mut self, answered: Answered) {
        let Answered { address, what, answer } = answered;
        let answer = match answer {
            Ok(answer) => answer,
            Err(_) => {
                // It is restarting, or it has ended; the supervisor reports that.
                self.graph.failed(&address);
                self.restart_due = Some(Instant::now() + RETRY);
                return;
            }
        };
        if matches!(self.server, Server::Unknown) && address.ends_with(CLIENT) {
            match answer.status == 200 && answer.body.contains("vite-hmr") {
                true => self.begin_vite("/"),
                false => self.server = Server::Other,
            }
            return;
        }
        if answer.status >= 500 && self.is_project_error(&answer) {
            self.graph.failed(&address);
            match error_in_body(&answer.body) {
                Some(error) => {
                    let finding = self.finding(&error, Some(&address));
                    self.report(address, vec![finding]);
                }
                None if what == AskFor::Document => {
                    self.failed_documents.insert(address, (answer.status, Instant::now() + OUTPUT_TIME));
                }
                None => {
                    let message = format!("the dev server answered {} for the module {address}", answer.status);
                    self.report(address, vec![Finding::new(Kind::Build, message)]);
                }
            }
            return;
        }
        self.failed_documents.remove(&address);
        if what == AskFor::Module && (answer.status == 404 || answer.content_type == "text/html") {
            return self.no_module(address);
        }
        let loads = match what {
            AskFor::Document => {
                self.recognize(&answer);
                loads_of_document(&answer.body)
            }
            AskFor::Module if answer.content_type.ends_with("javascript") => imports_of(&answer.body),
            AskFor::Module => Vec::new(),
        };
        let project = self.files.prefix();
        let loads = loads.into_iter().filter(|address| is_project_module(address, project));
        let new = match self.server {
            Server::Vite { .. } => self.graph.answered(&address, loads),
            Server::Unknown | Server::Other => self.graph.answered(&address, []),
        };
        if self.channel_due.is_none() {
            new.iter().for_each(|address| self.asks.ask(address, AskFor::Module));
        }
        self.report(address, Vec::new());
    }

    /// The dev server has no such module.
    fn no_module(&mut self, address: String) {
        if !self.graph.is_missing(&address) {
            self.graph.set_known(&address);
            return self.report(address, Vec::new());
        }
        if self.graph.importers(&address).any(|importer| self.asks.is_asking(importer)) {
            // It may not load it any more.
            self.doubtful.insert(address);
            return;
        }
        self.graph.failed(&address);
        let finding = self.missing(&address);
        self.report(address, vec![finding]);
    }

    /// A module that is loaded and does not exist, at the place that loads it.
    fn missing(&self, address: &str) -> Finding {
        let files: Vec<_> = self.graph.importers(address).filter_map(|importer| self.file_of(importer)).collect();
        let found = files.iter().find_map(|file| {
            let source = self.files.text(file)?;
            let (line, column) = position_of_name(&source, address)?;
            let place = Place { file_path: file.clone(), line: Some(line), column: Some(column) };
            Some((place, frame(&source, line, Some(column))))
        });
        let place = || Some(Place { file_path: files.first()?.clone(), line: None, column: None });
        let (place, frame) = found.map_or_else(|| (place(), None), |(place, frame)| (Some(place), frame));
        let message = format!("Failed to load \"{address}\": the file does not exist");
        Finding { place, frame, ..Finding::new(Kind::Build, message) }
    }

    /// The file that a module or a document is made of.
    fn file_of(&self, address: &str) -> Option<String> {
        let path = address.split('?').next()?;
        let served = path.strip_prefix(&self.base).unwrap_or(path).trim_start_matches('/');
        let name = if served.is_empty() { "index.html" } else { served };
        self.files.served_file(name)
    }

    /// Finds out which kind of server it is, from the first document.
    fn recognize(&mut self, answer: &Answer) {
        if !matches!(self.server, Server::Unknown) {
            return;
        }
        let loads = loads_of_document(&answer.body);
        let client = loads.iter().find_map(|address| address.split('?').next()?.strip_suffix(CLIENT));
        match client {
            Some(base) if base.starts_with('/') => self.begin_vite(base),
            // SvelteKit loads it from another module.
            _ => self.asks.ask(&format!("/{CLIENT}"), AskFor::Module),
        }
    }

    fn begin_vite(&mut self, base: &str) {
        let rendering = if self.files.has_index_html() { Rendering::Static } else { Rendering::Dynamic };
        base.clone_into(&mut self.base);
        self.graph = ModuleGraph::new(base);
        self.graph.add_document("/");
        self.channel_due = Some(Instant::now() + CHANNEL_TIME);
        let channel = hot_channel::follow(self.client.clone(), base.to_owned());
        self.server = Server::Vite { channel, rendering };
    }

    /// A proxied API that fails answers 5xx as well; that says nothing about the modules.
    fn is_project_error(&self, answer: &Answer) -> bool {
        answer.status == 500 && answer.content_type != "application/octet-stream"
    }

    /// Documents that failed: because of a module that is known to be broken, or as the output says.
    fn report_failed_documents(&mut self) {
        let now = Instant::now();
        let failed: Vec<_> = self.failed_documents.extract_if(.., |_, (_, due)| *due <= now).collect();
        for (address, (status, _)) in failed {
            let is_module = |source: &String| !self.graph.documents().any(|document| document == source);
            if self.reported.iter().any(is_module) {
                self.report(address, Vec::new());
                continue;
            }
            let files = &self.files;
            let described = error_in_output(&(self.output)(), files.root(), |path| files.exists(path));
            let finding = described.unwrap_or_else(|| {
                Finding::new(Kind::Build, format!("the dev server answered {status} for the page {address}"))
            });
            let frame = frame_of(&finding, files);
            self.report(address, vec![Finding { frame, ..finding }]);
        }
    }

    fn finding(&self, error: &Value, address: Option<&str>) -> Finding {
        let served = address.and_then(|address| self.file_of(address));
        let finding = vite_finding(error, self.files.root(), served.as_deref());
        match finding.place.as_ref().and_then(|place| self.files.text(&place.file_path)) {
            Some(source) => with_source(finding, &source),
            None => finding,
        }
    }

    fn report(&mut self, source: String, findings: Vec<Finding>) {
        let was_reported =
            if findings.is_empty() { self.reported.remove(&source) } else { !self.reported.insert(source.clone()) };
        if was_reported || !findings.is_empty() {
            self.inputs.push(Input::Found(Source::Module(source), findings));
        }
    }

    fn drop_unreachable(&mut self) {
        for gone in self.graph.remove_unreachable() {
            self.report(gone, Vec::new());
        }
        // Of a session before this one.
        let unknown = |source: &&String| !self.graph.contains(source) && !source.starts_with(ELSEWHERE);
        let unknown: Vec<_> = self.reported.iter().filter(unknown).cloned().collect();
        unknown.into_iter().for_each(|source| self.report(source, Vec::new()));
    }
}

/// The address of Vite's client below its base.
const CLIENT: &str = "@vite/client";

/// Begins the source of an error of a module that no document is known to load.
const ELSEWHERE: &str = "elsewhere:";

async fn next_message(server: &mut Server) -> HotMessage {
    match server {
        Server::Vite { channel, .. } => match channel.recv().await {
            Some(message) => message,
            None => std::future::pending().await,
        },
        Server::Unknown | Server::Other => std::future::pending().await,
    }
}
