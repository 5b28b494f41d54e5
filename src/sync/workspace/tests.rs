use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use bytes::Bytes;
use sync_core::{Content, ContentHash, Op, OpResult, Outcome, ProjectPath};
use tempfile::TempDir;

use super::*;
use crate::sync::file_modes::FolderModes;
use crate::sync::files::{ExtractedFile, FileStamp};

mod hostile;

struct Place {
    temp: TempDir,
    workspace: Workspace,
}

impl Place {
    fn new() -> Place {
        Place::in_dir(tempfile::tempdir().unwrap())
    }

    fn in_dir(temp: TempDir) -> Place {
        let workspace = Workspace::open(&temp.path().join("project"), &temp.path().join("state"), "p", None).unwrap();
        Place { temp, workspace }
    }

    fn project(&self, path: &str) -> PathBuf {
        self.temp.path().join("project").join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.project(path)).unwrap()
    }

    fn apply(&mut self, ops: Vec<Op>) -> Vec<Outcome> {
        self.workspace.apply(ops).into_iter().map(|OpResult { outcome, .. }| outcome).collect()
    }

    /// The number of entries in the stage.
    fn staged(&self) -> usize {
        fs::read_dir(self.temp.path().join("state/stage")).unwrap().count()
    }
}

fn path(text: &str) -> ProjectPath {
    ProjectPath::parse(text).unwrap()
}

fn write(at: &str, text: &str) -> Op {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    let hash = ContentHash::of(&bytes);
    Op::Write { path: path(at), content: Content::Bytes(bytes), hash, version: None, revision: None }
}

fn delete(at: &str) -> Op {
    Op::Delete { path: path(at), version: None, revision: None }
}

fn changed(created: bool, bytes: u64) -> Outcome {
    Outcome::Changed { created, bytes }
}

fn reason(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Failed { reason, .. } => reason.as_str(),
        other => panic!("{other:?} is no failure"),
    }
}

#[test]
fn writes_and_replaces_but_not_with_the_same_content() {
    let mut place = Place::new();
    assert_eq!(place.apply(vec![write("src/a/b.txt", "one")]), [changed(true, 3)]);
    assert_eq!(place.apply(vec![write("src/a/b.txt", "three")]), [changed(false, 5)]);
    let before = fs::metadata(place.project("src/a/b.txt")).unwrap().ino();
    assert_eq!(place.apply(vec![write("src/a/b.txt", "three")]), [Outcome::Unchanged]);
    assert_eq!(fs::metadata(place.project("src/a/b.txt")).unwrap().ino(), before, "written again");
    assert_eq!(place.read("src/a/b.txt"), "three");
    assert_eq!(place.staged(), 0);
}

#[test]
fn deletes_files_and_empty_parents() {
    let mut place = Place::new();
    place.apply(vec![write("a/b/c.txt", "x"), write("a/keep.txt", "x")]);
    assert_eq!(place.apply(vec![delete("a/b/c.txt")]), [changed(false, 0)]);
    assert!(!place.project("a/b").exists());
    assert!(place.project("a/keep.txt").exists());
    assert_eq!(
        place.apply(vec![delete("a/b/c.txt"), delete("nothing/at/all")]),
        [Outcome::Unchanged, Outcome::Unchanged]
    );
}

#[test]
fn a_directory_with_foreign_content_stays() {
    let mut place = Place::new();
    place.apply(vec![write("a/b.txt", "x")]);
    fs::write(place.project("a/foreign"), "y").unwrap();
    place.apply(vec![delete("a/b.txt")]);
    assert!(place.project("a/foreign").exists());
    assert_eq!(reason(&place.apply(vec![write("a", "file")])[0]), "is_a_directory");
    assert_eq!(place.apply(vec![delete("a")]), [Outcome::Unchanged]);
    assert_eq!(place.staged(), 0);
}

#[test]
fn a_file_becomes_a_directory_and_back_within_one_batch() {
    let mut place = Place::new();
    place.apply(vec![write("thing", "file")]);
    assert_eq!(place.apply(vec![write("thing/inner", "x"), delete("thing")]), [changed(true, 1), changed(false, 0)]);
    assert_eq!(place.read("thing/inner"), "x");
    assert_eq!(place.apply(vec![write("thing", "file"), delete("thing/inner")]), [changed(true, 4), changed(false, 0)]);
    assert_eq!(place.read("thing"), "file");
}

#[test]
fn a_file_in_place_of_a_directory_fails_alone() {
    let mut place = Place::new();
    fs::write(place.project("src"), "foreign").unwrap();
    let outcomes = place.apply(vec![write("src/a", "x"), write("b", "y")]);
    assert_eq!(reason(&outcomes[0]), "not_a_directory");
    assert_eq!(outcomes[1], changed(true, 1));
    assert_eq!(place.read("src"), "foreign");
}

#[test]
fn no_write_goes_through_a_symlink() {
    let mut place = Place::new();
    let outside = place.temp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), "safe").unwrap();
    symlink(&outside, place.project("out")).unwrap();
    symlink(outside.join("victim"), place.project("link")).unwrap();
    let outcomes = place.apply(vec![write("out/new", "evil"), write("out/victim", "evil"), write("link", "mine")]);
    assert_eq!(reason(&outcomes[0]), "not_a_directory");
    assert_eq!(reason(&outcomes[1]), "not_a_directory");
    assert_eq!(outcomes[2], changed(false, 4));
    assert_eq!(place.apply(vec![delete("out/victim")]), [Outcome::Unchanged]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), "safe");
    assert!(fs::symlink_metadata(place.project("link")).unwrap().is_file());
}

#[test]
fn a_script_stays_executable() {
    let mut place = Place::new();
    place.apply(vec![write("run.sh", "one")]);
    fs::set_permissions(place.project("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    place.apply(vec![write("run.sh", "two")]);
    assert_eq!(fs::metadata(place.project("run.sh")).unwrap().mode() & 0o777, 0o755);
}

#[test]
fn a_private_file_stays_private_and_a_script_is_executable() {
    let mut place = Place::new();
    let mode = |place: &Place, path: &str| fs::metadata(place.project(path)).unwrap().mode() & 0o777;
    place.apply(vec![write(".env", "SECRET=1"), write("run.sh", "#!/bin/sh")]);
    assert_eq!(mode(&place, "run.sh"), 0o755);
    fs::set_permissions(place.project(".env"), fs::Permissions::from_mode(0o600)).unwrap();
    place.apply(vec![write(".env", "SECRET=2")]);
    assert_eq!(mode(&place, ".env"), 0o600);
}

#[test]
fn new_files_get_the_modes_of_the_folder() {
    let mut place = Place::new();
    let folder = tempfile::tempdir().unwrap();
    for (name, mode) in [(".env", 0o600), ("tool", 0o755)] {
        fs::write(folder.path().join(name), "x").unwrap();
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    place.workspace.use_modes_of(FolderModes::open(folder.path()).unwrap());
    place.apply(vec![write(".env", "SECRET=1"), write("tool", "text"), write("other", "text")]);
    let modes = [".env", "tool", "other"].map(|path| fs::metadata(place.project(path)).unwrap().mode() & 0o777);
    assert_eq!(modes, [0o600, 0o755, 0o644]);
}

#[test]
fn staged_content_is_renamed_or_discarded() {
    use std::io::Write;
    let mut place = Place::new();
    let stage = place.workspace.stage();
    let bytes = b"\x89PNG\r\n\0";
    let op = |id| Op::Write {
        path: path("logo.png"),
        content: Content::Staged(id),
        hash: ContentHash::of(bytes),
        version: None,
        revision: None,
    };
    for expected in [changed(true, 7), Outcome::Unchanged] {
        let (id, mut file) = stage.create().unwrap();
        file.write_all(bytes).unwrap();
        assert_eq!(place.apply(vec![op(id)]), [expected]);
        assert_eq!(place.staged(), 0);
    }
    assert_eq!(fs::read(place.project("logo.png")).unwrap(), bytes);
}

#[test]
fn stages_in_the_project_without_a_state_directory() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("state"), "a file where the directory should be").unwrap();
    let project = temp.path().join("project");
    let mut workspace = Workspace::open(&project, &temp.path().join("state"), "p", None).unwrap();
    assert!(workspace.state_dir().is_none());
    workspace.apply(vec![write("a", "1")]);
    fs::remove_dir_all(project.join("node_modules")).unwrap();
    let written = workspace.apply(vec![write("a", "2")]);
    assert_eq!(written[0].outcome, changed(false, 1), "an install removed the stage");
    assert_eq!(fs::read_to_string(project.join("a")).unwrap(), "2");
}

/// Creates files as an extraction would, and returns its list.
fn extracted(place: &Place, files: &[(&str, &str)]) -> Vec<ExtractedFile> {
    let dir = place.workspace.extract_dir().unwrap().dir;
    let mut extracted = Vec::new();
    for (at, text) in files {
        let path = path(at);
        if let Some(above) = path.parent() {
            dir.create_dir_all(above).unwrap();
        }
        dir.write(at, text).unwrap();
        let hash = ContentHash::of(text.as_bytes());
        let stamp = rustix::fs::statat(&dir, *at, rustix::fs::AtFlags::empty()).ok().map(|stat| FileStamp::of(&stat));
        extracted.push(ExtractedFile { path, version: None, hash, size: text.len() as u64, executable: false, stamp });
    }
    extracted
}

#[test]
fn a_snapshot_is_moved_in_and_other_files_are_quarantined() {
    let mut place = Place::new();
    for (at, text) in
        [("same.txt", "same"), ("differs.txt", "old"), ("foreign/deep.txt", "mine"), ("node_modules/x", "n")]
    {
        let file = place.project(at);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let kept = fs::metadata(place.project("same.txt")).unwrap().ino();
    let files = extracted(&place, &[("same.txt", "same"), ("differs.txt", "new"), ("src/new.txt", "new")]);
    let takeover = place.workspace.take_over(&files).unwrap();
    assert_eq!(takeover, Takeover { placed: 2, kept: 1, quarantined: 2 });
    assert_eq!(fs::metadata(place.project("same.txt")).unwrap().ino(), kept);
    assert_eq!(place.read("differs.txt"), "new");
    assert_eq!(place.read("src/new.txt"), "new");
    assert_eq!(place.read("node_modules/x"), "n");
    assert!(!place.project("foreign").exists());
    let found = fs::read_dir(place.temp.path().join("state/found")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read_to_string(found.join("differs.txt")).unwrap(), "old");
    assert_eq!(fs::read_to_string(found.join("foreign/deep.txt")).unwrap(), "mine");
    assert_eq!(place.staged(), 0);
}

#[test]
fn a_failed_takeover_is_undone() {
    let mut place = Place::new();
    fs::write(place.project("a.txt"), "old").unwrap();
    fs::create_dir(place.project("node_modules")).unwrap();
    fs::write(place.project("mine"), "mine").unwrap();
    let mut files = extracted(&place, &[("a.txt", "new"), ("b/c.txt", "new"), ("z.txt", "new")]);
    // The last file was not extracted, so its rename fails.
    files[2].path = path("zz.txt");
    let error = place.workspace.take_over(&files).unwrap_err();
    assert!(error.to_string().ends_with("zz.txt"), "{error}");
    assert_eq!(place.read("a.txt"), "old");
    assert_eq!(place.read("mine"), "mine");
    assert!(!place.project("b").exists());
    assert!(!place.project("z.txt").exists());
}

/// The property of the disk is set by hand: Linux hosts rarely have such a disk.
#[test]
fn on_a_disk_that_folds_case_the_second_path_fails() {
    let mut place = Place::new();
    place.workspace.folds_case = true;
    let outcomes = place.apply(vec![write("src/App.tsx", "one"), write("src/app.tsx", "two")]);
    assert_eq!(outcomes[0], changed(true, 3));
    assert_eq!(reason(&outcomes[1]), "case_conflict");
    assert_eq!(place.read("src/App.tsx"), "one");
    // A delete of the path without a file must not delete the other file.
    assert_eq!(place.apply(vec![delete("src/APP.tsx")]), [Outcome::Unchanged]);
    assert_eq!(place.read("src/App.tsx"), "one");
    // A rename that changes only the case: the delete comes first.
    assert_eq!(
        place.apply(vec![delete("src/App.tsx"), write("src/app.tsx", "two")]),
        [changed(false, 0), changed(true, 3)]
    );
    assert_eq!(place.read("src/app.tsx"), "two");
    assert_eq!(place.staged(), 0);
}

#[test]
fn extracted_files_have_known_stamps_after_the_takeover() {
    let mut place = Place::new();
    fs::create_dir(place.project("stands")).unwrap();
    fs::write(place.project("stands/same"), "s").unwrap();
    let files =
        extracted(&place, &[("top", "0"), ("src/a", "1"), ("src/b", "2"), ("stands/same", "s"), ("stands/c", "3")]);
    // The change time of a rename must differ, also with a coarse clock.
    std::thread::sleep(std::time::Duration::from_millis(20));
    place.workspace.take_over(&files).unwrap();
    assert_eq!(place.workspace.changed_stamps(), []);
    fs::write(place.project("src/b"), "another").unwrap();
    assert_eq!(place.workspace.changed_stamps(), [path("src/b")]);
}
