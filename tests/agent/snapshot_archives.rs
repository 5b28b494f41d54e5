//! Archives good and bad, as they become files or do not.

use std::io::{Cursor, Write};
use std::path::Path;

use crate::snapshot_support::{Done, Files, PROJECT, files, hydrate, hydrate_within, limits, plain_zip, snapshot_of};
use preview_agent::sync::snapshot::{Limits, ManifestFault, SnapshotError, SnapshotSource};
use serde_json::{Value, json};
use sync_core::{ContentHash, PathError};
use zip::write::SimpleFileOptions;
use zip_stream::{Fault, MANIFEST};

fn extract(zip: &[u8]) -> Done {
    extract_within(zip, limits())
}

fn extract_within(zip: &[u8], limits: Limits) -> Done {
    let temp = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(temp.path(), zip).unwrap();
    hydrate_within(&SnapshotSource::File(temp.path().to_owned()), limits)
}

fn names(names: &[&str]) -> Vec<u8> {
    plain_zip(&names.iter().map(|name| (name.to_string(), b"x".to_vec())).collect())
}

#[test]
fn paths_that_no_project_has_are_refused() {
    let refused = |name: &str| match extract(&names(&["ok.txt", name])).result {
        Err(SnapshotError::Path(error)) => error,
        other => panic!("{name}: {other:?}"),
    };
    assert!(matches!(refused("../evil"), PathError::Parent(_)));
    assert!(matches!(refused("a/../../evil"), PathError::Parent(_)));
    assert!(matches!(refused("node_modules/../../evil"), PathError::Parent(_)));
    assert!(matches!(refused("/etc/cron.d/evil"), PathError::Absolute(_)));
    assert!(matches!(refused(".//etc/evil"), PathError::Absolute(_)));
    assert!(matches!(refused("a\0b"), PathError::Control(_)));
    assert!(matches!(refused("..\\evil"), PathError::Backslash(_)));
    assert!(matches!(refused("a//b"), PathError::NotPlain(_)));

    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.add_directory("../evil/", SimpleFileOptions::default()).unwrap();
    let directory = zip.finish().unwrap().into_inner();
    assert!(matches!(extract(&directory).error(), SnapshotError::Path(PathError::Parent(_))));
}

#[test]
fn names_that_begin_with_a_dot_and_a_slash_are_plain() {
    let done = extract(&names(&["./a", "./src/b"]));
    assert_eq!(done.on_disk().into_keys().collect::<Vec<_>>(), ["a", "src/b"]);
}

#[test]
fn the_manifest_is_not_counted_as_a_file() {
    let done = extract(&snapshot_of(&Files::new(), PROJECT));
    assert_eq!((done.extracted().files.len(), done.extracted().skipped), (0, 0));
    assert_eq!(done.extracted().expanded_bytes, 0, "bytes of files");
    assert_eq!(done.progress.last().unwrap().files, 0);
}

#[test]
fn places_never_touched_are_skipped_and_counted() {
    let done = extract(&names(&["a", "node_modules/x/index.js", ".git/config", ".preview/other", "b/node_modules/y"]));
    assert_eq!(done.on_disk().into_keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!((done.extracted().files.len(), done.extracted().skipped), (1, 4));
}

#[test]
fn a_name_that_stands_in_the_way_of_another_is_refused() {
    for clash in [["a", "a/b"], ["a/b", "a"], ["a/b/c", "a/b"]] {
        assert!(matches!(extract(&names(&clash)).error(), SnapshotError::Clash(_)), "{clash:?}");
    }
    assert!(matches!(extract(&names(&["a", "./a"])).error(), SnapshotError::Clash(path) if path == "a"));
}

#[cfg(unix)]
#[test]
fn what_may_be_run_may_be_run_and_links_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, mode, text) in [("bin/tool", 0o755, "ELF"), ("script", 0o644, "#!/bin/sh\n"), ("a.txt", 0o644, "#")] {
        zip.start_file(name, SimpleFileOptions::default().unix_permissions(mode)).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    let done = extract(&zip.finish().unwrap().into_inner());
    let runs = |name: &str| {
        let mode = done.stage.path().join("stage").join(name).metadata().unwrap().permissions().mode();
        let reported = done.extracted().files.iter().find(|file| file.path.as_str() == name).unwrap().executable;
        assert_eq!(mode & 0o100 != 0, reported);
        reported
    };
    // The database has no modes, so that a script in its snapshot may not be marked.
    assert!(runs("bin/tool") && runs("script") && !runs("a.txt"));

    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    let done = extract(&zip.finish().unwrap().into_inner());
    assert!(matches!(done.error(), SnapshotError::Archive(rejected) if rejected.fault == Fault::Symlink));
    assert!(done.error().is_damaged());
}

#[test]
fn damage_and_bombs_are_refused() {
    let zip = snapshot_of(&files(), PROJECT);
    let fault = |zip: &[u8]| match extract(zip).result {
        Err(SnapshotError::Archive(rejected)) => rejected.fault,
        other => panic!("{other:?}"),
    };
    for end in [0, 1, 10, 40, 500, zip.len() / 2, zip.len() - 30, zip.len() - 1] {
        assert_eq!(fault(&zip[..end]), Fault::Truncated, "{end} bytes");
    }
    assert_eq!(fault(b"this is no zip"), Fault::NotAZip);
    let mut wrong = zip.clone();
    wrong[zip.len() / 2] ^= 1;
    assert!(matches!(fault(&wrong), Fault::Crc { .. }));
    let bomb = plain_zip(&vec![("zeros".to_owned(), vec![0; 20 << 20])]);
    assert_eq!(fault(&bomb), Fault::Ratio(200));

    let few = Limits { archive: zip_stream::Limits { entries: 3, ..zip_stream::Limits::default() }, ..limits() };
    let done = extract_within(&zip, few);
    assert!(matches!(done.error(), SnapshotError::Archive(rejected) if rejected.fault == Fault::TooManyEntries(3)));
}

/// A snapshot of `files` whose manifest `change` has changed.
fn with_manifest(files: &Files, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let rows: Vec<_> = files.iter().map(|(path, bytes)| {
        json!({"file_path": path, "version": 3, "content_hash": ContentHash::of(bytes).to_string(), "size": bytes.len()})
    }).collect();
    let mut manifest = json!({
        "format": 1, "project_id": PROJECT, "snapshot_id": "id", "revision": 7, "created_at": "1980-01-01T00:00:00Z",
        "files": rows, "more": "is ignored",
    });
    change(&mut manifest);
    let mut all = vec![(MANIFEST.to_owned(), manifest.to_string().into_bytes())];
    all.extend(files.iter().cloned());
    plain_zip(&all)
}

#[test]
fn the_manifest_is_checked_against_every_file() {
    let fault = |change: fn(&mut Value)| match extract(&with_manifest(&files(), change)).result {
        Err(error @ SnapshotError::Manifest(_)) => {
            assert!(error.is_damaged());
            let SnapshotError::Manifest(fault) = error else { unreachable!() };
            fault
        }
        other => panic!("{other:?}"),
    };
    extract(&with_manifest(&files(), |_| ())).assert_holds(&files());
    extract(&with_manifest(&files(), |it| it["project_id"] = PROJECT.to_uppercase().into())).assert_holds(&files());
    assert!(matches!(fault(|it| it["format"] = 2.into()), ManifestFault::Format(2)));
    assert!(matches!(fault(|it| *it = json!({"format": 2})), ManifestFault::Format(2)));
    assert!(matches!(fault(|it| *it = json!([])), ManifestFault::Malformed(_)));
    assert!(matches!(fault(|it| it["revision"] = json!(-1)), ManifestFault::Malformed(_)));
    assert!(matches!(fault(|it| it["project_id"] = "another".into()), ManifestFault::Project(id) if id == "another"));
    assert!(
        matches!(fault(|it| it["files"][1]["content_hash"] = "abc".into()), ManifestFault::Hash(path) if path == "src/App.tsx")
    );
    assert!(matches!(
        fault(|it| it["files"][1]["content_hash"] = "0".repeat(64).into()),
        ManifestFault::Digest { path, .. } if path == "src/App.tsx"
    ));
    assert!(matches!(fault(|it| it["files"][0]["size"] = 9.into()), ManifestFault::Size { recorded: 9, found: 2, .. }));
    assert!(
        matches!(fault(|it| drop(it["files"].as_array_mut().unwrap().pop())), ManifestFault::Extra(path) if path == ".env")
    );
    let more = |it: &mut Value| {
        let mut row = it["files"][0].clone();
        row["file_path"] = "gone.txt".into();
        it["files"].as_array_mut().unwrap().push(row);
    };
    assert!(matches!(fault(more), ManifestFault::Missing(path, 0) if path == "gone.txt"));
    let twice = |it: &mut Value| {
        let row = it["files"][0].clone();
        it["files"].as_array_mut().unwrap().push(row);
    };
    assert!(matches!(fault(twice), ManifestFault::Duplicate(path) if path == "package.json"));
}

#[test]
fn the_first_fault_in_the_archive_is_the_one_that_is_told() {
    let mut zip = with_manifest(&files(), |it| it["files"][0]["content_hash"] = "0".repeat(64).into());
    zip.truncate(zip.len() - 1);
    let done = extract(&zip);
    assert!(
        matches!(done.error(), SnapshotError::Manifest(ManifestFault::Digest { path, .. }) if path == "package.json"),
        "{:?}",
        done.error()
    );
}

#[test]
fn a_manifest_may_name_what_is_never_written() {
    let mut all = files();
    all.push(("node_modules/x.js".to_owned(), b"x".to_vec()));
    let done = extract(&with_manifest(&all, |_| ()));
    done.assert_holds(&files());
    assert_eq!((done.extracted().revision, done.extracted().skipped), (Some(7), 1));
    let wrong = with_manifest(&all, |it| it["files"][5]["size"] = 2.into());
    assert!(matches!(extract(&wrong).error(), SnapshotError::Manifest(ManifestFault::Size { .. })));
}

/// Stored entries with their sizes behind them: what is left is kept in the stage, and leaves nothing there.
#[test]
fn archives_of_every_tool_become_the_same_files() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/archives");
    let mut read = 0;
    for entry in std::fs::read_dir(fixtures).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "zip") {
            let done = hydrate(&SnapshotSource::File(path.clone()));
            let found = done.on_disk();
            assert_eq!(
                found.keys().collect::<Vec<_>>(),
                [".env", "empty.txt", "public/logo.png", "src/App.tsx", "src/größe/日本.txt"],
                "{path:?}: {:?}",
                done.result
            );
            assert_eq!(
                ContentHash::of(&found["public/logo.png"]),
                done.extracted().files.iter().find(|file| file.path.as_str() == "public/logo.png").unwrap().hash
            );
            assert_eq!(found["public/logo.png"], (0..=255).collect::<Vec<u8>>());
            assert_eq!(found["src/App.tsx"], b"export default () => <p>hello</p>\n".repeat(40));
            assert_eq!(found["src/größe/日本.txt"], "日本語\n".as_bytes());
            assert_eq!(found["empty.txt"], b"");
            read += 1;
        }
    }
    assert!(read >= 10, "only {read} archives");
}
