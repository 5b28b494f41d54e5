//! Fetching content that an event or a listing omitted.

use super::active::ActiveReplica;
use super::disk::{Failure, discard};
use super::reads::{ReadFailure, ReadPurpose};
use crate::context::Context;
use crate::wire::answer::FileContent;
use crate::{
    Answer, CatchUpCause, Content, ContentHash, Output, PendingReason, ProjectPath, Read, ReadError, ReadId,
    SkipReason, error_chain,
};

/// The most files that are fetched at a time.
const MAX_FETCHES: usize = 8;

/// Content that is being fetched.
#[derive(Debug)]
pub(super) struct Fetch {
    path: ProjectPath,
    source: ContentSource,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum ContentSource {
    /// `get_project_file`.
    Row,
    /// The object in storage.
    Object,
    /// The row of the legacy listing.
    LegacyRow,
}

impl ActiveReplica {
    /// Sends for the content that pending writes lack.
    pub(super) fn fetch(&mut self, cx: &mut Context) {
        let free = MAX_FETCHES.saturating_sub(self.reads.fetches());
        if free == 0 || !self.settings.has_database {
            return;
        }
        for path in self.disk.needs_content(cx.now, free) {
            let Some(pending) = self.disk.pending(&path) else { continue };
            let Some(hash) = pending.target.hash else { continue };
            let name = path.as_str().to_owned();
            let (read, source) = match pending.target.version {
                _ if pending.in_storage => (Read::Asset { hash, size: pending.target.size }, ContentSource::Object),
                Some(version) if self.legacy.is_none() => (Read::File { path: name, version }, ContentSource::Row),
                _ => (Read::CurrentFile { path: name }, ContentSource::LegacyRow),
            };
            let id = self.send_read(cx, read, ReadPurpose::Fetch(Fetch { path: path.clone(), source }));
            self.disk.content_requested(&path, id);
        }
    }

    pub(super) fn on_fetched(&mut self, cx: &mut Context, id: ReadId, fetch: Fetch, result: Result<Answer, ReadError>) {
        let Fetch { path, source } = fetch;
        let Some(hash) = self.disk.requested_by(&path, id).and_then(|pending| pending.target.hash) else {
            // The row changed meanwhile: the content is not needed any more.
            if let Ok(Answer::Staged(stage)) = result {
                cx.outputs.push_back(Output::Discard(stage));
            }
            return;
        };
        match (source, result) {
            (ContentSource::Object, Ok(Answer::Staged(stage))) => {
                self.disk.supply_content(&path, Content::Staged(stage));
            }
            (ContentSource::Row, Ok(Answer::Json(json))) => match FileContent::read(&json, path.as_str()) {
                Ok(file) => self.fetched(cx, &path, hash, file),
                Err(error) => self.fetch_failed(cx, &path, ReadFailure::new(error_chain(&error))),
            },
            (ContentSource::LegacyRow, Ok(Answer::Json(json))) => {
                match FileContent::read_current(&json, path.as_str()) {
                    Ok(Some(file)) => self.fetched(cx, &path, hash, file),
                    Ok(None) => self.version_gone(cx, &path),
                    Err(error) => self.fetch_failed(cx, &path, ReadFailure::new(error_chain(&error))),
                }
            }
            (_, Ok(Answer::Staged(stage))) => {
                discard(cx, Content::Staged(stage));
                self.fetch_failed(cx, &path, ReadFailure::new("the answer for a row is a stored object"));
            }
            (ContentSource::Object, Ok(Answer::Json(_))) => {
                self.fetch_failed(cx, &path, ReadFailure::new("the answer for a stored object is a row"));
            }
            (_, Err(ReadError::WrongHash { got })) => self.disk.wrong_content(cx, &path, got),
            (ContentSource::Row, Err(ReadError::Gone)) => self.version_missing(cx, &path),
            (ContentSource::LegacyRow, Err(ReadError::Gone)) => self.version_gone(cx, &path),
            (_, Err(error)) => self.fetch_failed(cx, &path, error.into()),
        }
    }

    fn fetched(&mut self, cx: &mut Context, path: &ProjectPath, hash: ContentHash, file: FileContent) {
        let Some(content) = file.content else {
            if file.hash != hash {
                return self.version_gone(cx, path);
            }
            self.disk.mark_in_storage(path);
            return self.disk.request_again(path);
        };
        let got = ContentHash::of(&content);
        if got == hash {
            if let Some(revision) = self.disk.pending(path).and_then(|pending| pending.target.revision) {
                self.revision_shown(revision);
            }
            return self.disk.supply_content(path, Content::Bytes(content));
        }
        if got == file.hash {
            // The database's row has another hash than the accepted one: only a comparison can tell which is right.
            cx.skipped(SkipReason::OtherContent);
            self.head_poll.poll_at(cx.now);
            return self.version_gone(cx, path);
        }
        self.disk.wrong_content(cx, path, got);
    }

    /// The version is not there: not yet, where no read has shown its revision.
    fn version_missing(&mut self, cx: &mut Context, path: &ProjectPath) {
        let revision = self.disk.pending(path).and_then(|pending| pending.target.revision);
        let Some(revision) = revision.filter(|revision| !self.visibility.has_shown(*revision)) else {
            return self.version_gone(cx, path);
        };
        if !self.disk.await_version(cx.now, path) {
            return self.version_gone(cx, path);
        }
        self.revision_missing(cx, revision);
    }

    /// The version does not exist (any more): the table is behind.
    fn version_gone(&mut self, cx: &mut Context, path: &ProjectPath) {
        let failure = Failure::new(PendingReason::Gone, "the database does not have this version any more");
        self.disk.record_failure(cx, path, failure);
        self.schedule_catch_up(cx.now, CatchUpCause::VersionGone);
    }

    fn fetch_failed(&mut self, cx: &mut Context, path: &ProjectPath, failure: ReadFailure) {
        let ReadFailure { error, least } = failure;
        self.disk.record_failure(cx, path, Failure { reason: PendingReason::FetchFailed, error, least });
    }
}
