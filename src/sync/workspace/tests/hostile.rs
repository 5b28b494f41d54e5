//! What the project's own code can put into the project: huge files, deep trees, links and pipes.

use std::fs;
use std::os::unix::fs::symlink;

use sync_core::{Saved, SavedLocal, SavedRow};

use super::*;
use crate::sync::files::MAX_FILE;

/// A file of this size that uses no blocks.
fn sparse(file: &Path, size: u64) {
    fs::File::create(file).unwrap().set_len(size).unwrap();
}

const TERABYTE: u64 = 1 << 40;

#[test]
fn a_huge_sparse_file_is_replaced_without_being_read() {
    let mut place = Place::new();
    place.apply(vec![write("a", "one")]);
    sparse(&place.project("a"), TERABYTE);
    assert_eq!(place.apply(vec![write("a", "two")]), [changed(false, 3)]);
    sparse(&place.project("a"), TERABYTE);
    let (id, mut file) = place.workspace.stage().create().unwrap();
    std::io::Write::write_all(&mut file, b"three").unwrap();
    let (hash, content) = (ContentHash::of(b"three"), Content::Staged(id));
    let op = Op::Write { path: path("a"), content, hash, version: None, revision: None };
    assert_eq!(place.apply(vec![op]), [changed(false, 5)]);
    assert_eq!(place.read("a"), "three");
}

#[test]
fn a_huge_sparse_file_is_a_local_change_without_being_read() {
    let mut place = Place::new();
    place.apply(vec![write("a", "one"), write("b", "two")]);
    sparse(&place.project("a"), TERABYTE);
    assert_eq!(place.workspace.changed_stamps(), [path("a")]);
    let ReadChanges { changes, bytes } = place.workspace.read_changed();
    assert_eq!((changes.len(), bytes), (1, 0));
    assert!(changes[0].path == path("a") && changes[0].hash.is_some(), "{changes:?}");
    assert_eq!(place.workspace.changed_stamps(), []);
}

#[test]
fn a_large_changed_file_is_read_in_parts() {
    let mut place = Place::new();
    place.apply(vec![write("a", "one"), write("b", "two")]);
    let size = 20 << 20;
    sparse(&place.project("a"), size);
    fs::write(place.project("b"), "changed").unwrap();
    let (mut reads, mut changes) = (0, Vec::new());
    while !place.workspace.changed_stamps().is_empty() {
        let read = place.workspace.read_changed();
        assert!(read.bytes <= 9 << 20, "{} bytes at once", read.bytes);
        changes.extend(read.changes);
        reads += 1;
        assert!(reads < 10, "it does not end");
    }
    assert!(reads >= 3, "{reads}");
    let found = |at: &str| changes.iter().find(|change| change.path == path(at)).unwrap().hash;
    assert_eq!(found("a"), Some(ContentHash::of(&vec![0; size as usize])));
    assert_eq!(found("b"), Some(ContentHash::of(b"changed")));
}

#[test]
fn kept_files_are_read_only_where_their_size_is_known_or_small() {
    let mut place = Place::new();
    place.apply(["same", "resized", "local", "huge"].map(|at| write(at, at)).into());
    sparse(&place.project("resized"), TERABYTE);
    sparse(&place.project("huge"), MAX_FILE + 1);
    fs::write(place.project("local"), "a local change").unwrap();
    let row = |path: &str, size| SavedRow {
        path: path.into(),
        version: None,
        revision: 1,
        hash: Some(ContentHash::of(path.as_bytes())),
        size,
    };
    let local = SavedLocal { path: "local".into(), hash: None };
    let rows = vec![row("same", Some(4)), row("resized", Some(7)), row("local", Some(5)), row("huge", None)];
    let saved = Saved { project_id: "p".into(), revision: 1, rows, local: vec![local] };
    let started = std::time::Instant::now();
    let files = place.workspace.owned_files(&saved, &Cancel::default());
    assert!(started.elapsed().as_secs() < 10, "a huge file was read");
    let hash = |at: &str| files.iter().find(|file| file.path == path(at)).unwrap().hash;
    assert_eq!(hash("same"), ContentHash::of(b"same"));
    assert_eq!(hash("local"), ContentHash::of(b"a local change"));
    assert!(hash("resized") != ContentHash::of(b"resized") && hash("huge") != ContentHash::of(b"huge"));
    let cancel = Cancel::default();
    drop(cancel.on_drop());
    assert_eq!(place.workspace.owned_files(&saved, &cancel).len(), 0, "cancelled");
}

/// Runs `test` with one megabyte of stack.
fn with_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(1 << 20).spawn(test).unwrap().join().unwrap();
}

/// Directories in directories, below `top`.
fn deep_tree(top: &Path, levels: usize) {
    fs::create_dir_all(top).unwrap();
    let mut dir = parents::open_dir(CWD, top).unwrap();
    for _ in 0..levels {
        rustix::fs::mkdirat(&dir, "d", rustix::fs::Mode::RWXU).unwrap();
        dir = parents::open_dir(&dir, "d").unwrap();
    }
}

#[test]
fn deep_trees_do_not_stop_a_takeover() {
    with_small_stack(|| {
        // In memory where that is possible: ext4 takes a minute to remove so many levels.
        let temp = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let mut place = Place::in_dir(temp);
        deep_tree(&place.project("deep"), 15_000);
        fs::write(place.project("deep/d/mine"), "mine").unwrap();
        let files = extracted(&place, &[("a", "1"), ("deep/x", "2")]);
        let takeover = place.workspace.take_over(&files).unwrap();
        assert_eq!(takeover, Takeover { placed: 2, kept: 0, quarantined: 1 });
        assert_eq!(place.read("deep/x"), "2");
        // A leftover of this kind in the stage is removed at the next start.
        deep_tree(&place.temp.path().join("state/stage/hydrate"), 15_000);
        let (project, state) = (place.project(""), place.temp.path().join("state"));
        Workspace::open(&project, &state, "p", None).unwrap();
        assert_eq!(place.staged(), 0);
        supervisor::tree_walk::remove_tree(CWD, place.project("deep")).unwrap();
    });
}

#[test]
fn a_path_of_64_parts_is_written_and_deleted() {
    let mut place = Place::new();
    let deep = "d/".repeat(63) + "file";
    assert_eq!(place.apply(vec![write(&deep, "x")]), [changed(true, 1)]);
    assert_eq!(place.read(&deep), "x");
    assert_eq!(place.apply(vec![delete(&deep)]), [changed(false, 0)]);
    assert!(!place.project("d").exists());
}

#[test]
fn links_and_pipes_in_place_of_the_stage_are_replaced() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("state"), "a file where the directory should be").unwrap();
    let (project, victim) = (temp.path().join("project"), temp.path().join("victim"));
    let stage = project.join("node_modules/.preview-stage");
    fs::create_dir_all(stage.parent().unwrap()).unwrap();
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("file"), "safe").unwrap();
    symlink(&victim, &stage).unwrap();
    let open = || Workspace::open(&project, &temp.path().join("state"), "p", None);
    let mut workspace = open().unwrap();
    assert_eq!(workspace.apply(vec![write("a", "1")])[0].outcome, changed(true, 1));
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 1, "the link was followed");

    // While the agent runs.
    fs::remove_dir_all(&stage).unwrap();
    rustix::fs::mknodat(CWD, &stage, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    assert_eq!(workspace.apply(vec![write("a", "2")])[0].outcome, changed(false, 1));
    fs::remove_dir_all(&stage).unwrap();
    symlink(&victim, &stage).unwrap();
    assert_eq!(workspace.apply(vec![write("a", "3")])[0].outcome, changed(false, 1));
    assert_eq!(fs::read_to_string(project.join("a")).unwrap(), "3");
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 1, "the link was followed");

    // In place of the whole directory.
    fs::remove_dir_all(project.join("node_modules")).unwrap();
    symlink(&victim, project.join("node_modules")).unwrap();
    assert_eq!(reason(&workspace.apply(vec![write("a", "4")])[0].outcome), "not_a_directory");
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 1, "the link was followed");
}

#[test]
fn a_link_in_place_of_the_project_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("victim")).unwrap();
    symlink(temp.path().join("victim"), temp.path().join("project")).unwrap();
    for project in ["project", "project/"] {
        let opened = Workspace::open(&temp.path().join(project), &temp.path().join("state"), "p", None);
        assert!(opened.is_err(), "{project}");
    }
    assert_eq!(fs::read_dir(temp.path().join("victim")).unwrap().count(), 0);
}
