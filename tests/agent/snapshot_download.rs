//! Snapshots from servers that are in a bad way.

use std::time::Duration;

use crate::snapshot_support::{
    Answer, PROJECT, SECRET, Server, cut, files, hydrate, hydrate_within, limits, ok, part, plain_zip, range_start,
    response, snapshot_of,
};
use preview_agent::sync::snapshot::{Limits, SnapshotError, SnapshotSource};

#[test]
fn a_whole_download_is_extracted_and_told_of() {
    let zip = snapshot_of(&files(), PROJECT);
    let length = zip.len() as u64;
    let server = Server::start(move |_, _| ok(&zip));
    let done = hydrate(&server.source());
    done.assert_holds(&files());
    let extracted = done.extracted();
    assert_eq!((extracted.revision, extracted.attempts, extracted.skipped), (Some(41), 1, 0));
    assert_eq!(extracted.snapshot_id.as_ref().map(String::len), Some(64));
    assert_eq!(extracted.compressed_bytes, length);
    assert!(extracted.files.iter().all(|file| file.version == Some(3) && !file.executable));
    let last = done.progress.last().unwrap();
    assert_eq!((last.bytes, last.total, last.files), (length, Some(length), files().len() as u64));
}

#[test]
fn a_local_file_is_extracted() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("x.zip");
    std::fs::write(&path, plain_zip(&files())).unwrap();
    let done = hydrate(&SnapshotSource::File(path));
    done.assert_holds(&files());
    assert_eq!((done.extracted().revision, done.extracted().files[0].version), (None, None));
    assert_eq!(done.progress.last().unwrap().files, files().len() as u64);

    let done = hydrate(&SnapshotSource::File(temp.path().join("none.zip")));
    assert!(matches!(done.error(), SnapshotError::Read(path, _) if path.ends_with("none.zip")));
}

#[test]
fn a_download_cut_anywhere_goes_on_where_it_broke_off() {
    let zip = snapshot_of(&files(), PROJECT);
    for keep in [0, 1, 29, 30, 100, 2_000, zip.len() / 2, zip.len() - 23, zip.len() - 1] {
        let body = zip.clone();
        let server = Server::start(move |number, head| {
            let etag = "etag: \"one\"\r\n";
            match (number, range_start(head)) {
                (0, _) => Answer::Send(cut(&body, keep, etag)),
                (_, Some(start)) => {
                    assert!(head.contains("if-range: \"one\"\r\n"), "{head}");
                    Answer::Send(part(&body, start, usize::MAX, etag))
                }
                (_, None) => ok(&body),
            }
        });
        let done = hydrate(&server.source());
        done.assert_holds(&files());
        assert_eq!(done.extracted().attempts, 2, "cut after {keep}");
        assert_eq!(done.progress.last().unwrap().bytes, zip.len() as u64);
    }
}

#[test]
fn a_download_cut_again_and_again_arrives() {
    let zip = snapshot_of(&files(), PROJECT);
    let step = zip.len() / 12;
    let body = zip.clone();
    let server = Server::start(move |_, head| match range_start(head) {
        Some(start) => Answer::Send(part(&body, start, step, "")),
        None => Answer::Send(cut(&body, step, "")),
    });
    let done = hydrate(&server.source());
    done.assert_holds(&files());
    // More attempts than may be fruitless: none was.
    assert!(done.extracted().attempts >= 12, "{}", done.extracted().attempts);
}

#[test]
fn a_server_without_ranges_sends_everything_again() {
    let zip = snapshot_of(&files(), PROJECT);
    for headers in ["", "etag: \"one\"\r\n", "last-modified: Sat, 21 Nov 2026 05:00:00 GMT\r\n"] {
        let body = zip.clone();
        let server = Server::start(move |number, _| {
            let keep = if number == 0 { body.len() / 2 } else { body.len() };
            Answer::Send(cut(&body, keep, headers))
        });
        let done = hydrate(&server.source());
        done.assert_holds(&files());
        assert_eq!(done.extracted().attempts, 2);
    }
}

#[test]
fn a_snapshot_that_changes_meanwhile_is_extracted_anew() {
    let old = snapshot_of(&vec![("old.txt".to_owned(), vec![b'x'; 100]), ("z".to_owned(), vec![7; 9])], PROJECT);
    let new = snapshot_of(&files(), PROJECT);
    for answers_416 in [false, true] {
        let (old, new) = (old.clone(), new.clone());
        let server = Server::start(move |number, head| match range_start(head) {
            // All but the end, so that files were written.
            _ if number == 0 => Answer::Send(cut(&old, old.len() - 10, "etag: \"old\"\r\n")),
            Some(_) if answers_416 => Answer::Send(response("416 Range Not Satisfiable", "", b"")),
            _ => Answer::Send(cut(&new, usize::MAX, "etag: \"new\"\r\n")),
        });
        let done = hydrate(&server.source());
        done.assert_holds(&files());
        assert_eq!(done.extracted().attempts, 3);
        assert_eq!(done.progress.last().unwrap().files, files().len() as u64);
    }
}

#[test]
fn a_length_that_nobody_told_is_no_excuse() {
    let zip = snapshot_of(&files(), PROJECT);
    let body = zip.clone();
    let server = Server::start(move |number, _| {
        let keep = if number == 0 { body.len() / 2 } else { body.len() };
        Answer::Send([b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", &body[..keep]].concat())
    });
    let done = hydrate(&server.source());
    done.assert_holds(&files());
    assert_eq!(done.extracted().attempts, 2);
}

#[test]
fn a_stalled_download_is_cut_and_resumed() {
    let zip = snapshot_of(&files(), PROJECT);
    let body = zip.clone();
    let server = Server::start(move |number, head| match (number, range_start(head)) {
        (0, _) => Answer::Stall(Vec::new()),
        (1, _) => Answer::Stall(cut(&body, 1000, "")),
        (_, Some(start)) => Answer::Send(part(&body, start, usize::MAX, "")),
        (_, None) => panic!("the first 1000 bytes were forgotten"),
    });
    let done = hydrate(&server.source());
    done.assert_holds(&files());
    assert_eq!(done.extracted().attempts, 3);
}

#[test]
fn a_server_in_trouble_is_asked_again() {
    let zip = snapshot_of(&files(), PROJECT);
    let server = Server::start(move |number, _| match number {
        0 => Answer::Send(response("500 Internal Server Error", "", b"oops")),
        1 => Answer::Send(response("429 Too Many Requests", "retry-after: 0\r\n", b"")),
        2 => Answer::Send(b"garbage\r\n\r\n".to_vec()),
        _ => ok(&zip),
    });
    let done = hydrate(&server.source());
    done.assert_holds(&files());
    assert_eq!(done.extracted().attempts, 4);
}

#[test]
fn a_server_that_stays_in_trouble_is_given_up() {
    let server = Server::start(|_, _| Answer::Send(response("503 Service Unavailable", "", b"down for maintenance")));
    let done = hydrate(&server.source());
    let SnapshotError::GaveUp { attempts: 4, last } = done.error() else { panic!("{:?}", done.error()) };
    assert!(last.contains("503") && last.contains("down for maintenance"), "{last}");
    assert!(!done.error().is_expired() && !done.error().is_damaged() && !done.error().is_disk());
    assert_eq!(server.requests().len(), 4);

    // Nobody listens there.
    let gone = SnapshotSource::Url(format!("http://127.0.0.1:1/x.zip?token={SECRET}").into());
    assert!(matches!(hydrate(&gone).error(), SnapshotError::GaveUp { attempts: 4, .. }));
}

#[test]
fn the_whole_download_has_a_deadline() {
    let zip = snapshot_of(&files(), PROJECT);
    let server = Server::start(move |_, head| match range_start(head) {
        Some(start) => Answer::Stall(part(&zip, start, 1, "")),
        None => Answer::Stall(cut(&zip, 1, "")),
    });
    let limits = Limits { deadline: Duration::from_secs(2), stall: Duration::from_millis(100), ..limits() };
    assert!(matches!(hydrate_within(&server.source(), limits).error(), SnapshotError::Deadline(_)));
}

#[test]
fn a_refused_url_is_to_be_renewed() {
    let storage = br#"{"statusCode":"400","error":"InvalidJWT","message":"\"exp\" claim timestamp check failed"}"#;
    for (status, code) in
        [("400 Bad Request", 400), ("403 Forbidden", 403), ("404 Not Found", 404), ("401 Unauthorized", 401)]
    {
        let server = Server::start(move |_, _| Answer::Send(response(status, "", storage)));
        let done = hydrate(&server.source());
        let SnapshotError::Renew { status, body } = done.error() else { panic!("{:?}", done.error()) };
        assert_eq!(*status, code);
        assert!(body.contains("InvalidJWT"), "{body}");
        assert!(done.error().is_expired());
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn a_refusal_is_cut_and_does_not_repeat_the_secret() {
    let server = Server::start(|_, head| {
        let body = format!("{} {}", head.lines().next().unwrap(), "x".repeat(100_000));
        Answer::Send(response("400 Bad Request", "", body.as_bytes()))
    });
    // That it holds no secret, `hydrate` checks itself.
    let done = hydrate(&server.source());
    assert!(matches!(done.error(), SnapshotError::Renew { body, .. } if body.len() <= 500 && body.contains("xxx")));
}

#[test]
fn redirects_are_followed_and_loops_are_not() {
    let zip = snapshot_of(&files(), PROJECT);
    let server = Server::start(move |number, _| match number {
        0 => Answer::Send(response("302 Found", "location: /elsewhere\r\n", b"")),
        _ => ok(&zip),
    });
    hydrate(&server.source()).assert_holds(&files());
    assert!(server.requests()[1].starts_with("get /elsewhere "));

    let server = Server::start(|_, _| {
        Answer::Send(response("307 Temporary Redirect", &format!("location: /again?token={SECRET}\r\n"), b""))
    });
    let done = hydrate(&server.source());
    assert!(matches!(done.error(), SnapshotError::Redirects), "{:?}", done.error());
}

#[test]
fn what_is_no_url_is_not_asked() {
    for url in ["", "snapshot.zip", "ftp://host/s3cret-signature", "file:///etc/passwd"] {
        assert!(matches!(hydrate(&SnapshotSource::Url(url.to_owned().into())).error(), SnapshotError::Url), "{url}");
    }
}

#[test]
fn an_archive_too_large_is_not_even_fetched() {
    let server = Server::start(|_, _| Answer::Send(response("200 OK", "content-length: 60000000\r\n", b"PK")));
    let done = hydrate(&server.source());
    assert!(done.error().is_damaged());
    assert!(sync_core::error_chain(done.error()).contains("larger than 52428800 bytes"));
}

#[test]
fn an_archive_that_is_wrong_ends_the_download_at_once() {
    // It would stall for ever; what came is enough to know.
    let server = Server::start(|_, _| {
        Answer::Stall(response("200 OK", "content-length: 100000\r\n", b"<!doctype html><p>This is not a zip at all."))
    });
    let limits = Limits { stall: Duration::from_secs(60), ..limits() };
    let done = hydrate_within(&server.source(), limits);
    assert!(sync_core::error_chain(done.error()).contains("not a zip"), "{:?}", done.error());
    assert_eq!(server.requests().len(), 1);
}
