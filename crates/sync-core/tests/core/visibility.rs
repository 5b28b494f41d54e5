//! Reads that are older than the event that led to them: nothing goes back, and nothing is claimed that is not known.

use std::time::Duration;

use serde_json::{Value, json};
use sync_core::{
    CatchUpCause, DegradedReason, Event, Input, Op, Output, Read, ReadError, RenewalError, SocketEvent, TableDigest,
    Time,
};

use crate::support::{Harness, Reply, hash, update};

/// A project of one file, `a`, whose newest commit (revision 6, version 2) can be read from some time on.
struct LateDatabase {
    visible_at: Time,
}

impl LateDatabase {
    fn head(&self, now: Time) -> u64 {
        if now >= self.visible_at { 6 } else { 5 }
    }

    fn row(&self, now: Time) -> Value {
        let (version, revision, content) = if self.head(now) == 6 { (2, 6, "new") } else { (1, 5, "old") };
        json!({"file_path": "a", "version": version, "revision": revision, "content": content,
            "content_hash": hash(content).to_string(), "size": 3, "is_deleted": false})
    }

    fn answer(&self, now: Time, read: &Read) -> Reply {
        let head = self.head(now);
        match read {
            Read::Head => {
                let (version, content) = if head == 6 { (2, "new") } else { (1, "old") };
                let mut digest = TableDigest::default();
                digest.toggle("a", version, &hash(content));
                Ok(json!({"head_revision": head, "digest": digest.to_string()}))
            }
            Read::Changes { since, .. } if *since > head => {
                Ok(json!({"head_revision": head, "complete": true, "reset": true, "files": [self.row(now)]}))
            }
            Read::Changes { since, .. } => {
                let files = if *since < head { vec![self.row(now)] } else { Vec::new() };
                Ok(json!({"head_revision": head, "complete": true, "files": files}))
            }
            Read::File { version: 2, .. } if head < 6 => Err(ReadError::Gone),
            _ => Ok(self.row(now)),
        }
    }
}

fn started() -> Harness {
    let mut harness = Harness::new();
    harness.start(5, &[("a", 1, "old")]);
    harness
}

/// What was written to `a`, and whether anything was removed or older content written.
fn written(outputs: &[Output]) -> Vec<String> {
    let name = |op: &Op| match op {
        Op::Write { hash: written, .. } if *written == hash("new") => "new".to_owned(),
        op => format!("{op:?}"),
    };
    Harness::ops_of(outputs).iter().map(name).collect()
}

/// An event of revision 6 whose content must be fetched.
fn omitted() -> Value {
    let mut event = update("a", 2, "new", Some(6));
    event["content_omitted"] = true.into();
    event
}

#[test]
fn content_that_is_not_readable_yet_is_on_disk_within_a_second_of_becoming_so() {
    for late in [50, 700, 2_000, 5_000, 9_000] {
        let mut harness = started();
        let database = LateDatabase { visible_at: harness.now.after(Duration::from_millis(late)) };
        let outputs = harness.broadcast("file:update", omitted());
        let mut done = harness.serve(outputs, late - 20, |now, read| database.answer(now, read));
        assert_eq!(written(&done), [""; 0], "{late} ms");
        let status = harness.agent.status(harness.now);
        assert_eq!((status.current, status.revision), (false, 6), "{late} ms: revision 6 stays accepted");
        assert!(status.degraded.contains(&DegradedReason::CommitNotVisible), "{late} ms: {:?}", status.degraded);
        done.extend(harness.serve(Vec::new(), 1_020, |now, read| database.answer(now, read)));
        assert_eq!(written(&done), ["new"], "{late} ms");
        done.extend(harness.serve(Vec::new(), 60_000, |now, read| database.answer(now, read)));
        assert_eq!(written(&done), ["new"], "{late} ms: once");
        let status = harness.agent.status(harness.now);
        assert!(status.current && status.degraded.is_empty(), "{late} ms: {status:?}");
    }
}

#[test]
fn a_read_that_is_older_than_an_accepted_event_undoes_nothing() {
    let mut harness = started();
    let database = LateDatabase { visible_at: harness.now.after(Duration::from_secs(8)) };
    let outputs = harness.broadcast("file:update", update("a", 2, "new", Some(6)));
    let mut done = harness.serve(outputs, 500, |now, read| database.answer(now, read));
    assert_eq!(written(&done), ["new"]);
    assert!(harness.agent.status(harness.now).current, "nothing contradicts the event yet");
    // A read for another reason: it asks for changes above revision 6 and gets a reset to 5.
    let outputs = harness.broadcast("bulk:apply", json!({"files_omitted": true, "revision": 7}));
    done.extend(harness.serve(outputs, 2_000, |now, read| database.answer(now, read)));
    assert!(!harness.agent.status(harness.now).current);
    assert_eq!(harness.agent.status(harness.now).revision, 6);
    done.extend(harness.serve(Vec::new(), 40_000, |now, read| database.answer(now, read)));
    assert_eq!(written(&done), ["new"], "no older state in between");
    assert_eq!(harness.agent.status(harness.now).revision, 6);
}

#[test]
fn held_events_are_kept_until_their_gap_can_be_read() {
    let mut harness = started();
    let database = LateDatabase { visible_at: harness.now.after(Duration::from_secs(3)) };
    let next =
        json!({"file_path": "b", "version": 1, "content": "b", "content_hash": hash("b").to_string(), "revision": 7});
    let outputs = harness.broadcast("file:update", next);
    let done = harness.serve(outputs, 2_900, |now, read| database.answer(now, read));
    assert_eq!((written(&done).len(), harness.agent.status(harness.now).held), (0, 1));
    let causes = |outputs: &[Output]| -> Vec<CatchUpCause> {
        let cause = |output: &Output| match output {
            Output::Event(Event::CatchUp { cause, .. }) => Some(*cause),
            _ => None,
        };
        outputs.iter().filter_map(cause).collect()
    };
    assert!(causes(&done).contains(&CatchUpCause::CommitNotVisible), "{:?}", causes(&done));
    assert!(causes(&done).len() <= 7, "asked {} times in 3 s", causes(&done).len());
    let done = harness.serve(Vec::new(), 1_100, |now, read| database.answer(now, read));
    assert_eq!(Harness::ops_of(&done).len(), 2, "{done:?}");
    assert_eq!(harness.agent.status(harness.now).revision, 7);
}

#[test]
fn a_forged_event_that_was_accepted_is_undone_within_half_a_minute() {
    let mut harness = started();
    let database = LateDatabase { visible_at: harness.now.after(Duration::from_secs(3_600)) };
    let outputs = harness.broadcast("file:update", update("a", 2, "forged", Some(6)));
    harness.serve(outputs, 1_000, |now, read| database.answer(now, read));
    assert_eq!(harness.agent.status(harness.now).revision, 6);
    let done = harness.serve(Vec::new(), 31_000, |now, read| database.answer(now, read));
    assert_eq!(harness.agent.status(harness.now).revision, 5);
    let ops = Harness::ops_of(&done);
    assert!(matches!(&ops[..], [Op::Write { hash: written, .. }] if *written == hash("old")), "{ops:?}");
    assert!(harness.agent.status(harness.now).current);
}

#[test]
fn the_head_is_read_again_soon_after_any_read_succeeds() {
    let mut harness = started();
    let unavailable = || Err(ReadError::Unavailable { error: "503".into(), retry_after: None });
    harness.serve(Vec::new(), 3_600_000, |_, _| unavailable());
    let database = LateDatabase { visible_at: Time::default() };
    // Another path finds that reads work again.
    let outputs = harness.broadcast("file:update", omitted());
    let success = harness.now;
    let mut polled = None;
    harness.serve(outputs, 36_000, |now, read| {
        if *read == Read::Head {
            polled.get_or_insert(now);
        }
        database.answer(now, read)
    });
    let after = polled.expect("the head is read").since(success);
    assert!(after <= Duration::from_millis(35_100), "after {after:?}");
}

#[test]
fn a_success_ends_the_waits_of_other_reads_and_of_the_renewal() {
    let mut harness = started();
    let mut outputs = Vec::new();
    let unavailable = || Err(ReadError::Unavailable { error: "503".into(), retry_after: None });
    // Two files whose content cannot be fetched, and a token that cannot be renewed.
    for (path, revision) in [("b", 6), ("c", 7)] {
        let mut event = update(path, 1, path, Some(revision));
        event["content_omitted"] = true.into();
        outputs.extend(harness.broadcast("file:update", event));
    }
    outputs.extend(harness.handle(Input::Socket(SocketEvent::Refused {
        status: 401,
        body: "expired".into(),
        retry_after: None,
    })));
    for _ in 0..7 {
        harness.serve(std::mem::take(&mut outputs), 61_000, |_, _| unavailable());
        outputs = harness.handle(Input::Renewed(Err(RenewalError::Retry("503".into()))));
    }
    // From now on reads work: whichever is tried first, the rest follows at once.
    let mut fetched = Vec::new();
    let mut seen = Vec::new();
    let mut first = None;
    while first.is_none_or(|first| harness.now.since(first) < Duration::from_millis(1_100)) {
        let step = harness.serve(std::mem::take(&mut outputs), 50, |now, read| {
            first.get_or_insert(now);
            match read {
                Read::File { path, version } => {
                    fetched.push(path.clone());
                    let hash = hash(path).to_string();
                    Ok(json!({"file_path": path, "version": version, "content": path, "content_hash": hash}))
                }
                Read::Head => Ok(json!({"head_revision": 7, "digest": "0".repeat(64)})),
                _ => Ok(json!({"head_revision": 7, "complete": true, "files": []})),
            }
        });
        seen.extend(step);
    }
    fetched.sort();
    assert_eq!(fetched, ["b", "c"]);
    assert_eq!(seen.iter().filter(|output| matches!(output, Output::Renew)).count(), 1);
}

#[test]
fn current_is_claimed_only_while_the_head_was_read_within_a_minute() {
    let mut harness = started();
    assert!(harness.agent.status(harness.now).current);
    let unavailable = || Err(ReadError::Unavailable { error: "no network".into(), retry_after: None });
    harness.serve(Vec::new(), 59_000, |_, _| unavailable());
    assert!(harness.agent.status(harness.now).current);
    let outputs = harness.serve(Vec::new(), 2_000, |_, _| unavailable());
    let status = harness.agent.status(harness.now);
    assert!(!status.current && status.degraded.contains(&DegradedReason::HeadUnknown), "{status:?}");
    assert!(status.head_age.is_some_and(|age| age > Duration::from_secs(60)));
    assert!(outputs.iter().any(|o| matches!(o, Output::Event(Event::InSync { current: false, .. }))), "{outputs:?}");
    let database = LateDatabase { visible_at: harness.now.after(Duration::from_secs(3_600)) };
    harness.serve(Vec::new(), 300_000, |now, read| database.answer(now, read));
    let status = harness.agent.status(harness.now);
    assert!(status.current && status.degraded.is_empty(), "{status:?}");
    assert!(status.head_age.is_some_and(|age| age < Duration::from_secs(36)));
}

#[test]
fn after_a_suspension_nothing_is_claimed_until_the_head_was_read() {
    let mut harness = started();
    let outputs = harness.handle(Input::Resumed);
    assert!(!harness.agent.status(harness.now).current);
    assert_eq!(harness.agent.status(harness.now).head_age, None);
    let database = LateDatabase { visible_at: harness.now.after(Duration::from_secs(3_600)) };
    harness.serve(outputs, 1_000, |now, read| database.answer(now, read));
    assert!(harness.agent.status(harness.now).current);
}
