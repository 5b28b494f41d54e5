use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use rustix::fs::{Gid, Uid, mkdirat};

use super::*;

/// Deeper than any stack or table of descriptors allows for.
const DEEP: usize = 15_000;

fn open(path: &Path) -> OwnedFd {
    File::open(path).expect("a directory").into()
}

/// Makes `a/a/a/...` below `root`, with a file in the innermost directory, by handles: no path is that long.
fn make_deep(root: &Path, levels: usize) {
    let mut dir = open(root);
    for _ in 0..levels {
        mkdirat(&dir, "a", Mode::RWXU).expect("made");
        dir = openat(&dir, "a", DIRECTORY, Mode::empty()).expect("opened");
    }
    openat(&dir, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).expect("a file");
}

#[derive(Default)]
struct Seen {
    files: Vec<PathBuf>,
    entered: usize,
    deepest: usize,
}

impl Visitor for Seen {
    fn file(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        self.files.push(entry.path.to_owned());
        self.deepest = self.deepest.max(entry.depth);
        Ok(())
    }

    fn enter(&mut self, entry: &Entry<'_>) -> io::Result<Descent> {
        self.entered += 1;
        Ok(if entry.name == c"skipped" { Descent::Skip } else { Descent::Enter })
    }
}

fn seen(root: &Path) -> Seen {
    let mut seen = Seen::default();
    walk(open(root), &mut seen).expect("walked");
    seen.files.sort();
    seen
}

#[test]
fn walk_visits_all_files_and_follows_no_link() {
    let root = tempfile::tempdir().expect("a directory");
    for dir in ["x/y", "x/skipped", "z"] {
        fs::create_dir_all(root.path().join(dir)).expect("made");
    }
    for file in ["one", "x/two", "x/y/three", "x/skipped/four"] {
        fs::write(root.path().join(file), "").expect("written");
    }
    symlink("/etc", root.path().join("z/link")).expect("linked");
    let seen = seen(root.path());
    let expected = ["one", "x/two", "x/y/three", "z/link"].map(PathBuf::from);
    assert_eq!((seen.files, seen.entered, seen.deepest), (expected.to_vec(), 4, 2));
}

#[test]
fn deep_tree_is_walked_copied_given_and_removed() {
    let root = tempfile::tempdir().expect("a directory");
    let source = root.path().join("source");
    fs::create_dir(&source).expect("made");
    make_deep(&source, DEEP);
    let dir = open(root.path());

    let found = seen(&source);
    assert_eq!((found.files.len(), found.deepest), (1, DEEP));
    copy_tree(open(&source), &dir, "copy").expect("copied");
    assert_eq!(seen(&root.path().join("copy")).deepest, DEEP);
    let ours = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    own_tree(open(&source), Uid::from_raw(ours.0), Gid::from_raw(ours.1)).expect("given");
    for name in ["source", "copy"] {
        remove_tree(&dir, name).expect("removed");
    }
    assert_eq!(fs::read_dir(root.path()).expect("listed").count(), 0);
}

#[test]
fn copy_keeps_modes_and_links_and_takes_write_rights_of_others() {
    let root = tempfile::tempdir().expect("a directory");
    let source = root.path().join("source");
    fs::create_dir_all(source.join("bin")).expect("made");
    fs::write(source.join("bin/run"), "run").expect("written");
    fs::set_permissions(source.join("bin/run"), fs::Permissions::from_mode(0o777)).expect("set");
    symlink("/nowhere", source.join("dangling")).expect("linked");
    copy_tree(open(&source), open(root.path()), "copy").expect("copied");
    let copy = root.path().join("copy");
    assert_eq!(fs::metadata(copy.join("bin/run")).expect("a file").mode() & 0o777, 0o755);
    assert_eq!(fs::read_link(copy.join("dangling")).expect("a link"), Path::new("/nowhere"));
    let again = copy_tree(open(&source), open(root.path()), "copy").expect_err("exists");
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn remove_takes_a_link_and_not_its_target() {
    let root = tempfile::tempdir().expect("a directory");
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("kept"), "").expect("written");
    symlink(outside.path(), root.path().join("link")).expect("linked");
    fs::create_dir(root.path().join("dir")).expect("made");
    symlink(outside.path(), root.path().join("dir/link")).expect("linked");
    for name in ["link", "dir", "missing"] {
        remove_tree(open(root.path()), name).expect("removed");
    }
    assert_eq!(fs::read_dir(root.path()).expect("listed").count(), 0);
    assert!(outside.path().join("kept").exists());
}

/// Moves a directory of the tree out of it as soon as the walk is inside.
struct MovesAway {
    from: PathBuf,
    to: PathBuf,
}

impl Visitor for MovesAway {
    fn file(&mut self, _: &Entry<'_>) -> io::Result<()> {
        fs::rename(&self.from, &self.to)
    }
}

#[test]
fn walk_ends_where_a_directory_was_moved_out_of_the_tree() {
    let place = tempfile::tempdir().expect("a directory");
    let root = place.path().join("root");
    fs::create_dir_all(root.join("a/b")).expect("made");
    fs::write(root.join("a/b/file"), "").expect("written");
    let mut visitor = MovesAway { from: root.join("a/b"), to: place.path().join("b") };
    let error = walk(open(&root), &mut visitor).expect_err("the way up leads elsewhere");
    assert!(error.to_string().contains("was moved"), "{error}");
}

#[test]
fn file_with_several_names_is_not_given_away() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("secret"), "").expect("written");
    fs::hard_link(outside.path().join("secret"), root.path().join("name")).expect("linked");
    fs::write(root.path().join("own"), "").expect("written");
    own_tree(open(root.path()), Uid::from_raw(4321), Gid::from_raw(4321)).expect("given");
    assert_eq!(fs::metadata(outside.path().join("secret")).expect("a file").uid(), 0);
    assert_eq!(fs::metadata(root.path().join("own")).expect("a file").uid(), 4321);
}
