//! Transactions, and the faults that are injected beside them.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use sync_core::{Answer, ContentHash, Input, Read, ReadError, SocketEvent};

use crate::faults::Age;
use crate::world::{Due, PATHS, World};

impl World {
    /// One transaction, and the faults beside it.
    pub fn commit(&mut self) {
        if self.left == 0 {
            return;
        }
        let pause = match self.random.below(100) {
            0 => 40_000,
            1..=10 => 5_000,
            _ => 200,
        };
        let pause = 1 + self.random.below(pause);
        self.later(pause, Due::Commit);
        if self.inject(self.faults.provisional, "provisional") {
            return self.optimistic();
        }
        self.left -= 1;
        if self.left == 0 && self.setting.age == Age::Migrated {
            self.migrated = true;
        }
        self.strike();
        self.commit_and_send();
    }

    fn commit_and_send(&mut self) {
        let omit = self.random.percent(10);
        if self.visible.is_none() && self.inject(self.faults.late_commit, "late_commit") {
            self.visible = Some(self.database.clone());
            let longest = if self.random.percent(80) { 1_500 } else { 8_000 };
            let late = 20 + self.random.below(longest);
            self.later(late, Due::CommitsVisible);
        }
        let commit = self.database.commit(&mut self.random, &PATHS, omit);
        self.count("commits");
        self.send_commit(commit);
    }

    /// The socket ends, and a transaction whose event is not sent follows.
    pub fn cut_and_commit(&mut self) {
        self.close(1006);
        self.commit_and_send();
    }

    /// A sender that sends the event first and saves later, or never.
    fn optimistic(&mut self) {
        let path = *self.random.pick(&PATHS);
        let version = self.database.rows.get(path).map_or(1, |row| row.version + 1);
        let content = format!("{path} draft {}", self.random.below(9));
        let hash = ContentHash::of(content.as_bytes()).to_string();
        let payload = match self.random.below(5) {
            0 => json!({"path": path, "content": content}),
            1 => json!({"file_path": path, "content": content, "version": version}),
            2 => return self.send_event("file:delete", json!({"file_path": path, "version": version})),
            3 => {
                let file = json!({"path": path, "content": content, "version": version});
                return self.send_event("file:bulk-update", json!({"files": [file]}));
            }
            _ => json!({"file_path": path, "content": content, "content_hash": hash, "version": version}),
        };
        if self.random.percent(50) {
            let late = self.random.below(3_000);
            self.later(late, Due::Save(path, content));
        }
        self.send_event("file:update", payload);
    }

    fn strike(&mut self) {
        if self.random.percent(10) {
            self.saved = self.agent.saved().map(|saved| saved.encode()).or(self.saved.take());
        }
        if self.random.percent(2) {
            self.send_event("snapshot:ready", json!({"snapshot_url": "https://x/y", "revision": self.database.head}));
        }
        self.strike_network();
        self.strike_database();
        self.strike_machine();
    }

    fn strike_network(&mut self) {
        let long = self.for_a_while();
        if self.inject(self.faults.cut, "cut") {
            self.close(1006);
        }
        if self.inject(self.faults.cut, "phx_close") {
            self.close_channel();
        }
        if self.inject(self.faults.stalled, "stalled") {
            self.line.stalled = true;
            self.later(long * 3, Due::StallEnds);
        }
        if self.inject(self.faults.silent, "silent") {
            self.line.silent = true;
            self.later(long, Due::SilenceEnds);
        }
        if self.inject(self.faults.no_renewals, "renewals_down") {
            self.no_renewals = true;
            self.later(long * 5, Due::RenewalsWork);
        }
        if self.inject(self.faults.malformed, "garbage") {
            let frame = Bytes::from(vec![4u8, 200, self.random.next() as u8, 1, 1, 0xff, b'{']);
            let event = if self.random.percent(50) { SocketEvent::Text(frame) } else { SocketEvent::Binary(frame) };
            self.deliver(1, event);
        }
    }

    fn strike_database(&mut self) {
        let long = self.for_a_while();
        if self.inject(self.faults.prune, "prune") {
            let back = self.random.below(30);
            self.database.prune(self.database.head.saturating_sub(back));
            self.database.forget_old();
        }
        if self.inject(self.faults.restore, "restore") {
            if self.random.percent(50) {
                self.backup = self.database.clone();
            } else {
                if self.is_paging {
                    self.count("restores_between_pages");
                }
                let digest_is_wrong = self.database.digest_is_wrong;
                self.database = self.backup.clone();
                self.visible = None;
                self.database.digest_is_wrong = digest_is_wrong;
            }
        }
        if self.inject(self.faults.digest, "wrong_digest") {
            self.database.digest_is_wrong = true;
            self.later(long, Due::DigestRight);
        }
    }

    fn strike_machine(&mut self) {
        let long = self.for_a_while();
        if self.inject(self.faults.full, "full_for_a_while") {
            self.full = true;
            self.later(long, Due::DiskFree);
        }
        if self.inject(self.faults.stuck, "stuck_for_a_while") {
            let path = *self.random.pick(&PATHS);
            self.stuck.insert(path);
            self.later(long, Due::Unstuck(path));
        }
        if self.inject(self.faults.suspend, "suspend") {
            self.suspend();
        }
        if self.inject(self.faults.crash, "crash") {
            self.restart();
        }
    }

    /// Milliseconds that something lasts.
    fn for_a_while(&mut self) -> u64 {
        1_000 + self.random.below(40_000)
    }

    /// The machine is suspended: monotonic time stops, tokens age, the server closes the socket and the database changes.
    fn suspend(&mut self) {
        let seconds = *self.random.pick(&[10, 100, 1_000, 10_000]);
        self.suspended_for += Duration::from_secs(1 + self.random.below(seconds));
        self.line.drop();
        for _ in 0..self.random.below(5) {
            self.commit_and_send();
        }
        let late = self.random.below(1_500);
        self.later(late, Due::Input(self.life, Input::Resumed));
    }

    /// The database's answer at this moment.
    pub fn read(&mut self, read: Read, token_ends: Duration) -> Result<Answer, ReadError> {
        if token_ends <= self.wall() {
            self.injected("token_expired");
            return Err(ReadError::Unauthorized("JWT expired".into()));
        }
        if self.inject(self.faults.reads, "read") {
            return match self.random.below(5) {
                0 => Err(ReadError::Unauthorized("expired".into())),
                1 => Err(ReadError::Unusable("too large".into())),
                2 => Ok(Answer::Json(Bytes::from_static(b"{\"files\": 7}"))),
                _ => Err(ReadError::Unavailable { error: "503".into(), retry_after: None }),
            };
        }
        if matches!(read, Read::File { .. } | Read::CurrentFile { .. } | Read::Asset { .. })
            && self.inject(self.faults.wrong_bytes, "wrong_bytes")
        {
            return self.wrong_bytes(read);
        }
        let older = self.setting.age.is_legacy() && !self.migrated;
        let database = self.visible.as_ref().unwrap_or(&self.database);
        let result = match read {
            Read::Changes { .. } | Read::Head | Read::File { .. } if older => Err(ReadError::NoSuchFunction),
            Read::Head if self.setting.age != Age::New => Err(ReadError::NoSuchFunction),
            Read::Changes { since, with_content, .. } => {
                let page = database.changes(since, with_content);
                let continues = since == 0 || self.is_paging;
                self.is_paging = continues && page["complete"] == false;
                Ok(page)
            }
            Read::Head => Ok(database.head_answer()),
            Read::File { path, version } => database.file(&path, version),
            Read::CurrentFiles { after } => Ok(database.current_files(&after)),
            Read::CurrentFile { path } => Ok(database.current_file(&path)),
            Read::Asset { hash, .. } => {
                let object = database.object(hash);
                return object.map(|content| Answer::Staged(self.tree.put_on_stage(content)));
            }
        };
        result.map(|json| Answer::Json(Bytes::from(json.to_string())))
    }

    /// Content that does not match the hash beside it.
    fn wrong_bytes(&mut self, read: Read) -> Result<Answer, ReadError> {
        let got = ContentHash::of(b"damaged");
        let of = |path: &str, version: u64| {
            let hash = self.database.rows.get(path).map_or(got, |row| row.hash).to_string();
            json!({"file_path": path, "version": version, "content": "damaged", "content_hash": hash})
        };
        let json = match read {
            Read::File { path, version } => of(&path, version),
            Read::CurrentFile { path } => json!([of(&path, 1)]),
            _ => return Err(ReadError::WrongHash { got }),
        };
        Ok(Answer::Json(Bytes::from(json.to_string())))
    }
}
