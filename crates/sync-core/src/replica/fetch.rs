use super::{Purpose, Replica};
use crate::answer::FileContent;
use crate::cx::Cx;
use crate::disk::discard;
use crate::replica::reads::describe;
use crate::{Answer, Content, ContentHash, Output, ProjectPath, Read, ReadError, ReadId};

/// The most files that are fetched at a time.
const MAX_FETCHES: usize = 8;

/// Content that is on its way.
#[derive(Debug)]
pub(super) struct Fetch {
    path: ProjectPath,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// `get_project_file`.
    File,
    /// The object in storage.
    Asset,
    /// The row of the older listing.
    Current,
}

impl Replica {
    /// Asks for the content that wishes lack.
    pub(super) fn fetch(&mut self, cx: &mut Cx) {
        let under_way = self.reads.values().filter(|(purpose, _)| matches!(purpose, Purpose::Fetch(_))).count();
        let free = MAX_FETCHES.saturating_sub(under_way);
        if free == 0 || !self.live {
            return;
        }
        for path in self.disk.hungry(cx.now, free) {
            let Some(pending) = self.disk.wanted(&path) else { continue };
            let Some(hash) = pending.want.hash else { continue };
            let name = path.as_str().to_owned();
            let (read, kind) = match pending.want.version {
                _ if pending.in_storage => (Read::Asset { hash, size: pending.want.size }, Kind::Asset),
                Some(version) if self.older.is_none() => (Read::File { path: name, version }, Kind::File),
                _ => (Read::CurrentFile { path: name }, Kind::Current),
            };
            let id = self.ask(cx, read, Purpose::Fetch(Fetch { path: path.clone(), kind }));
            self.disk.asked(&path, id);
        }
    }

    pub(super) fn on_fetched(&mut self, cx: &mut Cx, id: ReadId, fetch: Fetch, result: Result<Answer, ReadError>) {
        let Fetch { path, kind } = fetch;
        let wanted = self.disk.asker(&path, id).and_then(|pending| pending.want.hash);
        let Some(hash) = wanted else {
            // The row changed meanwhile: what came is of no use.
            if let Ok(Answer::Staged(stage)) = result {
                cx.outputs.push_back(Output::Discard(stage));
            }
            return;
        };
        match (kind, result) {
            (Kind::Asset, Ok(Answer::Staged(stage))) => self.disk.feed(&path, Content::Staged(stage)),
            (Kind::File, Ok(Answer::Json(json))) => match FileContent::read(&json, path.as_str()) {
                Ok(file) => self.fetched(cx, &path, hash, file),
                Err(error) => self.disk.trouble(cx, &path, "fetch_failed", error.to_string(), None),
            },
            (Kind::Current, Ok(Answer::Json(json))) => match FileContent::read_current(&json, path.as_str()) {
                Ok(Some(file)) => self.fetched(cx, &path, hash, file),
                Ok(None) => self.gone(cx, &path),
                Err(error) => self.disk.trouble(cx, &path, "fetch_failed", error.to_string(), None),
            },
            (_, Ok(Answer::Staged(stage))) => {
                discard(cx, Content::Staged(stage));
                self.disk.trouble(cx, &path, "fetch_failed", "an object came for a row".into(), None);
            }
            (Kind::Asset, Ok(Answer::Json(_))) => {
                self.disk.trouble(cx, &path, "fetch_failed", "a row came for an object".into(), None);
            }
            (_, Err(ReadError::WrongHash { got })) => self.disk.wrong_content(cx, &path, got),
            (Kind::File | Kind::Current, Err(ReadError::Gone)) => self.gone(cx, &path),
            (_, Err(error)) => {
                let (error, least) = describe(error);
                self.disk.trouble(cx, &path, "fetch_failed", error, least);
            }
        }
    }

    fn fetched(&mut self, cx: &mut Cx, path: &ProjectPath, hash: ContentHash, file: FileContent) {
        let Some(content) = file.content else {
            if file.hash != hash {
                return self.gone(cx, path);
            }
            self.disk.in_storage(path);
            return self.disk.ask_again(path);
        };
        let got = ContentHash::of(&content);
        if got == hash {
            return self.disk.feed(path, Content::Bytes(content));
        }
        if got == file.hash {
            // The database means another content than the row that was accepted: only a comparison can tell.
            cx.skipped("other_content");
            self.head_poll.now(cx.now);
            return self.gone(cx, path);
        }
        self.disk.wrong_content(cx, path, got);
    }

    /// The version is not there (any more): the table is behind.
    fn gone(&mut self, cx: &mut Cx, path: &ProjectPath) {
        self.disk.trouble(cx, path, "gone", "the database has this version no more".into(), None);
        self.wish_catch_up(cx.now, "version_gone");
    }
}
