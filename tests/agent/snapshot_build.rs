//! `preview-agent snapshot DIR`, by the real binary.

use std::path::Path;
use std::process::{Command, Output};

use crate::snapshot_support::{PROJECT, files, hydrate};
use preview_agent::sync::snapshot::SnapshotSource;

fn snapshot(dir: &Path, out: &Path, env: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_preview-agent"))
        .arg("snapshot")
        .arg(dir)
        .arg("--out")
        .arg(out)
        .args(["--project-id", PROJECT, "--revision", "41"])
        .env_remove("SOURCE_DATE_EPOCH")
        .envs(env.iter().copied())
        .output()
        .unwrap()
}

fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in files() {
        let place = dir.path().join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, bytes).unwrap();
    }
    dir
}

#[test]
fn a_folder_becomes_a_snapshot_and_a_folder_again() {
    let (dir, out) = (project(), tempfile::tempdir().unwrap());
    for left_out in ["node_modules/x/index.js", "dist/a.js", ".git/HEAD"] {
        let place = dir.path().join(left_out);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, "x").unwrap();
    }
    let (first, second) = (out.path().join("1.zip"), out.path().join("2.zip"));
    assert!(snapshot(dir.path(), &first, &[]).status.success());
    assert!(snapshot(dir.path(), &second, &[]).status.success());
    assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap(), "not reproducible");

    let done = hydrate(&SnapshotSource::File(first.clone()));
    done.assert_holds(&files());
    assert_eq!(done.extracted().revision, Some(41));

    // The time is in the manifest alone.
    assert!(snapshot(dir.path(), &second, &[("SOURCE_DATE_EPOCH", "1795238055")]).status.success());
    let later = hydrate(&SnapshotSource::File(second));
    later.assert_holds(&files());
    assert_eq!(later.extracted().snapshot_id, done.extracted().snapshot_id);
    let names: Vec<_> = std::fs::read_dir(out.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "something else was left: {names:?}");
}

#[test]
fn a_snapshot_written_into_its_folder_is_not_of_the_project() {
    let dir = project();
    let out = dir.path().join("snapshot.zip");
    assert!(snapshot(dir.path(), &out, &[]).status.success());
    let first = std::fs::read(&out).unwrap();
    assert!(snapshot(dir.path(), &out, &[]).status.success());
    assert!(first == std::fs::read(&out).unwrap(), "it holds itself");
}

#[test]
fn what_cannot_be_a_snapshot_is_named_and_nothing_is_written() {
    let out = tempfile::tempdir().unwrap();
    let zip = out.path().join("x.zip");
    let refused = |dir: &Path, zip: &Path, status: i32| {
        let output = snapshot(dir, zip, &[]);
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&out.path().join("none"), &zip, 69).contains("none"));
    assert!(refused(project().path(), &out.path().join("no/x.zip"), 74).contains("no/x.zip"));
    #[cfg(unix)]
    {
        let dir = project();
        std::os::unix::fs::symlink("package.json", dir.path().join("link")).unwrap();
        let said = refused(dir.path(), &zip, 69);
        assert!(said.contains("link is a symbolic link"), "{said}");
    }
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
}
